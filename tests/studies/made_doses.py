"""Studies of dose and response whose scores and doses are drawn, not trained."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from made_studies import made_results, made_study

from sparring.config import Tree
from sparring.studies.plan import Study
from sparring.studies.records import RunRecord
from sparring.studies.results import Results

STRENGTHS: Mapping[str, float | str] = {"0.1": 0.1, "0.4": 0.4, "released": "released", "0": 0.0}
TEMPERATURES = (0.07, 0.1, 0.2, 0.4)
REACHED = 0.25
"""Nats beyond which the made opponent cannot go."""
RELEASED = 0.05
"""Excess loss of the made opponent under the paper's constants, in nats."""


def dosed_study(*, seeds: int = 3, **fields: object) -> Study:
    """Plan with a game at several strengths, and its control at several temperatures."""
    return made_study(
        seeds=seeds,
        arms=[*map(strong, STRENGTHS), *map(warm, TEMPERATURES)],
        contrasts=[{"first": f"adco at {name}", "second": "adco at 0"} for name in ("0.1", "0.4")],
        **fields,
    )


def strong(name: str) -> Tree:
    """Arm of the game at a strength."""
    return {
        "name": f"adco at {name}",
        "method": "adco",
        "settings": {"strength": STRENGTHS[name]},
        "control": "mocov2 at 0.2",
    }


def warm(temperature: float) -> Tree:
    """Arm of the control at a temperature."""
    return {
        "name": f"mocov2 at {temperature}",
        "method": "mocov2",
        "settings": {"temperature": temperature},
        "role": "control",
    }


def dosed_results(
    study: Study | None = None, *, effects: Mapping[str, float] | None = None, own_sd: float = 0.3
) -> Results:
    """Records of every run of a plan, with configurations and measured doses.

    Args:
        study: the plan; None: that of `dosed_study`.
        effects: points that an arm is above the others, by name.
        own_sd: standard deviation, in points, of what a run has alone.
    """
    results = made_results(study or dosed_study(), effects=effects, own_sd=own_sd)
    return replace(results, records=tuple(dosed(one, results.study) for one in results.records))


def dosed(record: RunRecord, study: Study) -> RunRecord:
    """The run with its arm's settings in the configuration, and its opponent's excess loss: twice
    as high in the first half of training as in the second."""
    own = study.arm(record.name.arm).settings
    config = {**record.config, **own, "data": {"limit": 5000, "limit_seed": record.name.seed}}
    if "strength" not in own:
        return replace(record, config=config)
    strength = own["strength"]
    draw = np.random.default_rng([record.name.seed, len(record.name.arm)])
    nats = RELEASED if strength == "released" else min(strength, REACHED)
    nats = nats * (1 + draw.normal(0, 0.03))
    rows = [
        {
            "step": step,
            "opponent/excess_loss": nats if 2 * step >= record.steps else 2 * nats,
            **({} if strength == "released" else {"opponent/share": min(1.0, 2 * nats)}),
        }
        for step in range(0, record.steps, 10)
    ]
    return replace(record, config=config, opponent=tuple(rows))
