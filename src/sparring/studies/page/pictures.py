"""Thumbnails of a test set's images, found by the keys under which predictions are stored."""

from collections.abc import Iterator, Sequence

from sparring.data.decode import UnreadableImageError, load
from sparring.data.sources.public_sets import is_public_set, open_public_set
from sparring.data.sources.source import Source, open_source
from sparring.errors import SparringError
from sparring.reporting.gallery import Pixels, pixels
from sparring.studies.plan import ScoredSet, Study


def found_images(study: Study, test: ScoredSet, keys: Sequence[str]) -> dict[str, Pixels]:
    """Pixels of a test set's images by key; those that are gone or not readable are left out."""
    if not keys:
        return {}
    wanted, found = set(keys), {}
    for source in _sources(study, test):
        for row in range(len(source)):
            key = source.key(row)
            if key in wanted and (image := _decoded(source, row)) is not None:
                found[key] = image
                wanted.discard(key)
        if not wanted:
            break
    return found


def _sources(study: Study, test: ScoredSet) -> Iterator[Source]:
    """Images that may hold those of a test set; of a set with parts, its test part first."""
    data = test.data or study.data
    try:
        if is_public_set(data):
            yield open_public_set(data).test
            return
        scored = open_source(data, part="test")
        yield scored
        if scored.part:
            yield open_source(data, part="all")
    except (SparringError, OSError):
        return


def _decoded(source: Source, row: int) -> Pixels | None:
    try:
        return pixels(load(source.read, row))
    except UnreadableImageError:
        return None
