"""Chosen images of a data set that is open already: nothing is decoded or written again."""

import hashlib

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8
from torch import Tensor

from sparring.data.dataset import Dataset, FileDataset, Indices
from sparring.data.sources.source import Labels
from sparring.data.store import Quarantine


def part(dataset: Dataset, rows: npt.NDArray[np.int64]) -> Dataset:
    """The images at these indices, in their order.

    Args:
        dataset: the whole, which the part goes on using.
        rows: indices into it.
    """
    return dataset.part(rows) if isinstance(dataset, FileDataset) else Part(dataset, rows)


class Part(Dataset):
    """Chosen images of a store.

    Args:
        whole: where they are.
        rows: indices into it.
    """

    def __init__(self, whole: Dataset, rows: npt.NDArray[np.int64]) -> None:
        self.size, self.class_names = whole.size, whole.class_names
        self._whole, self._rows = whole, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def fingerprint(self) -> str:
        rows = hashlib.blake2b(
            np.ascontiguousarray(self._rows, np.int64).tobytes(), digest_size=16
        ).hexdigest()
        return f"{self._whole.fingerprint}/{rows}"

    @property
    def keys(self) -> list[str]:
        """Of the chosen images."""
        keys = self._whole.keys
        return [keys[row] for row in self._rows.tolist()]

    @property
    def labels(self) -> Labels | None:
        labels = self._whole.labels
        return None if labels is None else labels[self._rows]

    @property
    def quarantine(self) -> Quarantine:
        """Nothing: the whole has left out its unreadable images already."""
        return ()

    def images(self, indices: Indices) -> UInt8[Tensor, "batch 3 size size"]:
        """As told by `Dataset`, out of the whole."""
        return self._whole.images(self._rows[np.asarray(indices, np.int64)])
