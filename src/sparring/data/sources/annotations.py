"""Images with annotated objects: boxes, and optionally outlines.

Detection trains and is scored on them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from sparring.data.classes import canonical, listed
from sparring.data.decode import UnreadableImageError, load, load_header_size
from sparring.data.orientation import TRANSPOSED
from sparring.data.pixel_format import RGB
from sparring.data.sources.concatenated import ConcatenatedSource
from sparring.data.sources.image_source import Source, UnreadableItemError, Wrapped
from sparring.data.stored_picture import as_stored, stored_orientation
from sparring.errors import DataError

Outlines: TypeAlias = Callable[[int], Bool[Tensor, "objects height width"]]
"""Function from the index of an image to the masks of all its objects, in the order given."""

# A box may exceed the image by this much without being counted as clipped: rounding, or coordinates
# counted from one.
_EDGE_PIXELS = 0.5
# From so many boxes on they tell in which order their numbers are.
_FEW_BOXES = 4


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Annotated objects of one image or of many."""

    boxes: Float[Tensor, "objects 4"]
    """Left, top, right, bottom in pixels, counted from 0; the right and bottom edges are
    exclusive."""
    labels: Int[Tensor, "objects"]
    """Class of each object, from 1 on: detectors keep 0 for the background."""
    areas: Float[Tensor, "objects"]
    """Annotated area in pixels; NaN where none is given, then the area of the box."""
    is_crowd: Bool[Tensor, "objects"]
    """Whether the box stands for many objects. Not used in training; detections on it are not
    counted."""
    is_difficult: Bool[Tensor, "objects"]
    """VOC's mark of difficult objects, treated like crowds."""
    image: Int[Tensor, "objects"]
    """Index of the image that shows the object, in rising order."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> "Objects":
        return Objects(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def is_ignored(self) -> Bool[Tensor, "objects"]:
        """Whether each object is a crowd or difficult."""
        return self.is_crowd | self.is_difficult


@dataclass(frozen=True)
class ObjectAnnotation:
    """One annotated object as a reader of a layout finds it."""

    image: int
    box: tuple[float, float, float, float]
    label: int
    area: float = float("nan")
    is_crowd: bool = False
    is_difficult: bool = False


def stack_annotations(marks: Sequence[ObjectAnnotation]) -> Objects:
    """Annotations, given in the order of their images, as tensors."""
    return Objects(
        boxes=torch.tensor([mark.box for mark in marks], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([mark.label for mark in marks], dtype=torch.long),
        areas=torch.tensor([mark.area for mark in marks], dtype=torch.float32),
        is_crowd=torch.tensor([mark.is_crowd for mark in marks], dtype=torch.bool),
        is_difficult=torch.tensor([mark.is_difficult for mark in marks], dtype=torch.bool),
        image=torch.tensor([mark.image for mark in marks], dtype=torch.long),
    )


class AnnotatedImages(Wrapped):
    """Images of a source with their objects; boxes are clipped to the image.

    Args:
        source: the images.
        objects: objects of all images, as annotated.
        sizes: height and width in pixels for which each image's boxes were made; 0 where unknown,
            since the image cannot be read.
        class_names: names of the labels 1, 2, ...
        outlines: masks of an image's objects, or a short reason why there are none.
        notes: what a user should read about how the annotations were understood.

    Attributes:
        num_clipped: boxes that reached more than half a pixel beyond their image.
        num_dropped: boxes entirely outside their image, or of no area.
        form: how the images are read; the range of their values may be set after opening.
        outlines_missing: reason why `masks` is unavailable; empty if it is available.
    """

    def __init__(
        self,
        source: Source,
        objects: Objects,
        *,
        sizes: Int[Tensor, "images 2"],
        class_names: tuple[str, ...],
        outlines: Outlines | str,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(source)
        self.notes = (*source.notes, *notes)
        self.class_names: tuple[str, ...] = class_names
        self.sizes, self._outlines = sizes, outlines
        self.form = RGB
        self.outlines_missing = outlines if isinstance(outlines, str) else ""
        inside = _clipped(objects.boxes, sizes[objects.image])
        kept = ((inside[:, 2:] - inside[:, :2]) > 0).all(dim=1)
        moved = (inside - objects.boxes).abs().amax(dim=1) > _EDGE_PIXELS
        self.num_clipped, self.num_dropped = int((moved & kept).sum()), int((~kept).sum())
        self._given_starts = _starts(objects.image, len(source))
        self._kept_rows = kept.nonzero().flatten()
        rest = objects[kept]
        extent = inside[kept, 2:] - inside[kept, :2]
        areas = torch.where(rest.areas.isnan(), extent.prod(dim=1), rest.areas)
        self.everything = Objects(
            boxes=inside[kept],
            labels=rest.labels,
            areas=areas,
            is_crowd=rest.is_crowd,
            is_difficult=rest.is_difficult,
            image=rest.image,
        )
        self._starts = _starts(rest.image, len(source))

    def fingerprint(self) -> str:
        """Text that changes with the images and with every box."""
        return self._with_boxes(self._source.fingerprint())

    def content_fingerprint(self) -> str:
        return self._with_boxes(self._source.content_fingerprint())

    def _with_boxes(self, fingerprint: str) -> str:
        digest = hashlib.blake2b(fingerprint.encode(), digest_size=16)
        digest.update(
            self.everything.boxes.numpy().tobytes() + self.everything.labels.numpy().tobytes()
        )
        return digest.hexdigest()

    def objects(self, index: int) -> Objects:
        """Objects of an image."""
        return self.everything[int(self._starts[index]) : int(self._starts[index + 1])]

    def image(self, index: int) -> UInt8[Tensor, "3 height width"]:
        """Pixels of an image: upright, or as stored if its boxes were made for that.

        Raises:
            UnreadableItemError: if the image cannot be read.
            DataError: if it has another size than its boxes were made for.
        """
        try:
            image = load(self._source.read, index, self.form)
            turn = self._turn(index, (image.shape[1], image.shape[2]))
        except UnreadableImageError as error:
            raise self._unreadable(index, error) from None
        return as_stored(image, turn) if turn else image

    def masks(self, index: int) -> Bool[Tensor, "objects height width"]:
        """Filled outlines of the objects of `objects(index)`; only if `outlines_missing` is
        empty."""
        assert not isinstance(self._outlines, str)
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        return self._outlines(index)[self._kept_rows[start:end] - self._given_starts[index]]

    def check(self, index: int) -> None:
        """Check the header of an image without decoding it.

        Raises:
            DataError: like `image`, as far as the header tells.
        """
        try:
            self._turn(index, load_header_size(self._source.read, index))
        except UnreadableImageError as error:
            raise self._unreadable(index, error) from None

    def _turn(self, index: int, size: tuple[int, int]) -> int:
        """EXIF's orientation of an image whose boxes were made for the picture as stored; 0 where
        they were made for the upright one, of this size."""
        expected = tuple(self.sizes[index].tolist())
        if size == expected:
            return 0
        if size[::-1] == expected:
            turn = stored_orientation(self._source.read, index)
            if turn in TRANSPOSED:
                return turn
        raise DataError(
            f"{self.key(index)} is {size[1]} x {size[0]} pixels, but its boxes are for "
            f"{expected[1]} x {expected[0]}; "
            "give the images that were annotated, not resized"
        )

    def _unreadable(self, index: int, error: Exception) -> UnreadableItemError:
        return UnreadableItemError(
            f"{self.key(index)} cannot be read ({error}); repair the image or take it out of "
            "the annotations"
        )


def concatenated(sets: Sequence[AnnotatedImages]) -> AnnotatedImages:
    """Images of several sets, one set after the other; their classes are matched by name.

    Raises:
        DataError: if their classes differ in more than their order.
    """
    names = sets[0].class_names
    labels = [torch.tensor([0, *relabelled(names, part.class_names)]) for part in sets]
    source = ConcatenatedSource(sets)
    missing = next((part.outlines_missing for part in sets if part.outlines_missing), "")

    def outlines(index: int) -> Tensor:
        part, row = source.place(index)
        return sets[part].masks(row)

    offsets = np.cumsum([0, *(len(part) for part in sets[:-1])]).tolist()
    moved = [
        {"image": part.everything.image + offset, "labels": new[part.everything.labels]}
        for part, offset, new in zip(sets, offsets, labels, strict=True)
    ]
    values = [
        {**{field.name: getattr(part.everything, field.name) for field in fields(Objects)}, **new}
        for part, new in zip(sets, moved)
    ]
    objects = Objects(
        **{
            field.name: torch.cat([value[field.name] for value in values])
            for field in fields(Objects)
        }
    )
    whole = AnnotatedImages(
        source,
        objects,
        sizes=torch.cat([part.sizes for part in sets]),
        class_names=names,
        outlines=missing or outlines,
    )
    whole.num_clipped = sum(part.num_clipped for part in sets)
    whole.num_dropped = sum(part.num_dropped for part in sets)
    return whole


def relabelled(names: Sequence[str], others: Sequence[str]) -> list[int]:
    """Label, from 1 on, of each of the other names among the names.

    Raises:
        DataError: if they are not the same names in any order.
    """
    labels = {canonical(name): label for label, name in enumerate(names, start=1)}
    if differing := sorted(labels.keys() ^ {canonical(name) for name in others}):
        raise DataError(
            "sets that are learned from together must have the same classes; these differ in "
            f"{listed(differing)}"
        )
    return [labels[canonical(name)] for name in others]


def refuse_corners(objects: Objects, sizes: Int[Tensor, "images 2"], *, where: str) -> None:
    """Refuse boxes whose widths and heights evidently are right and bottom edges.

    That is so if over a quarter of the boxes reach beyond their image, and none would as corners.

    Raises:
        DataError: if it is so.
    """
    limits = sizes[objects.image].flip(1) + _EDGE_PIXELS
    first, extent = objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]
    reaches = (objects.boxes[:, 2:] > limits).any(dim=1)
    is_inside = ((extent > first) & (extent <= limits)).all(dim=1)
    if len(objects) >= _FEW_BOXES and 4 * reaches.sum() > len(objects) and is_inside.all():
        raise DataError(
            f"{where}: {int(reaches.sum()):,} of {len(objects):,} boxes reach beyond their image "
            "as [x, y, width, height] and none does as [left, top, right, bottom]; subtract the "
            "left and top edges from the right and bottom ones"
        )


def _clipped(boxes: Tensor, sizes: Tensor) -> Tensor:
    limits = sizes.flip(1).repeat(1, 2).to(boxes)
    limits[limits == 0] = torch.inf
    return boxes.clamp_min(0).minimum(limits)


def size_of(source: Source, index: int) -> tuple[int, int]:
    """Height and width of an image from its header; 0 if it cannot be read."""
    try:
        return load_header_size(source.read, index)
    except UnreadableImageError:
        return 0, 0


def _starts(image: Tensor, count: int) -> Tensor:
    """Index of the first object of each image, and the end of the last image."""
    return torch.searchsorted(image.contiguous(), torch.arange(count + 1))
