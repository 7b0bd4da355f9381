"""Where the variance of a difference comes from: seeds, test images, draws of labels.

Each source is shown on its own. Only one number is a difference of variances, and only where that
is sound: every seed scored on the same images, and accuracy over all of them.
"""

import math
from collections.abc import Sequence

import numpy as np

from sparring.errors import RunError
from sparring.studies.findings import Source
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Contrast
from sparring.studies.results import Measure, Pairs, Results
from sparring.studies.statistics.differences import sd_of
from sparring.studies.statistics.rightness import SeedImages, images_of_pairs, influences
from sparring.wording import counted

SEEDS, IMAGES = "seeds", "test images"
ENDLESS, LABELS = "seeds, with endless test images", "draws of the labels"


def sources_of_variance(
    results: Results, contrast: Contrast, measure: Measure, folder: StudyFolder | None = None
) -> tuple[Source, ...]:
    """Sources of the variance of a contrast, each with its standard deviation in points.

    Seeds: of the difference from seed to seed. Test images: of the mean difference, over bootstrap
    samples of the images, both arms and all seeds on the same sample; computed in closed form.
    Seeds with endless test images: what is left of the first without the chance of the images.
    Draws of the labels: of the difference from draw to draw, within a seed.

    Args:
        results: plan and records.
        contrast: the two arms.
        measure: by which they are compared.
        folder: of the study; None if stored predictions are not to be read.

    Returns:
        One source each; with None for its standard deviation, and the reason, where it cannot be
        known.

    Source: Efron 1979, Annals of Statistics 7, for the bootstrap; Efron 1982, The Jackknife, the
    Bootstrap and Other Resampling Plans, section 6, for the closed form; Bouthillier et al. 2021,
    arXiv:2103.03098, for the sources.
    """
    pairs = results.pairs(contrast.first, contrast.second, measure)
    return (
        _of_seeds(pairs),
        *_of_images(results, contrast, measure, folder),
        _of_labels(results, contrast, measure),
    )


def _of_seeds(pairs: Pairs) -> Source:
    if len(pairs) < 2:
        return Source(
            name=SEEDS, sd=None, what=f"not known: {counted(len(pairs), 'pair')} cannot show it"
        )
    sd = sd_of(pairs.differences)
    return Source(
        name=SEEDS,
        sd=sd,
        what=(
            f"of the difference from seed to seed, {len(pairs)} pairs; over the root of "
            f"{len(pairs)} it is the standard error of the mean, {sd / math.sqrt(len(pairs)):.2f}"
        ),
    )


def _of_images(
    results: Results, contrast: Contrast, measure: Measure, folder: StudyFolder | None
) -> tuple[Source, ...]:
    if folder is None:
        return (Source(name=IMAGES, sd=None, what="not known: no stored predictions were read"),)
    try:
        found = images_of_pairs(results, contrast, measure, folder)
    except RunError as error:
        return (Source(name=IMAGES, sd=None, what=f"not known: {error}"),)
    moved = influences(found)
    is_same = all(set(one.keys) == set(found[0].keys) for one in found)
    seeds = counted(len(found), "seed")
    own = (
        f"the same {len(moved):,} images for {seeds}"
        if is_same
        else f"{len(moved):,} images; {seeds} have others in part, so that the spread over seeds "
        "holds this too"
    )
    images = Source(
        name=IMAGES,
        sd=math.sqrt(sum(value**2 for value in moved.values())),
        what=f"of the mean difference, had other test images been drawn (bootstrap, paired): {own}",
    )
    rest = _without_images(found) if is_same else None
    return (images,) if rest is None else (images, rest)


def _without_images(found: Sequence[SeedImages]) -> Source | None:
    """Spread over seeds without what the finite test set adds to it, by the method of moments.

    With a table of images and seeds, E s^2 = variance of seeds + residual variance / images.
    """
    is_top_1 = all(not one.groups.any() for one in found)
    if len(found) < 2 or not is_top_1 or len(found[0].keys) < 2:
        return None
    order = {key: place for place, key in enumerate(found[0].keys)}
    table = np.empty((len(order), len(found)))
    for column, one in enumerate(found):
        table[[order[key] for key in one.keys], column] = one.differences
    num_images, num_seeds = table.shape
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    chance = (rest**2).sum() / ((num_images - 1) * (num_seeds - 1)) / num_images
    seen = sd_of(table.mean(axis=0)) ** 2
    return Source(
        name=ENDLESS,
        sd=math.sqrt(max(0.0, seen - chance)),
        what=(
            f"of the difference from seed to seed without the {math.sqrt(chance):.2f} points that "
            "chance on a finite test set adds (method of moments; 0 if that explains all of it)"
        ),
    )


def _of_labels(results: Results, contrast: Contrast, measure: Measure) -> Source:
    first, second = (
        {
            one.name.seed: one.draws.get(measure.test, {}).get(measure.protocol, ())
            for one in results.of_arm(arm, measure)
        }
        for arm in (contrast.first, contrast.second)
    )
    seeds = sorted(first.keys() & second.keys())
    drawn = [seed for seed in seeds if first[seed] or second[seed]]
    if not drawn:
        return Source(name=LABELS, sd=None, what=f"none: {measure.protocol} draws no labels")
    sizes = {(len(first[seed]), len(second[seed])) for seed in drawn}
    if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
        return Source(
            name=LABELS, sd=None, what="not known: the runs have unequal numbers of draws"
        )
    num_draws = len(first[drawn[0]])
    if num_draws < 2:
        return Source(name=LABELS, sd=None, what="not known: one draw of the labels cannot show it")
    variances = [
        sd_of(100 * (np.array(first[seed]) - np.array(second[seed]))) ** 2 for seed in drawn
    ]
    sd = math.sqrt(sum(variances) / len(variances))
    return Source(
        name=LABELS,
        sd=sd,
        what=(
            f"of the difference from draw to draw within a seed, {num_draws} draws with "
            f"{counted(len(drawn), 'seed')}; a score is the mean of its draws, which leaves "
            f"{sd / math.sqrt(num_draws):.2f}, a part of the spread over seeds"
        ),
    )
