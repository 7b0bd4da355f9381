"""Our SimCLR as `sparring train` trains it, one epoch per turn: loader, views, players, records, a look of the monitor, a checkpoint.

    python our_loop.py WIDTH BATCHES BATCH THREADS {together|apart|bare|bare-default-allocator|folder} [FOLDER]

together: both views share the batch norm's statistics, as by default. apart: each view goes through the network by itself. bare: nothing
but the training step, on views that were made beforehand: the limit of the whole loop. folder: as together, on the images of that folder,
from a store.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from contest import memory_peak, serve
from contestants.pictures import small
from sparring.data.views import Views
from sparring.methods.method import Step
from sparring.seeding import generator
from sparring.training import build
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.training.start import open_images, prepare


def training_of(folder: Path, *, width: float, batches: int, batch: int, data: str | None) -> Training:
    """A run of very many epochs on small pictures in memory, or on those of a folder."""
    tree = {
        "method": "simclr",
        "data": {"path": data or "", "cache": str(folder / "cache")},
        "encoder": {"width": width, "small_images": True},
        "training": {"epochs": 1000, "image_size": 32, "batch_size": batch, "device": "cpu"},
    }
    pictures = torch.from_numpy(small(batches * batch)).permute(0, 3, 1, 2).contiguous()
    config, dataset = open_images(RunConfig.from_tree(tree), data or pictures, None)
    return prepare(config, dataset, RunFolder(folder / "run"), backbone=None, listener=None)


def whole(training: Training, batches: int) -> Callable[[], dict[str, float]]:
    """Everything that a run does."""
    settings = training.config.training

    def epoch() -> dict[str, float]:
        """The next epoch."""
        more = settings.model_copy(update={"max_steps": training.step + batches})
        training.config = training.config.model_copy(update={"training": more})
        training.play()
        return {"images": batches * settings.batch_size, "peak": memory_peak()}

    return epoch


def bare(training: Training, batches: int) -> Callable[[], dict[str, float]]:
    """The training steps alone."""
    images = next(iter(training.loader.batches(0))).images[0]
    views: Views = training.views
    shown, contest = views(images, generator=generator(0, "views")), training.contest
    contest.method.train()
    step = Step(
        progress=training.progress(), indices=torch.arange(len(images)), generator=generator(0, "step"), images=images, augment=views
    )

    def steps() -> dict[str, float]:
        """As many as an epoch has."""
        for _ in range(batches):
            for player in contest.players.values():
                player.prepare(step.progress)
            contest.method.step(shown, contest.players, step)
        return {"images": batches * len(images), "peak": memory_peak()}

    return steps


def main() -> None:
    """Serve."""
    width, (batches, batch, threads), form = float(sys.argv[1]), map(int, sys.argv[2:5]), sys.argv[5]
    data = sys.argv[6] if form == "folder" else None
    torch.set_num_threads(threads)
    if form == "bare-default-allocator":
        build.keep_freed_memory = lambda: None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "run").mkdir()
        training = training_of(Path(folder), width=width, batches=batches, batch=batch, data=data)
        if form == "apart":
            encoder = training.contest.encoder
            encoder.together = lambda views: [encoder(view) for view in views]  # type: ignore[method-assign]
        serve((bare if form.startswith("bare") else whole)(training, batches))


if __name__ == "__main__":
    main()
