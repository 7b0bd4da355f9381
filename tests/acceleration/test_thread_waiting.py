"""Threads spin for a short time before they sleep, or as the user has set."""

import os

import pytest

from sparring.acceleration import thread_waiting


def test_threads_wait_awake_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    thread_waiting.settle_waiting()
    assert os.environ["GOMP_SPINCOUNT"] == thread_waiting.SPINS


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_says_goes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, "PASSIVE")
    thread_waiting.settle_waiting()
    assert os.environ.get("GOMP_SPINCOUNT") == ("PASSIVE" if name == "GOMP_SPINCOUNT" else None)


def test_without_fast_paths_threads_wait_as_openmp_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("SPARRING_ACCELERATION", "off")
    thread_waiting.settle_waiting()
    assert "GOMP_SPINCOUNT" not in os.environ
