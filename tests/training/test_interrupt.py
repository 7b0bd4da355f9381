"""Signals: the first is a request, the second stops at once, and afterwards everything is as
before."""

import signal
import threading

import pytest

from sparring import distributed
from sparring.training import interrupt
from sparring.training.interrupt import SIGNALS, AgreedStop, StopRequest, stop_on_signal


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_becomes_a_request(number: signal.Signals) -> None:
    with stop_on_signal() as request:
        assert not request.is_set
        signal.raise_signal(number)
        assert request.is_set


def test_a_second_signal_stops_at_once() -> None:
    with stop_on_signal() as request:
        signal.raise_signal(signal.SIGTERM)
        assert request.is_set
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_on_signal():
        assert all(
            signal.getsignal(number) != handler
            for number, handler in zip(SIGNALS, before, strict=True)
        )
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as request:
            signal.raise_signal(signal.SIGHUP)
            assert not request.is_set
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_are_given_back_when_the_training_fails() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="fails"), stop_on_signal():
        raise ValueError("fails")
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_a_thread_nobody_listens_and_nothing_breaks() -> None:
    found = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with stop_on_signal() as request:
            found.append((request.is_set, signal.getsignal(signal.SIGTERM) == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, True)]


def test_of_several_processes_a_signal_that_is_passed_on_twice_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    with stop_on_signal() as request:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert request.is_set
        monkeypatch.setattr(interrupt, "REPEAT_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


class Company:
    """Several processes in one: the answer to a question is the largest of what all of them asked
    after the same step, and is there only once all have asked."""

    def __init__(self, count: int, step_microseconds: list[int]) -> None:
        self.asked: list[list[list[int]]] = [[] for _ in range(count)]
        self.step_microseconds = step_microseconds
        self.now = 0

    def play(self, request_at: dict[int, int], *, steps: int) -> list[int]:
        """Steps after which each process stops, one after the other, as far as answers are there;
        `request_at` gives the step in which a process gets a signal."""
        requests = [StopRequest() for _ in self.asked]
        stops = [AgreedStop(request) for request in requests]
        made, ended = [0] * len(stops), [False] * len(stops)
        while not all(ended):
            rank = min((rank for rank, over in enumerate(ended) if not over), key=made.__getitem__)
            self.now = rank
            requests[rank].is_set |= request_at.get(rank) == made[rank]
            made[rank] += 1
            ended[rank] = stops[rank].follows() or made[rank] == steps
        assert len({stop.settle() for stop in stops}) == 1
        return made


@pytest.fixture
def company(monkeypatch: pytest.MonkeyPatch) -> Company:
    made = Company(3, [1000, 50_000, 2000])

    class Largest:
        def __init__(self, is_set: int, microseconds: int) -> None:
            asked = made.asked[made.now]
            self.number = len(asked)
            asked.append([is_set, made.step_microseconds[made.now]])

        def result(self) -> list[int]:
            answers = [asked[self.number] for asked in made.asked]
            return [max(each) for each in zip(*answers, strict=True)]

    monkeypatch.setattr(distributed, "num_processes", lambda: 3)
    monkeypatch.setattr(distributed, "Largest", Largest)
    monkeypatch.setattr(interrupt, "ASK_SECONDS", 0.25)
    return made


@pytest.mark.parametrize("request_at", [{1: 7}, {0: 7}, {1: 7, 2: 9}, {0: 0}, {2: 30, 0: 31}])
def test_all_processes_stop_after_the_same_step_whoever_is_asked(
    company: Company, request_at: dict[int, int]
) -> None:
    made = company.play(request_at, steps=100)
    assert len(set(made)) == 1
    # The slowest takes 50 ms for a step, so a question is put every 5 steps.
    assert min(request_at.values()) < made[0] <= min(request_at.values()) + 11


def test_without_a_request_all_make_every_step_and_ask_seldom(company: Company) -> None:
    assert company.play({}, steps=100) == [100] * 3
    assert [len(asked) for asked in company.asked] == [21] * 3


def test_a_request_in_the_last_steps_is_seen_by_all_or_by_none(company: Company) -> None:
    for step in (96, 97, 98, 99):
        company.asked = [[], [], []]
        company.play({2: step}, steps=100)
