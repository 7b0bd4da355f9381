"""Chosen images of an open data set; nothing is decoded or written again."""

import hashlib

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8
from torch import Tensor

from sparring.data.dataset import Dataset, FileDataset, Indices
from sparring.data.sources.source import Labels, Source, Subset
from sparring.data.store import Quarantine


def dataset_subset(dataset: Dataset, rows: npt.NDArray[np.int64]) -> Dataset:
    """Data set of the images at these indices, in their order.

    Args:
        dataset: the whole set, which the subset keeps using.
        rows: indices into it.
    """
    return (
        dataset.subset(rows) if isinstance(dataset, FileDataset) else DatasetSubset(dataset, rows)
    )


class DatasetSubset(Dataset):
    """Chosen images of a stored data set.

    Args:
        whole: the stored data set.
        rows: indices into it.
    """

    def __init__(self, whole: Dataset, rows: npt.NDArray[np.int64]) -> None:
        self.size = whole.size
        self._whole, self._rows = whole, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def source(self) -> Source:
        return Subset(self._whole.source, self._rows)

    @property
    def fingerprint(self) -> str:
        """Text that changes with the whole set and with the choice of rows."""
        return f"{self._whole.fingerprint}/{self._rows_fingerprint()}"

    @property
    def content_fingerprint(self) -> str:
        return f"{self._whole.content_fingerprint}/{self._rows_fingerprint()}"

    @property
    def keys(self) -> list[str]:
        """Keys of the chosen images."""
        keys = self._whole.keys
        return [keys[row] for row in self._rows.tolist()]

    @property
    def labels(self) -> Labels | None:
        labels = self._whole.labels
        return None if labels is None else labels[self._rows]

    @property
    def quarantine(self) -> Quarantine:
        """Always empty: the whole set already excludes unreadable images."""
        return ()

    def images(self, indices: Indices) -> UInt8[Tensor, "batch bands size size"]:
        """Central squares of the chosen images, from the whole set."""
        return self._whole.images(self._rows[np.asarray(indices, np.int64)])

    @property
    def kept_size(self) -> int:
        return self._whole.kept_size

    def batch(self, indices: Indices) -> UInt8[Tensor, "batch bands kept kept"]:
        """Chosen images as the whole set keeps them."""
        return self._whole.batch(self._rows[np.asarray(indices, np.int64)])

    def _rows_fingerprint(self) -> str:
        rows = np.ascontiguousarray(self._rows, np.int64)
        return hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
