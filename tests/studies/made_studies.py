"""Studies whose scores are drawn, not trained: for tests of statistics and of pages."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparring.studies.plan import Arm, Study
from sparring.studies.records import Attempt, CurvePoint, RunName, RunRecord
from sparring.studies.results import Results

LEVEL = 0.4
"""Score of an arm without an effect."""
START = 0.25
"""Score of the untrained encoder."""


def made_study(*, seeds: int = 5, **fields: object) -> Study:
    """Plan with a game, its twin and its control."""
    tree = {
        "name": "made",
        "data": "photos",
        "seeds": seeds,
        "epochs": 10,
        "tests": [{"name": "test", "data": "test-photos"}],
        "arms": [
            {"name": "adco", "method": "adco", "control": "mocov2"},
            {
                "name": "adco/queue",
                "method": "adco",
                "settings": {"disarmed": "queue"},
                "role": "twin",
                "twin_of": "adco",
            },
            {"name": "mocov2", "method": "mocov2", "role": "control"},
        ],
        **fields,
    }
    return Study.build(tree)


def made_results(
    study: Study | None = None,
    *,
    effects: Mapping[str, float] | None = None,
    shared_sd: float = 1.0,
    own_sd: float = 0.5,
    seed: int = 0,
    missing: Sequence[RunName] = (),
) -> Results:
    """Records of every run of a plan.

    Args:
        study: the plan; None: that of `made_study`.
        effects: points that an arm is above `LEVEL`, by name.
        shared_sd: standard deviation, in points, of what all arms of a seed have in common.
        own_sd: standard deviation, in points, of what a run has alone.
        seed: of the draws.
        missing: runs without a record.
    """
    study = study or made_study()
    draw = np.random.default_rng(seed)
    records = []
    for budget in study.budgets:
        for share in study.shares:
            for pair in study.seeds:
                shared = draw.normal(0, shared_sd)
                for arm in study.arms:
                    name = RunName(arm=arm.name, seed=pair, share=share, budget=budget)
                    points = (effects or {}).get(arm.name, 0.0) + shared + draw.normal(0, own_sd)
                    points -= 10 * (1 - share)
                    if name not in missing:
                        records.append(made_record(study, arm, name, points=points, draw=draw))
    return Results(study=study, records=tuple(records))


def made_record(
    study: Study, arm: Arm, name: RunName, *, points: float, draw: np.random.Generator
) -> RunRecord:
    """A finished run whose scores are `points` above `LEVEL`."""
    final = LEVEL + points / 100
    epochs = study.epochs or 10
    curve = tuple(
        CurvePoint(
            images=1000 * epoch,
            seconds=12.5 * epoch,
            measures={
                "knn_accuracy": START + (final - START) * (1 - np.exp(-3 * epoch / epochs)),
                "effective_rank": 10.0 + epoch,
            },
        )
        for epoch in range(1, epochs + 1)
    )
    scores = {
        test.name: {
            protocol: float(np.clip(final + 0.02 * number, 0, 1))
            for number, protocol in enumerate(study.protocols)
        }
        for test in study.tests
    }
    start = {
        test.name: {protocol: START + float(draw.normal(0, 0.002)) for protocol in study.protocols}
        for test in study.tests
    }
    return RunRecord(
        name=name,
        key=f"made {name}",
        status="finished",
        scores=scores,
        start_scores=start,
        curve=curve,
        steps=78 * epochs,
        images=1000 * epochs,
        seconds=12.5 * epochs,
        cpu_seconds=12.0 * epochs,
        peak_bytes=500 * 2**20,
        config={"method": arm.method, "seed": name.seed, "encoder": {"width": 0.125}},
        environment={"command": f"sparring compare --data photos ({name})", "threads": 1},
        attempts=(
            Attempt(
                started="2026-11-24T10:00:00+0000", host="host", seconds=130.0, outcome="finished"
            ),
        ),
    )
