"""Checks of the doctor pass here, and a failing one reports its reason."""

import json
from pathlib import Path

import pytest

from sparring.command import doctor
from tiny import Command


def test_every_check_passes_here(command: Command) -> None:
    done = command("doctor")
    assert done.code == 0
    assert done.out.count("\n") == len(doctor.run_checks())
    assert all(line.startswith("ok    ") for line in done.out.splitlines())


def test_findings_as_json(command: Command) -> None:
    done = command("doctor", "--json")
    assert {finding["name"] for finding in json.loads(done.out)} >= {
        "torch and torchvision",
        "image decoding",
        "backbones",
        "devices",
    }


def test_check_that_raises_is_a_finding_and_the_exit_code(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise RuntimeError("operator torchvision::nms does not exist\nat line 3")

    monkeypatch.setattr(doctor, "_torch", broken)
    done = command("doctor")
    assert done.code == 1
    assert (
        "FAIL  torch and torchvision: RuntimeError: operator torchvision::nms does not exist\n"
        in done.out
    )
    assert done.err == ""
    assert json.loads(command("doctor", "--json").out)[0]["ok"] is False


def test_failure_without_a_message_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise AssertionError

    monkeypatch.setattr(doctor, "_decoding", broken)
    assert [finding for finding in doctor.run_checks() if not finding.is_ok] == [
        doctor.Finding("image decoding", False, "AssertionError")
    ]


def test_full_cache_disk_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "deep" / "cache"))
    monkeypatch.setattr(
        doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**20})
    )
    found = doctor.run_checks()[-1]
    assert (found.name, found.is_ok) == ("cache", False)
    assert "only 0.0 GiB free" in found.detail


def test_cache_below_the_home_folder_is_shown_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    assert doctor.run_checks()[-1].detail.startswith("~/cache, ")
