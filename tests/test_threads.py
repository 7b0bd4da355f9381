"""Threads wait as the machine allows, and as the user says."""

import os

import pytest

from sparring import threads


@pytest.mark.parametrize(("load", "expected"), [(0.1, threads.AWAKE), (0.5, threads.BRIEFLY), (3.0, threads.BRIEFLY)])
def test_threads_wait_awake_on_an_idle_machine_only(load: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
    threads.settle_waiting()
    assert os.environ["GOMP_SPINCOUNT"] == expected


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_says_goes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, "PASSIVE")
    threads.settle_waiting()
    assert os.environ.get("GOMP_SPINCOUNT") == ("PASSIVE" if name == "GOMP_SPINCOUNT" else None)
