"""Cost of one training step of every method relative to SimCLR's, and of every method with an
opponent around it relative to the method's.

    python benchmarks/method_steps.py [--json method_steps.json] [--rounds 5] [--width 0.25]
        [--only simclr simclr+perturbation ...]

Each method's defaults on noise of 32 x 32 pixels, batch 256, ResNet-18 with the small stem, the
views included; one torch thread, CPU time of the process, in the middle of a run. In every round
all methods take one step, in turn, so that a disturbance hits all of them; ratios are round by
round, the median with the smallest and largest beside it. The first round and the filling of a bank
are not counted.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from sparring.config import merged
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.methods.registry import shipped
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Game, build
from sparring.training.settings import RunConfig

BATCH, SIZE = 256, 32
AT_ONCE = {"adco": {"queue_epochs": 0.0}, "caco": {"queue_epochs": 0.0}}
"""The bank plays as soon as it is full, which it is after two steps."""


NAMES = [
    *shipped("method"),
    *(f"{method}+{opponent}" for opponent in shipped("opponent") for method in shipped("method")),
]


def game_of(name: str, width: float) -> tuple[Game, Views]:
    """Method with its defaults, the opponent around it if any, and its augmentation."""
    method, _, opponent = name.partition("+")
    tree = {
        "method": method,
        "opponent": [opponent] if opponent else [],
        "encoder": {"backbone": "resnet18", "width": width, "small_images": True},
        "training": {"image_size": SIZE, "batch_size": BATCH, "device": "cpu"},
    }
    config = RunConfig.from_tree(merged(tree, AT_ONCE.get(method, {}), small_bank(method)))
    views = Views(config.method_settings.views.resolve(SIZE), image_size=SIZE)
    return build(config), views


def small_bank(method: str) -> dict[str, object]:
    """A bank that two batches fill."""
    return {"bank": {"size": 2 * BATCH}} if method in AT_ONCE else {}


def step_seconds(game: Game, views: Views, number: int) -> float:
    """CPU time of one step on images of that number."""
    images = torch.randint(
        0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0, "images", number)
    )
    context = Context(
        position=Position(step=500 + number, num_steps=1000, steps_per_epoch=39),
        indices=torch.arange(BATCH),
        generator=generator(0, "step", number),
        images=images,
        augment=views,
    )
    for player in game.players.values():
        player.prepare(context.position)
    start = time.process_time()
    shown = as_views(views(images, generator=generator(0, "views", number)))
    game.method.step(shown, game.players, context)
    return time.process_time() - start


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = {name: name.partition("+")[0] if "+" in name else "simclr" for name in arguments.only}
    games = {
        name: game_of(name, arguments.width) for name in dict.fromkeys([*base.values(), *base])
    }
    rounds: list[dict[str, float]] = []
    for number in range(3 + arguments.rounds):
        seconds = {name: step_seconds(*game, number) for name, game in games.items()}
        if number >= 3:
            rounds.append(seconds)
    found = {}
    print(
        f"{'method':21} {'seconds':>8} {'ratio':>6}  (of SimCLR's step, or of the method's "
        "without its opponent; smallest to largest)"
    )
    for name in games:
        ratios = sorted(seconds[name] / seconds[base.get(name, "simclr")] for seconds in rounds)
        found[name] = {
            "seconds": statistics.median(seconds[name] for seconds in rounds),
            "ratio": statistics.median(ratios),
            "lowest": ratios[0],
            "highest": ratios[-1],
        }
        row = found[name]
        print(
            f"{name:21} {row['seconds']:8.3f} {row['ratio']:6.2f}  ({row['lowest']:.2f} to "
            f"{row['highest']:.2f})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
