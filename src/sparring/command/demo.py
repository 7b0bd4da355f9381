"""The demo: a study of three pairs on real images, whether AdCo's learned bank helps there."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

from sparring import api
from sparring.api.comparison import Comparison
from sparring.command.demo_data import find_files, read_part, write_class_folders
from sparring.errors import RunError
from sparring.files import write_atomically
from sparring.studies.plan import Study
from sparring.training.listener import Listener

RESULTS = ("study", "report*", "mocov2", "adco")
"""Patterns of what a later demo moves aside, results of earlier versions included."""
TUNED_ON = "Fashion-MNIST: training images from 10,000 on, the first 5,000 test images"
"""Images by which the settings of both arms were chosen (docs/log/demo-settings.md); no run of the
demo trains on them or is scored on them."""
TRIALS = {"adco": 10, "adco/queue": 14}
"""Settings that were tried for each arm, one to five seeds each."""
MARKER = ".sparring-demo"
"""File that marks a folder as made by a demo."""


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """Size of the demo.

    Attributes:
        num_train: training images, the first of the training part.
        first_test: number of the first test image; those before it have been seen in tuning.
        num_test: test images.
        pairs: seeds that each arm is trained with.
        epochs: passes over the training images.
        batch_size: images per step.
        width: factor on the channels of ResNet-18.
        workers: runs at the same time; None: one per core.
    """

    num_train: int = 5_000
    first_test: int = 5_000
    num_test: int = 5_000
    pairs: int = 3
    epochs: int = 3
    batch_size: int = 32
    width: float = 0.125
    workers: int | None = None


def run_demo(
    out: Path, *, data: Path | None, display: Listener, size: DemoSize = DemoSize()
) -> Comparison:
    """Compare AdCo with its twin, whose bank is a queue, and write the study's page.

    Args:
        out: folder of the demo; results of an earlier demo are moved aside, nothing is deleted.
        data: folder with the files of Fashion-MNIST; None finds or downloads them.
        display: receives progress.
        size: number of images, pairs, epochs and channels.

    Raises:
        RunError: if the folder holds files that no demo made.
        DataError: if the images cannot be found or downloaded.
    """
    _require_own_folder(out)
    files = find_files(data, out / "data")
    _move_earlier_results(out, display)
    folders = _images(out, files, display, size)
    study = demo_study(folders, cache=out / "cache", size=size)
    found = api.compare(study, out=out / "study", workers=size.workers, listener=display)
    page = api.report(out / "study", out=out / "report.html", listener=display)
    return replace(found, files=(page,))


def demo_study(folders: dict[str, Path], *, cache: Path, size: DemoSize) -> Study:
    """Plan of the demo: AdCo and its queue twin, which differ in nothing but the bank's learning.

    Both take the recipe for small images with smaller batches, so that there are 468 steps, and
    with crops of at least half the area. The recipe keeps the bank a queue for a third of its
    epochs, and so does the demo.

    Args:
        folders: of the images, by part: `train` and `test`.
        cache: folder of decoded images.
        size: of the demo.
    """
    arm = {"method": "adco", "recipe": "adco-small"}
    tuning = {name: {"trials": count, "images": TUNED_ON} for name, count in TRIALS.items()}
    return Study.build(
        {
            "name": "Does AdCo's learned bank help on Fashion-MNIST?",
            "data": str(folders["train"].absolute()),
            "arms": [
                {"name": "adco", **arm, "tuning": tuning["adco"]},
                {
                    "name": "adco/queue",
                    **arm,
                    "tuning": tuning["adco/queue"],
                    "settings": {"disarmed": "queue"},
                    "role": "twin",
                    "twin_of": "adco",
                },
            ],
            "seeds": size.pairs,
            "epochs": size.epochs,
            "settings": {
                "queue_epochs": size.epochs / 3,
                "encoder": {"width": size.width},
                "views": {"crop_scale": [0.5, 1.0]},
                "data": {"cache": str(cache.absolute())},
                "players": {"encoder": {"learning_rate": 0.03}},
                "training": {
                    "batch_size": size.batch_size,
                    "image_size": 32,
                    "monitor_images": 500,
                },
            },
            "protocols": ["knn", "linear"],
            "tests": [{"name": "Fashion-MNIST test", "data": str(folders["test"].absolute())}],
        }
    )


def _require_own_folder(out: Path) -> None:
    is_ours = (out / MARKER).exists() or not out.exists()
    if not is_ours and (not out.is_dir() or any(path.name != "data" for path in out.iterdir())):
        raise RunError(f"{out} exists and was not made by a demo; choose another --out")


def _move_earlier_results(out: Path, display: Listener) -> None:
    """Mark the folder as a demo's, and move the results of an earlier demo aside."""
    if not (out / MARKER).exists():
        write_atomically(out / MARKER, b"")
    earlier = [path for name in RESULTS for path in sorted(out.glob(name))]
    if not earlier:
        return
    aside = next(
        folder
        for number in itertools.count(1)
        if not (folder := out / f"earlier-{number}").exists()
    )
    aside.mkdir()
    for path in earlier:
        path.rename(aside / path.name)
    display.report(f"{out} holds an earlier demo; its results are now in {aside}")


def _images(out: Path, files: Path, display: Listener, size: DemoSize) -> dict[str, Path]:
    """Folders of training and test images, written on first use."""
    parts = {"train": (0, size.num_train), "test": (size.first_test, size.num_test)}
    folders = {}
    for part, (first, count) in parts.items():
        which = f"{first:,} to {first + count - 1:,}"
        folders[part] = out / "images" / f"{part}-{first}-to-{first + count - 1}"
        if not folders[part].exists():
            display.report(f"writing Fashion-MNIST's {part} images {which} to {folders[part]}")
            images = read_part(files, part, count, first=first)
            write_class_folders(*images, folders[part])
    return folders
