"""Batches of fine-tuning: random crops of labelled images, and their classes."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring.data.views.view_settings import ViewSettings
from sparring.data.views.views import ViewParameters, draw_parameters, make_view
from sparring.evaluation.device_work import DeviceImages
from sparring.seeding import generator
from sparring.transfers import sent

TOGETHER_PIXELS = 1 << 22
"""Pixels of the views that are made at once on a device other than the CPU: those of 64 steps of 64
images of 32 x 32. A view of a few images takes as many kernels as one of many."""


def tuning_batches(
    images: DeviceImages,
    rows: Int[Tensor, "rows"],
    labels: Int[Tensor, "rows"],
    *,
    steps: int,
    batch_size: int,
    crop_scale: tuple[float, float],
    seed: int,
    together: int | None = None,
) -> Iterator[tuple[Float[Tensor, "batch bands size size"], Int[Tensor, "batch"]]]:
    """Views and classes of each step, on the device.

    Eight parameters because labelled images take three.

    Args:
        images: where the rows are.
        rows: indices of the labelled images.
        labels: class of each.
        steps: number of steps.
        batch_size: images per step; all of them if there are fewer.
        crop_scale: area of the random crop as a share of the image.
        seed: draws the order and the crops of each step.
        together: steps whose views are made at once, which changes none of them; None: one on a
            CPU, else as many as `TOGETHER_PIXELS` allow.
    """
    device, batch, orders = images.device, min(batch_size, len(rows)), _Orders(seed)
    targets = sent(labels, device)
    together = together or _together(images, batch)
    for first in range(0, steps, together):
        these = range(first, min(first + together, steps))
        places = torch.cat([orders.batch(len(rows), step, batch_size=batch) for step in these])
        pixels = images(rows[places])
        recipe = ViewSettings(crop_scale=crop_scale, jitter=0, greyscale=0, size=pixels.shape[-1])
        side = torch.full((batch,), pixels.shape[-1])
        draws = [generator(seed, "fine-tuning views", step) for step in these]
        parameters = _joined(
            [draw_parameters(recipe, side, side, generator=draw) for draw in draws]
        )
        view = make_view(pixels, parameters, recipe)
        classes = targets.index_select(0, sent(places, device))
        yield from zip(torch.split(view, batch), torch.split(classes, batch), strict=True)


def _together(images: DeviceImages, batch: int) -> int:
    if images.device.type == "cpu":
        return 1
    return max(1, TOGETHER_PIXELS // (batch * images.pixels))


def _joined(parts: Sequence[ViewParameters]) -> ViewParameters:
    """The parameters of several batches as those of one."""
    if len(parts) == 1:
        return parts[0]
    values: dict[str, Any] = {}
    for field in fields(ViewParameters):
        found = [getattr(part, field.name) for part in parts]
        values[field.name] = None if found[0] is None else torch.cat(found)
    return ViewParameters(**values)


class _Orders:
    """Random orders of all images, one per pass; the last one is kept."""

    def __init__(self, seed: int) -> None:
        self._seed, self._pass = seed, -1
        self._order = torch.empty(0, dtype=torch.long)

    def batch(self, count: int, step: int, *, batch_size: int) -> Int[Tensor, "batch"]:
        """Positions of one step's images."""
        number, place = divmod(step, count // batch_size)
        if number != self._pass:
            draws = generator(self._seed, "fine-tuning order", number)
            self._order, self._pass = torch.randperm(count, generator=draws), number
        return self._order[place * batch_size : (place + 1) * batch_size]
