"""Training a detector on annotated images, and running it on others."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sparring.data.run_lengths import run_lengths_of
from sparring.data.sources.annotations import AnnotatedImages
from sparring.evaluation.detection.coco_score import DetectedObjects
from sparring.evaluation.detection.detector_settings import DetectorSettings
from sparring.evaluation.device_work import Losses
from sparring.evaluation.features import ReportProgress, evaluating
from sparring.models.frozen import frozen_norms, hold_norms
from sparring.seeding import generator
from sparring.transfers import sent

Example: TypeAlias = tuple[Tensor, dict[str, Tensor]]
"""Pixels (3, height, width) as bytes, and the targets of a detector: `boxes`, `labels` and perhaps
`masks`."""

_AHEAD = 2  # batches that are decoded while the device works
_THREADS = 4
_LOOK_STEPS = 10  # between looks at the losses; torchvision's parts fail on values like NaN
_WARMUP_START = 1e-3  # share of the rate on the first step, as in detectron2
_MASK_SHARE = 0.5  # a pixel belongs to an object from this probability on


def learnable(images: AnnotatedImages) -> list[int]:
    """Indices of the images with an object to learn from; like detectron2, the others are left
    out."""
    objects = images.everything
    rows: list[int] = torch.unique(objects.image[~objects.is_ignored]).tolist()
    return rows


def example(images: AnnotatedImages, index: int, *, is_flipped: bool, with_masks: bool) -> Example:
    """One image and its objects without crowds and difficult ones, mirrored if asked for."""
    pixels, objects = images.image(index), images.objects(index)
    kept = ~objects.is_ignored
    target = {"boxes": objects.boxes[kept], "labels": objects.labels[kept]}
    if with_masks:
        target["masks"] = images.masks(index)[kept].to(torch.uint8)
    if is_flipped:
        pixels, width = pixels.flip(2), pixels.shape[2]
        left, top, right, bottom = target["boxes"].unbind(1)
        target["boxes"] = torch.stack([width - right, top, width - left, bottom], dim=1)
        target.update({name: target[name].flip(2) for name in ("masks",) if name in target})
    return pixels, target


def batches(
    images: AnnotatedImages, rows: Sequence[int], *, batch_size: int, seed: int, with_masks: bool
) -> Generator[list[Example]]:
    """Endless training batches: every image once, in random order, before any is repeated; each
    mirrored with probability 1/2."""

    def draw(step: int) -> list[Future[Example]]:
        """Start reading a step's images."""
        places = range(step * batch_size, (step + 1) * batch_size)
        flips = torch.rand(batch_size, generator=generator(seed, "detector", "flip", step)) < 0.5
        chosen = [rows[orders(place // len(rows))[place % len(rows)]] for place in places]
        return [
            pool.submit(example, images, index, is_flipped=bool(flip), with_masks=with_masks)
            for index, flip in zip(chosen, flips, strict=True)
        ]

    orders, pending = _Orders(len(rows), seed), deque[list[Future[Example]]]()
    with ThreadPoolExecutor(_THREADS, "sparring-detector") as pool:
        try:
            for step in range(2**62):
                pending.append(draw(step))
                if len(pending) > _AHEAD:
                    yield [future.result() for future in pending.popleft()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Orders:
    """Random order of the images in each epoch; the last two are kept, since a batch may span two
    epochs."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._held: dict[int, list[int]] = {}

    def __call__(self, epoch: int) -> list[int]:
        if epoch not in self._held:
            self._held = {
                number: order for number, order in self._held.items() if number == epoch - 1
            }
            self._held[epoch] = torch.randperm(
                self._count, generator=generator(self._seed, "detector", "order", epoch)
            ).tolist()
        return self._held[epoch]


def rate(step: int, settings: DetectorSettings) -> float:
    """Learning rate of a step: linear warm-up, then a division by ten at each drop.

    Example:
        >>> settings = DetectorSettings(steps=100, warmup_steps=10, drops=(0.5,), learning_rate=0.1)
        >>> [round(rate(step, settings), 4) for step in (0, 4, 10, 49, 50)]
        [0.0001, 0.0401, 0.1, 0.1, 0.01]
    """
    share = min(1.0, step / settings.warmup_steps) if settings.warmup_steps else 1.0
    fallen = sum(step >= drop * settings.steps for drop in settings.drops)
    return float(settings.learning_rate * (_WARMUP_START * (1 - share) + share) * 0.1**fallen)


def train(
    model: nn.Module,
    source: Iterator[list[Example]],
    settings: DetectorSettings,
    *,
    device: torch.device,
    progress: ReportProgress | None = None,
) -> float:
    """Train a detector in place, renew its batch-norm statistics, and leave it in evaluation mode.

    Args:
        model: from `detectors`.
        source: see `batches`.
        settings: steps and rates.
        device: where to compute.
        progress: told of the steps done.

    Returns:
        Mean loss of the last tenth of the steps.

    Raises:
        TrainingError: for a loss that is not finite.
    """
    model.to(device).train()
    hold_norms(model, frozen_norms(model))
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=0.9,
        weight_decay=settings.weight_decay,
    )
    losses = Losses(
        lambda step, _: (
            f"the detector's loss is not finite at step {step}; lower learning_rate "
            f"({settings.learning_rate:g}) or raise warmup_steps"
        ),
        look_steps=_LOOK_STEPS,
    )
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = rate(step, settings)
        optimizer.zero_grad()
        loss = torch.stack(list(model(*_on_device(next(source), device)).values())).sum()
        losses.add(loss)
        torch.autograd.backward(loss)
        optimizer.step()
        if progress is not None:
            progress(step + 1, settings.steps)
    renew_statistics(model, (next(source) for _ in range(settings.precise_steps)), device=device)
    model.eval()
    last = losses.values()[-max(1, settings.steps // 10) :]
    return sum(last) / len(last)


@torch.no_grad()
def renew_statistics(
    model: nn.Module, source: Iterator[list[Example]], *, device: torch.device
) -> None:
    """Replace running averages of batch norms by plain means over batches, at the final weights.

    Source: Wu & Johnson 2021 ("precise" batch norm), arXiv:2105.07576, section 3.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    momenta = [norm.momentum for norm in norms]
    for number, batch in enumerate(source):
        for norm in norms if not number else ():
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all calls since the reset
        model(*_on_device(batch, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def detect(
    model: nn.Module,
    images: AnnotatedImages,
    rows: Sequence[int],
    *,
    device: torch.device,
    progress: ReportProgress | None = None,
) -> list[DetectedObjects]:
    """Detections of a trained detector in each image, the best first.

    Args:
        model: from `detectors`.
        images: where the rows point.
        rows: indices of images.
        device: where the model is.
        progress: told of the images done.
    """
    found = []
    with evaluating(model.modules()), ThreadPoolExecutor(1, "sparring-detector") as pool:
        # One at a time: what is found does not depend on which images are padded to one size.
        upcoming: deque[Future[Tensor]] = deque(
            pool.submit(images.image, row) for row in rows[:_AHEAD]
        )
        for number in range(len(rows)):
            upcoming.extend(
                pool.submit(images.image, row)
                for row in rows[number + _AHEAD : number + _AHEAD + 1]
            )
            found.append(_found(model([_unit(upcoming.popleft().result(), device)])[0]))
            if progress is not None:
                progress(number + 1, len(rows))
    return found


def _on_device(
    batch: list[Example], device: torch.device
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [_unit(pixels, device) for pixels, _ in batch]
    return images, [
        {name: sent(value, device) for name, value in target.items()} for _, target in batch
    ]


def _unit(pixels: Tensor, device: torch.device) -> Tensor:
    return sent(pixels, device).float().div_(255)


def _found(output: dict[str, Tensor]) -> DetectedObjects:
    masks = output.get("masks")
    outlines = None if masks is None else run_lengths_of((masks[:, 0] >= _MASK_SHARE).cpu())
    return DetectedObjects(
        boxes=output["boxes"].cpu(),
        labels=output["labels"].cpu(),
        scores=output["scores"].cpu(),
        outlines=outlines,
    )
