"""Which images two arms got right, seed by seed, from their stored predictions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.errors import RunError
from sparring.evaluation.predictions import Predictions
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Contrast
from sparring.studies.records import RunRecord
from sparring.studies.results import Floats, Measure, Results

Key: TypeAlias = tuple[str, int]
"""What an image is known by: its key, and which of the images with this key it is."""

_SAME_SCORE = 1e-6
"""Difference up to which predictions give the score of a record; one image of a million."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedImages:
    """The images on which both arms were scored with one seed.

    Attributes:
        seed: of the pair.
        keys: what each image is known by.
        differences: in points, what the first arm gets right of an image less what the second does:
            -100, 0 or 100, and between where several classifiers were fitted: (images,).
        weights: what each image counts in the score, with a sum of 1: (images,).
        groups: images whose number decides their weight: one group for top-1 accuracy, classes for
            mean-per-class accuracy: (images,).
    """

    seed: int
    keys: tuple[Key, ...]
    differences: Floats
    weights: Floats
    groups: npt.NDArray[np.integer[Any]]

    def influence(self) -> Floats:
        """How much each image moves the difference: (images,).

        The sum of their squares is the variance of the difference over bootstrap samples of the
        images.
        """
        totals = np.bincount(self.groups, weights=self.weights)
        means = np.bincount(self.groups, weights=self.weights * self.differences)
        with_images = np.where(totals > 0, totals, 1.0)
        centred = self.differences - (means / with_images)[self.groups]
        return np.asarray(self.weights * centred, dtype=np.float64)


def images_of_pairs(
    results: Results, contrast: Contrast, measure: Measure, folder: StudyFolder
) -> tuple[SeedImages, ...]:
    """The images of every seed for which both arms have predictions.

    Args:
        results: plan and records.
        contrast: the two arms.
        measure: by which they are compared.
        folder: of the study, with the predictions that the records name.

    Raises:
        RunError: if no seed has predictions of both arms, a file is missing or damaged, both arms
            of a seed were not scored on the same images, or the predictions do not give the scores
            of the records.
    """
    first, second = (
        {one.name.seed: one for one in results.of_arm(arm, measure) if _file(one, measure)}
        for arm in (contrast.first, contrast.second)
    )
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise RunError("no seed has stored predictions of both arms")
    return tuple(_images(first[seed], second[seed], measure, folder) for seed in seeds)


def influences(found: Sequence[SeedImages]) -> Mapping[Key, float]:
    """How much each image moves the mean difference over seeds."""
    total: dict[Key, float] = {}
    for one in found:
        for key, value in zip(one.keys, one.influence().tolist(), strict=True):
            total[key] = total.get(key, 0.0) + value / len(found)
    return total


def _file(record: RunRecord, measure: Measure) -> str:
    return record.predictions.get(measure.test, {}).get(measure.protocol, "")


def _images(
    first: RunRecord, second: RunRecord, measure: Measure, folder: StudyFolder
) -> SeedImages:
    one, two = (
        Predictions.read(folder.inside(_file(record, measure))) for record in (first, second)
    )
    seed = first.name.seed
    if tuple(one.keys) != tuple(two.keys) or not np.array_equal(one.targets, two.targets):
        raise RunError(f"both arms of seed {seed} were not scored on the same images")
    if one.targets.ndim != 1:
        raise RunError("images that show several classes are not right or wrong as a whole")
    scores = [record.scores[measure.test][measure.protocol] for record in (first, second)]
    for groups in (np.zeros(len(one.targets), dtype=np.int64), one.targets.astype(np.int64)):
        weights = _weights(groups)
        rights = [
            _right(file, weights, score) for file, score in zip((one, two), scores, strict=True)
        ]
        if rights[0] is not None and rights[1] is not None:
            return SeedImages(
                seed=seed,
                keys=_numbered(one.keys),
                differences=100 * (rights[0] - rights[1]),
                weights=weights,
                groups=groups,
            )
    raise RunError(
        f"the stored predictions of seed {seed} do not give its scores by {measure.protocol}, "
        "which may be no share of right answers"
    )


def _weights(groups: npt.NDArray[np.int64]) -> Floats:
    """What each image counts where every group counts alike."""
    counts = np.bincount(groups)
    return np.asarray(1.0 / (counts[groups] * (counts > 0).sum()), dtype=np.float64)


def _right(predictions: Predictions, weights: Floats, score: float) -> Floats | None:
    """Share of the classifiers behind a score that are right, by image; None if the predictions do
    not give the score."""
    right = predictions.is_right.astype(np.float64)
    if not predictions.fits:
        right = right[np.newaxis]
    # A protocol with several fits quotes the mean of all, or of the first kind: "1 %, draw 1".
    kinds = [name.rpartition(",")[0] for name in predictions.fits] or [""]
    for rows in (right, right[[kind == kinds[0] for kind in kinds]]):
        found = rows.mean(axis=0)
        if abs(float(found @ weights) - score) < _SAME_SCORE:
            return np.asarray(found, dtype=np.float64)
    return None


def _numbered(keys: Sequence[str]) -> tuple[Key, ...]:
    """Keys with the number of earlier ones that are equal, so that all differ."""
    seen: Counter[str] = Counter()
    numbered = []
    for key in keys:
        numbered.append((key, seen[key]))
        seen[key] += 1
    return tuple(numbered)
