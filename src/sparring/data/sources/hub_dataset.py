"""Images of a `datasets.Dataset` of the library `datasets`, by number."""

import hashlib
from collections.abc import Mapping
from typing import Any

from sparring.data.classes import complete_names, numbered
from sparring.data.decode import Content
from sparring.data.sources.hub_columns import (
    image_column,
    label_column,
    stored_content,
    without_decoding,
)
from sparring.data.sources.image_source import Labels, Source
from sparring.data.sources.parts import Use
from sparring.errors import DataError


def open_hub_object(data: Any, *, use: Use, where: str = "the DatasetDict") -> Source:
    """Source of a set, or of all splits of one.

    Args:
        data: `datasets.Dataset`, or a `datasets.DatasetDict` with `use="all"`.
        use: what the images are wanted for.
        where: what a dict of splits is called in messages.

    Raises:
        DataError: if it is empty or holds no images, or if its splits differ in their columns.
    """
    if not isinstance(data, Mapping):
        return HubDataset(data)
    from datasets import concatenate_datasets

    assert use == "all"
    try:
        return HubDataset(concatenate_datasets(list(data.values())))
    except ValueError:
        raise DataError(f"{where}: its splits differ in their columns; name one of them") from None


class HubDataset(Source):
    """Rows of a set in memory or in the library's cache.

    Args:
        dataset: the set, a `datasets.Dataset`.

    Raises:
        DataError: if no column holds images, or there are no rows.
    """

    def __init__(self, dataset: Any) -> None:
        if not len(dataset):
            raise DataError("the set has no rows; give one with images")
        self._column = image_column(dataset.features, where="the set")
        self._dataset = without_decoding(dataset, self._column)
        self._labels: Labels | None = None
        column, names = label_column(dataset.features, image=self._column)
        if not column:
            self.labels_missing = (
                f"no column holds labels; the columns are {', '.join(dataset.column_names)}"
            )
            return
        try:
            self._labels, found = numbered(dataset[column], where=f"the column '{column}'")
        except DataError as error:
            self.labels_missing = str(error)
            return
        self.class_names = found or complete_names(self._labels, names)

    def __len__(self) -> int:
        return len(self._dataset)

    def key(self, index: int) -> str:
        info = self._dataset.info
        return f"{info.dataset_name or 'dataset'}/{self._dataset.split or 'rows'}#{index}"

    def read(self, index: int) -> Content:
        return stored_content(self._dataset[index][self._column])

    def labels(self) -> Labels | None:
        return self._labels

    def fingerprint(self) -> str:
        """Text that changes with the library's own fingerprint of the set."""
        text = f"{self._dataset._fingerprint}/{self._column}/{len(self)}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
