"""The demo: AdCo and its control on real images, small enough for two cores and a few minutes."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring import api
from sparring.command.demo_data import find_files, read_part, write_class_folders
from sparring.config import Tree, merged
from sparring.errors import RunError
from sparring.training.listener import Listener

METHODS: dict[str, Tree] = {"mocov2": {}, "adco": {"queue_epochs": 1.0}}
"""The control first. Both follow their recipes for small images, which differ in the opponent only;
AdCo's bank stays a queue for a third of its recipe, so here for the first epoch."""
PROTOCOLS = {"knn": "kNN", "linear": "linear probe"}
RESULTS = (*METHODS, "report.html")
"""What a later demo moves out of its way."""
MARK = ".sparring-demo"
"""File by which the demo knows its own folder."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large the demo is.

    Attributes:
        num_train: images to learn from, the first of the training part.
        num_test: images to be scored on, the first of the test part.
        epochs: passes over the training images.
        batch_size: images per step.
        width: factor on the channels of ResNet-18.
    """

    num_train: int = 10_000
    num_test: int = 10_000
    epochs: int = 3
    batch_size: int = 64
    width: float = 0.125


def run_demo(out: Path, *, data: Path | None, display: Listener, plan: Plan = Plan()) -> list[str]:
    """Pretrain AdCo and MoCo v2 on Fashion-MNIST with equal budgets, score both, and write a
    report.

    Args:
        out: the demo's folder; results of an earlier demo in it are moved aside, nothing is
            deleted.
        data: folder with Fashion-MNIST's files; None: found or downloaded.
        display: told what happens.
        plan: how large.

    Returns:
        Lines to print: the scores beside the untrained encoder's, what they can say, and what comes
        next.

    Raises:
        RunError: if the folder holds anything that no demo has made.
        DataError: if the images cannot be had.
    """
    _refuse_foreign(out)
    files = find_files(data, out / "data")
    _make_room(out, display)
    folders = _images(out, files, display, plan)
    scores = {method: _play(method, out, folders, display, plan) for method in METHODS}
    report = api.report(
        [out / method for method in METHODS],
        out=out / "report.html",
        data=folders["test"],
        listener=display,
    )
    return [
        *_table(scores, plan),
        _caution(scores, plan),
        f"both runs in pictures: {report}",
        "next: sparring train --data photos/ --out runs/photos",
    ]


def _refuse_foreign(out: Path) -> None:
    is_ours = (out / MARK).exists() or not out.exists()
    if not is_ours and (not out.is_dir() or any(path.name != "data" for path in out.iterdir())):
        raise RunError(f"{out} exists and was not made by a demo; choose another --out")


def _make_room(out: Path, display: Listener) -> None:
    """Make the folder the demo's, and move the results of an earlier one aside."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
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


def _images(out: Path, files: Path, display: Listener, plan: Plan) -> dict[str, Path]:
    """Folders of training and of test images, made on first use."""
    counts = {"train": plan.num_train, "test": plan.num_test}
    folders = {part: out / "images" / f"{part}-{count}" for part, count in counts.items()}
    for part, folder in folders.items():
        if not folder.exists():
            display.report(
                f"writing Fashion-MNIST's first {counts[part]:,} {part} images to {folder}"
            )
            write_class_folders(*read_part(files, part, counts[part]), folder)
    return folders


def _play(
    method: str, out: Path, folders: dict[str, Path], display: Listener, plan: Plan
) -> dict[str, Any]:
    """Pretrain one method and score it."""
    ours = {
        "encoder": {"width": plan.width},
        "data": {"cache": str((out / "cache").absolute())},
        "training": {"monitor_images": 1000},
    }
    run = api.train(
        folders["train"],
        out=out / method,
        recipe=f"{method}-small",
        epochs=plan.epochs,
        batch_size=plan.batch_size,
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


def _table(scores: dict[str, dict[str, Any]], plan: Plan) -> list[str]:
    head = f"{'encoder':28}" + "".join(f"{name:>14}" for name in PROTOCOLS.values())
    labels = {
        "untrained": "untrained",
        "mocov2": "MoCo v2 (control: a queue)",
        "adco": "AdCo (a bank that fights)",
    }
    rows = [
        f"{labels[name]:28}" + "".join(f"{100 * value:12.1f} %" for value in row)
        for name, row in _accuracies(scores).items()
    ]
    return [
        f"Fashion-MNIST, {plan.num_train:,} training images, {plan.num_test:,} test images; "
        f"ResNet-18 of width {plan.width:g}, "
        f"{plan.epochs} epochs, one seed",
        "",
        head,
        *rows,
        "",
    ]


def _caution(scores: dict[str, dict[str, Any]], plan: Plan) -> str:
    share = _accuracies(scores)["adco"][0]
    error = 196 * math.sqrt(share * (1 - share) / plan.num_test)
    return (
        "One seed shows that training works, not which method is better: the choice of test "
        f"images alone is worth +-{error:.1f} points, "
        "and another seed changes both runs."
    )
