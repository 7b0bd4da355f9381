"""Checks of the doctor pass here, and a failing one reports its reason."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four pictures; one repeats another."""
    draw = np.random.default_rng(0)
    for number in range(8):
        place = tmp_path / "photos" / ("cat" if number % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        values = draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(values).save(place / f"{number}.png")
    shutil.copy(place / "7.png", place / "again.png")
    return tmp_path / "photos"


def test_findings_about_data_are_no_failure(command: Command, photos: Path) -> None:
    done = command("doctor", "--data", photos)
    assert done.code == 0
    assert "look  duplicates: 1 of 9 images" in done.out
    assert "ok    classes: 2 classes" in done.out


def test_findings_about_data_as_json(command: Command, photos: Path) -> None:
    done = command("doctor", "--data", photos, "--json")
    found = {finding["name"]: finding for finding in json.loads(done.out)}
    assert found["unreadable"]["ok"]
    assert not found["duplicates"]["ok"]


def test_the_page_shows_the_images_and_nothing_from_elsewhere(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    page = tmp_path / "data.html"
    assert command("doctor", "--data", photos, "--out", page).out.endswith(f"wrote {page}\n")
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 9 + 2  # every image, and the pair
    assert "http" not in text.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    "option", [("--out", "page.html"), ("--limit", "5"), ("--set", "data.channels=1")]
)
def test_options_of_data_need_data(command: Command, option: tuple[str, str]) -> None:
    done = command("doctor", *option)
    assert done.code == 2
    assert "--data" in done.error


def test_data_that_are_missing_are_one_line(command: Command, tmp_path: Path) -> None:
    done = command("doctor", "--data", tmp_path / "nothing")
    assert done.code == 2
    assert "no such file or folder" in done.error


def test_settings_of_data_are_used_and_others_refused(command: Command, photos: Path) -> None:
    assert "1 channel\n" in command("doctor", "--data", photos, "--set", "data.channels=1").out
    done = command("doctor", "--data", photos, "--set", "dat.channels=1")
    assert done.code == 2
    assert "did you mean 'data'" in done.error
