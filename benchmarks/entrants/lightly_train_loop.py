"""lightly-train's `simclr` on a folder of images, as its documentation starts it; one short run per
turn.

    python lightly_train_loop.py WIDTH WORKERS EPOCHS BATCH THREADS FOLDER

The figure is the rate of the steps after the first epoch: starting costs it many seconds, which a
long run does not feel. Same backbone, head as ours (hidden layer as wide as the features),
augmentation of small images.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["LIGHTLY_TRAIN_EVENTS_DISABLED"] = "1"

import lightly_train
import torch
from lightly_train._methods.simclr.simclr import SimCLR

from side_by_side import memory_peak, serve
from sparring.models.backbones import EncoderSettings, make_backbone

TRANSFORM = {
    "image_size": (32, 32),
    "color_jitter": {"prob": 0.8, "strength": 0.5},
    "gaussian_blur": None,
}


def main() -> None:
    """Serve."""
    width, (workers, epochs, batch, threads), data = (
        float(sys.argv[1]),
        map(int, sys.argv[2:6]),
        sys.argv[6],
    )
    torch.set_num_threads(threads)
    ends: list[float] = []
    own_step = SimCLR.training_step_impl

    def noted_step(self: SimCLR, *arguments: object, **named: object) -> object:
        """The step, with the time of its beginning noted."""
        ends.append(time.perf_counter())
        return own_step(self, *arguments, **named)

    SimCLR.training_step_impl = noted_step

    def run() -> dict[str, float]:
        """A run from its start; the rate over all whole epochs but the first."""
        ends.clear()
        network = make_backbone(
            EncoderSettings(width=width, small_images=True), image_size=32
        ).network
        with tempfile.TemporaryDirectory() as out:
            lightly_train.pretrain(
                out=Path(out) / "run",
                data=data,
                model=network,
                method="simclr",
                method_args={"hidden_dim": network.num_features},
                epochs=epochs,
                batch_size=batch,
                num_workers=workers,
                accelerator="cpu",
                transform_args=TRANSFORM,
            )
        per_epoch = len(ends) // epochs
        steps = len(ends) - 1 - per_epoch
        return {
            "images": steps * batch,
            "steady": ends[-1] - ends[per_epoch],
            "peak": memory_peak(),
        }

    serve(run)


if __name__ == "__main__":
    main()
