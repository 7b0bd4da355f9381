"""The best kNN accuracy on CIFAR-10 within nine minutes on one GPU, by one command.

    python benchmarks/time_to_90.py --data cifar10-train.parquet --test cifar10-test.parquet
        [--minutes 9] [--known 2:80.1 4:85.2] [--cpu] [--out FILE.json]

SimCLR, ResNet-18 with the small stem, 32 px, bfloat16, no labels. The first epochs tell how long a
step takes, compilation left out, and the length of the cosine schedule is chosen so that training,
scoring and everything before fit in the minutes. This falls into the warm-up of the rate, which
does not depend on the length. The test set is looked at once, at the end of the last epoch: kNN
with 10 neighbours at temperature 0.1 among all training images.

--known MINUTES:SCORE are scores of shorter schedules of the same command. Two or more schedules,
this one included, give the minutes to 90.0 by a line through log(error) over log(minutes), which is
an extrapolation and is called one.

The recipe: batch 512 and no blur as in the public scripts that reach 90; SGD at 0.12, cosine;
greyscale 0.1 and a hidden layer of 2,048 in the projector; temperature 0.1, which is better than
0.2 in short runs (docs/log/temperature-of-simclr.md) and untried at this length.
"""

import time

START = time.monotonic()

import math  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from gpu_machine import Machine, arguments, cifar, machine_of, write  # noqa: E402
from sparring.config import Tree, merged  # noqa: E402
from sparring.evaluation.features import evaluating, unit_images  # noqa: E402
from sparring.measures.knn import knn_accuracy  # noqa: E402
from sparring.models.encoder import Encoder  # noqa: E402
from sparring.optim.schedule import Position  # noqa: E402
from sparring.training.loop import Training  # noqa: E402
from sparring.training.opening import open_images  # noqa: E402
from sparring.training.run import prepare, run_training  # noqa: E402
from sparring.training.run_folder import RunFolder  # noqa: E402
from sparring.training.settings import RunConfig  # noqa: E402

RECIPE: Tree = {
    "method": "simclr",
    "temperature": 0.1,
    "encoder": {"backbone": "resnet18", "width": 1.0, "small_images": True},
    "projector": {"kind": "simclr", "hidden": 2048, "dim": 128},
    "views": {"preset": "mocov2-small", "greyscale": 0.1, "blur": 0.0},
    "players": {
        "encoder": {
            "optimizer": "sgd",
            "learning_rate": 0.12,
            "schedule": "cosine",
            "warmup_epochs": 5,
            "weight_decay": 5e-4,
        }
    },
    "training": {"image_size": 32, "batch_size": 512, "monitor_images": 64, "log_steps": 10},
}
TOY: Tree = {
    "encoder": {"width": 0.0625},
    "projector": {"hidden": 32, "dim": 16},
    "players": {"encoder": {"warmup_epochs": 2}},
    "training": {"batch_size": 16, "log_steps": 1},
}
TIMED_EPOCHS = 2
NEIGHBORS = 10
GOAL = 90.0
SCORING_SECONDS, MARGIN = 15.0, 0.03
"""Time kept for the score, and share of the training's time kept for slower steps."""


class Clock:
    """Listener that times the steps and stops the run in time."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.stop_at = machine, math.inf
        self.records: list[tuple[int, float]] = []
        self.training: Training | None = None
        self.is_cut = False

    def report(self, line: str) -> None:
        """Show a line of the run."""
        print(f"  {line}", file=sys.stderr, flush=True)

    def count(self, what: str, done: int, total: int) -> None:
        """Not of interest."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Note the time; past the limit, let this step be the last."""
        self.machine.synchronise()
        now = time.monotonic()
        self.records.append((position.step, now))
        if now > self.stop_at and self.training is not None:
            self.is_cut = True
            stop_after(self.training, position.step + 1)

    def seconds_per_step(self) -> float:
        """Time of a step over the later half of the records, without compilation and without the
        look of the monitor before the last one."""
        later = self.records[len(self.records) // 2 : -1]
        (first, start), *_, (last, end) = later
        return (end - start) / (last - first)


def stop_after(training: Training, steps: int) -> None:
    """Let the training stop after so many steps in all."""
    change(training, max_steps=steps)


def change(training: Training, **settings: Any) -> None:
    """Give the training other settings in its section of that name."""
    more = training.config.training.model_copy(update=settings)
    training.config = training.config.model_copy(update={"training": more})


def features(encoder: Encoder, images: Tensor, device: torch.device) -> Tensor:
    """Backbone features on the device."""
    with evaluating(encoder.modules()):
        return torch.cat(
            [encoder.features(unit_images(part, device)).float() for part in images.split(1000)]
        )


def minutes_to_goal(known: Sequence[tuple[float, float]]) -> float | None:
    """Minutes at which the error reaches that of the goal, on the line of least squares through
    log(error) over log(minutes); None without two schedules, or without progress."""
    if len({minutes for minutes, _ in known}) < 2:
        return None
    points = [(math.log(minutes), math.log(100 - score)) for minutes, score in known]
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope /= sum((x - mean_x) ** 2 for x, _ in points)
    return math.exp(mean_x + (math.log(100 - GOAL) - mean_y) / slope) if slope < 0 else None


def point(text: str) -> tuple[float, float]:
    """MINUTES:SCORE as two numbers."""
    minutes, _, score = text.partition(":")
    return float(minutes), float(score)


def prepared(machine: Machine, images: Tensor, folder: Path, clock: Clock, seed: int) -> Training:
    """The training before its first step, of any length."""
    device: Tree = {"training": {"device": machine.device.type, "epochs": 1000}}
    if not machine.is_toy:
        device["training"]["compile"] = "on"
    rare: Tree = {"training": {"monitor_epochs": 100_000, "checkpoint_minutes": 1e6}}
    tree = merged(
        RECIPE, TOY if machine.is_toy else {}, device, rare, {"seed": seed, "data": {"path": ""}}
    )
    config, dataset = open_images(RunConfig.from_tree(tree), images, None)
    run = RunFolder(folder)
    run.path.mkdir()
    clock.training = prepare(config, dataset, run, backbone=None, listener=clock)
    return clock.training


def main() -> None:
    """Train, score, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="parquet of the training images")
    parser.add_argument("--test", type=Path, help="parquet of the test images")
    parser.add_argument("--minutes", type=float, help="default 9, at toy size 0.5")
    parser.add_argument("--known", type=point, nargs="*", default=[], metavar="MINUTES:SCORE")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    machine = machine_of(options)
    minutes = options.minutes or (0.5 if machine.is_toy else 9.0)
    images, labels, words = cifar(options.data, 256 if machine.is_toy else 50_000)
    test, truth, _ = cifar(options.test, 64 if machine.is_toy else 10_000)
    scoring = 1.0 if machine.is_toy else SCORING_SECONDS
    deadline = START + 60 * minutes - scoring
    clock = Clock(machine)
    with tempfile.TemporaryDirectory() as place:
        training = prepared(machine, images, Path(place) / "run", clock, options.seed)
        per_epoch = training.loader.steps_per_epoch
        stop_after(training, TIMED_EPOCHS * per_epoch)
        run_training(training, training.folder)
        step = clock.seconds_per_step()
        left = (deadline - time.monotonic()) * (1 - MARGIN)
        epochs = TIMED_EPOCHS + max(1, int(left / (step * per_epoch)))
        print(
            f"{time.monotonic() - START:.0f} s: a step takes {1000 * step:.2f} ms, "
            f"{training.config.training.batch_size / step:,.0f} images/s; {epochs} epochs",
            flush=True,
        )
        change(training, epochs=epochs, max_steps=None)
        clock.stop_at = deadline
        run_training(training, training.folder)
        trained = time.monotonic() - START
        encoder, device = training.game.encoder, machine.device
        score = 100 * knn_accuracy(
            features(encoder, images, device),
            labels.to(device),
            features(encoder, test, device),
            truth.to(device),
            num_neighbors=NEIGHBORS,
        )
    seconds = time.monotonic() - START
    known = [*options.known, (seconds / 60, score)]
    goal = minutes_to_goal(known)
    cut = ", cut short: its rate had not reached zero" if clock.is_cut else ""
    print(
        f"kNN (k {NEIGHBORS}) {score:.2f} % on {len(test):,} test images after {epochs} epochs"
        f"{cut}; {seconds:.0f} s in all, {trained:.0f} s until the end of training"
    )
    print(
        "minutes to 90.0: "
        + ("reached" if score >= GOAL else f"{goal:.1f}, extrapolated" if goal else "not known")
        + ("" if goal or score >= GOAL else "; give scores of shorter schedules as --known")
    )
    print(f"{machine.facts()['device']}, {words}, seed {options.seed}")
    found = {
        "knn": score,
        "epochs": epochs,
        "seconds": seconds,
        "seconds of training": trained,
        "milliseconds of a step": 1000 * step,
        "is cut": clock.is_cut,
        "schedules": known,
        "minutes to 90, extrapolated": goal,
    }
    write(options.out, machine, found, images=words, seed=options.seed, recipe=RECIPE)


if __name__ == "__main__":
    main()
