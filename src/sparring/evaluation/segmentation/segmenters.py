"""Segmentation networks: a dilated ResNet with a convolutional head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from sparring.models.encoder import Encoder
from sparring.models.feature_maps import FeatureMaps, dilate

LAST_STAGE = "layer4"

_ATROUS_RATES_AT_8 = (12, 24, 36)


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """Sizes of a segmentation head."""

    channels: int
    """Channels of the map that the head reads."""
    width: int | None
    """Inner channels of the head; None: the head's default."""
    num_classes: int
    dropout: float
    """Share of the inner channels set to zero before the last convolution."""
    output_stride: int
    """Pixels of the image per pixel of the map."""


class Segmenter(nn.Module):
    """Network from images in [0, 1] to the class logits of each cell of the last map; `upsampled`
    brings them to the size of a mask.

    Args:
        encoder: gives its network, which is dilated in place, and its normalisation.
        output_stride: pixels of the image per pixel of the last map; maps that are finer already
            stay so.
        make_head: builds the head for the map's channels and stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, encoder: Encoder, *, output_stride: int, make_head: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        self.maps = dilated_maps(encoder, output_stride=output_stride, stage=LAST_STAGE)
        self.head = make_head(self.maps.channels[LAST_STAGE], self.maps.strides[LAST_STAGE])
        self.register_buffer("mean", encoder.mean.clone())
        self.register_buffer("std", encoder.std.clone())

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Class logits of each cell of the last map."""
        logits: Tensor = self.head(self.maps((images - self.mean) / self.std)[LAST_STAGE])
        return logits


def dilated_maps(encoder: Encoder, *, output_stride: int, stage: str) -> FeatureMaps:
    """Module that computes the maps of one stage of an encoder, whose network it dilates in place.

    Raises:
        ConfigError: if the network is no ResNet that can be dilated.
    """
    network = encoder.backbone.network
    dilate(network, output_stride=output_stride)
    return FeatureMaps(network, stages=(stage,))


def upsampled(
    maps: Float[Tensor, "batch channels _ _"], size: tuple[int, ...]
) -> Float[Tensor, "batch channels height width"]:
    """Maps at the size of an image, each pixel interpolated between the centres of the four cells
    around it."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def fcn_head(shape: HeadShape) -> nn.Module:
    """One 3 x 3 convolution and a linear layer per pixel: torchvision's FCN head.

    Its width is a quarter of the map's channels there; here at least 64, since narrow networks
    leave too little.

    Source: Long et al. 2015, arXiv:1411.4038; torchvision's reference models.
    """
    width = shape.width or max(shape.channels // 4, 64)
    return nn.Sequential(
        *_convolution(shape.channels, width, dilation=1),
        nn.Dropout(shape.dropout),
        nn.Conv2d(width, shape.num_classes, 1),
    )


def dilated_fcn_head(shape: HeadShape) -> nn.Module:
    """Two 3 x 3 convolutions of 256 channels with dilation 6, and a linear layer per pixel.

    Source: He et al. 2020 (MoCo), arXiv:1911.05722, appendix, "VOC semantic segmentation".
    """
    width = shape.width or 256
    convolutions = [
        *_convolution(shape.channels, width, dilation=6),
        *_convolution(width, width, dilation=6),
    ]
    return nn.Sequential(
        *convolutions, nn.Dropout(shape.dropout), nn.Conv2d(width, shape.num_classes, 1)
    )


def deeplabv3_head(shape: HeadShape) -> nn.Module:
    """Atrous spatial pyramid pooling, a 3 x 3 convolution, and a linear layer per pixel.

    The rates are 12, 24, 36 at output stride 8 and half of that at 16, as in the paper. Its width
    is 256; here half the map's channels if that is less, so that a narrow network does not drown in
    its head.

    Source: Chen et al. 2017, arXiv:1706.05587, section 3.3.
    """
    width = shape.width or min(256, max(shape.channels // 2, 64))
    rates = [max(1, round(rate * 8 / shape.output_stride)) for rate in _ATROUS_RATES_AT_8]
    pyramid = ASPP(shape.channels, rates, width)
    pyramid.project[-1].p = shape.dropout
    return nn.Sequential(
        pyramid, *_convolution(width, width, dilation=1), nn.Conv2d(width, shape.num_classes, 1)
    )


def _convolution(inputs: int, outputs: int, *, dilation: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


HEADS: Mapping[str, Callable[[HeadShape], nn.Module]] = {
    "fcn": fcn_head,
    "dilated-fcn": dilated_fcn_head,
    "deeplabv3": deeplabv3_head,
}
"""Heads by name, for the setting `segmentation.head`."""
