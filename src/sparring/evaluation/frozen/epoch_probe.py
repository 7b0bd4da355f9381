"""Linear probes as the papers train them: a fixed number of epochs by stochastic gradients, on the
frozen encoder.

They reproduce a table's protocol; `logistic` is the better measure, because it converges and
chooses its penalty without the test set.
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from sparring.config import Settings
from sparring.data.dataset import Dataset
from sparring.data.views.view_settings import AreaRange, ViewSettings
from sparring.data.views.views import Views
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.device_work import DeviceImages, Losses
from sparring.evaluation.features import evaluating, unit_images
from sparring.evaluation.resident_images import resident
from sparring.measures.accuracy import top_1
from sparring.models.encoder import Encoder
from sparring.objectives.similarity import unit_rows
from sparring.optim.optimizers import LARS
from sparring.optim.schedule import cosine
from sparring.seeding import generator
from sparring.transfers import sent


class EpochRecipe(Settings):
    """Settings of a linear probe trained for a fixed number of epochs. The defaults are AdCo's,
    which are MoCo's but for the rate and the cosine.

    Source: Hu et al. 2021 (AdCo), arXiv:2011.08435, released code.
    """

    optimizer: Literal["sgd", "lars", "adam"] = "sgd"
    """`sgd` and `lars` with momentum 0.9; `lars` scales the weight and the bias by trust 0.001;
    `adam` as in its paper."""
    learning_rate: float = Field(default=10.0, gt=0)
    """Rate at the first step."""
    final_learning_rate: float = Field(default=0.01, ge=0)
    """Learning rate at the end of a half cosine with one step per epoch; equal to `learning_rate`:
    a constant rate."""
    reference_batch: int | None = Field(default=None, ge=1)
    """The rates are for this many images per step and grow with the actual number; None: the rates
    as they stand."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(default=256, ge=1)
    """Images per step; all of them if there are fewer."""
    crop_scale: AreaRange | None = (0.08, 1.0)
    """Area of the random crop, mirrored with probability 1/2; None: no augmentation, so that
    features are computed once."""
    input: Literal["features", "embeddings"] = "features"
    """`embeddings`: the projector's output at unit length."""
    report: Literal["last", "best"] = "last"
    """`best`: the best epoch on the test set, as some released code reports it; this chooses by the
    test labels and flatters."""


class LinearHead(nn.Module):
    """Linear classifier whose bias is a row of its weight, so that LARS scales it too.

    Args:
        channels: of the inputs.
        num_classes: outputs.
        seed: draws the weights from N(0, 0.01).
    """

    def __init__(self, channels: int, *, num_classes: int, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            0.01 * torch.randn(num_classes, channels, generator=generator(seed, "head"))
        )
        self.bias = nn.Parameter(torch.zeros(1, num_classes))

    def forward(self, inputs: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch classes"]:
        """Logits of features."""
        return inputs @ self.weight.T + self.bias


def probe_accuracies(
    evaluated: EvaluatedEncoder, data: EvaluationData, recipe: EpochRecipe
) -> list[float]:
    """Test accuracy in [0, 1] of each of the `probe_predictions`."""
    targets = data.classes.test_labels
    return [top_1(predicted, targets) for predicted in probe_predictions(evaluated, data, recipe)]


def probe_predictions(
    evaluated: EvaluatedEncoder, data: EvaluationData, recipe: EpochRecipe
) -> Iterator[Int[Tensor, "test"]]:
    """Classes of the test images after the last epoch, or after every epoch if the recipe reports
    the best; on the CPU.

    Raises:
        TrainingError: if the loss is not finite.
    """
    classified, encoder = data.classes, evaluated.encoder
    assert isinstance(encoder, Encoder) or recipe.input == "features"
    batch = min(recipe.batch_size, len(classified.train_rows))
    test = torch.cat(
        [
            _inputs(evaluated, unit_images(pixels, data.device), recipe)
            for pixels in _pixels(classified.test, classified.test_rows, data.device)
        ]
    )
    cached = _cached(evaluated, data, recipe)
    head = LinearHead(test.shape[1], num_classes=len(classified.class_names), seed=data.seed).to(
        data.device
    )
    optimizer = _optimizer(head, recipe)
    progress = data.progress(f"linear probe of the {evaluated.name} encoder")
    scale = batch / recipe.reference_batch if recipe.reference_batch is not None else 1.0
    losses = Losses(
        lambda *_: "linear probe: the loss is not finite; lower linear.recipe.learning_rate"
    )
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = scale * cosine(
                recipe.learning_rate, recipe.final_learning_rate, epoch / recipe.epochs
            )
        _epoch(
            head,
            optimizer,
            _batches(evaluated, data, recipe, cached=cached, epoch=epoch, batch=batch),
            losses,
        )
        if progress is not None:
            progress(epoch + 1, recipe.epochs)
        if recipe.report == "best" or epoch + 1 == recipe.epochs:
            losses.values()
            with torch.no_grad():
                yield head(test).argmax(dim=1).cpu()


def _epoch(
    head: LinearHead,
    optimizer: Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    losses: Losses,
) -> None:
    for inputs, labels in batches:
        loss = F.cross_entropy(head(inputs), labels)
        losses.add(loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _batches(
    evaluated: EvaluatedEncoder,
    data: EvaluationData,
    recipe: EpochRecipe,
    *,
    cached: Tensor | None,
    epoch: int,
    batch: int,
) -> Iterator[tuple[Float[Tensor, "batch channels"], Int[Tensor, "batch"]]]:
    """Inputs and labels of one epoch in random order, a smaller last batch included."""
    classified = data.classes
    labels = data.once("labels on the device", lambda: sent(classified.train_labels, data.device))
    draws = generator(data.seed, "probe order", epoch)
    order = torch.randperm(len(classified.train_rows), generator=draws)
    places = sent(order, data.device)
    for number, (chosen, place) in enumerate(
        zip(torch.split(order, batch), torch.split(places, batch), strict=True)
    ):
        if cached is not None:
            inputs = cached.index_select(0, place)
        else:
            assert recipe.crop_scale is not None
            augment = Views(
                [ViewSettings(crop_scale=recipe.crop_scale, jitter=0, greyscale=0)],
                image_size=classified.train.size,
            )
            pixels = resident(data, classified.train)(classified.train_rows[chosen])
            (views,) = augment(pixels, generator=generator(data.seed, "probe views", epoch, number))
            inputs = _inputs(evaluated, views, recipe)
        yield inputs, labels.index_select(0, place)


def _cached(
    evaluated: EvaluatedEncoder, data: EvaluationData, recipe: EpochRecipe
) -> Tensor | None:
    """Inputs of all training rows if they are not augmented; else None."""
    if recipe.crop_scale is not None:
        return None
    if recipe.input == "features":
        return data.labelled(evaluated).train_features
    classified = data.classes
    return torch.cat(
        [
            _inputs(evaluated, unit_images(pixels, data.device), recipe)
            for pixels in _pixels(classified.train, classified.train_rows, data.device)
        ]
    )


def _inputs(evaluated: EvaluatedEncoder, images: Tensor, recipe: EpochRecipe) -> Tensor:
    """Inputs of the probe for one batch: features, or embeddings at unit length."""
    with evaluating(evaluated.encoder.modules()):
        if recipe.input == "features":
            return evaluated.encoder.features(images)
        assert isinstance(evaluated.encoder, Encoder)
        return unit_rows(evaluated.encoder(images))


def _pixels(images: Dataset, rows: Int[Tensor, "rows"], device: torch.device) -> Iterator[Tensor]:
    return DeviceImages(images, device, stays=False).batches(torch.split(rows, 256))


def _optimizer(head: LinearHead, recipe: EpochRecipe) -> Optimizer:
    groups = [{"params": head.parameters()}]
    match recipe.optimizer:
        case "sgd":
            return SGD(groups, lr=recipe.learning_rate, momentum=0.9, foreach=True)
        case "lars":
            return LARS(groups, lr=recipe.learning_rate)
        case "adam":
            return AdamW(groups, lr=recipe.learning_rate, weight_decay=0.0, foreach=True)
