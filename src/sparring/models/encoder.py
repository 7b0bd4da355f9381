"""The encoder: normalisation, backbone, projector."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring.models.backbones import Backbone


class Encoder(nn.Module):
    """Encoder: images in [0, 1] to embeddings; `features` stops at the backbone's output.

    Args:
        backbone: network from images to features.
        projector: network from features to embeddings.
        mean: mean per channel that is subtracted from images.
        std: standard deviation per channel by which images are divided.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        projector: nn.Module,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector
        self.autocast_dtype: torch.dtype | None = None
        """Precision of the forward pass on devices that support it; embeddings and features are
        float32."""
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def features(
        self, images: Float[Tensor, "batch bands height width"]
    ) -> Float[Tensor, "batch channels"]:
        """The backbone's output, for downstream tasks."""
        with torch.autocast(
            images.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None
        ):
            features: Tensor = self.backbone((images - self.mean) / self.std)
        return _full_precision(features)

    def forward(
        self, images: Float[Tensor, "batch bands height width"]
    ) -> Float[Tensor, "batch dim"]:
        """Compute raw embeddings; objectives normalise them."""
        features = self.features(images)
        with torch.autocast(
            images.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None
        ):
            embeddings: Tensor = self.projector(features)
        return _full_precision(embeddings)

    def together(
        self, views: Sequence[Float[Tensor, "_ bands _ _"]]
    ) -> list[Float[Tensor, "_ dim"]]:
        """Raw embeddings of several views; views of equal size go through together and share
        batch-norm statistics, as in SimCLR."""
        if len({view.shape[1:] for view in views}) == 1:
            return list(self(torch.cat(list(views))).split([len(view) for view in views]))
        return [self(view) for view in views]


def _full_precision(tensor: Tensor) -> Tensor:
    # Objectives with temperatures of 0.02 lose their small probabilities in half precision.
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
