"""What the classifiers on two arms' features said of the same images, from stored predictions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sparring.errors import RunError
from sparring.evaluation.predictions import Predictions
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Contrast
from sparring.studies.records import RunRecord
from sparring.studies.results import Floats, Measure, Results

Numbers: TypeAlias = npt.NDArray[np.int64]

ABSENT = -1
"""Vote on an image that this run did not score, as a held-out fifth differs from seed to seed."""
UNKNOWN = -2
"""Target of an image whose class no classifier could learn."""
NO_CLASS = -3
"""Vote that names no class; never right."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ballot:
    """Votes of two arms on each image that both scored with the same seed.

    Attributes:
        keys: what a user recognises each image by: (images,).
        classes: names of the classes.
        targets: class of each image, or `UNKNOWN`: (images,).
        seeds: seeds that both arms have.
        first: class that the first arm said, or `ABSENT`: (seeds, fits, images).
        second: the same of the second arm.
    """

    keys: tuple[str, ...]
    classes: tuple[str, ...]
    targets: Numbers
    seeds: tuple[int, ...]
    first: Numbers
    second: Numbers

    @cached_property
    def first_share(self) -> Floats:
        """Share of the first arm's votes on each image that are right: (images,)."""
        return _share(self.first == self.targets, self.first != ABSENT)

    @cached_property
    def second_share(self) -> Floats:
        """Share of the second arm's votes on each image that are right: (images,)."""
        return _share(self.second == self.targets, self.second != ABSENT)

    @property
    def gained(self) -> npt.NDArray[np.bool_]:
        """Images that the first arm gets right in more than half of its votes, and the second in
        fewer than half: (images,)."""
        return (self.first_share > 0.5) & (self.second_share < 0.5)

    @property
    def lost(self) -> npt.NDArray[np.bool_]:
        """Images that the second arm gets right in more than half of its votes, and the first in
        fewer than half: (images,)."""
        return (self.first_share < 0.5) & (self.second_share > 0.5)

    def class_name(self, label: int) -> str:
        """Name of a class in words."""
        return self.classes[label] if label >= 0 else "a class that was not learned"

    def by_class(self, images: npt.NDArray[np.bool_]) -> Numbers:
        """How many of these images show each class: (classes,)."""
        labels = self.targets[images & (self.targets >= 0)]
        return np.bincount(labels, minlength=len(self.classes))

    def class_points(self, arm: Numbers) -> Floats:
        """Points of an arm on each class, seed by seed: (classes, seeds).

        Not a number where a seed scored no image of a class.
        """
        is_known = self.targets >= 0
        found = np.full((len(self.classes), len(self.seeds)), np.nan)
        for column, votes in enumerate(arm):
            cast, right = (
                self._counts(is_counted, is_known)
                for is_counted in (votes != ABSENT, votes == self.targets)
            )
            there = cast > 0
            found[there, column] = 100 * right[there] / cast[there]
        return found

    def _counts(self, is_counted: npt.NDArray[np.bool_], is_known: npt.NDArray[np.bool_]) -> Floats:
        """How many votes of one seed are counted, by class: (classes,)."""
        weights = is_counted.sum(axis=0)[is_known]
        counts = np.bincount(self.targets[is_known], weights=weights, minlength=len(self.classes))
        return np.asarray(counts, dtype=np.float64)

    def between_arms(self) -> float | None:
        """Share of the images on which one arm is right and the other wrong with the same seed.

        The mean over seeds, in [0, 1]; of the first fit of each run. None without images.
        """
        return _mean(
            [self._apart(self.first[row, 0], self.second[row, 0]) for row in range(len(self.seeds))]
        )

    def between_seeds(self) -> float | None:
        """Share of the images on which one of two seeds of an arm is right and the other wrong.

        The mean over both arms and over all pairs of seeds.

        None for one seed, or where two seeds scored no image in common.
        """
        return _mean(
            [
                self._apart(arm[one, 0], arm[other, 0])
                for arm in (self.first, self.second)
                for one in range(len(self.seeds))
                for other in range(one)
            ]
        )

    def _apart(self, one: Numbers, other: Numbers) -> float | None:
        is_cast = (one != ABSENT) & (other != ABSENT)
        differ = (one == self.targets) != (other == self.targets)
        return float(differ[is_cast].mean()) if is_cast.any() else None


def ballot(
    results: Results, folder: StudyFolder, contrast: Contrast, measure: Measure
) -> Ballot | None:
    """Votes of a contrast's arms from the predictions that their runs stored.

    None if no seed has predictions of both arms with one class per image. Seeds whose files are
    missing or damaged are left out.
    """
    stored = {
        arm: _stored(results.of_arm(arm, measure), folder, measure)
        for arm in (contrast.first, contrast.second)
    }
    first, second = stored[contrast.first], stored[contrast.second]
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        return None
    used = [arm[seed] for arm in (first, second) for seed in seeds]
    classes = {name: place for place, name in enumerate(_distinct(one.classes for one in used))}
    keys = {key: place for place, key in enumerate(sorted(_distinct(one.keys for one in used)))}
    num_fits = min(len(_votes(one)) for one in used)
    targets = np.full(len(keys), UNKNOWN, dtype=np.int64)
    said = np.full((len(used), num_fits, len(keys)), ABSENT, dtype=np.int64)
    rows_of: dict[Sequence[str], Numbers] = {}
    for number, one in enumerate(used):
        if one.keys not in rows_of:
            rows_of[one.keys] = np.array([keys[key] for key in one.keys], dtype=np.int64)
        rows = rows_of[one.keys]
        targets[rows] = _renumbered(one.targets, one.classes, classes, otherwise=UNKNOWN)
        votes = _votes(one)[:num_fits]
        said[number][:, rows] = _renumbered(votes, one.classes, classes, otherwise=NO_CLASS)
    is_shared = ((said[: len(seeds)] != ABSENT) & (said[len(seeds) :] != ABSENT)).any(axis=(0, 1))
    return Ballot(
        keys=tuple(key for key, is_in in zip(keys, is_shared, strict=True) if is_in),
        classes=tuple(classes),
        targets=targets[is_shared],
        seeds=seeds,
        first=said[: len(seeds), :, is_shared],
        second=said[len(seeds) :, :, is_shared],
    )


def _stored(
    records: Sequence[RunRecord], folder: StudyFolder, measure: Measure
) -> dict[int, Predictions]:
    """Predictions of the runs that still have some, by seed."""
    found = {}
    for record in records:
        place = record.predictions.get(measure.test, {}).get(measure.protocol)
        if place:
            try:
                read = Predictions.read(folder.inside(place))
            except RunError:
                continue
            if read.targets.ndim == 1 and len(read.keys):
                found[record.name.seed] = read
    return found


def _votes(stored: Predictions) -> Numbers:
    """Predicted classes, a row per fit."""
    return np.atleast_2d(np.asarray(stored.predicted, dtype=np.int64))


def _renumbered(
    labels: npt.NDArray[np.integer[Any]],
    names: Sequence[str],
    numbers: Mapping[str, int],
    *,
    otherwise: int,
) -> Numbers:
    """Labels as numbers of a common list of classes."""
    table = np.array([otherwise, *(numbers[name] for name in names), otherwise], dtype=np.int64)
    return table[np.clip(np.asarray(labels, dtype=np.int64), -1, len(names)) + 1]


def _distinct(names: Iterable[Sequence[str]]) -> dict[str, None]:
    return dict.fromkeys(name for some in names for name in some)


def _share(right: npt.NDArray[np.bool_], cast: npt.NDArray[np.bool_]) -> Floats:
    counts = cast.sum(axis=(0, 1))
    return np.asarray((right & cast).sum(axis=(0, 1)) / np.maximum(counts, 1), dtype=np.float64)


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
