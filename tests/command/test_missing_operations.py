"""Operations that MPS lacks: who computes them, and what is told."""

import os
import sys

import pytest
import torch

from sparring.command.missing_operations import FALLBACK, settle_missing_operations
from sparring.training.devices import device_note


@pytest.mark.parametrize(
    ("platform", "given", "found"),
    [("darwin", None, "1"), ("darwin", "0", "0"), ("linux", None, None)],
)
def test_only_apples_machines_let_the_cpu_compute_them_unless_the_user_said_otherwise(
    platform: str, given: str | None, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(FALLBACK, given or "")
    if given is None:
        monkeypatch.delenv(FALLBACK)
    settle_missing_operations()
    assert os.environ.get(FALLBACK) == found


def test_a_run_on_mps_tells_who_computes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FALLBACK, "1")
    assert "computed on the CPU" in str(device_note(torch.device("mps")))
    monkeypatch.setenv(FALLBACK, "0")
    assert f"{FALLBACK}=1, set before torch is imported" in str(device_note(torch.device("mps")))
    assert device_note(torch.device("cpu")) is None
