"""Features of a whole data set, computed once and shared by every protocol."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sparring.errors import TrainingError
from sparring.evaluation.device_work import DeviceImages, ImageSet
from sparring.transfers import sent

ReportProgress = Callable[[int, int], None]
"""Called with the number of images done and the number of images in all."""


@runtime_checkable
class FeatureEncoder(Protocol):
    """The interface of an encoder that evaluation needs."""

    def modules(self) -> Iterator[nn.Module]: ...

    def features(
        self, images: Float[Tensor, "batch bands height width"], /
    ) -> Float[Tensor, "batch channels"]: ...


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Context with the modules in evaluation mode and no gradients; afterwards each module has the
    mode it had."""
    modes = [(module, module.training) for module in modules]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def extract_features(
    encoder: FeatureEncoder,
    dataset: ImageSet,
    *,
    device: torch.device | str = "cpu",
    kept_on: torch.device | str | None = None,
    batch_size: int = 256,
    progress: ReportProgress | None = None,
) -> Float[Tensor, "images channels"]:
    """Backbone features of every image, float32, in the order of the data set.

    Nothing of the encoder changes: no parameter, no batch-norm statistic, no mode.

    Args:
        encoder: its parameters are on `device` already.
        dataset: square uint8 images by index; at least one.
        device: where the forward passes run.
        kept_on: where the features are collected; None: on `device`.
        batch_size: images per forward pass; changes memory and speed only.
        progress: told the number of images done after each batch.

    Raises:
        TrainingError: if a feature is not finite.
    """
    count, device, done = len(dataset), torch.device(device), 0
    features = torch.empty(0)
    images = DeviceImages(dataset, device, stays=False)
    with evaluating(encoder.modules()):
        for pixels in images.batches(torch.split(torch.arange(count), batch_size)):
            batch = encoder.features(unit_images(pixels, device)).float()
            if not done:
                features = torch.empty(count, batch.shape[1], device=kept_on or device)
            features[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, count)
    if bad := int((~features.isfinite()).any(dim=1).sum()):
        raise TrainingError(
            f"the encoder's features of {bad:,} of {count:,} images are not finite: its weights "
            "have exploded; train anew with a lower players.encoder.learning_rate"
        )
    return features


def unit_images(
    images: UInt8[Tensor, "batch bands height width"], device: torch.device | str = "cpu"
) -> Float[Tensor, "batch bands height width"]:
    """Images of bytes as floats in [0, 1] on the device, in the channels-last memory format."""
    images = sent(images, torch.device(device))
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)
