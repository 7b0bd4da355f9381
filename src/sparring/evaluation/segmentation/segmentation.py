"""Segmentation protocol: mean IoU of a dilated encoder and a head fine-tuned on masks."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from sparring.data.views.view_settings import Range
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.device_work import Losses, made_ahead
from sparring.evaluation.features import ReportProgress, evaluating
from sparring.evaluation.protocol import Protocol, Result, curves
from sparring.evaluation.segmentation.mask_classes import MaskSettings
from sparring.evaluation.segmentation.mask_views import MaskViews
from sparring.evaluation.segmentation.masks import Segmented, open_segmented
from sparring.evaluation.segmentation.segmenters import HEADS, HeadShape, Segmenter, upsampled
from sparring.measures.iou import confusion_matrix
from sparring.models.frozen import frozen_norms, hold_norms
from sparring.optim.schedule import cosine
from sparring.seeding import drawing, generator
from sparring.transfers import sent

MAX_CROP = 480
"""Side of the crops of torchvision's reference training; images whose shorter side is smaller are
cropped to that."""

STEPS = 500
"""Default number of training steps: minutes on two cores for a narrow network and images of 240 x
180 pixels."""

# Points of the curve of the loss.
_POINTS = 20


PROTOCOL = Protocol(
    name="segmentation",
    function="segmentation",
    settings="SegmentationSettings",
    title="Segmentation",
    question="how well does a network that starts from the encoder segment?",
    labels="masks",
    headline="miou",
    measure="mean IoU",
    source=(
        "Long et al. 2015, arXiv:1411.4038; variants Chen et al. 2017, arXiv:1706.05587, and "
        "He et al. 2020, arXiv:1911.05722"
    ),
    variants={
        "fcn": {},
        "deeplabv3": {"head": "deeplabv3", "dropout": 0.5},
        # He et al. 2020, appendix; dropout is not spoken of.
        "moco": {
            "head": "dilated-fcn",
            "head_channels": 256,
            "dropout": 0.0,
            "output_stride": 16,
            "crop": 513,
            "batch_size": 16,
            "epochs": 50,
            "backbone_learning_rate": 0.003,
            "head_learning_rate": 0.003,
            "schedule": "steps",
        },
        # Chen et al. 2017, section 4, first of two stages; dropout and weight decay are not
        # verified.
        "deeplabv3-paper": {
            "head": "deeplabv3",
            "head_channels": 256,
            "dropout": 0.5,
            "output_stride": 16,
            "crop": 513,
            "batch_size": 16,
            "steps": 30_000,
            "backbone_learning_rate": 0.007,
            "head_learning_rate": 0.007,
        },
    },
    is_frozen=False,
    is_for_colours=True,
)


class SegmentationSettings(MaskSettings):
    """Settings of `segmentation`."""

    head: Literal["fcn", "dilated-fcn", "deeplabv3"] = "fcn"
    """Head on the last map; see `HEADS`."""
    head_channels: int | None = Field(default=None, ge=1)
    """Inner channels of the head; None: the default of the head, adapted to narrow networks."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the head's last layer; 0.1 in torchvision's FCN."""
    output_stride: Literal[4, 8, 16, 32] = 8
    """Pixels of the image per pixel of the last map; coarser stages are dilated. 8 in torchvision's
    FCN."""
    crop: int | None = Field(default=None, ge=16)
    """Side in pixels of the training crops; None: the shorter side of the first image, at most 480
    as in torchvision's reference."""
    scale: Range = (0.5, 2.0)
    """Range of the random factor on the image's size before the crop (Chen et al. 2017)."""
    batch_size: int = Field(default=8, ge=2)
    """Crops per step; 16 in the papers, which have more images."""
    steps: int | None = Field(default=None, ge=1)
    """Steps in all; None: as many as `epochs` makes, and 500 without those, since small sets make
    few in an epoch."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the training images, if `steps` is not given."""
    backbone_learning_rate: float = Field(default=0.05, gt=0)
    """Initial learning rate of the encoder. Chosen with narrow ResNet-18s on CamVid's validation
    images, where 0.02 to 0.1 differ by a point."""
    head_learning_rate: float = Field(default=0.1, gt=0)
    """Initial learning rate of the head, chosen in the same way."""
    schedule: Literal["poly", "cosine", "steps"] = "poly"
    """How both rates fall: `poly`: (1 - t) ** 0.9 (Chen et al. 2017); `cosine`: half a cosine;
    `steps`: to a tenth at 70 % and again at 90 % of the steps."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of SGD, as in torchvision's reference and He et al. 2020."""


def segmentation(
    evaluated: EvaluatedEncoder, data: EvaluationData, settings: SegmentationSettings
) -> Result:
    """Mean IoU of a copy of the encoder, fine-tuned with a head to segment."""
    segmented = open_segmented(data, settings)
    with drawing(data.seed, "segmentation", device=data.device):
        model = _segmenter(evaluated, segmented, settings).to(data.device)
        losses = _train(model, segmented, settings, data, name=evaluated.name)
        confusion = _confusion(
            model,
            segmented,
            device=data.device,
            progress=data.progress(f"segmenting, {evaluated.name} encoder"),
        )
    return {
        **segmented.result(confusion),
        "steps": len(losses),
        "training_loss": _mean(losses[-max(1, len(losses) // _POINTS) :]),
        "curves": curves(
            {"training": _points(losses)},
            title="Loss of the training crops",
            x="step",
            y="cross-entropy",
        ),
    }


def learning_rate_factor(schedule: str, fraction: float) -> float:
    """Factor of both learning rates after a fraction of the steps, in [0, 1].

    Example:
        >>> [learning_rate_factor("steps", fraction) for fraction in (0.5, 0.75)]
        [1.0, 0.1]
    """
    match schedule:
        case "poly":
            return float((1 - fraction) ** 0.9)
        case "cosine":
            return cosine(1.0, 0.0, fraction)
        case _:
            return 1.0 if fraction < 0.7 else 0.1 if fraction < 0.9 else 0.01


def pixel_loss(
    logits: Float[Tensor, "batch classes height width"],
    masks: Int[Tensor, "batch height width"],
    *,
    ignore_index: int,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the pixels that are not ignored; 0 if all are.

    Args:
        logits: of each pixel.
        masks: class ids, or `ignore_index`.
        ignore_index: id of the pixels left out.
    """
    # Rows instead of maps: on a GPU the loss over maps adds up in no fixed order.
    rows, targets = logits.movedim(1, -1).flatten(0, 2), masks.flatten()
    counted = (targets != ignore_index).sum().clamp_min(1)
    return F.cross_entropy(rows, targets, ignore_index=ignore_index, reduction="sum") / counted


def _segmenter(
    evaluated: EvaluatedEncoder, segmented: Segmented, settings: SegmentationSettings
) -> Segmenter:
    def make_head(channels: int, stride: int) -> nn.Module:
        """The head that the settings name, for maps of so many channels."""
        shape = HeadShape(
            channels=channels,
            width=settings.head_channels,
            num_classes=segmented.num_classes,
            dropout=settings.dropout,
            output_stride=stride,
        )
        return HEADS[settings.head](shape)

    return Segmenter(
        evaluated.trainable_copy(), output_stride=settings.output_stride, make_head=make_head
    )


def _train(
    model: Segmenter,
    segmented: Segmented,
    settings: SegmentationSettings,
    data: EvaluationData,
    *,
    name: str,
) -> list[float]:
    """Train the segmenter in place; returns the loss of each step."""
    per_epoch = math.ceil(len(segmented.train_rows) / settings.batch_size)
    num_steps = settings.steps or (settings.epochs * per_epoch if settings.epochs else STEPS)
    losses = Losses(
        lambda step, loss: (
            f"segmentation: the loss is {loss} at step {step + 1} of {num_steps}; "
            "lower segmentation.backbone_learning_rate "
            f"(now {settings.backbone_learning_rate:g}) and "
            f"segmentation.head_learning_rate (now {settings.head_learning_rate:g})"
        )
    )
    optimizer, progress = (
        _optimizer(model, settings),
        data.progress(f"training to segment, {name} encoder"),
    )
    views = _views(segmented, settings, fill=model.mean.flatten().cpu())
    model.train()
    hold_norms(model, frozen_norms(model))
    batches = made_ahead(
        lambda step: _batch(segmented, views, step, batch_size=settings.batch_size, seed=data.seed),
        num_steps,
        device=data.device,
    )
    for step, (images, masks) in enumerate(batches):
        images, masks = sent(images, data.device), sent(masks, data.device)
        factor = learning_rate_factor(settings.schedule, step / num_steps)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["first"]
        loss = pixel_loss(
            upsampled(model(images), masks.shape[1:]), masks, ignore_index=segmented.ignore_index
        )
        losses.add(loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if progress is not None:
            progress(step + 1, num_steps)
    return losses.values()


def _optimizer(model: Segmenter, settings: SegmentationSettings) -> torch.optim.SGD:
    groups = [
        {"params": list(model.maps.parameters()), "first": settings.backbone_learning_rate},
        {"params": list(model.head.parameters()), "first": settings.head_learning_rate},
    ]
    return torch.optim.SGD(
        groups,
        lr=settings.backbone_learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _views(
    segmented: Segmented, settings: SegmentationSettings, *, fill: Float[Tensor, "3"]
) -> MaskViews:
    crop = settings.crop or min(MAX_CROP, *segmented.train_pair(segmented.train_rows[0])[1].shape)
    return MaskViews(
        crop=crop, scale=settings.scale, fill=fill, ignore_index=segmented.ignore_index
    )


def _batch(
    segmented: Segmented, views: MaskViews, step: int, *, batch_size: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Crops and masks of one step, from passes over all images in random order."""
    count = len(segmented.train_rows)
    draws = generator(seed, "segmentation crops", step)
    orders = {
        epoch: _order(count, epoch, seed)
        for epoch in range(step * batch_size // count, ((step + 1) * batch_size - 1) // count + 1)
    }
    places = [divmod(place, count) for place in range(step * batch_size, (step + 1) * batch_size)]
    pairs = [
        views(*segmented.train_pair(segmented.train_rows[orders[epoch][place]]), generator=draws)
        for epoch, place in places
    ]
    return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])


def _order(count: int, epoch: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(
        count, generator=generator(seed, "segmentation order", epoch)
    ).tolist()
    return order


def _confusion(
    model: Segmenter, segmented: Segmented, *, device: torch.device, progress: ReportProgress | None
) -> Int[Tensor, "classes classes"]:
    """Confusion matrix over the images to score, each segmented as a whole."""
    confusion = torch.zeros(segmented.num_classes, segmented.num_classes, dtype=torch.long)
    rows = segmented.test_rows
    pairs = made_ahead(
        lambda place: (segmented.test_image(rows[place]), segmented.test_mask(rows[place])),
        len(rows),
        device=device,
    )
    with evaluating(model.modules()):
        for done, (image, mask) in enumerate(pairs, start=1):
            logits = upsampled(model(sent(image, device)[None]), mask.shape)
            predicted = segmented.prediction(logits[0]).cpu()
            confusion += confusion_matrix(
                predicted,
                mask,
                num_classes=segmented.num_classes,
                ignore_index=segmented.ignore_index,
            )
            if progress is not None:
                progress(done, len(rows))
    return confusion


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _points(losses: Sequence[float]) -> list[tuple[float, float]]:
    """Mean losses over equal parts of the training, each at its last step."""
    length = math.ceil(len(losses) / _POINTS)
    return [
        (min(start + length, len(losses)), _mean(losses[start : start + length]))
        for start in range(0, len(losses), length)
    ]
