"""Predictions per image: what a classifier said of each scored image, and how they are stored.

Two encoders scored on the same images have predictions that line up row by row, so that a
difference between them can be tested on the same images.
"""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from sparring.errors import RunError
from sparring.regular_files import read_bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What was predicted of each scored image, a row each.

    Attributes:
        keys: what a user recognises each image by; the same images give the same keys in the same
            order.
        classes: names of the classes that can be predicted.
        targets: class of each image, 0 .. classes - 1, or `classes` for one that cannot be
            predicted: (images,). Where an image may show several classes: 1, 0, or -1 for unknown:
            (images, classes).
        predicted: class of each image: (images,); with several fits (fits, images); where an image
            may show several classes, 1 or 0: (images, classes).
        fits: names of several classifiers, such as draws of the labelled images; empty for one.
        scores: by which the classes of an image were ranked, where it may show several: (images,
            classes); None otherwise.
    """

    keys: Sequence[str]
    classes: Sequence[str]
    targets: npt.NDArray[np.integer[Any]]
    predicted: npt.NDArray[np.integer[Any]]
    fits: Sequence[str] = ()
    scores: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        expected = (len(self.fits), *self.targets.shape) if self.fits else self.targets.shape
        if len(self.targets) != len(self.keys) or self.predicted.shape != expected:
            raise ValueError(
                f"predictions of shape {self.predicted.shape} do not fit {len(self.keys)} images, "
                f"targets of shape {self.targets.shape} and {len(self.fits)} named fits"
            )

    def __eq__(self, other: object) -> bool:
        """Whether images, classes and all predictions are equal."""
        if not isinstance(other, Predictions):
            return NotImplemented
        pairs = [(getattr(self, part.name), getattr(other, part.name)) for part in fields(self)]
        return all(np.array_equal(np.asarray(one), np.asarray(two)) for one, two in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """Whether each prediction is right; the shape of `predicted`."""
        return np.asarray(self.predicted == self.targets, dtype=np.bool_)

    def encoded(self) -> bytes:
        """Content of an .npz file."""
        arrays: dict[str, Any] = {
            "keys": np.array(self.keys, dtype=np.str_),
            "classes": np.array(self.classes, dtype=np.str_),
            "fits": np.array(self.fits, dtype=np.str_),
            "targets": self.targets.astype(np.int32),
            "predicted": self.predicted.astype(np.int32),
        }
        if self.scores is not None:
            arrays["scores"] = self.scores.astype(np.float32)
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        return content.getvalue()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Predictions of a file; no code that it may hold is run.

        Raises:
            RunError: if it is missing or damaged.
        """
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
                found = {part.name: file[part.name] for part in fields(cls) if part.name in file}
            names = {name: tuple(found[name].tolist()) for name in ("keys", "classes", "fits")}
            return cls(**{**found, **names})
        except FileNotFoundError:
            why = "is missing"
        except (OSError, ValueError, TypeError, KeyError, EOFError, AttributeError):
            why = "is damaged"
        except (BadZipFile, zlib.error):
            why = "is damaged"
        raise RunError(f"{path} {why}; use `sparring evaluate` again")
