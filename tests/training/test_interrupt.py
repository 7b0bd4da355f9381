"""Signals: the first is a request, the second stops at once, and afterwards everything is as
before."""

import signal
import threading

import pytest

from sparring.training.interrupt import SIGNALS, stop_on_signal


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
