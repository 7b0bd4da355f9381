"""Fine-tuning of a whole network as a classifier, with separate learning rates for backbone and
head."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.data.views.view_settings import AreaRange
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.device_work import DeviceImages, Losses
from sparring.evaluation.features import ReportProgress, evaluating, unit_images
from sparring.evaluation.finetuning.tuning_batches import tuning_batches
from sparring.evaluation.resident_images import resident
from sparring.models.encoder import Encoder
from sparring.optim.schedule import cosine
from sparring.seeding import drawing, generator


class FineTuningSettings(Settings):
    """How a network is fine-tuned.

    Source of the form: semi-supervised recipe of SwAV's released code (Caron et al. 2020,
    arXiv:2006.09882): two rates, SGD, crop and flip.
    """

    steps: int = Field(default=300, ge=1)
    """Optimiser steps; a stated number, because 1 % of a small set makes few epochs."""
    batch_size: int = Field(default=64, ge=2)
    """Images per step; all of them if there are fewer."""
    backbone_learning_rate: float = Field(default=0.02, ge=0)
    """Learning rate of the backbone; SwAV's for 1 % of the labels."""
    head_learning_rate: float = Field(default=0.2, ge=0)
    """Learning rate of the new linear layer; SwAV's for 10 % of the labels."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "steps"] = "cosine"
    """`steps`: both rates times `drop_factor` at each of `drops`."""
    drops: tuple[float, ...] = (0.6, 0.8)
    """Shares of all steps at which `steps` drops; SwAV's epochs 12 and 16 of 20."""
    drop_factor: float = Field(default=0.2, gt=0, le=1)
    crop_scale: AreaRange = (0.2, 1.0)
    """Area of the random crop as a share of the image; every image is also mirrored with
    probability 1/2."""


_OF_ITS_START = {"backbone_learning_rate", "head_learning_rate", "weight_decay"}
"""Settings that suit the encoder from which fine-tuning starts; all others are its budget."""


def budget_warning(
    tuning: FineTuningSettings, scratch: FineTuningSettings, *, protocol: str
) -> dict[str, str]:
    """Warning, for a result, that the two columns of a comparison had unequal budgets; empty if
    they are equal.

    Args:
        tuning: of the pretrained encoder.
        scratch: of the untrained encoder.
        protocol: name under which both are set.
    """
    unequal = [
        f"{protocol}.tuning.{name} is {getattr(tuning, name)} and {protocol}.scratch.{name} "
        f"{getattr(scratch, name)}"
        for name in FineTuningSettings.model_fields
        if name not in _OF_ITS_START and getattr(tuning, name) != getattr(scratch, name)
    ]
    if not unequal:
        return {}
    return {
        "warning": "the pretrained and the untrained encoder had unequal budgets, so their scores "
        f"do not compare: {'; '.join(unequal)}"
    }


class Classifier(nn.Module):
    """Classifier of an encoder's backbone and a linear layer.

    Args:
        encoder: learns along with the layer.
        num_classes: outputs.
        seed: draws the layer's weights.
    """

    def __init__(self, encoder: Encoder, *, num_classes: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(
            encoder.backbone.num_features, num_classes, device=encoder.mean.device
        )
        with torch.no_grad():
            self.head.weight.copy_(
                0.01 * torch.randn(self.head.weight.shape, generator=generator(seed, "head"))
            )
            self.head.bias.zero_()

    def forward(
        self, images: Float[Tensor, "batch bands height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of images in [0, 1]."""
        logits: Tensor = self.head(self.encoder.features(images))
        return logits


def fine_tuned(
    encoder: Encoder,
    images: Dataset | DeviceImages,
    rows: Int[Tensor, "rows"],
    labels: Int[Tensor, "rows"],
    *,
    num_classes: int,
    settings: FineTuningSettings,
    seed: int,
    progress: ReportProgress | None = None,
) -> Classifier:
    """A classifier fine-tuned from the encoder, in evaluation mode.

    Eight parameters because labelled images take three.

    Args:
        encoder: learns; hand over a copy. On the device where the work is done.
        images: where the rows are.
        rows: indices of the labelled images.
        labels: class of each, 0 .. num_classes - 1.
        num_classes: outputs of the head.
        settings: rates, length, crops.
        seed: draws the head, the order and the crops.
        progress: told of each step.

    Raises:
        TrainingError: if the loss is not finite.
    """
    device = encoder.mean.device
    pixels = (
        images if isinstance(images, DeviceImages) else DeviceImages(images, device, stays=True)
    )
    losses = Losses(
        lambda step, loss: (
            f"fine-tuning: the loss is {loss} at step {step}; lower the learning rates"
        )
    )
    with drawing(seed, "fine-tuning", device=device):  # dropout inside backbones
        classifier = Classifier(encoder.train(), num_classes=num_classes, seed=seed)
        optimizer = _optimizer(classifier, settings)
        batches = tuning_batches(
            pixels,
            rows,
            labels,
            steps=settings.steps,
            batch_size=settings.batch_size,
            crop_scale=settings.crop_scale,
            seed=seed,
        )
        for step, (view, targets) in enumerate(batches):
            _set_rates(optimizer, settings, step)
            loss = F.cross_entropy(classifier(view), targets)
            losses.add(loss)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if progress is not None:
                progress(step + 1, settings.steps)
    losses.values()
    return classifier.eval()


def tuned_copy(
    evaluated: EvaluatedEncoder,
    data: EvaluationData,
    chosen: Int[Tensor, "chosen"],
    *,
    settings: FineTuningSettings,
    seed: int,
    what: str,
) -> Classifier:
    """A classifier fine-tuned from a copy of an encoder on some of the training rows.

    Args:
        evaluated: left as it is.
        data: its classes are learned.
        chosen: positions among the training rows.
        settings: rates, length, crops.
        seed: see `fine_tuned`.
        what: name of this work in reports of progress.

    Raises:
        TrainingError: if the loss is not finite.
    """
    classified = data.classes
    return fine_tuned(
        evaluated.trainable_copy(),
        resident(data, classified.train),
        classified.train_rows[chosen],
        classified.train_labels[chosen],
        num_classes=len(classified.class_names),
        settings=settings,
        seed=seed,
        progress=data.progress(f"{evaluated.name} encoder, {what}"),
    )


def predictions(
    classifier: nn.Module,
    images: Dataset | DeviceImages,
    rows: Int[Tensor, "rows"],
    *,
    batch_size: int = 256,
) -> Int[Tensor, "rows"]:
    """Most likely class of each row, on the CPU; the classifier is left as it was."""
    device = next(classifier.parameters()).device
    if not isinstance(images, DeviceImages):
        images = DeviceImages(images, device, stays=False)
    with evaluating(classifier.modules()):
        parts = [
            classifier(unit_images(pixels, device)).argmax(dim=1)
            for pixels in images.batches(torch.split(rows, batch_size))
        ]
    return torch.cat(parts).cpu()


def _optimizer(classifier: Classifier, settings: FineTuningSettings) -> torch.optim.SGD:
    groups = [
        {
            "params": list(classifier.encoder.backbone.parameters()),
            "base": settings.backbone_learning_rate,
        },
        {"params": list(classifier.head.parameters()), "base": settings.head_learning_rate},
    ]
    return torch.optim.SGD(
        groups,
        lr=0.1,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def _set_rates(optimizer: torch.optim.SGD, settings: FineTuningSettings, step: int) -> None:
    done = step / settings.steps
    dropped = settings.drop_factor ** sum(done >= drop for drop in settings.drops)
    factor = cosine(1.0, 0.0, done) if settings.schedule == "cosine" else dropped
    for group in optimizer.param_groups:
        group["lr"] = factor * group["base"]
