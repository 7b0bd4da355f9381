"""Which classes a classifier takes for which: counts, scores per class, and an order in which
classes that are confused stand together.

Pure functions of kept predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import average, leaves_list, optimal_leaf_ordering

from sparring.evaluation.predictions import Predictions
from sparring.measures.accuracy import wilson_interval

Counts: TypeAlias = npt.NDArray[np.float64]
UNSEEN = "classes not learned"
"""Name of the row of all images whose class the classifier cannot predict."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """How often each true class was predicted as each class.

    Attributes:
        classes: names of the classes that can be predicted; the columns.
        counts: images by true and predicted class, a last row for those of classes that cannot be
            predicted: (classes + 1, classes); with several fits the mean over them.
        num_fits: number of classifiers.
    """

    classes: tuple[str, ...]
    counts: Counts
    num_fits: int = 1

    @property
    def square(self) -> Counts:
        """Counts of the images of classes that can be predicted."""
        return self.counts[:-1]

    @property
    def images(self) -> Counts:
        """Images of each true class: (classes,)."""
        return np.asarray(self.square.sum(axis=1), np.float64)


class Share(NamedTuple):
    """A share of images with its 95 % interval, all in [0, 1]."""

    value: float
    low: float
    high: float


class ClassScore(NamedTuple):
    """Scores of one class; None where no image allows one."""

    recall: Share | None
    """Share of the images of the class that are recognised."""
    precision: Share | None
    """Share of the images said to be of the class that are."""
    f1: Share | None
    """Harmonic mean of both."""


class Pair(NamedTuple):
    """A true class, one that was predicted instead, and how many images that happened to."""

    true: int
    predicted: int
    images: float


def confusion_of(predictions: Predictions) -> Confusion | None:
    """Counts of predictions; None where an image may show several classes."""
    classes = tuple(map(str, predictions.classes))
    if predictions.targets.ndim != 1 or not classes:
        return None
    size, fits = len(classes), max(1, len(predictions.fits))
    targets = np.tile(predictions.targets, fits)
    cells = targets.astype(np.int64) * size + predictions.predicted.reshape(-1)
    counts = np.bincount(cells, minlength=(size + 1) * size).reshape(size + 1, size)
    return Confusion(classes=classes, counts=counts / fits, num_fits=fits)


def class_scores(confusion: Confusion) -> list[ClassScore]:
    """Scores of each class with Wilson's intervals.

    F1 = 2 j / (1 + j), where j is the share of right ones among the images that are of the class or
    said to be; so the ends of j's interval are those of F1.
    """
    right = np.diag(confusion.square)
    true, said = confusion.images, confusion.counts.sum(axis=0)
    either = true + said - right
    return [
        ClassScore(
            recall=_share(right[label], true[label]),
            precision=_share(right[label], said[label]),
            f1=_f1(_share(right[label], either[label])),
        )
        for label in range(len(confusion.classes))
    ]


def _share(part: float, whole: float) -> Share | None:
    if whole <= 0:
        return None
    value = float(part / whole)
    return Share(value, *wilson_interval(value, max(1, round(float(whole)))))


def _f1(share: Share | None) -> Share | None:
    return None if share is None else Share(*(2 * end / (1 + end) for end in share))


def confused_pairs(confusion: Confusion, count: int) -> list[Pair]:
    """The most frequent confusions, those of more images first; ties in the order of classes."""
    mistakes = confusion.square.copy()
    np.fill_diagonal(mistakes, 0)
    cells = np.argsort(-mistakes, axis=None, kind="stable")[:count].tolist()
    size = len(confusion.classes)
    pairs = [Pair(cell // size, cell % size, float(mistakes.flat[cell])) for cell in cells]
    return [pair for pair in pairs if pair.images > 0]


def confused_order(confusion: Confusion) -> list[int]:
    """Classes in an order in which those that are confused are neighbours; deterministic.

    Average linkage of the shares in which two classes are taken for each other, its leaves turned
    so that neighbours are the most alike.

    Source: Bar-Joseph et al. 2001, by `scipy.cluster.hierarchy`.
    """
    if len(confusion.classes) < 3:
        return list(range(len(confusion.classes)))
    distances = 1 - _likeness(confusion)
    between = distances[np.triu_indices(len(distances), k=1)]
    order: list[int] = leaves_list(optimal_leaf_ordering(average(between), between)).tolist()
    return order if order[0] <= order[-1] else order[::-1]


def _likeness(confusion: Confusion) -> Counts:
    """Mean of the shares in which either of two classes is taken for the other."""
    shares = confusion.square / np.maximum(confusion.images, 1)[:, None]
    return np.asarray((shares + shares.T) / 2, np.float64)


def grouped(confusion: Confusion, groups: Sequence[Sequence[int]]) -> Confusion:
    """Counts by groups of true and of predicted classes, named by their first ones."""
    size = len(confusion.classes)
    member = np.zeros((len(groups) + 1, size + 1))
    for number, group in enumerate(groups):
        member[number, list(group)] = 1
    member[-1, -1] = 1
    counts = member @ confusion.counts @ member[:-1, :-1].T
    names = tuple(_group_name([confusion.classes[label] for label in group]) for group in groups)
    return Confusion(classes=names, counts=counts, num_fits=confusion.num_fits)


def _group_name(names: Sequence[str]) -> str:
    more = len(names) - 2
    return ", ".join(names[:2]) + (f" and {more} more" if more > 0 else "")
