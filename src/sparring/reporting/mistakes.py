"""Images that a classifier got wrong: which ones a report shows, and where they are found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparring.data.sources.addresses import is_command
from sparring.data.sources.parts import Use
from sparring.data.sources.public_sets import is_public_set, open_public_set
from sparring.data.sources.source import ImageData, Source, open_source
from sparring.errors import SparringError
from sparring.evaluation.predictions import Predictions
from sparring.reporting.confusion import Pair, confused_pairs, confusion_of
from sparring.reporting.found_images import found_images
from sparring.reporting.gallery import Pixels
from sparring.reporting.summary import RunSummary
from sparring.training.scores import ScoredResult

NUM_PAIRS, PER_PAIR = 6, 8
"""Most pairs of classes, and most images of each, that are shown of a protocol."""


class Mistaken(NamedTuple):
    """A confused pair, and the rows of the predictions that are shown of it."""

    pair: Pair
    rows: Sequence[int]


def shown_mistakes(predictions: Mapping[str, Predictions], protocol: str) -> list[Mistaken]:
    """The most confused pairs of a protocol with images of each: those that most fits get wrong in
    this way first, then those that the other protocols get wrong in the same way, then in the order
    of the set.

    Args:
        predictions: of one encoder by protocol.
        protocol: one of them.
    """
    own = predictions[protocol]
    confusion = confusion_of(own)
    others = [one for name, one in predictions.items() if name != protocol and _lines_up(one, own)]
    found = []
    for pair in () if confusion is None else confused_pairs(confusion, NUM_PAIRS):
        votes = _votes(own, pair.predicted)
        agreed = sum((_votes(one, pair.predicted) for one in others), np.zeros(len(own.keys)))
        rows = np.flatnonzero((own.targets == pair.true) & (votes > 0))
        order = np.lexsort((rows, -agreed[rows], -votes[rows]))
        found.append(Mistaken(pair, rows[order][:PER_PAIR].tolist()))
    return found


def _lines_up(one: Predictions, other: Predictions) -> bool:
    """Whether two predictions are of the same images and classes, row by row."""
    return (
        one.targets.ndim == other.targets.ndim
        and tuple(one.classes) == tuple(other.classes)
        and tuple(one.keys) == tuple(other.keys)
    )


def _votes(predictions: Predictions, label: int) -> npt.NDArray[np.float64]:
    """Share of the fits that say a class, for each image."""
    said = (predictions.predicted == label).reshape(-1, len(predictions.keys))
    return np.asarray(said.mean(axis=0), np.float64)


def mistake_images(
    run: RunSummary, data: ImageData | None = None
) -> dict[str, Mapping[str, Pixels]]:
    """Pixels of the mistakes that a report shows, by protocol and key; those that are not found are
    left out.

    Args:
        run: with its predictions.
        data: looked through besides the place where the images were.
    """
    own = run.config.get("data", {}).get("path")
    found: dict[str, Mapping[str, Pixels]] = {}
    opened: dict[str, list[Source]] = {}
    for protocol, predictions in run.predictions.items():
        rows = [row for one in shown_mistakes(run.predictions, protocol) for row in one.rows]
        record = run.records[protocol]
        identity = str(record.test.identity)
        if rows and identity not in opened:
            opened[identity] = list(_sources(record, [record.test.name, data, own]))
        keys = [str(predictions.keys[row]) for row in rows]
        found[protocol] = found_images(opened.get(identity, ()), keys)
    return found


def _sources(record: ScoredResult, places: Sequence[ImageData | None]) -> Iterator[Source]:
    """Images that were scored, wherever they lie now."""
    parts: tuple[Use, ...] = ("test", "train", "all")
    fingerprint = (record.test.fingerprint or "").partition("/")[0]
    for place in places:
        if place is None or place == "" or is_command(place):
            continue
        for part in parts:
            source = _opened(place, part)
            if source is not None and _is_same(source, fingerprint):
                yield source
                return


def _opened(place: ImageData, part: Use) -> Source | None:
    try:
        if isinstance(place, str) and is_public_set(place):
            return open_public_set(place).test
        return open_source(place, part=part)
    except (SparringError, OSError):
        return None


def _is_same(source: Source, fingerprint: str) -> bool:
    """Whether a source holds the images of a fingerprint; keys decide where neither is known."""
    return not fingerprint or source.is_costly or source.content_fingerprint() == fingerprint
