"""Processes that watch one another: who is noticed, what is said, and who says it."""

import threading
import time
from collections.abc import Iterator
from typing import Protocol

import pytest
import torch.distributed as dist

from sparring import distributed, peers
from sparring.errors import ConfigError, DataError, LostProcessError, TrainingError


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats of some hundredths of a second, and no watch of an earlier test."""
    monkeypatch.setattr(peers, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(peers, "SILENT_SECONDS", 0.8)
    monkeypatch.setattr(peers, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(peers, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(peers, "_state", peers._State())


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Exit codes with which processes would have ended."""
    found: list[int] = []
    monkeypatch.setattr(peers.os, "_exit", found.append)
    return found


class Company(Protocol):
    def __call__(self, count: int, *, alive: tuple[int, ...]) -> list[peers._Watch]: ...


@pytest.fixture
def company(exits: list[int]) -> Iterator[Company]:
    """Function that gives the watches of several processes in one, of which some live."""
    made: list[peers._Watch] = []

    def watches(count: int, *, alive: tuple[int, ...]) -> list[peers._Watch]:
        store = dist.HashStore()
        found = [peers._Watch(store, rank=rank, count=count) for rank in range(count)]
        for rank in alive:
            found[rank].start()
            made.append(found[rank])
        return found

    yield watches
    for watch in made:
        watch.leave(None)
        watch._thread.join()


def wait_for(exits: list[int], count: int) -> None:
    end = time.monotonic() + 20
    while len(exits) < count and time.monotonic() < end:
        time.sleep(0.01)


def test_a_process_that_beats_no_more_is_named_with_what_is_kept(company: Company) -> None:
    first, _, third = company(3, alive=(0, 2))
    first.keep("the checkpoint of step 5 is kept")
    error = first.lost()
    assert error is not None
    assert str(error) == "process 1 of 3 has ended; the checkpoint of step 5 is kept"
    assert not error.is_told
    said = third.lost()
    assert said is not None
    assert str(said) == str(error)
    assert said.is_told, "the first that lives prints it"


def test_several_that_end_together_are_named_together(company: Company) -> None:
    *_, last = company(3, alive=(2,))
    error = last.lost()
    assert str(error) == "processes 0 and 1 of 3 have ended; nothing had been saved yet"
    assert error is not None
    assert not error.is_told


def test_nobody_is_lost_while_all_live_or_have_left(company: Company) -> None:
    first, second, third = company(3, alive=(0, 1, 2))
    second.leave(None)
    assert first.lost() is None
    assert third.lost() is None


def test_a_process_that_fails_says_why_and_with_which_code(company: Company) -> None:
    first, second = company(2, alive=(0, 1))
    first.leave(ConfigError("no such method"))
    error = second.lost()
    assert error is not None
    assert str(error) == "process 0 of 2 has ended: no such method; nothing had been saved yet"
    assert error.is_told
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("others", "is_same"), [(ConfigError("no such method"), True), (DataError("no images"), False)]
)
def test_an_error_of_all_is_said_by_the_main_process(
    company: Company, others: Exception, is_same: bool
) -> None:
    first, second = company(2, alive=(0, 1))
    second.leave(others)
    assert not first.is_said_by_main()
    first.leave(ConfigError("no such method"))
    assert second.is_said_by_main() == is_same


def test_an_error_of_one_is_said_by_that_one(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = company(2, alive=(0, 1))
    peers._state.watch = second
    second.leave(DataError("no images"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert peers.speaker(DataError("no images")) == "process 1 of 2: "
    assert peers.speaker(LostProcessError("process 0 of 2 has ended")) == ""
    assert peers.speaker(LostProcessError("process 0 of 2 has ended", is_told=True)) is None


def test_a_process_that_waits_in_vain_is_ended_with_one_line(
    company: Company, exits: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    company(3, alive=(0, 2))  # nobody's main thread leaves by itself
    wait_for(exits, 2)
    assert exits == [1, 1]
    assert capfd.readouterr().err == (
        "error: process 1 of 3 has ended; nothing had been saved yet\n"
    )


def test_a_process_that_waits_for_one_that_failed_ends_without_a_word(
    company: Company, exits: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    _, second = company(2, alive=(0, 1))
    second.leave(ConfigError("no such method"))
    wait_for(exits, 1)
    assert exits == [2]
    assert capfd.readouterr().err == ""


def failed_exchange() -> LostProcessError:
    error = LostProcessError("an exchange between the processes failed: connection closed")
    error.__cause__ = RuntimeError("connection closed")
    return error


def test_a_failed_exchange_is_explained_once(company: Company) -> None:
    first, _ = company(2, alive=(0,))
    peers._state.watch = first
    with (
        pytest.raises(LostProcessError, match="process 1 of 2 has ended"),
        peers.explained(),
        peers.explained(),
    ):
        raise failed_exchange()


def test_a_failed_exchange_of_processes_that_live_stays_what_it_is(company: Company) -> None:
    watches = company(2, alive=(0, 1))
    peers._state.watch = watches[0]
    with pytest.raises(TrainingError, match="connection closed"), peers.explained():
        raise failed_exchange()


def test_a_single_process_watches_nobody() -> None:
    num_threads = threading.active_count()
    with peers.watched():
        assert threading.active_count() == num_threads
        peers.keep("nothing")
    assert peers._state.watch is None
    assert distributed.num_processes() == 1
