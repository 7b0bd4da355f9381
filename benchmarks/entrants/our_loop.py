"""Our SimCLR as `sparring train` trains it, one epoch per turn: loader, views, players, records, a
look of the monitor, a checkpoint.

    python our_loop.py WIDTH BATCHES BATCH THREADS FORM [FOLDER|FILE]

FORM is together, apart, bare, bare-default-allocator, folder or store.

together: both views share the batch norm's statistics, as by default. apart: each view goes through
the network by itself. bare: nothing but the training step, on views that were made beforehand: the
limit of the whole loop. folder: as together, on the images of that folder, from a store. store: as
together, on a file of decoded images.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from entrants.pictures import small
from side_by_side import memory_held, memory_peak, serve
from sparring.data.dataset import StoredDataset
from sparring.data.sources.source import Source
from sparring.data.views.views import Views
from sparring.methods.method import Context
from sparring.models.view import as_views
from sparring.seeding import generator
from sparring.training import build
from sparring.training.loop import Training
from sparring.training.opening import open_images
from sparring.training.run import prepare
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

LOOKED_AT = 64
"""Images of the look that a turn ends with: of the 2,000 of a look, what falls on 12 steps of a run
of 100 epochs over 10,000 images."""


class Decoded(Source):
    """Stands for the files of which a store was made."""

    class_names = None

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def key(self, index: int) -> str:
        """A name."""
        return str(index)

    def read(self, index: int) -> bytes:
        """Never asked for."""
        raise NotImplementedError

    def labels(self) -> None:
        """There are none."""

    def fingerprint(self) -> str:
        """A name of the set."""
        return str(self.number)


def stored(file: Path) -> StoredDataset:
    """Decoded images of 32 x 32 pixels, mapped from a file as a store is."""
    images = np.memmap(file, np.uint8, mode="r").reshape(-1, 3, 32, 32)
    return StoredDataset(Decoded(len(images)), images)


def training_of(
    folder: Path, *, width: float, batches: int, batch: int, data: str | None
) -> Training:
    """A run of very many epochs on small pictures in memory, or on those of a folder, or of a file
    of decoded ones."""
    tree = {
        "method": "simclr",
        "data": {"path": data or "", "cache": str(folder / "cache")},
        "encoder": {"width": width, "small_images": True},
        "training": {
            "epochs": 1000,
            "image_size": 32,
            "batch_size": batch,
            "device": "cpu",
            "monitor_images": LOOKED_AT,
        },
    }
    pictures = torch.from_numpy(small(batches * batch)).permute(0, 3, 1, 2).contiguous()
    if data is not None and Path(data).is_file():
        config, dataset = RunConfig.from_tree(tree), stored(Path(data))
    else:
        config, dataset = open_images(RunConfig.from_tree(tree), data or pictures, None)
    return prepare(config, dataset, RunFolder(folder / "run"), backbone=None, listener=None)


def whole(training: Training, batches: int) -> Callable[[], dict[str, float]]:
    """Everything that a run does."""
    settings = training.config.training

    def epoch() -> dict[str, float]:
        """The next epoch."""
        more = settings.model_copy(update={"max_steps": training.step + batches})
        training.config = training.config.model_copy(update={"training": more})
        training.run()
        return {
            "images": batches * settings.batch_size,
            "peak": memory_peak(),
            "held": memory_held(),
        }

    return epoch


def bare(training: Training, batches: int) -> Callable[[], dict[str, float]]:
    """The training steps alone."""
    images = next(iter(training.loader.batches(0))).images[0]
    views: Views = training.views
    shown, game = as_views(views(images, generator=generator(0, "views"))), training.game
    game.method.train()

    def steps() -> dict[str, float]:
        """As many as an epoch has."""
        for _ in range(batches):
            context = Context(
                position=training.position(),
                indices=torch.arange(len(images)),
                generator=generator(0, "step"),
                images=images,
                augment=views,
            )
            for player in game.players.values():
                player.prepare(context.position)
            game.method.step(shown, game.players, context)
        return {"images": batches * len(images), "peak": memory_peak()}

    return steps


def main() -> None:
    """Serve."""
    width, (batches, batch, threads), form = (
        float(sys.argv[1]),
        map(int, sys.argv[2:5]),
        sys.argv[5],
    )
    data = sys.argv[6] if form in ("folder", "store") else None
    torch.set_num_threads(threads)
    if form == "bare-default-allocator":
        build.keep_freed_memory = lambda: None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run").mkdir()
        training = training_of(Path(folder), width=width, batches=batches, batch=batch, data=data)
        if form == "apart":
            encoder = training.game.encoder
            encoder.together = lambda views: [encoder(view) for view in views]  # type: ignore[method-assign]
        serve((bare if form.startswith("bare") else whole)(training, batches))


if __name__ == "__main__":
    main()
