"""Imports pause the search for garbage, and leave the collector as they found it."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from sparring.acceleration.garbage_collection import paused_collection


class Node:
    """Can be part of a circle."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def collector_is_put_back() -> Iterator[None]:
    """Later tests run with the collector as it was."""
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    yield
    gc.unfreeze()
    gc.enable()


def test_no_garbage_is_sought_meanwhile_and_it_is_sought_afterwards() -> None:
    with paused_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_that_was_made_meanwhile_is_found_later() -> None:
    with paused_collection():
        circle = weakref.ref(Node())
    assert circle() is not None
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert circle() is None


def test_what_was_made_meanwhile_is_not_searched_at_once() -> None:
    with paused_collection():
        kept = [[] for _ in range(10 * gc.get_threshold()[0])]
        young = gc.get_count()[0]
    assert young > len(kept)
    assert gc.get_count()[0] < gc.get_threshold()[0]


def test_an_error_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), paused_collection():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with paused_collection():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_frozen_objects_stay_frozen() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with paused_collection():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_without_fast_paths_the_collector_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_ACCELERATION", "off")
    with paused_collection():
        assert gc.isenabled()
