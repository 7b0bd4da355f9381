"""Pixel probe: a linear classifier of single pixels on frozen feature maps.

It is a 1 x 1 convolution on a map whose logits are upsampled to the mask and compared with it pixel
by pixel. Upsampling is linear, so the loss is that of logistic regression on interpolated features.
It is computed on a random sample of the pixels and fitted as in the linear probe: no learning rate,
no augmentation, the same digits for the same seed.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from sparring.errors import DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.features import ReportProgress, evaluating
from sparring.evaluation.frozen.logistic import (
    REGULARISATIONS,
    FittedProbe,
    fitted_probe,
    regularisation_path,
    standardise,
)
from sparring.evaluation.protocol import Protocol, Result
from sparring.evaluation.segmentation.mask_classes import MaskSettings
from sparring.evaluation.segmentation.masks import Segmented, open_segmented
from sparring.evaluation.segmentation.segmenters import dilated_maps, upsampled
from sparring.measures.iou import confusion_matrix, mean_iou
from sparring.models.encoder import Encoder
from sparring.models.feature_maps import FeatureMaps
from sparring.seeding import generator

PROTOCOL = Protocol(
    name="pixel-probe",
    function="pixel_probe",
    settings="PixelProbeSettings",
    title="Linear probe of pixels",
    question="how well does a linear classifier of frozen pixel features segment?",
    labels="masks",
    headline="miou",
    measure="mean IoU",
    source=("logistic regression on frozen maps, dilated as in Chen et al. 2017, arXiv:1606.00915"),
    is_for_colours=True,
)


class PixelProbeSettings(MaskSettings):
    """Settings of `pixel-probe`."""

    protocol: ClassVar[str] = "pixel-probe"

    stage: Literal["layer1", "layer2", "layer3", "layer4"] = "layer4"
    """Stage of the ResNet whose map is read."""
    output_stride: Literal[4, 8, 16, 32] = 8
    """Pixels of the image per pixel of the last map; coarser stages are dilated. As in
    `segmentation`."""
    pixels: int = Field(default=100_000, ge=100)
    """Training pixels in all, the same number from every image."""
    regularisations: tuple[float, ...] = REGULARISATIONS
    """Weight penalties to choose from, on the pixels of held-out training images."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Part of the training images to choose on."""


def pixel_probe(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: PixelProbeSettings
) -> Result:
    """Mean IoU of a linear classifier of the pixels of a frozen, dilated encoder."""
    segmented = open_segmented(data, settings)
    if len(segmented.train_rows) < 2:
        raise DataError(
            "the pixel probe chooses its regularisation on held-out training images and needs "
            "at least two, got one"
        )
    encoder = evaluated.trainable_copy()  # a copy, since dilation changes it
    maps = dilated_maps(encoder, output_stride=settings.output_stride, stage=settings.stage)
    network = FrozenMap(encoder, maps, stage=settings.stage)
    progress = data.progress(f"maps of the {evaluated.name} encoder, training images")
    sample = _sampled(network, segmented, pixels=settings.pixels, data=data, progress=progress)
    penalty, validation_miou = _chosen_penalty(
        sample, settings, num_classes=segmented.num_classes, seed=data.seed
    )
    fitted = fitted_probe(
        sample.features,
        sample.targets,
        seed=data.seed,
        regularisations=(penalty,),
        validation_share=settings.validation_share,
    )
    confusion = _confusion(
        network,
        fitted,
        segmented,
        progress=data.progress(f"segmenting with the {evaluated.name} encoder"),
    )
    known = {
        "validation_miou": validation_miou,
        "regularisation": penalty,
        "channels": maps.channels[settings.stage],
    }
    return {**segmented.result(confusion), **known, "train_pixels": len(sample.targets)}


@dataclass(frozen=True)
class FrozenMap:
    """Frozen feature map of one stage of an encoder, for single images."""

    encoder: Encoder
    maps: FeatureMaps
    _: KW_ONLY
    stage: str

    def __call__(
        self, image: Float[Tensor, "3 height width"]
    ) -> Float[Tensor, "channels rows columns"]:
        """Feature map of an image in [0, 1], on the encoder's device."""
        mean, std = self.encoder.mean, self.encoder.std
        with evaluating(self.maps.modules()):
            map_: Tensor = self.maps((image.to(mean.device)[None] - mean) / std)[self.stage][0]
        return map_


@dataclass(frozen=True, kw_only=True)
class PixelSample:
    """Pixels of the training images."""

    features: Float[Tensor, "pixels channels"]
    """Features of each pixel, interpolated in the map."""
    targets: Int[Tensor, "pixels"]
    images: Int[Tensor, "pixels"]
    """Number of the image that each pixel is from."""


def interpolated(
    map_: Float[Tensor, "channels rows columns"],
    places: Int[Tensor, "pixels 2"],
    size: tuple[int, ...],
) -> Float[Tensor, "pixels channels"]:
    """Features at some pixels of an image: those of `upsampled`, without computing the others.

    Args:
        map_: cells.
        places: row and column of each pixel.
        size: height and width of the image.
    """
    centres = (places.flip(1) + 0.5) / torch.tensor(size[::-1], device=places.device) * 2 - 1
    # Beyond the centres of the outermost cells their values continue, as they do in `upsampled`.
    values = F.grid_sample(
        map_[None],
        centres[None, None].to(map_.dtype),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return values[0, :, 0].T


def _sampled(
    network: FrozenMap,
    segmented: Segmented,
    *,
    pixels: int,
    data: EvaluationData,
    progress: ReportProgress | None,
) -> PixelSample:
    """Pixels of all training images, the same number from each, or all where an image has fewer
    with a class."""
    per_image, features, targets = max(1, pixels // len(segmented.train_rows)), [], []
    for done, row in enumerate(segmented.train_rows, start=1):
        image, mask = segmented.train_pair(row)
        known = (mask != segmented.ignore_index).nonzero()
        chosen = known[
            torch.randperm(len(known), generator=generator(data.seed, "pixels", row))[:per_image]
        ]
        features.append(interpolated(network(image), chosen.to(data.device), mask.shape))
        targets.append(mask[chosen[:, 0], chosen[:, 1]])
        if progress is not None:
            progress(done, len(segmented.train_rows))
    counts = torch.tensor([len(part) for part in targets])
    images = torch.repeat_interleave(torch.arange(len(targets)), counts)
    return PixelSample(
        features=torch.cat(features),
        targets=torch.cat(targets).to(data.device),
        images=images.to(data.device),
    )


def _chosen_penalty(
    sample: PixelSample, settings: PixelProbeSettings, *, num_classes: int, seed: int
) -> tuple[float, float]:
    """The penalty with the best mean IoU on pixels of held-out images, the strongest among equals,
    and that mean IoU."""
    count = int(sample.images.max()) + 1
    order = torch.randperm(count, generator=generator(seed, "pixel probe's held-out images")).to(
        sample.images.device
    )
    held_out = torch.isin(
        sample.images, order[: min(max(1, round(settings.validation_share * count)), count - 1)]
    )
    classes, targets = torch.unique(sample.targets[~held_out], return_inverse=True)
    if len(classes) < 2:
        return max(settings.regularisations), 0.0
    fitting, validating = standardise(sample.features[~held_out], sample.features[held_out])
    path = regularisation_path(fitting, targets, settings.regularisations)
    predicted = [
        classes[torch.addmm(probe.bias, validating, probe.weight.T).argmax(dim=1)] for probe in path
    ]
    scores = [
        mean_iou(confusion_matrix(ids, sample.targets[held_out], num_classes=num_classes))
        for ids in predicted
    ]
    best = max(range(len(path)), key=scores.__getitem__)
    return sorted(settings.regularisations, reverse=True)[best], scores[best]


def _confusion(
    network: FrozenMap,
    fitted: FittedProbe,
    segmented: Segmented,
    *,
    progress: ReportProgress | None,
) -> Int[Tensor, "classes classes"]:
    """Confusion matrix over the images to score, each segmented as a whole."""
    confusion = torch.zeros(segmented.num_classes, segmented.num_classes, dtype=torch.long)
    for done, row in enumerate(segmented.test_rows, start=1):
        mask, map_ = segmented.test_mask(row), network(segmented.test_image(row))
        logits = fitted.logits(map_.flatten(1).T).T.view(-1, *map_.shape[1:])
        predicted = fitted.classes[upsampled(logits[None], mask.shape)[0].argmax(dim=0)].cpu()
        confusion += confusion_matrix(
            predicted, mask, num_classes=segmented.num_classes, ignore_index=segmented.ignore_index
        )
        if progress is not None:
            progress(done, len(segmented.test_rows))
    return confusion
