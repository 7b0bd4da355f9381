"""The dial of every game: what measuring costs, whether the excess loss rises with the share, and
how fast and how well a target is held.

    python benchmarks/strength.py --data cifar10-train.parquet [--part cost monotone settling]
        [--only adco ...] [--warm 200] [--seed 0] [--toy]

Small recipes at width 0.125 on 5,000 images, batch 128; one torch thread.

- cost: two games that differ in the measurement alone take as many steps each, in turn, at
  released strength: four, or as many as lie between two measurements. The ratio of CPU times is the
  mean over rounds with its 95 % interval by t.
- monotone: a game trained at 0.1 nats for --warm steps; then its excess loss with the share of the
  opponent set by hand, the same state and the same batches for every share.
- settling: a game is held at 0.1 nats for --warm steps; then the target jumps to 0.3. Steps until
  the mean of 8 measurements is within 15 % of it, and how far it is from it afterwards.

A game without a dial is skipped with a line. --toy: the same on made-up images in seconds, for
tests; its numbers mean nothing.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from sparring.config import merged
from sparring.contract.toy import Subject, dataset
from sparring.data.dataset import Dataset, open_dataset
from sparring.data.views.views import Views
from sparring.errors import ConfigError
from sparring.methods.method import Context, Method, MethodLoss
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.strength.dial import Dial
from sparring.studies.statistics.paired import mean_interval
from sparring.training.build import Game, build
from sparring.training.configure import configure
from sparring.training.opponent_pretraining import PretrainingCache
from sparring.training.settings import RunConfig

LOW, HIGH = 0.1, 0.3
"""Targets before and after the jump, in nats."""
WITHIN, WINDOW = 0.15, 8
"""Share of the target within which it counts as held, by the mean of this many measurements."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
BLOCK = 4
"""Fewest steps of a round."""
NEVER = 10**9


def never_due(method: Method) -> None:
    """Let no step measure, where the dial is asked whether one is due."""
    for dial in dials(method):
        dial.every = NEVER


def without_queue(method: Method) -> None:
    """Leave out the loss against the queue beside a bank, and the queue itself."""
    method._loss_on_queue = lambda *_: torch.zeros(())  # type: ignore[assignment]
    method.bank.remember = lambda keys: None  # type: ignore[union-attr]
    for dial in dials(method):
        dial.turn = lambda excess, position: None  # type: ignore[method-assign]


def without_strengths(method: Method) -> None:
    """Leave out what a shared bank measures, and the queue beside it."""
    loss = method.loss

    def unmeasured(*given: Any) -> MethodLoss:
        zero = torch.zeros(())
        with patch("sparring.methods.caco.strengths", lambda *_, **__: (zero, zero)):
            return loss(*given)

    method.loss = unmeasured  # type: ignore[method-assign]
    method.bank.remember = lambda keys: None  # type: ignore[union-attr]
    for dial in dials(method):
        dial.turn = lambda excess, position: None  # type: ignore[method-assign]


@dataclass(frozen=True, kw_only=True)
class Opponent:
    """One game with a dial.

    Attributes:
        name: in the rows.
        method: its method.
        opponents: around it.
        section: where its strength stands; empty: at the top.
        recipe: its small recipe.
        settings: further settings, under which it plays early.
        unmeasured: makes it stop measuring.
    """

    name: str
    method: str
    opponents: tuple[str, ...] = ()
    section: str = ""
    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    unmeasured: Callable[[Method], None] = never_due

    def tree(self, strength: float | str) -> dict[str, Any]:
        """Settings with this strength."""
        own = {"strength": strength}
        return merged(dict(self.settings), {self.section: own} if self.section else own)


GAMES = (
    Opponent(
        name="adco",
        method="adco",
        recipe="adco-small",
        settings={"queue_epochs": 0.5},
        unmeasured=without_queue,
    ),
    Opponent(
        name="caco",
        method="caco",
        recipe="caco-small",
        settings={"queue_epochs": 0.5},
        unmeasured=without_strengths,
    ),
    Opponent(
        name="clae",
        method="simclr",
        opponents=("perturbation",),
        section="perturbation",
        recipe="clae-small",
    ),
    Opponent(
        name="hardgen",
        method="simclr",
        opponents=("generator-pair",),
        section="generator_pair",
        recipe="hardgen-small",
        settings={"generator_pair": {"real_only": 0.0, "pretraining": {"steps": 1000}}},
    ),
    Opponent(
        name="mining",
        method="acssl",
        recipe="acssl-small",
        settings={
            "form": "topk_nce",
            "mining": {"count": 64, "skip": 1},
            "triplet": {"temperature": 0.2},
        },
    ),
)


class Bench:
    """A game on images, step by step.

    Args:
        opponent: what plays.
        strength: its setting.
        images: training images.
        seed: of the game and of its batches.
        toy: whether it has toy size.
    """

    def __init__(
        self, opponent: Opponent, strength: float | str, images: Dataset, *, seed: int, toy: bool
    ) -> None:
        self.config = config_of(opponent, strength, seed=seed, toy=toy)
        self.game: Game = build(self.config)
        size = self.config.training.image_size or 32
        self.views = Views(self.config.method_settings.views.resolve(size), image_size=size)
        self.images, self.seed, self.number = images, seed, 0
        self.batch = self.config.training.batch_size
        self.steps_per_epoch = max(1, len(images) // self.batch)
        self.measured: list[float] = []
        for dial in dials(self.game.method):
            self._watch(dial)

    def _watch(self, dial: Dial) -> None:
        turn = dial.turn

        def watched(excess: Tensor, position: Position) -> None:
            self.measured.append(float(excess))
            turn(excess, position)

        dial.turn = watched  # type: ignore[method-assign]

    def pretrain(self, images: Dataset) -> None:
        """Let the opponent learn the images, where it does so before the first step."""
        with TemporaryDirectory() as folder:
            cache = PretrainingCache(images, cache=Path(folder), seed=self.seed)
            device = torch.device("cpu")
            self.game.method.pretrain_opponent(images, cache, device=device)

    def step(self, number: int | None = None) -> None:
        """Make the next step, or that of another number."""
        number = self.number if number is None else number
        draws = generator(self.seed, "batch", number)
        chosen = torch.randperm(len(self.images), generator=draws)[: self.batch]
        batch, rows = self.images.readable(chosen)
        position = Position(step=number, num_steps=10_000, steps_per_epoch=self.steps_per_epoch)
        context = Context(
            position=position,
            indices=torch.from_numpy(rows),
            generator=generator(self.seed, "step", number),
            images=batch,
            augment=self.views,
        )
        for player in self.game.players.values():
            player.prepare(position)
        made = self.views(batch, generator=generator(self.seed, "views", number))
        self.game.method.step(as_views(made), self.game.players, context)
        self.number = max(self.number, number + 1)


def dials(method: Method) -> list[Dial]:
    """All dials of a game."""
    return [one for one in method.modules() if isinstance(one, Dial)]


def config_of(opponent: Opponent, strength: float | str, *, seed: int, toy: bool) -> RunConfig:
    """Configuration of a game at small or toy size."""
    tree = opponent.tree(strength)
    if toy:
        small = {name: value for name, value in tree.items() if name in ("strength", "form")}
        small |= {opponent.section: tree[opponent.section]} if opponent.section else {}
        return Subject(opponent.method, opponent.opponents).config(**small, seed=seed)
    settings = merged(
        {"encoder": {"width": 0.125}, "training": {"image_size": 32, "batch_size": 128}}, tree
    )
    return configure("images", recipe=opponent.recipe, settings=settings, device="cpu", seed=seed)


@contextmanager
def shared(method: Method, share: float) -> Iterator[None]:
    """Let a share of the opponent play, whatever the dial says."""
    for dial in dials(method):
        dial.share = lambda position: torch.tensor(share)  # type: ignore[method-assign]
    yield
    for dial in dials(method):
        del dial.share


def cost(opponent: Opponent, images: Dataset, *, seed: int, toy: bool, rounds: int) -> str:
    """Ratio of the CPU times of steps with the measurement and without it."""
    made = [Bench(opponent, "released", images, seed=seed, toy=toy) for _ in range(2)]
    block = max(BLOCK, *(dial.every for dial in dials(made[0].game.method)))
    opponent.unmeasured(made[1].game.method)
    for bench in made:
        for _ in range(3 if toy else 25):  # until the opponent plays
            bench.step()
    ratios = []
    for number in range(rounds):
        taken = {}
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.process_time()
            for _ in range(block):
                made[which].step()
            taken[which] = time.process_time() - start
        ratios.append(math.log(taken[0] / taken[1]))
    inside = mean_interval(ratios)
    middle, low, high = (
        100 * math.expm1(one) for one in (statistics.fmean(ratios), inside.low, inside.high)
    )
    return f"{middle:+.1f} % of a step ({low:+.1f} to {high:+.1f}, {rounds} rounds of {block})"


def monotone(bench: Bench, *, batches: int) -> str:
    """Excess loss at each share, the mean over batches with its standard error, and whether it
    rises from each share to the next."""
    method = bench.game.method
    state, first = deepcopy(method.state_dict()), bench.number
    every = max(dial.every for dial in dials(method))
    first += -first % every
    found = []
    for share in SHARES:
        values = []
        for batch in range(batches):
            method.load_state_dict(state)
            before = len(bench.measured)
            with shared(method, share):
                bench.step(first + batch * every)
            values += bench.measured[before:]
        found.append(values)
    method.load_state_dict(state)
    if not all(found):
        return "no step measured anything"
    means = [statistics.fmean(values) for values in found]
    errors = [statistics.stdev(values) / math.sqrt(len(values)) for values in found]
    rises = all(low < high for low, high in pairwise(means))
    parts = [
        f"{share:g}: {mean:.3f} +- {error:.3f}"
        for share, mean, error in zip(SHARES, means, errors, strict=True)
    ]
    return f"{', '.join(parts)} nats; {'rises' if rises else 'DOES NOT RISE'} throughout"


def settling(bench: Bench, *, steps: int, before: list[float]) -> str:
    """Steps after a jump of the target until it is held, and the distance from it afterwards.

    Args:
        bench: a game held at the lower target.
        steps: after the jump.
        before: what it measured before that.
    """
    for dial in dials(bench.game.method):
        dial.strength = HIGH
    start = len(bench.measured)
    counts = []
    for number in range(1, steps + 1):
        num_measured = len(bench.measured)
        bench.step()
        counts += [number] * (len(bench.measured) - num_measured)
    values = bench.measured[start:]
    means = [
        statistics.fmean(values[max(0, place - WINDOW + 1) : place + 1])
        for place in range(len(values))
    ]
    held = [
        place
        for place in range(min(WINDOW - 1, len(values)), len(values))
        if abs(means[place] - HIGH) <= WITHIN * HIGH
    ]
    start_text = f"{statistics.fmean(before[-50:]):.3f}" if before else "nothing"
    if not held:
        last = f"{means[-1]:.3f} nats at the end" if means else "no step measured anything"
        return f"from {start_text}: not within 15 % of {HIGH} in {steps} steps, {last}"
    later, raw = means[held[0] :], values[held[0] :]
    error = statistics.fmean(abs(one - HIGH) for one in later) / HIGH
    single = statistics.fmean(abs(one - HIGH) for one in raw) / HIGH
    inside = statistics.fmean(abs(one - HIGH) <= WITHIN * HIGH for one in later)
    return (
        f"from {start_text} to {HIGH} nats in {counts[held[0]]} steps; afterwards ({len(later)} "
        f"measurements) the mean is {statistics.fmean(raw):.3f}, the mean absolute error "
        f"{100 * error:.1f} % ({100 * single:.1f} % of single measurements), within 15 % at "
        f"{100 * inside:.0f} % of them"
    )


def rows(
    opponent: Opponent, images: Dataset, parts: list[str], given: argparse.Namespace
) -> Iterator[tuple[str, str]]:
    """Name of each part, and what it found."""
    fixed = {"seed": given.seed, "toy": given.toy}
    if "cost" in parts:
        yield "cost", cost(opponent, images, **fixed, rounds=3 if given.toy else given.rounds)
    if not {"monotone", "settling"} & set(parts):
        return
    bench = Bench(opponent, LOW, images, **fixed)
    bench.pretrain(images)
    for _ in range(6 if given.toy else given.warm):
        bench.step()
    before = list(bench.measured)
    if "monotone" in parts:
        yield "monotone", monotone(bench, batches=2 if given.toy else given.batches)
    if "settling" in parts:
        yield "settling", settling(bench, steps=12 if given.toy else given.steps, before=before)


def has_dial(opponent: Opponent, *, toy: bool) -> str:
    """Why a game has no dial; empty if it has one."""
    try:
        game = build(config_of(opponent, LOW, seed=0, toy=toy))
    except ConfigError as error:
        return str(error).partition(";")[0]
    return "" if dials(game.method) else "none of its modules is one"


def main() -> None:
    """Print a row per game and part."""
    names, parts = [one.name for one in GAMES], ["cost", "monotone", "settling"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--data", help="images, such as cifar10-train.parquet")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--warm", type=int, default=200, help="steps at 0.1 nats before")
    parser.add_argument("--steps", type=int, default=200, help="steps after the jump")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    if not given.toy and not given.data:
        parser.error("give --data, or --toy")
    torch.set_num_threads(1)
    for opponent in (one for one in GAMES if one.name in given.only):
        if why := has_dial(opponent, toy=given.toy):
            print(f"{opponent.name:8} no dial here: {why}", flush=True)
            continue
        images = dataset(64) if given.toy else real_images(opponent, given.data, given.seed)
        for part, found in rows(opponent, images, given.part, given):
            print(f"{opponent.name:8} {part:8} {found}", flush=True)


def real_images(opponent: Opponent, data: str, seed: int) -> Dataset:
    """5,000 images, drawn by the seed."""
    config = config_of(opponent, "released", seed=seed, toy=False)
    keep = config.data.model_copy(update={"limit": 5000, "limit_seed": seed})
    return open_dataset(data, keep, image_size=32)


if __name__ == "__main__":
    main()
