"""Entrants of the GPU's benchmarks: our whole loop, a plain PyTorch step, lightly's loop."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_machine import Machine
from sparring.config import Tree, merged
from sparring.methods.method import Context
from sparring.models.view import View
from sparring.optim.schedule import Position
from sparring.seeding import generator
from sparring.training.build import build_encoder
from sparring.training.feed import FedStep
from sparring.training.loop import Training
from sparring.training.opening import open_images
from sparring.training.run import prepare, run_training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

LOG_STEPS, TOY_LOG_STEPS = 10, 2


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a training is; the toy size on a CPU takes moments.

    Attributes:
        batch: images per step.
        width: of the network.
        steps: steps of a turn.
        images: images of the set.
    """

    batch: int = 512
    width: float = 1.0
    steps: int = 100
    images: int = 50_000

    def on(self, machine: Machine) -> "Size":
        """This size, or the toy size."""
        toy = Size(batch=16, width=0.0625, steps=3 * TOY_LOG_STEPS, images=64)
        return toy if machine.is_toy else self


class _NoLook:
    """Stands for the monitor, which looks at the images once in minutes."""

    def look(self, encoder: object, device: object, asked: object) -> tuple[dict[str, float], None]:
        """Nothing."""
        return {}, None


class Loop:
    """The whole training loop in turns of some steps, from record to record.

    The look of the monitor and the checkpoint with which a turn ends are left out: a run has one of
    each in minutes.
    """

    def __init__(
        self, machine: Machine, size: Size, images: Tensor, folder: Path, *settings: Tree
    ) -> None:
        self.machine, self.size, self.folder = machine, size, folder
        self._records: list[tuple[int, float]] = []
        tree = merged(
            {
                "method": "simclr",
                "data": {"path": "", "cache": str(folder / "cache")},
                "encoder": {"width": size.width, "small_images": True},
                "training": {
                    "epochs": 1000,
                    "image_size": images.shape[-1],
                    "batch_size": size.batch,
                    "device": machine.device.type,
                    "log_steps": TOY_LOG_STEPS if machine.is_toy else LOG_STEPS,
                    "monitor_epochs": 1000,
                    "monitor_images": 64,
                    "checkpoint_minutes": 1e6,
                },
            },
            *settings,
        )
        config, dataset = open_images(RunConfig.from_tree(tree), images, None)
        folder.mkdir(parents=True, exist_ok=True)
        self.run_folder = RunFolder(folder / "run")
        self.run_folder.path.mkdir()
        self.training: Training = prepare(
            config,
            dataset,
            self.run_folder,
            backbone=None,
            listener=self,
        )
        self.training.monitor = _NoLook()  # type: ignore[assignment]

    def report(self, line: str) -> None:
        """Show what the run says, such as the time of its compilation."""
        print(f"  {line}", file=sys.stderr)

    def count(self, what: str, done: int, total: int) -> None:
        """Not of interest."""

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Note the time of a record, when the device has made its step."""
        self.machine.synchronise()
        self._records.append((position.step, time.perf_counter()))

    def turn(self) -> float:
        """Images per second over the next steps."""
        training = self.training
        more = training.config.training.model_copy(
            update={"max_steps": training.step + self.size.steps}
        )
        training.config = training.config.model_copy(update={"training": more})
        self._records.clear()
        run_training(training, self.run_folder)
        (first, start), *_, (last, end), _ = self._records
        return (last - first) * self.size.batch / (end - start)

    def fed(self) -> FedStep:
        """Images of a step on the device, with the parameters of their views."""
        return next(iter(self.training.feed.steps(0)))

    def ready(self) -> tuple[list[View], Tensor]:
        """Views of a batch, made beforehand, and its images."""
        fed = self.fed()
        assert fed.whole_images is not None
        return fed.views(self.training.views), fed.whole_images

    def bare(self) -> Callable[[], int]:
        """The method's step on ready views, some times."""
        training, (views, images) = self.training, self.ready()

        def steps() -> int:
            """Images of these steps."""
            for _ in range(self.size.steps):
                context = Context(
                    position=training.position(),
                    indices=torch.arange(len(images)),
                    generator=generator(0, "step"),
                    images=images,
                    augment=training.views,
                )
                for player in training.game.players.values():
                    player.prepare(context.position)
                training.game.method.step(views, training.game.players, context)
            return self.size.steps * len(images)

        training.game.method.train()
        return steps


def plain_step(loop: Loop) -> Callable[[], int]:
    """SimCLR in plain PyTorch, some times: the same network compiled, NT-Xent, SGD, ready views."""
    views, images = loop.ready()
    both = torch.cat([view.pixels for view in views]).contiguous(memory_format=torch.channels_last)
    encoder = build_encoder(loop.training.config).train()
    network = encoder if loop.machine.is_toy else torch.compile(encoder)
    optimizer = torch.optim.SGD(
        encoder.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, foreach=True
    )
    positives = torch.arange(len(both), device=both.device).roll(len(images))

    def steps() -> int:
        """Images of these steps."""
        for _ in range(loop.size.steps):
            rows = F.normalize(network(both).float(), dim=1)
            similarities = (rows @ rows.T / 0.1).fill_diagonal_(-1e9)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(similarities, positives).backward()
            optimizer.step()
        return loop.size.steps * len(images)

    return steps


class LightlyLoop:
    """lightly's SimCLR as its documentation trains it, with bfloat16 added; the backbone is ours.

    A turn starts the workers, lets them fill their queues, and times the batches after that.
    """

    def __init__(self, machine: Machine, size: Size, images: Tensor, *, workers: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead

        from sparring.models.backbones import EncoderSettings, make_backbone

        self.machine, self.size, self.workers = machine, size, workers
        settings = EncoderSettings(width=size.width, small_images=True)
        backbone = make_backbone(settings, image_size=32)
        channels = backbone.num_features
        head = SimCLRProjectionHead(channels, channels, 128)
        self._model = torch.nn.Sequential(backbone, head).to(machine.device).train()
        self._model.to(memory_format=torch.channels_last)
        self._criterion = NTXentLoss()
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=0.06)
        self._images = _Pictures(images)
        self.host_memory = 0

    def turn(self) -> float:
        """Images per second."""
        filled = 2 * self.workers + 2
        batches = self._batches()
        for _ in range(filled):
            self._step(next(batches))
        self.machine.synchronise()
        start = time.perf_counter()
        for _ in range(self.size.steps // 2):
            self._step(next(batches))
        self.machine.synchronise()
        seconds = time.perf_counter() - start
        self.host_memory = memory_of_processes()
        return self.size.steps // 2 * self.size.batch / seconds

    def _batches(self) -> Iterator[list[Tensor]]:
        while True:  # an epoch of a small set ends within a turn
            yield from torch.utils.data.DataLoader(
                self._images,
                batch_size=self.size.batch,
                shuffle=True,
                drop_last=True,
                num_workers=self.workers,
                pin_memory=self.machine.device.type == "cuda",
            )

    def _step(self, views: list[Tensor]) -> None:
        first, second = (view.to(self.machine.device, non_blocking=True) for view in views)
        with torch.autocast(self.machine.device.type, dtype=torch.bfloat16):
            loss = self._criterion(self._model(first), self._model(second))
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()


class _Pictures(torch.utils.data.Dataset[Any]):
    """Pictures in memory, given as PIL images, as torchvision's CIFAR10 does."""

    def __init__(self, images: Tensor) -> None:
        from lightly.transforms import SimCLRTransform

        self._pictures = images.permute(0, 2, 3, 1).contiguous().numpy()
        self._transform = SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Any:
        """Two views."""
        from PIL import Image

        return self._transform(Image.fromarray(self._pictures[index]))


def memory_of_processes() -> int:
    """Memory of this process and its children in bytes; shared pages count once."""
    found = _share("self")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            found += _share(process.name) if parent == str(os.getpid()) else 0
        except OSError:  # it has ended
            continue
    return found


def _share(process: str) -> int:
    lines = Path("/proc", process, "smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
