"""COCO outlines, polygons and run lengths, converted to masks and back.

faster-coco-eval is an optional dependency, imported on first use.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from sparring.errors import DataError

RunLengths: TypeAlias = dict[str, Any]
"""Compressed run lengths down the columns: {"size": [height, width], "counts": lengths}."""


def needs_coco_eval() -> None:
    """Raise early if faster-coco-eval is missing.

    Raises:
        DataError: without faster-coco-eval.
    """
    _functions()


def mask_of(
    outline: Mapping[str, Any] | Sequence[Sequence[float]], *, height: int, width: int
) -> Bool[Tensor, "height width"]:
    """Filled mask of an outline.

    Args:
        outline: polygons [x, y, x, y, ...] that together are one object, or run lengths, compressed
            or as numbers.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Raises:
        DataError: for anything else, or run lengths of another size.
    """
    functions = _functions()
    try:
        if isinstance(outline, Mapping):
            is_plain = isinstance(outline["counts"], list)
            whole = (
                functions.frPyObjects(dict(outline), height, width) if is_plain else dict(outline)
            )
        else:
            whole = functions.merge(
                functions.frPyObjects(
                    [[float(value) for value in part] for part in outline], height, width
                )
            )
        values = np.asarray(functions.decode(whole))
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"an outline is neither polygons [x, y, ...] nor run lengths {{size, counts}} "
            f"({reason})"
        ) from None
    if values.shape != (height, width):
        raise DataError(
            f"run lengths for {values.shape[1]} x {values.shape[0]} pixels mark an object in "
            f"an image of {width} x {height}"
        )
    return torch.from_numpy(values.astype(bool))


def run_lengths_of(masks: Bool[Tensor, "objects height width"]) -> list[RunLengths]:
    """Compressed run lengths of each mask."""
    columns = np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8))
    return list(_functions().encode(columns)) if len(masks) else []


def area_of(outline: RunLengths) -> float:
    """Number of pixels inside run lengths."""
    return float(_functions().area(outline))


def _functions() -> Any:
    try:
        from faster_coco_eval.core import mask  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            "detection needs faster-coco-eval for its outlines and scores; pip install "
            "'sparring[detection]'"
        ) from None
    return mask
