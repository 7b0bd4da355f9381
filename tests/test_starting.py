"""Imports leave the garbage collector as they found it. Threads wait awake for a short time, or as the user says."""

import gc
import os
from contextlib import suppress

import pytest

from sparring import starting


def test_threads_wait_awake_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    starting.settle_waiting()
    assert os.environ["GOMP_SPINCOUNT"] == starting.SPINS


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_says_goes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, "PASSIVE")
    starting.settle_waiting()
    assert os.environ.get("GOMP_SPINCOUNT") == ("PASSIVE" if name == "GOMP_SPINCOUNT" else None)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_quick_imports_leave_the_collector_as_they_found_it(is_enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with suppress(ImportError), starting.quick_imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
