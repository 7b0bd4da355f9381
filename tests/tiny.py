"""Tiny images, a tiny run, and commands called in this process: what the tests of the outside
share."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

COLOURS = {"blue": (40, 40, 200), "red": (200, 40, 40)}
PER_CLASS = 32
PIXELS = 16
ARGUMENTS = ["--batch-size", "16", "--image-size", "16", "--epochs", "2"]
SETTINGS = [
    "encoder.width=0.0625",
    "bank.size=32",
    "projector.dim=16",
    "training.log_steps=1",
    "training.monitor_images=16",
]
NUM_STEPS = 2 * len(COLOURS) * PER_CLASS // 16


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failed command prints, without progress before it."""
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        last = self.err.splitlines()[-1]
        assert last.startswith("error: "), self.err
        assert self.err.count("error: ") == 1
        return last.removeprefix("error: ")


Command = Callable[..., Outcome]


def tiny_images(
    per_class: int, *, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noisy images of two colours, and which is which."""
    draw = np.random.default_rng(seed)
    colours = np.repeat(np.array(list(COLOURS.values())), per_class, axis=0)[:, None, None]
    noisy = colours + draw.normal(0, 30, (len(colours), PIXELS, PIXELS, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), np.repeat(np.arange(len(COLOURS)), per_class)


def write_photos(folder: Path, *, per_class: int = PER_CLASS) -> Path:
    """Class folders of tiny images."""
    images, labels = tiny_images(per_class)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / list(COLOURS)[label] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def train_arguments(
    photos: Path, out: Path, *more: str, settings: Mapping[str, object] | None = None
) -> list[str]:
    """A command line that trains for `NUM_STEPS` steps within a second or two."""
    changed = [f"{key}={value}" for key, value in (settings or {}).items()]
    sets = [part for text in [*SETTINGS, *changed] for part in ("--set", text)]
    return ["train", "--data", str(photos), "--out", str(out), *ARGUMENTS, *sets, *more]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call `sparring ARGUMENTS...` in this process."""
    from sparring.command import commands as cli

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sparring", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Outcome(stop.value.code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny images in two classes; tests leave it as it is."""
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Finished and scored AdCo run; tests leave it as it is."""
    from sparring.command import commands as cli

    folder = tmp_path_factory.mktemp("trained")
    out = folder / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARRING_CACHE", str(folder / "cache"))
        patch.setattr(sys, "argv", ["sparring", *train_arguments(photos, out)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 0
    before = contents(out)
    yield out
    assert contents(out) == before, (
        "a test has changed the run that all share; use the fixture `run`"
    )


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Copy of the finished run, to do with as a test likes."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
