"""The demo: AdCo and its control on real images, in a few minutes on two cores."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring import api
from sparring.command.demo_data import find_files, read_part, write_class_folders
from sparring.config import Tree, merged
from sparring.errors import RunError
from sparring.files import write_atomically
from sparring.training.listener import Listener

METHODS: dict[str, Tree] = {"mocov2": {}, "adco": {"queue_epochs": 1.0}}
"""Methods and their changed settings, the control first. Both use their recipe for small images;
these differ in the opponent only. The recipe keeps AdCo's bank a queue for a third of its epochs,
so the demo does so for one."""
PROTOCOLS = {"knn": "kNN", "linear": "linear probe"}
RESULTS = (*METHODS, "report.html")
"""Names that a later demo moves aside."""
MARKER = ".sparring-demo"
"""File that marks a folder as made by a demo."""


@dataclass(frozen=True, kw_only=True)
class DemoSize:
    """Size of the demo.

    Attributes:
        num_train: training images, the first of the training part.
        num_test: test images, the first of the test part.
        epochs: passes over the training images.
        batch_size: images per step.
        width: factor on the channels of ResNet-18.
    """

    num_train: int = 10_000
    num_test: int = 10_000
    epochs: int = 3
    batch_size: int = 64
    width: float = 0.125


def run_demo(
    out: Path, *, data: Path | None, display: Listener, size: DemoSize = DemoSize()
) -> list[str]:
    """Pretrain AdCo and MoCo v2 with equal budgets, score both, and write a report.

    Args:
        out: folder of the demo; results of an earlier demo are moved aside, nothing is deleted.
        data: folder with the files of Fashion-MNIST; None finds or downloads them.
        display: receives progress.
        size: number of images, epochs and channels.

    Returns:
        Lines to print: the scores beside the untrained encoder's, a caveat, and the next command.

    Raises:
        RunError: if the folder holds files that no demo made.
        DataError: if the images cannot be found or downloaded.
    """
    _require_own_folder(out)
    files = find_files(data, out / "data")
    _move_earlier_results(out, display)
    folders = _images(out, files, display, size)
    scores = {method: _train_and_score(method, out, folders, display, size) for method in METHODS}
    report = api.report(
        [out / method for method in METHODS],
        out=out / "report.html",
        data=folders["test"],
        listener=display,
    )
    return [
        *_table(scores, size),
        _caveat(scores, size),
        f"report on both runs: {report}",
        "next: sparring train --data photos/ --out runs/photos",
    ]


def _require_own_folder(out: Path) -> None:
    is_ours = (out / MARKER).exists() or not out.exists()
    if not is_ours and (not out.is_dir() or any(path.name != "data" for path in out.iterdir())):
        raise RunError(f"{out} exists and was not made by a demo; choose another --out")


def _move_earlier_results(out: Path, display: Listener) -> None:
    """Mark the folder as a demo's, and move the results of an earlier demo aside."""
    if not (out / MARKER).exists():
        write_atomically(out / MARKER, b"")
    earlier = [out / name for name in RESULTS if (out / name).exists()]
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
    counts = {"train": size.num_train, "test": size.num_test}
    folders = {part: out / "images" / f"{part}-{count}" for part, count in counts.items()}
    for part, folder in folders.items():
        if not folder.exists():
            display.report(
                f"writing Fashion-MNIST's first {counts[part]:,} {part} images to {folder}"
            )
            write_class_folders(*read_part(files, part, counts[part]), folder)
    return folders


def _train_and_score(
    method: str, out: Path, folders: dict[str, Path], display: Listener, size: DemoSize
) -> dict[str, Any]:
    """Scores of one method after pretraining."""
    ours = {
        "encoder": {"width": size.width},
        "data": {"cache": str((out / "cache").absolute())},
        "training": {"monitor_images": 1000},
    }
    run = api.train(
        folders["train"],
        out=out / method,
        recipe=f"{method}-small",
        epochs=size.epochs,
        batch_size=size.batch_size,
        image_size=32,
        settings=merged(ours, METHODS[method]),
        listener=display,
    )
    return api.evaluate(run, data=folders["test"], protocols=tuple(PROTOCOLS), listener=display)


def _accuracies(scores: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    rows = {
        "untrained": scores["mocov2"]["untrained"],
        **{method: scores[method]["trained"] for method in METHODS},
    }
    return {
        name: [row[protocol]["accuracy"] for protocol in PROTOCOLS] for name, row in rows.items()
    }


def _table(scores: dict[str, dict[str, Any]], size: DemoSize) -> list[str]:
    head = f"{'encoder':28}" + "".join(f"{name:>14}" for name in PROTOCOLS.values())
    labels = {
        "untrained": "untrained",
        "mocov2": "MoCo v2 (control: a queue)",
        "adco": "AdCo (an adversarial bank)",
    }
    rows = [
        f"{labels[name]:28}" + "".join(f"{100 * value:12.1f} %" for value in row)
        for name, row in _accuracies(scores).items()
    ]
    return [
        f"Fashion-MNIST, {size.num_train:,} training images, {size.num_test:,} test images; "
        f"ResNet-18 of width {size.width:g}, "
        f"{size.epochs} epochs, one seed",
        "",
        head,
        *rows,
        "",
    ]


def _caveat(scores: dict[str, dict[str, Any]], size: DemoSize) -> str:
    share = _accuracies(scores)["adco"][0]
    error = 196 * math.sqrt(share * (1 - share) / size.num_test)
    return (
        "One seed shows that training works, not which method is better: the choice of test "
        f"images alone moves a score by +-{error:.1f} points, "
        "and another seed changes both runs."
    )
