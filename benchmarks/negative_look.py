"""Cost of looking at a method's negatives: CPU time that a look of the monitor takes longer, in
steps of training, and as a share of a run.

    python benchmarks/negative_look.py [--rounds 5] [--width 0.125] [--only adco mocov2 ...]

Each method's defaults on noise of 32 x 32 pixels, batch 128, ResNet-18 with the small stem; one
torch thread, CPU time of the process. In every round a look without negatives, one with them and a
step follow each other; the median and the range over rounds are shown. A run has ten looks; shares
are of runs of 2,000 images for 10 epochs (150 steps) and of 10,000 images for 20 (1,560 steps).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from sparring.data.dataset import open_dataset
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.methods.registry import shipped
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import build
from sparring.training.monitor import Asked, Monitor
from sparring.training.settings import RunConfig

BATCH, SIZE, IMAGES, LOOKS = 128, 32, 2000, 10
RUNS = {"150 steps": 150, "1,560 steps": 1560}
POSITION = Position(step=500, num_steps=1000, steps_per_epoch=20)


def seconds(act: Callable[[], object]) -> float:
    """CPU time of an action."""
    start = time.process_time()
    act()
    return time.process_time() - start


def measure(method: str, *, width: float, rounds: int) -> list[tuple[float, float, float]]:
    """Seconds of a look without negatives, of one with them, and of a step, for each round."""
    tree = {
        "method": method,
        "encoder": {"backbone": "resnet18", "width": width, "small_images": True},
        "training": {"image_size": SIZE, "batch_size": BATCH, "device": "cpu"},
    }
    config = RunConfig.from_tree(tree)
    game = build(config)
    views = Views(config.method_settings.views.resolve(SIZE), image_size=SIZE)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    dataset = open_dataset((images, np.arange(IMAGES) % 10), config.data, image_size=SIZE)
    monitor = Monitor(dataset, views, num_images=IMAGES, seed=0)
    negatives = game.method.negatives(POSITION)
    assert negatives is not None, f"{method} declares no negatives"
    asked = Asked(negatives=negatives, batch_size=BATCH, step=500)
    batch, rows = dataset.readable(torch.arange(BATCH))

    def step() -> None:
        context = Context(
            position=POSITION,
            indices=torch.from_numpy(rows),
            generator=generator(0, "step"),
            images=batch,
            augment=views,
        )
        for player in game.players.values():
            player.prepare(POSITION)
        made = as_views(views(batch, generator=generator(0, "views")))
        game.method.step(made, game.players, context)

    device, encoder = torch.device("cpu"), game.encoder
    found = [
        (
            seconds(lambda: monitor.look(encoder, device)),
            seconds(lambda: monitor.look(encoder, device, asked)),
            seconds(step),
        )
        for _ in range(rounds + 1)
    ]
    return found[1:]


def main() -> None:
    """Print a row per method."""
    declaring = ["adco", "mocov2", "simclr"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--only", nargs="+", choices=list(shipped("method")), default=declaring)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for method in given.only:
        found = measure(method, width=given.width, rounds=given.rounds)
        extra = [with_them - without for without, with_them, _ in found]
        middle, step = statistics.median(extra), statistics.median(one[2] for one in found)
        shares = ", ".join(
            f"{100 * LOOKS * middle / (steps * step):.2f} % of {name}"
            for name, steps in RUNS.items()
        )
        print(
            f"{method:8} look {statistics.median(one[0] for one in found):.2f} s, negatives "
            f"{middle:.3f} s ({min(extra):.3f} to {max(extra):.3f}), step {step:.3f} s: {shares}"
        )


if __name__ == "__main__":
    main()
