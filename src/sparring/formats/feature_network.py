"""The network that is exported as a program: from images in [0, 1] to features, normalisation in
front."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.models.encoder import Encoder
from sparring.models.vision_transformers import patch_side

SIZE_STEP = 32
"""Heights and widths that are left open are multiples of so many pixels: what most networks divide
an image by."""
TOLERANCE = 1e-4
"""Largest difference to PyTorch's features that an export in float32 may show; see
`largest_difference`."""
CHECKED_BATCHES = (1, 2, 5)
"""Numbers of images that a written program is given."""
_TRACED_IMAGES = 2


class FeatureNetwork(nn.Module):
    """Network from images in [0, 1] to features, float32, whatever precision it computes in.

    Args:
        encoder: a copy of its backbone is used, on the CPU and in evaluation mode.
        precision: type of the backbone's weights and features; normalisation is float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, *, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        backbone = deepcopy(encoder.backbone).cpu().eval().requires_grad_(False)
        # Weights of a run may lie in channels-last memory, which would fix the sizes of a trace.
        self.backbone = backbone.to(precision).to(memory_format=torch.contiguous_format)
        self.precision = precision
        for name in ("mean", "std"):
            self.register_buffer(name, getattr(encoder, name).detach().cpu().clone())
        self.eval()

    def forward(
        self, images: Float[Tensor, "batch bands height width"]
    ) -> Float[Tensor, "batch channels"]:
        """Compute features, (batch, channels)."""
        normalised = (images - self.mean) / self.std
        features: Tensor = self.backbone(normalised.to(self.precision))
        return features.float()


def traced(
    network: FeatureNetwork, *, image_size: int, has_dynamic_size: bool = False
) -> torch.export.ExportedProgram:
    """Graph of a network, in which the number of images is open.

    Args:
        network: what to trace.
        image_size: side of the images in pixels.
        has_dynamic_size: whether height and width are open too, as multiples of `SIZE_STEP`.

    Raises:
        ConfigError: if the network cannot be traced, or not with open sizes.
    """
    shapes: dict[int, Any] = {0: torch.export.Dim("batch")}
    height = width = image_size
    if has_dynamic_size:
        _require_open_sizes(network)
        rows, columns = torch.export.Dim("rows"), torch.export.Dim("columns")
        shapes |= {2: SIZE_STEP * rows, 3: SIZE_STEP * columns}
        # Two unequal sizes: equal ones could be taken for one.
        steps = max(2, round(image_size / SIZE_STEP))
        height, width = SIZE_STEP * steps, SIZE_STEP * (steps + 1)
    images = torch.rand(_TRACED_IMAGES, network.mean.shape[1], height, width)
    try:
        with quiet():
            return torch.export.export(network, (images,), dynamic_shapes=(shapes,))
    except Exception as error:  # whatever a network's code and PyTorch's tracing raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        advice = (
            "leave --dynamic-size out" if has_dynamic_size else "use --format timm or safetensors"
        )
        raise ConfigError(
            f"PyTorch cannot trace this network ({type(error).__name__}: {reason[:200]}); {advice}"
        ) from error


def largest_difference(
    found: Float[Tensor, "batch channels"], wanted: Float[Tensor, "batch channels"]
) -> float:
    """Largest difference between features, each relative to its size, or to 1 if that is larger; to
    the largest feature instead of 1 if all are smaller."""
    unit = min(1.0, max(float(wanted.abs().max()), torch.finfo(torch.float32).tiny))
    return float(((found - wanted).abs() / wanted.abs().clamp(min=unit)).max())


def _require_open_sizes(network: FeatureNetwork) -> None:
    if patch_side(network.backbone.network) is not None:
        raise ConfigError(
            "--dynamic-size is for networks that take images of any size as they are; this vision "
            f"transformer has position embeddings for {network.backbone.image_size} px: leave it "
            "out"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the notes and warnings of other libraries, which a user can do nothing about."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        # PyTorch prints the graph of a network that it cannot trace.
        nowhere = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
