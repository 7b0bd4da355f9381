"""Encoders with random weights as exported runs, for tests of exports."""

from typing import Any

import torch
from torch import nn

from sparring.formats.model_card import ExportedRun
from sparring.models.backbones import EncoderSettings, make_backbone
from sparring.models.encoder import Encoder
from sparring.training.scores import Scores
from sparring.training.settings import RunConfig


def exported_run(
    *,
    backbone: str = "resnet18",
    image_size: int = 32,
    channels: int = 3,
    data: dict[str, Any] | None = None,
    scores: Scores | None = None,
    environment: dict[str, Any] | None = None,
    **shape: Any,
) -> ExportedRun:
    """Run of an encoder with random weights and statistics, in evaluation mode."""
    settings = EncoderSettings(backbone=backbone, **shape)
    config = RunConfig.from_tree(
        {
            "method": "simclr",
            "data": {"channels": channels, **(data or {})},
            "encoder": settings.model_dump(),
            "training": {"image_size": image_size},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_backbone(settings, image_size=image_size, channels=channels)
        mean, std = settings.normalisation(channels)
        encoder = Encoder(network, nn.Identity(), mean=mean, std=std)
        for name, tensor in encoder.backbone.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bn1.bias")):
                tensor.normal_(std=0.1)
    return ExportedRun(
        name="run",
        encoder=encoder.eval().requires_grad_(False),
        config=config,
        step=7,
        environment=environment or {},
        scores=scores or Scores(),
    )


def random_images(run: ExportedRun, count: int = 4) -> torch.Tensor:
    """Images in [0, 1] of the run's size."""
    size = run.config.image_size
    draws = torch.Generator().manual_seed(1)
    return torch.rand(count, run.config.data.channels, size, size, generator=draws)
