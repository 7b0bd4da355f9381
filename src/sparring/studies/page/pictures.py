"""Thumbnails of a test set's images, found by the keys under which predictions are stored."""

from collections.abc import Iterator, Sequence

from sparring.data.sources.public_sets import is_public_set, open_public_set
from sparring.data.sources.source import Source, open_source
from sparring.reporting import found_images as search
from sparring.reporting.gallery import Pixels
from sparring.studies.plan import ScoredSet, Study


def found_images(study: Study, test: ScoredSet, keys: Sequence[str]) -> dict[str, Pixels]:
    """Pixels of a test set's images by key; those that are gone or not readable are left out."""
    return search.found_images(_sources(study, test), keys)


def _sources(study: Study, test: ScoredSet) -> Iterator[Source]:
    """Images that may hold those of a test set; of a set with parts, its test part first."""
    data = test.data or study.data
    if is_public_set(data):
        yield open_public_set(data).test
        return
    scored = open_source(data, part="test")
    yield scored
    if scored.part:
        yield open_source(data, part="all")
