"""Faster R-CNN and Mask R-CNN on an encoder's backbone; every layer is trained, batch norms
included.

Two forms. `fpn`: a feature pyramid over the stages, boxes and masks from its levels. `c4`:
proposals and regions from the third stage's map, and the fourth stage as the head of every region.
As in MoCo the layers that are new to a pretrained network and feed many others get batch norms: the
pyramid, and the end of the fourth stage.

Source: Ren et al. 2015, arXiv:1506.01497; Lin et al. 2017, arXiv:1612.03144; He et al. 2017,
arXiv:1703.06870; He et al. 2020, arXiv:1911.05722, section 4.2 and the detectron2 configurations
that came with it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.models.encoder import Encoder
from sparring.models.feature_maps import STAGES, FeatureMaps

RATIOS = (0.5, 1.0, 2.0)
"""Height by width of the anchors."""
LEVELS = 5
"""Number of levels of the pyramid."""
FINEST_STRIDE = 4
"""Pixels per pixel of the pyramid's finest level, as in the paper; stages of the small-image stem
that are finer are left out."""
C4_ANCHORS = (2, 4, 8, 16, 32)
"""Sides of the single map's anchors in its strides: 32 to 512 px at stride 16."""
PAPER_SCALE = 8.0
"""`anchor_scale` of the papers."""


@dataclass(frozen=True, kw_only=True)
class _Form:
    """The parts in which the architectures `fpn` and `c4` differ."""

    body: nn.Module
    """Network from images to maps of `out_channels`."""
    anchors: AnchorGenerator
    candidates: int
    """Candidate boxes per proposal that is kept."""
    pool: Callable[[int], MultiScaleRoIAlign]
    """Pooling that cuts regions of a given side out of the maps."""
    region: int
    """Side of the regions that the box head reads."""
    box_head: nn.Module
    box_width: int
    mask_head: nn.Module
    mask_width: int


def box_detector(encoder: Encoder, settings: DetectorSettings, *, num_classes: int) -> nn.Module:
    """A Faster R-CNN on the encoder's backbone, which takes lists of images in [0, 1].

    Args:
        encoder: taken over as it is: hand over a copy that may learn.
        settings: architecture and sizes.
        num_classes: without the background.

    Raises:
        ConfigError: for a backbone that is no ResNet.
    """
    model: nn.Module = _faster_rcnn(
        _form(encoder, settings), encoder, settings, num_classes=num_classes
    )
    return model


def mask_detector(encoder: Encoder, settings: DetectorSettings, *, num_classes: int) -> nn.Module:
    """A Mask R-CNN: `box_detector` with a branch that predicts the outline within each box."""
    form = _form(encoder, settings)
    model: nn.Module = _faster_rcnn(form, encoder, settings, num_classes=num_classes)
    heads: Any = model.get_submodule("roi_heads")
    heads.mask_roi_pool = form.pool(14)
    heads.mask_head = form.mask_head
    heads.mask_predictor = MaskRCNNPredictor(form.mask_width, settings.channels, num_classes + 1)
    return model


def resize_to(model: nn.Module, size: int) -> None:
    """Set the shorter side in pixels to which a detector resizes every image."""
    transform: Any = model.get_submodule("transform")
    transform.min_size = (size,)


def _form(encoder: Encoder, settings: DetectorSettings) -> _Form:
    return {"fpn": _pyramid, "c4": _single_map}[settings.architecture](
        encoder.backbone.network, settings
    )


def _faster_rcnn(
    form: _Form, encoder: Encoder, settings: DetectorSettings, *, num_classes: int
) -> Any:
    return FasterRCNN(
        form.body,
        min_size=settings.min_size,
        max_size=settings.max_size,
        image_mean=encoder.mean.flatten().tolist(),
        image_std=encoder.std.flatten().tolist(),
        rpn_anchor_generator=form.anchors,
        rpn_pre_nms_top_n_train=2 * settings.proposals * form.candidates,
        rpn_pre_nms_top_n_test=settings.proposals * form.candidates,
        rpn_post_nms_top_n_train=2 * settings.proposals,
        rpn_post_nms_top_n_test=settings.proposals,
        box_roi_pool=form.pool(form.region),
        box_head=form.box_head,
        box_predictor=FastRCNNPredictor(form.box_width, num_classes + 1),
        box_score_thresh=settings.score_threshold,
        box_detections_per_img=settings.max_detections,
        box_batch_size_per_image=settings.regions,
    )


class Pyramid(nn.Module):
    """Feature pyramid: maps of equal width at five strides, usually 4 to 64, from a ResNet's
    stages.

    Args:
        network: timm's ResNet.
        channels: of every level.

    Attributes:
        strides: pixels of the image per pixel, of each level.
        num_stages: levels that come from a stage; the others are halvings of the last.
    """

    def __init__(self, network: nn.Module, *, channels: int) -> None:
        super().__init__()
        every = FeatureMaps(network).strides
        self.maps = FeatureMaps(
            network, stages=tuple(stage for stage in STAGES if every[stage] >= FINEST_STRIDE)
        )
        self.num_stages, self.out_channels = len(self.maps.stages), channels
        strides = [self.maps.strides[stage] for stage in self.maps.stages]
        self.strides = [
            *strides,
            *(strides[-1] * 2**level for level in range(1, LEVELS - self.num_stages + 1)),
        ]
        self.pyramid = FeaturePyramidNetwork(
            [self.maps.channels[stage] for stage in self.maps.stages],
            channels,
            extra_blocks=_Halvings(LEVELS - self.num_stages),
            norm_layer=nn.BatchNorm2d,
        )

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> OrderedDict[str, Tensor]:
        """Maps by level, the finest first."""
        levels = self.pyramid(OrderedDict(self.maps(_fast(images))))
        return OrderedDict((str(number), level) for number, level in enumerate(levels.values()))


class _Halvings(ExtraFPNBlock):  # type: ignore[misc]
    """Further levels of a pyramid, each of every second pixel of the one before."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        """The levels and their names, with the further ones at the end."""
        for number in range(self.count):
            results.append(F.max_pool2d(results[-1], kernel_size=1, stride=2))
            names.append(f"halved{number}")
        return results, names


def _pyramid(network: nn.Module, settings: DetectorSettings) -> _Form:
    body, channels = Pyramid(network, channels=settings.channels), settings.channels
    sizes = [(max(1, round(settings.anchor_scale * stride)),) for stride in body.strides]
    names = [str(number) for number in range(body.num_stages)]
    # The paper sends regions of 224 px to the level of stride 16, whose anchors are half of that;
    # other anchors move both.
    scale = max(1, round(224 * settings.anchor_scale / PAPER_SCALE))

    return _Form(
        body=body,
        anchors=AnchorGenerator(sizes, [RATIOS] * LEVELS),
        candidates=1,
        pool=lambda side: MultiScaleRoIAlign(names, side, 2, canonical_scale=scale),
        region=7,
        box_head=TwoMLPHead(channels * 7**2, settings.hidden),
        box_width=settings.hidden,
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_width=channels,
    )


class SingleMap(nn.Module):
    """The map of a ResNet's third stage.

    Args:
        network: timm's ResNet.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.maps = FeatureMaps(network, stages=("layer3",))
        self.out_channels, self.stride = self.maps.channels["layer3"], self.maps.strides["layer3"]

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> OrderedDict[str, Tensor]:
        """The map under a name, as torchvision expects it."""
        return OrderedDict({"0": self.maps(_fast(images))["layer3"]})


def _fast(images: Tensor) -> Tensor:
    """A module in the channels-last memory format, which convolutions run fastest in."""
    return images.contiguous(memory_format=torch.channels_last)


def _single_map(network: nn.Module, settings: DetectorSettings) -> _Form:
    body, width = SingleMap(network), FeatureMaps(network).channels["layer4"]
    # One module in two places: boxes and masks share the fourth stage.
    stage = nn.Sequential(network.get_submodule("layer4"), nn.BatchNorm2d(width))
    sizes = tuple(
        max(1, round(size * body.stride * settings.anchor_scale / PAPER_SCALE))
        for size in C4_ANCHORS
    )
    return _Form(
        body=body,
        anchors=AnchorGenerator((sizes,), (RATIOS,)),
        # Detectron2 lets 12,000 compete for 2,000 here, and 2,000 on each level of a pyramid
        candidates=6,
        pool=partial(MultiScaleRoIAlign, ["0"], sampling_ratio=0),
        region=14,
        box_head=nn.Sequential(stage, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        box_width=width,
        mask_head=stage,
        mask_width=width,
    )
