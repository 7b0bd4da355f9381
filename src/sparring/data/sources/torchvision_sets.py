"""What torchvision's own datasets hold and hand out unchanged."""

from typing import Any

import numpy as np
from torch import Tensor

from sparring.data.sources.arrays import Arrays
from sparring.data.sources.image_source import Source
from sparring.data.sources.sequences import image_files

_LOADER = "torchvision.datasets.folder.default_loader"


def is_torchvisions(data: Any, module: str = "") -> bool:
    """Whether a class of torchvision hands out the items, perhaps of a certain module."""
    reader = getattr(type(data), "__getitem__", None)
    return getattr(reader, "__module__", "").startswith(f"torchvision.datasets.{module}")


def held_by_torchvision(data: Any) -> Source | None:
    """Files or values that a class of torchvision holds and hands out unchanged; None otherwise."""
    if not is_torchvisions(data) or getattr(data, "transforms", None) is not None:
        return None
    loader = getattr(data, "loader", None)
    samples = getattr(data, "samples", None)
    is_plain = f"{getattr(loader, '__module__', '')}.{getattr(loader, '__name__', '')}" == _LOADER
    if is_plain and isinstance(samples, list):
        return image_files([path for path, *_ in samples])
    values = getattr(data, "data", None)
    if not isinstance(values, np.ndarray | Tensor) or values.ndim not in (3, 4):
        return None
    return Arrays(values) if len(values) == len(data) else None
