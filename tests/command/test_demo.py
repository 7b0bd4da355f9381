"""The demo at a tiny size, on files in Fashion-MNIST's format."""

import gzip
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sparring.command import demo_data
from sparring.command.demo import DemoSize, demo_study, run_demo
from sparring.command.demo_data import CLASSES, FILES, find_files, read_part, write_class_folders
from sparring.errors import DataError, RunError, StorageError
from sparring.optim.schedule import Position
from tiny import Command, contents

TINY = DemoSize(
    num_train=64,
    first_test=10,
    num_test=40,
    pairs=2,
    epochs=1,
    batch_size=16,
    width=0.0625,
    workers=1,
)


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        self.lines.append(line)

    def count(self, what: str, done: int, total: int) -> None: ...

    def observe(
        self, position: Position, record: Mapping[str, float], warning: str | None
    ) -> None: ...


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    return (
        struct.pack(f">BBBB{values.ndim}i", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The four files, with 80 training and 50 test images whose brightness is their class."""
    folder = tmp_path / "files"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for (images, labels), count in zip(FILES.values(), (80, 50), strict=True):
        classes = np.arange(count, dtype=np.uint8) % 10
        pixels = draw.integers(0, 20, (count, 28, 28)) + 20 * classes[:, None, None]
        (folder / f"{images}.gz").write_bytes(gzip.compress(idx(pixels.astype(np.uint8))))
        (folder / f"{labels}.gz").write_bytes(gzip.compress(idx(classes)))
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep tests off the network and away from an installed copy."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse)
    monkeypatch.setattr(demo_data, "SYSTEM_FOLDER", tmp_path / "not installed")


def test_images_are_padded_and_keep_their_labels(files: Path) -> None:
    images, labels = read_part(files, "train", 30)
    assert images.shape == (30, 32, 32)
    assert labels.tolist() == [number % 10 for number in range(30)]
    assert images[:, :2].max() == 0
    assert images[9, 2:30, 2:30].min() >= 180


def test_images_of_a_part_begin_where_they_are_asked_to(files: Path) -> None:
    images, labels = read_part(files, "test", 20, first=10)
    whole, all_labels = read_part(files, "test", 50)
    assert (images == whole[10:30]).all()
    assert (labels == all_labels[10:30]).all()


def test_demo_is_scored_on_no_image_that_its_settings_were_chosen_by() -> None:
    seen_in_tuning = 5_000  # the first test images, as the plan says
    assert DemoSize().first_test >= seen_in_tuning
    assert DemoSize().first_test + DemoSize().num_test <= 10_000


def test_class_folders_hold_every_image_in_its_class(files: Path, tmp_path: Path) -> None:
    images, labels = read_part(files, "test", 50)
    write_class_folders(images, labels, tmp_path / "test")
    paths = sorted((tmp_path / "test").rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in paths] == [CLASSES[label] for label in labels]
    for path, image in zip(paths, images, strict=True):
        assert (np.asarray(Image.open(path)) == image).all()


def test_disk_error_while_writing_images_is_named(files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_class_folders(*read_part(files, "test", 5), tmp_path / "file" / "test")


def unpacked(path: Path) -> None:
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def test_unpacked_files_and_torchvisions_folder_are_found(files: Path, tmp_path: Path) -> None:
    expected = read_part(files, "test", 5)[0]
    for path in files.iterdir():
        unpacked(path)
    assert (read_part(files, "test", 5)[0] == expected).all()
    (tmp_path / "root" / "FashionMNIST").mkdir(parents=True)
    files.rename(tmp_path / "root" / "FashionMNIST" / "raw")
    assert (
        find_files(tmp_path / "root", tmp_path / "own")
        == tmp_path / "root" / "FashionMNIST" / "raw"
    )


def test_own_folder_goes_before_the_installed_one(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_data, "SYSTEM_FOLDER", files)
    assert find_files(None, tmp_path / "own") == files
    assert find_files(None, files) == files


def test_offline_without_files_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=(
            r"could not be downloaded \(Name or service not known\); "
            "on Debian or Ubuntu run scripts"
        ),
    ):
        find_files(None, tmp_path / "own")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def not_zipped(path: Path) -> None:
    path.write_bytes(b"hello")


def too_short(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))


def of_another_type(path: Path) -> None:
    path.write_bytes(gzip.compress(b"\0\0\x0d" + gzip.decompress(path.read_bytes())[3:]))


def no_content(path: Path) -> None:
    path.write_bytes(gzip.compress(b""))


@pytest.mark.parametrize("damage", [cut, not_zipped, too_short, of_another_type, no_content])
def test_damaged_file_is_named(files: Path, damage: Callable[[Path], None]) -> None:
    damage(files / "t10k-images-idx3-ubyte.gz")
    with pytest.raises(
        DataError,
        match=r"t10k-images-idx3-ubyte\.gz is damaged \(.*\); remove it and run the demo again",
    ):
        read_part(files, "test", 5)


def test_files_of_different_sets_are_refused(files: Path) -> None:
    (files / "t10k-labels-idx1-ubyte.gz").write_bytes(
        (files / "train-labels-idx1-ubyte.gz").read_bytes()
    )
    with pytest.raises(DataError, match="do not belong together"):
        read_part(files, "test", 5)


def test_folder_that_no_demo_has_made_is_left_alone(files: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("precious")
    with pytest.raises(RunError, match="was not made by a demo; choose another --out"):
        run_demo(tmp_path / "mine", data=files, display=Listener(), size=TINY)
    assert contents(tmp_path / "mine") == {"report.html": b"precious"}


def test_wrong_data_folder_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("demo", "--out", tmp_path / "demo", "--data", tmp_path / "empty")
    assert done.code == 2
    assert (
        "does not hold Fashion-MNIST; it needs the four files train-images-idx3-ubyte, "
        in done.error
    )
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_demo_answers_with_an_interval_and_can_be_run_again(files: Path, tmp_path: Path) -> None:
    out, listener = tmp_path / "demo", Listener()
    found = run_demo(out, data=files, display=listener, size=TINY)
    assert found.is_over
    assert not found.failed
    assert [(arm.arm, arm.seeds) for arm in found.arms()] == [("adco", 2), ("adco/queue", 2)]
    (finding,) = found.findings
    assert finding.contrast.name == "adco minus adco/queue"
    assert finding.interval is not None
    assert found.headline
    made = {path.name for path in out.iterdir()} - {"cache"}
    assert {name for name in made if not name.startswith("report-")} == {
        ".sparring-demo",
        "images",
        "study",
        "report.html",
    }
    page = (out / "report.html").read_bytes()

    again = run_demo(out, data=files, display=listener, size=TINY)
    assert (
        f"{out} holds an earlier demo; its results are now in {out / 'earlier-1'}" in listener.lines
    )
    assert (out / "earlier-1" / "report.html").read_bytes() == page
    assert (out / "report.html").is_file()
    assert found.findings[0].pairs.first.tolist() == again.findings[0].pairs.first.tolist()


def test_arms_of_the_demo_differ_in_the_opponent_alone(tmp_path: Path) -> None:
    folders = {part: tmp_path / part for part in ("train", "test")}
    study = demo_study(folders, cache=tmp_path / "cache", size=DemoSize())
    game, twin = study.arms
    assert (game.method, game.recipe, game.opponent) == (twin.method, twin.recipe, twin.opponent)
    assert (dict(game.settings), dict(twin.settings)) == ({}, {"disarmed": "queue"})
    assert len(study.seeds) >= 3
