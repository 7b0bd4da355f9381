"""Imports leave the garbage collector as they found it. Threads wait as the machine allows, and as the user says."""

import gc
import os
from contextlib import suppress

import pytest

from sparring import starting


@pytest.mark.parametrize(("load", "expected"), [(0.1, starting.AWAKE), (0.5, starting.BRIEFLY), (3.0, starting.BRIEFLY)])
def test_threads_wait_awake_on_an_idle_machine_only(load: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "put back afterwards")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 9.0, 9.0))
    starting.settle_waiting()
    assert os.environ["GOMP_SPINCOUNT"] == expected


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
