"""Excess loss of the perturbation by epsilon, in nats per query, and what measuring it costs.

    python benchmarks/perturbation_excess.py IMAGES [--steps 160] [--width 0.125]

IMAGES is as `--data` takes it. `clae-small` plays on 10,000 of the images, batch 128, 32 px, seed
0, one torch thread, as released. Before the first step and after the last one, the attack and
random signs of equal size are compared on three training batches, whose direction of the attack is
that of the setting. The cost is the CPU time of the steps that measure, as a share of the others'.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor

from sparring.config import merged
from sparring.data.dataset import open_dataset
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.models.split_norm import still_statistics
from sparring.models.view import ForwardCache, View, as_views
from sparring.opponents.perturbation import MEASURED_EVERY, Perturbation
from sparring.opponents.pixel_attack import random_signs
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import Game, build
from sparring.training.configure import find_recipe
from sparring.training.settings import RunConfig

EPSILONS = (0.001, 0.002, 0.004, 0.0075, 0.015, 0.03, 0.045, 0.06, 0.09, 0.125, 0.18, 0.25)
BATCH, SIZE, IMAGES = 128, 32, 10_000


def prepared(images: Tensor, views: Views, number: int) -> tuple[list[View], Context]:
    """Views and context of a step."""
    context = Context(
        position=Position(step=number, num_steps=10 * IMAGES // BATCH, steps_per_epoch=78),
        indices=torch.arange(BATCH),
        generator=generator(0, "step", number),
        images=images,
        augment=views,
    )
    return as_views(views(images, generator=generator(0, "views", number))), context


def excess(opponent: Perturbation, shown: list[View], context: Context) -> list[float]:
    """Excess loss at each epsilon, in nats per query; nothing changes."""
    found, clean = [], replace(context, cache=ForwardCache())
    with still_statistics(opponent.method):
        hard, _ = opponent.attacked(shown, replace(context, cache=ForwardCache()))
        signs = (hard.pixels - shown[0].pixels).sign()
        with torch.no_grad():
            opponent.method.loss(shown, clean)
            for epsilon in EPSILONS:
                draws = generator(1, "signs", context.position.step)
                moved = random_signs(
                    shown[0].pixels, opponent.settings, generator=draws, epsilon=epsilon
                )
                losses = [
                    opponent.method.loss(
                        [shown[0], View(pixels=pixels, norms="attacked")],
                        replace(clean, cache=clean.cache.copied()),
                    ).loss
                    for pixels in (shown[0].pixels + epsilon * signs, moved)
                ]
                found.append((opponent.nats or 0.0) * float(losses[0] - losses[1]))
    return found


def table(title: str, game: Game, images: Tensor, views: Views) -> None:
    """Print the mean excess loss of three batches at each epsilon."""
    assert isinstance(game.method, Perturbation)
    rows = [
        excess(
            game.method,
            *prepared(images[part * BATCH : (part + 1) * BATCH], views, 100_000 + part),
        )
        for part in range(3)
    ]
    print(title)
    for epsilon, values in zip(EPSILONS, zip(*rows, strict=True), strict=True):
        print(f"  epsilon {epsilon:6.4f}: {statistics.fmean(values):7.3f} nats", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--width", type=float, default=0.125)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    training = {"image_size": SIZE, "batch_size": BATCH, "device": "cpu"}
    own = {"encoder": {"width": arguments.width}, "training": training}
    config = RunConfig.from_tree(merged(find_recipe("clae-small"), own))
    data = open_dataset(arguments.images, config.data, image_size=SIZE)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    images, _ = data.readable(order[:IMAGES])
    views = Views(config.method_settings.views.resolve(SIZE), image_size=SIZE)
    game = build(config)
    table("untrained", game, images, views)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(arguments.steps):
        chosen = torch.randperm(len(images), generator=generator(0, "batch", number))[:BATCH]
        shown, context = prepared(images[chosen], views, number)
        for player in game.players.values():
            player.prepare(context.position)
        start = time.process_time()
        game.method.step(shown, game.players, context)
        seconds[number % MEASURED_EVERY == 0].append(time.process_time() - start)
    table(f"after {arguments.steps} steps", game, images, views)
    more = statistics.median(seconds[True]) / statistics.median(seconds[False]) - 1
    print(f"a step costs {more / MEASURED_EVERY:.1%} more on average, views not counted")


if __name__ == "__main__":
    main()
