"""How well signals that need no labels choose an opponent's strength, by the kept studies.

    python benchmarks/strength_signals.py [STUDY ...]

For each study whose arms differ in strength alone (default: all kept ones), and each number that
the monitor logs without labels, at the end of training:

- rank correlation with the score over the arms of a seed, mean over seeds: 1, the signal orders
  the arms as the score does; 0, it says nothing;
- points lost where each seed takes the arm with the best value of the signal, in place of the arm
  with the best score; beside it what the best fixed arm loses, and what an arm drawn by lot loses.

Every signal is tried in the direction in which it is usually read: a high effective rank, high
spread, low alignment loss and low uniformity are good.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from sparring.studies.doses import STRENGTH, dose_curves
from sparring.studies.folder import StudyFolder
from sparring.studies.history import read_study
from sparring.studies.results import Measure, Results

KEPT = Path(__file__).parents[1] / "studies"
SIGNALS = {"effective_rank": 1, "embedding_std": 1, "alignment": -1, "uniformity": -1}
"""Logged numbers, and the sign of their good end."""


def main() -> None:
    """Print a table for each study and protocol."""
    named = [Path(place) for place in sys.argv[1:]]
    for place in named or sorted(path.parent for path in KEPT.glob("*/records")):
        folder = StudyFolder(place)
        results = Results(study=read_study(folder), records=tuple(folder.read_records()))
        for curve in dose_curves(results):
            if curve.setting.rpartition(".")[2] == STRENGTH:
                for protocol in results.study.protocols:
                    measure = replace(results.primary, protocol=protocol)
                    arms = [dose.arm for dose in curve.doses]
                    _show(place.name, results, arms, measure)


def _show(study: str, results: Results, arms: Sequence[str], measure: Measure) -> None:
    scores = {arm: results.scores(arm, measure) for arm in arms}
    seeds = sorted(set.intersection(*(set(own) for own in scores.values())))
    table = np.array([[scores[arm][seed] for arm in arms] for seed in seeds])
    best = table.max(1)
    fixed, lot = best.mean() - table.mean(0).max(), (best - table.mean(1)).mean()
    print(f"{study}, {measure.protocol}: {len(arms)} arms, {len(seeds)} seeds")
    print(f"  points lost by the best fixed arm {fixed:.2f}, by lot {lot:.2f}")
    for name, sign in SIGNALS.items():
        values = np.array(
            [[sign * _last(results, arm, seed, name) for arm in arms] for seed in seeds]
        )
        ranks = [spearmanr(one, other).statistic for one, other in zip(values, table, strict=True)]
        chosen = np.take_along_axis(table, values.argmax(1)[:, None], 1)[:, 0]
        lost = (best - chosen).mean()
        print(f"  {name:16} rank correlation {np.mean(ranks):+.2f}, points lost {lost:.2f}")


def _last(results: Results, arm: str, seed: int, name: str) -> float:
    """Last value of a signal in a run."""
    [run] = [one for one in results.of_arm(arm, results.primary) if one.name.seed == seed]
    return run.curve[-1].measures[name]


if __name__ == "__main__":
    main()
