"""Where a game's score comes from: what control, twin and game add, one after the other."""

import numpy as np

from sparring.studies.contrasts import interval_of
from sparring.studies.findings import Attribution, Estimate, Part
from sparring.studies.plan import Arm
from sparring.studies.progress import Progress
from sparring.studies.results import Floats, Results
from sparring.studies.statistics.differences import mean_of

UNTRAINED = "untrained"
"""Name of the encoder from which a run starts."""


def attributions(results: Results, progress: Progress) -> tuple[Attribution, ...]:
    """One waterfall per game that has a twin or a control, on the primary measure.

    Every step is paired by seed, over the seeds that all its encoders have; so the steps add up to
    the whole. The first twin of a game is taken. A missing twin or control leaves its step to the
    next one.
    """
    found = (_attribution(results, arm, progress) for arm in results.study.arms)
    return tuple(one for one in found if one is not None)


def _attribution(results: Results, game: Arm, progress: Progress) -> Attribution | None:
    measure, chain = results.primary, _chain(results, game)
    if game.role != "game" or len(chain) < 2:
        return None
    scores = [results.start_scores(chain[0], measure)]
    scores += [results.scores(name, measure) for name in chain]
    seeds = [seed for seed in progress.seeds if all(seed in one for one in scores)]
    if not seeds:
        return None
    rows = [np.array([one[seed] for seed in seeds]) for one in scores]
    names = [UNTRAINED, *chain]
    parts = tuple(
        Part(
            name=f"{after} over {before}",
            what=_what(results, before, after, game),
            estimate=_estimate(later - earlier, results, progress),
        )
        for before, after, earlier, later in zip(names, names[1:], rows, rows[1:])
    )
    return Attribution(game=game.name, measure=measure, parts=parts)


def _chain(results: Results, game: Arm) -> list[str]:
    """Control, twin and game, those that the plan has."""
    twins = [arm.name for arm in results.study.arms if arm.twin_of == game.name]
    names = {arm.name for arm in results.study.arms}
    return [*([game.control] if game.control in names else []), *twins[:1], game.name]


def _what(results: Results, before: str, after: str, game: Arm) -> str:
    """What a step changes, in a few words."""
    if before == UNTRAINED:
        return "training without this opponent" if after != game.name else "training"
    if after != game.name:
        return "all else that the method changes"
    is_twin = results.study.arm(before).twin_of == game.name
    return "the opponent's aim" if is_twin else "the opponent, and all else that the method changes"


def _estimate(differences: Floats, results: Results, progress: Progress) -> Estimate:
    return Estimate(
        value=mean_of(differences), interval=interval_of(differences, results, progress)
    )
