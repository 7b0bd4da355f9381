"""COCO outlines, polygons and run lengths, converted to masks and back.

faster-coco-eval is an optional dependency, imported on first use.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from sparring.data.decode import MAX_PIXELS
from sparring.data.sources.fields import number, shown
from sparring.errors import DataError

RunLengths: TypeAlias = dict[str, Any]
"""Compressed run lengths down the columns: {"size": [height, width], "counts": lengths}."""

FURTHEST = 10
"""Distance from the image, in its longer sides, up to which a polygon may reach."""
MAX_SIDE = 1_000_000
_NEITHER = "an outline is neither polygons [x, y, ...] nor run lengths {size, counts}"
_LINE = 1e-9
"""Distance from a line, in lengths of the outline, up to which points are on it."""
_CHARACTERS = 10  # of one length: 50 bits


def needs_coco_eval() -> None:
    """Raise early if faster-coco-eval is missing.

    Raises:
        DataError: without faster-coco-eval.
    """
    _functions()


def mask_of(
    outline: Mapping[str, Any] | Sequence[Any], *, height: int, width: int
) -> Bool[Tensor, "height width"]:
    """Filled mask of an outline.

    Args:
        outline: polygons [x, y, x, y, ...] that together are one object, or a single one; or run
            lengths, compressed (text or bytes) or as numbers.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Raises:
        DataError: for anything else, polygons that enclose nothing, or run lengths of another size.
    """
    if isinstance(outline, Mapping):
        lengths = _lengths(outline, height=height, width=width)
        values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height)
        return torch.from_numpy(np.ascontiguousarray(values.T))
    parts, functions = polygons_of(outline, height=height, width=width), _functions()
    whole = functions.merge(functions.frPyObjects(parts, height, width))
    return torch.from_numpy(np.asarray(functions.decode(whole)).astype(bool))


def check_outline(outline: object, *, height: int, width: int) -> None:
    """Check an outline without filling it.

    Raises:
        DataError: like `mask_of`, and for run lengths of no pixel.
    """
    if not isinstance(outline, Mapping):
        polygons_of(outline, height=height, width=width)
    elif not _lengths(outline, height=height, width=width)[1::2].sum():
        raise DataError("run lengths that enclose nothing")


def polygons_of(outline: object, *, height: int, width: int) -> list[list[float]]:
    """Polygons of an outline that enclose something, each [x, y, x, y, ...].

    Two points, points that are all equal and points on a line enclose nothing: left out beside
    others.

    Raises:
        DataError: for no polygons, a coordinate without its pair or that is no number, points far
            from the image, or if nothing is enclosed.
    """
    if not isinstance(outline, list | tuple) or not outline:
        raise DataError(f"{_NEITHER}, got {shown(outline)}")
    is_single = not isinstance(outline[0], list | tuple)
    furthest = FURTHEST * (max(height, width) + 100)
    parts = [_points(part, furthest) for part in ([outline] if is_single else outline)]
    enclosing = [part for part in parts if _encloses(part)]
    if not enclosing:
        raise DataError(
            f"an outline of {sum(map(len, parts)) // 2} points that encloses nothing: it needs "
            "three that are not on a line"
        )
    return enclosing


def box_of(outline: object) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of an outline of any size; None if it is none."""
    try:
        if isinstance(outline, Mapping):
            height, width = _size(outline)
            rows, columns = mask_of(outline, height=height, width=width).nonzero(as_tuple=True)
            left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            return float(left), float(top), float(right), float(bottom)
        found = [value for part in polygons_of(outline, height=MAX_SIDE, width=1) for value in part]
    except (DataError, RuntimeError):  # the second: no pixel
        return None
    return min(found[::2]), min(found[1::2]), max(found[::2]), max(found[1::2])


def _points(part: object, furthest: float) -> list[float]:
    """Coordinates of one polygon."""
    if not isinstance(part, list | tuple):
        raise DataError(f"{_NEITHER}, got {shown(part)} as polygon")
    if len(part) % 2:
        raise DataError(f"a polygon of {len(part)} numbers: every x needs its y")
    try:
        values = [number(value) for value in part]
    except ValueError as error:
        raise DataError(f"a polygon with a coordinate that is not {error}: {shown(part)}") from None
    points = [value for value in values if value is not None]
    if len(points) < len(values):
        raise DataError(f"a polygon with an empty coordinate: {shown(part)}")
    if points and max(map(abs, points)) > furthest:
        raise DataError(f"a polygon that reaches {max(map(abs, points)):g} pixels from the image")
    return points


def _encloses(coordinates: list[float]) -> bool:
    """Whether the points of a polygon are not all on one line."""
    points = np.array(coordinates).reshape(-1, 2)
    if len(points) < 3:
        return False
    points = points - points[0]
    direction = points[np.abs(points).sum(axis=1).argmax()]
    beside = np.abs(points[:, 0] * direction[1] - points[:, 1] * direction[0])
    return bool(beside.max() > _LINE * np.square(direction).sum())


def _size(outline: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width for which run lengths were made."""
    size = outline.get("size")
    try:
        height, width = (int(number(side) or 0) for side in size)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise DataError(f"run lengths whose 'size' {shown(size)} is not [height, width]")
    return height, width


def _lengths(outline: Mapping[str, Any], *, height: int, width: int) -> npt.NDArray[np.int64]:
    """Lengths of the runs of zeros and ones in turn, for every pixel down the columns."""
    if "counts" not in outline:
        raise DataError(f"{_NEITHER}, got {shown(dict(outline))}")
    size = _size(outline)
    if size != (height, width):
        raise DataError(
            f"run lengths for {size[1]} x {size[0]} pixels mark an object in an image of "
            f"{width} x {height}"
        )
    counts = outline["counts"]
    if isinstance(counts, str):  # which may hold half of a character
        counts = counts.encode("utf-8", "surrogatepass")
    if isinstance(counts, bytes):
        lengths = _decompressed(counts)
    elif isinstance(counts, list | tuple) and all(type(count) is int for count in counts):
        lengths = np.array([min(max(count, -1), MAX_PIXELS + 1) for count in counts], np.int64)
    else:
        raise DataError(f"run lengths whose 'counts' are {shown(counts)}")
    is_possible = ((lengths >= 0) & (lengths <= height * width)).all()
    if not is_possible or lengths.sum() != height * width:
        raise DataError(f"run lengths that do not add up to the {height * width:,} pixels")
    return lengths


def _decompressed(text: bytes) -> npt.NDArray[np.int64]:
    """Run lengths of COCO's text: 5 bits a character, and differences from the fourth length on.

    Source: `rleFrString` of cocodataset/cocoapi, common/maskApi.c.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if not len(ends) or ends[-1] != len(codes) - 1 or not 0 <= codes.min() <= codes.max() < 64:
        raise DataError("run lengths whose text is damaged")
    sizes = ends - starts + 1
    if sizes.max() > _CHARACTERS:
        raise DataError("run lengths whose text is damaged")
    places = np.arange(len(codes)) - np.repeat(starts, sizes)
    lengths = np.add.reduceat((codes & 31) << 5 * places, starts)
    lengths -= np.where(codes[ends] & 16, 1 << 5 * sizes, 0)
    lengths[1::2], lengths[2::2] = np.cumsum(lengths[1::2]), np.cumsum(lengths[2::2])
    return lengths


def run_lengths_of(masks: Bool[Tensor, "objects height width"]) -> list[RunLengths]:
    """Compressed run lengths of each mask."""
    columns = np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8))
    return list(_functions().encode(columns)) if len(masks) else []


def area_of(outline: RunLengths) -> float:
    """Number of pixels inside run lengths."""
    return float(_functions().area(outline))


def _functions() -> Any:
    try:
        import faster_coco_eval  # type: ignore[import-untyped]  # noqa: F401
        from faster_coco_eval.core import mask  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            "detection needs faster-coco-eval for its outlines and scores; pip install "
            "'sparring[detection]'"
        ) from None
    return mask
