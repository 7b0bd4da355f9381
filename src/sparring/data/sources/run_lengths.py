"""Outlines as COCO stores them, polygons and run lengths, to masks and back.

faster-coco-eval is imported on first use: it is an extra.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from sparring.errors import DataError

RunLengths: TypeAlias = dict[str, Any]
"""{"size": [height, width], "counts": lengths of the runs down the columns, compressed}."""


def needs_coco_eval() -> None:
    """Say early that the extra is missing.

    Raises:
        DataError: without faster-coco-eval.
    """
    _functions()


def mask_of(
    outline: Mapping[str, Any] | Sequence[Sequence[float]], *, height: int, width: int
) -> Bool[Tensor, "height width"]:
    """Filled outline.

    Args:
        outline: polygons [x, y, x, y, ...], which together are one object, or run lengths,
            compressed or as numbers.
        height: of the image in pixels.
        width: of the image in pixels.

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
    """Each mask as compressed run lengths."""
    columns = np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8))
    return list(_functions().encode(columns)) if len(masks) else []


def area_of(outline: RunLengths) -> float:
    """Pixels within run lengths."""
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
