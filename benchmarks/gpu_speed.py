"""How fast a GPU trains and scores, part by part, each in at most four minutes.

    python benchmarks/gpu_speed.py --part loop [--cpu] [--out FILE.json] [--rounds 3]
        [--data cifar10-train.parquet]

Both sides of a ratio take turns in one process, and a row has the median with the lowest and the
highest. ResNet-18 with the small stem, 32 px, bfloat16, batch 512 unless a row says otherwise;
without --data the images are noise in the shape of CIFAR-10. The parts:

    loop    sparring.train with SimCLR, over the plain PyTorch step compiled on ready views, and
            over lightly's documented loop at its best number of workers; batch 512 and 1,024
    views   two views per image alone, also of kornia
    games   AdCo and CaCo over MoCo v2, CLAE over SimCLR, in time
    narrow  width 0.25
    large   224 px: ResNet-50 over its own step on ready views, and ViT-S/16
    memory  of host and GPU with 50,000 images, over lightly
    scores  kNN, linear probe, fine-tuning and semi-supervised steps over the bare step
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from entrants.pictures import small
from gpu_entrants import LightlyLoop, Loop, Size, memory_of_processes, plain_step
from gpu_machine import Machine, arguments, cifar, machine_of, write
from side_by_side import Turns, in_words, ratio, spread, take_turns
from sparring.config import Tree
from sparring.evaluation.finetuning.finetuning import (
    Classifier,
    FineTuningSettings,
    fine_tuned,
)
from sparring.evaluation.frozen.logistic import REGULARISATIONS, regularisation_path, standardise
from sparring.measures.knn import knn_accuracy
from sparring.seeding import generator
from sparring.training.build import build_encoder

MISSING = "{} is not installed"
VECTORS = 4096


@dataclass
class Table:
    """Rows of a part, shown as they are found.

    Attributes:
        machine: the device.
        data: file of images, if any.
        folder: place for runs.
        rounds: turns that count.
        rows: figures by claim.
    """

    machine: Machine
    data: Path | None
    folder: Path
    rounds: int
    rows: dict[str, Any] = field(default_factory=dict)
    words: str = ""

    def images(self, size: Size) -> Tensor:
        """Images of the set, whose kind is noted."""
        found, _, self.words = cifar(self.data, size.images)
        return found

    def new(self) -> Path:
        """A folder that is not there yet."""
        return self.folder / str(len(list(self.folder.iterdir())))

    def turns(self, entrants: Mapping[str, Callable[[], float]]) -> Turns:
        """Figures of entrants that take turns."""
        return take_turns(entrants, rounds=self.rounds, warmup=1)

    def row(
        self, claim: str, found: Mapping[str, float] | str, *, must: float, wanted: float
    ) -> None:
        """A figure, or why there is none, with what it must be and what is wanted."""
        shown = found if isinstance(found, str) else in_words(found, _form(found["median"]))
        self.rows[claim] = {"found": found, "must": must, "wanted": wanted}
        print(f"{claim:62} {shown:34} must {must:g}, wanted {wanted:g}", flush=True)

    def note(self, claim: str, found: Mapping[str, float] | str) -> None:
        """A figure that no bound belongs to."""
        shown = found if isinstance(found, str) else in_words(found, _form(found["median"]))
        self.rows[claim] = {"found": found}
        print(f"{claim:62} {shown}", flush=True)


def _form(value: float) -> str:
    return ",.0f" if value >= 100 else ".2f" if value >= 0.1 else ".4f"


def whole_loop(table: Table) -> None:
    """The loop beside the plain step, and beside lightly's."""
    for batch, must, wanted in ((512, 30_000, 40_000), (1024, 33_000, 43_000)):
        size = Size(batch=batch).on(table.machine)
        images = table.images(size)
        loop = Loop(table.machine, size, images, table.new())
        entrants = {
            "ours": loop.turn,
            "plain": table.machine.per_second(plain_step(loop)),
        }
        if batch == 512 and find_spec("lightly"):
            entrants["lightly"] = best_lightly(table, size, images).turn
        turns = table.turns(entrants)
        table.row(
            f"sparring.train, images/s, batch {batch}",
            spread(turns["ours"]),
            must=must,
            wanted=wanted,
        )
        table.note(f"plain PyTorch compiled, images/s, batch {batch}", spread(turns["plain"]))
        if batch == 512:
            table.row(
                "over plain PyTorch compiled", ratio(turns, "ours", "plain"), must=0.7, wanted=0.95
            )
            over = ratio(turns, "ours", "lightly") if "lightly" in turns else _no("lightly")
            table.row("over lightly's loop", over, must=3.5, wanted=4.7)
            if "lightly" in turns:
                table.note("lightly, images/s", spread(turns["lightly"]))


def best_lightly(table: Table, size: Size, images: Tensor) -> LightlyLoop:
    """lightly's loop with the number of workers that is the fastest in one turn."""
    cores = table.machine.facts()["cores"]
    tried = [1] if table.machine.is_toy else sorted({cores - 1, cores * 3 // 4, cores // 2})
    loops = [LightlyLoop(table.machine, size, images, workers=number) for number in tried]
    rates = {loop.workers: loop.turn() for loop in loops}
    for number, rate in rates.items():
        table.note(f"lightly with {number} workers, images/s, one turn", spread([rate]))
    return max(loops, key=lambda loop: rates[loop.workers])


def _no(package: str) -> str:
    return MISSING.format(package)


def views_alone(table: Table) -> None:
    """Two views of each image, whose parameters were drawn ahead as in a run."""
    size = replace(Size().on(table.machine), steps=2 if table.machine.is_toy else 30)
    loop = Loop(table.machine, size, table.images(size), table.new())
    fed, augment = loop.fed(), loop.training.views

    def ours() -> int:
        """Images of some batches."""
        for _ in range(size.steps):
            fed.views(augment)
        return size.steps * len(fed.images[0])

    entrants = {"ours": table.machine.per_second(ours)}
    if find_spec("kornia"):
        entrants["kornia"] = table.machine.per_second(kornia_views(fed.images[0], size.steps))
    turns = table.turns(entrants)
    table.row(
        "views, two per image, alone, images/s", spread(turns["ours"]), must=200_000, wanted=400_000
    )
    over = ratio(turns, "ours", "kornia") if "kornia" in turns else _no("kornia")
    table.note("over kornia", over)


def kornia_views(images: Tensor, steps: int) -> Callable[[], int]:
    """Two views of each image by kornia, some times."""
    import kornia.augmentation as K

    augment = K.AugmentationSequential(
        K.RandomResizedCrop((32, 32), scale=(0.2, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
    )

    def made() -> int:
        """Images of some batches."""
        for _ in range(steps):
            for _ in range(2):
                augment(images.float() / 255)
        return steps * len(images)

    return made


def games(table: Table) -> None:
    """Time of games over their controls."""
    size = Size().on(table.machine)
    images, bank = table.images(size), 32 if table.machine.is_toy else VECTORS
    own: dict[str, Tree] = {
        "mocov2": {"method": "mocov2", "queue": {"size": bank}},
        "adco": {"method": "adco", "bank": {"size": bank}, "queue_epochs": 0.5},
        "caco": {"method": "caco", "bank": {"size": bank}, "queue_epochs": 0.5},
        "simclr": {"method": "simclr"},
        "clae": {"method": "clae"},
    }
    claims = (
        ("mocov2", (("adco", 1.05, 1.02), ("caco", 1.05, 1.02))),
        ("simclr", (("clae", 2.05, 1.87),)),
    )
    for base, against in claims:
        names = [base, *(name for name, _, _ in against)]
        loops = {name: Loop(table.machine, size, images, table.new(), own[name]) for name in names}
        turns = table.turns({name: loop.turn for name, loop in loops.items()})
        for name, must, wanted in against:
            table.row(
                f"{name} over {base}, time", ratio(turns, base, name), must=must, wanted=wanted
            )
        for name in names:
            table.note(f"{name}, images/s", spread(turns[name]))


def narrow(table: Table) -> None:
    """A network so narrow that launching its kernels takes the time."""
    size = Size(width=0.25, steps=200).on(table.machine)
    images = table.images(size)
    loops = {"as by default": Loop(table.machine, size, images, table.new())}
    if not table.machine.is_toy:
        change: Tree = {"training": {"compile": "reduce-overhead"}}
        loops["reduce-overhead"] = Loop(table.machine, size, images, table.new(), change)
    turns = table.turns({name: loop.turn for name, loop in loops.items()})
    for name, rates in turns.items():
        table.row(f"width 0.25, images/s, {name}", spread(rates), must=80_000, wanted=150_000)


def large(table: Table) -> None:
    """Views of 224 pixels from squares of 256, on the device and streamed."""
    toy = table.machine.is_toy
    stored, side, number = (40, 32, 64) if toy else (256, 224, 4096)
    squares = torch.from_numpy(small(min(number, 256), stored)).permute(0, 3, 1, 2)
    squares = squares.repeat(-(-number // len(squares)), 1, 1, 1).contiguous()
    table.words = f"noise, {number} squares of {stored} px"
    size = replace(Size(batch=256, steps=40).on(table.machine), images=number)
    network = {"backbone": "resnet18", "width": 0.0625} if toy else {"backbone": "resnet50"}
    own: Tree = {
        "training": {"image_size": side},
        "encoder": {"small_images": False, "width": 1.0, **network},
    }
    for place in ("device", "memory"):
        kept: Tree = {"data": {"store": place, "stored_size": stored}}
        loop = Loop(table.machine, size, squares, table.new(), own, kept)
        turns = table.turns({"ours": loop.turn, "bare": table.machine.per_second(loop.bare())})
        table.row(
            f"{network['backbone']}, over the step on ready views, {place}",
            ratio(turns, "ours", "bare"),
            must=0.85,
            wanted=0.95,
        )
        table.note(f"{network['backbone']}, images/s, {place}", spread(turns["ours"]))
    name = "vit_tiny_patch16_224" if toy else "vit_small_patch16_224"
    transformer: Tree = {"encoder": {"backbone": name, "small_images": None, "width": 1.0}}
    loop = Loop(table.machine, size, squares, table.new(), own, kept, transformer)
    found = spread(table.turns({name: loop.turn})[name])
    table.row(f"{name}, {side} px, images/s", found, must=1500, wanted=2000)


def memory(table: Table) -> None:
    """Memory of a process that trains with all images, over one with lightly."""
    found = {}
    for side in ("ours", *(["lightly"] if find_spec("lightly") else [])):
        command = [sys.executable, __file__, "--part", "memory", "--side", side]
        command += ["--cpu"] if table.machine.is_toy else []
        command += ["--data", str(table.data)] if table.data else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
        table.words = found[side].pop("images")
        for what, size in found[side].items():
            table.note(f"{what} memory of {side}, GB", spread([size / 1e9]))
    for what in ("host", "GPU"):
        if "lightly" in found and found["lightly"][what]:
            over: Any = spread([found["ours"][what] / found["lightly"][what]])
        else:
            over = _no("lightly" if "lightly" not in found else "a GPU")
        table.row(f"{what} memory over lightly's", over, must=1.0, wanted=0.8)


def memory_of(table: Table, side: str) -> dict[str, Any]:
    """Memory of this process after some training, its workers included, and of the GPU."""
    size = Size().on(table.machine)
    images = table.images(size)
    if side == "ours":
        Loop(table.machine, size, images, table.new()).turn()
        host = memory_of_processes()
    else:
        workers = 1 if table.machine.is_toy else table.machine.facts()["cores"] - 1
        loop = LightlyLoop(table.machine, size, images, workers=workers)
        loop.turn()
        host = loop.host_memory
    cuda = table.machine.device.type == "cuda"
    reserved = torch.cuda.max_memory_reserved() if cuda else 0
    return {"images": table.words, "host": host, "GPU": reserved}


def scores(table: Table) -> None:
    """Scoring on the device."""
    toy, device = table.machine.is_toy, table.machine.device
    rows, tests, dim = (500, 100, 16) if toy else (50_000, 10_000, 512)
    table.words = "made features of ten classes that overlap; noise for fine-tuning"
    draws = generator(0, "features")
    labels = torch.randint(0, 10, (rows + tests,), generator=draws)
    centres = 0.3 * torch.randn(10, dim, generator=draws)
    features = centres[labels] + torch.randn(rows + tests, dim, generator=draws)
    train, test = features[:rows].to(device), features[rows:].to(device)
    truth, test_truth = labels[:rows].to(device), labels[rows:].to(device)
    standard, _ = standardise(train, test)
    turns = table.turns(
        {
            "knn": table.machine.seconds(lambda: knn_accuracy(train, truth, test, test_truth)),
            "linear": table.machine.seconds(
                lambda: regularisation_path(standard, truth, REGULARISATIONS)
            ),
        }
    )
    table.row(f"kNN {rows:,} x {tests:,}, s", spread(turns["knn"]), must=1, wanted=0.3)
    table.row(
        f"linear probe {rows:,} x {dim}, seven penalties, s",
        spread(turns["linear"]),
        must=10,
        wanted=3,
    )
    size = Size(images=5_000).on(table.machine)
    loop = Loop(table.machine, size, table.images(size), table.new())
    for name, share in (("fine-tuning", 1.0), ("semi-supervised", 0.1)):
        turns = table.turns(fine_tuning(table, loop, max(16, int(share * size.images))))
        table.row(
            f"{name}, steps/s over the bare step",
            ratio(turns, "ours", "bare"),
            must=0.7,
            wanted=0.9,
        )
        table.note(f"{name}, steps/s", spread(turns["ours"]))


def fine_tuning(table: Table, loop: Loop, rows: int) -> dict[str, Callable[[], float]]:
    """Steps per second of fine-tuning on some rows, and of the bare step on a ready batch."""
    steps = 3 if table.machine.is_toy else 200
    settings, dataset = FineTuningSettings(steps=steps), loop.training.dataset
    labels = torch.arange(rows) % 10

    def protocol() -> int:
        """Steps of one classifier, from a new encoder."""
        fine_tuned(
            build_encoder(loop.training.config),
            dataset,
            torch.arange(rows),
            labels,
            num_classes=10,
            settings=settings,
            seed=0,
        )
        return steps

    classifier = Classifier(build_encoder(loop.training.config).train(), num_classes=10, seed=0)
    classifier.to(table.machine.device)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.01, momentum=0.9)
    batch = min(settings.batch_size, rows)
    pixels = loop.ready()[0][0].pixels[:batch]
    pixels = pixels.repeat(-(-batch // len(pixels)), 1, 1, 1)[:batch]
    truth = labels[:batch].to(table.machine.device)

    def bare() -> int:
        """As many steps."""
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(classifier(pixels), truth).backward()
            optimizer.step()
        return steps

    return {
        "ours": table.machine.per_second(protocol),
        "bare": table.machine.per_second(bare),
    }


PARTS: dict[str, Callable[[Table], None]] = {
    "loop": whole_loop,
    "views": views_alone,
    "games": games,
    "narrow": narrow,
    "large": large,
    "memory": memory,
    "scores": scores,
}


def main() -> None:
    """Measure a part, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--data", type=Path, help="parquet file of images and labels")
    parser.add_argument("--rounds", type=int, help="turns that count; default 3, at toy size 1")
    parser.add_argument("--side", choices=("ours", "lightly"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    machine, start = machine_of(options), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rounds = options.rounds or (1 if machine.is_toy else 3)
        table = Table(machine, options.data, Path(folder), rounds)
        if options.side:
            print(json.dumps(memory_of(table, options.side)))
            return
        PARTS[options.part](table)
    seconds = time.monotonic() - start
    print(f"part {options.part}: {machine.facts()['device']}, {table.words}, {seconds:.0f} s")
    write(options.out, machine, table.rows, part=options.part, images=table.words, seconds=seconds)


if __name__ == "__main__":
    main()
