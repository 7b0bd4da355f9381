"""Opening of images that a caller holds: arrays, sequences, datasets, and labels beside them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torch.utils.data import Subset as TorchSubset

from sparring.data.sources.addresses import is_iterable_dataset
from sparring.data.sources.arrays import Arrays, labels_of
from sparring.data.sources.concatenated import ConcatenatedSource
from sparring.data.sources.hub_dataset import is_hub_object, is_hub_stream, open_hub_object
from sparring.data.sources.image_source import Relabelled, Source, Subset
from sparring.data.sources.items import kind_of
from sparring.data.sources.map_style import MapStyle, open_map_style
from sparring.data.sources.parts import Use
from sparring.data.sources.sequences import ACCEPTED, open_sequence
from sparring.errors import DataError


def open_in_memory(data: object, *, use: Use = "train") -> Source:
    """Source of images that a caller holds, in any of the forms of `ImageData` but a path.

    Args:
        data: images, or (images, labels).
        use: of a dict of splits: what the images are wanted for.

    Raises:
        DataError: for anything else, with what to give instead.
    """
    if isinstance(data, tuple):
        return _labelled(data, use=use)
    if isinstance(data, np.ndarray) and (data.dtype.kind in "OUS" and data.ndim == 1):
        data = data.tolist()  # of paths, or of images of several sizes
    if isinstance(data, np.ndarray | Tensor):
        return Arrays(data)
    if is_hub_object(data):
        return open_hub_object(data, use=use)
    refuse_streams(data)
    if (found := _of_torch(data, use=use)) is not None:
        return found
    data = _columns_as_lists(data)
    _refuse_others(data)
    assert _is_map_style(data)
    if not len(data):
        raise DataError(f"data of type {type(data).__name__} without items; give some images")
    if isinstance(data, Sequence) and (kind_of(data[0]) or not _may_be_item(data[0])):
        return open_sequence(data)
    return open_map_style(data)


def _labelled(data: tuple[object, ...], *, use: Use) -> Source:
    """Images of a tuple (images, labels)."""
    if len(data) != 2:
        raise DataError(
            f"a tuple of {len(data)} values; a tuple is (images, labels): give images alone as a "
            "list or an array"
        )
    images, labels = data
    if isinstance(images, np.ndarray | Tensor) and images.ndim > 1:
        return Arrays(images, labels)
    if kind_of(images) not in ("", "an array"):
        raise DataError(
            f"a tuple is (images, labels), and its first value is {kind_of(images)}; give a list "
            "of images there"
        )
    source = open_in_memory(images, use=use)
    if labels is None:
        return source
    numbers, names = labels_of(labels, len(source))
    return Relabelled(source, numbers, names)


def _of_torch(data: object, *, use: Use) -> Source | None:
    """Source of the wrappers that PyTorch has for datasets; None for anything else."""
    if isinstance(data, DataLoader):
        source = open_in_memory(data.dataset, use=use)
        source.notes += _loader_notes(data, len(source))
        return source
    if isinstance(data, TorchSubset):
        return Subset(open_in_memory(data.dataset, use=use), np.asarray(data.indices, np.int64))
    if isinstance(data, ConcatDataset):
        parts = [open_in_memory(part, use=use) for part in data.datasets]
        names = [f"part {number}" for number in range(len(parts))]
        return ConcatenatedSource(parts, names)
    if isinstance(data, TensorDataset):
        return _of_tensors(data.tensors)
    return None


def _of_tensors(tensors: Sequence[Tensor]) -> Source:
    """Images of the first tensor, labels of the second one if it has one value per image."""
    source = Arrays(tensors[0])
    if len(tensors) < 2:
        return source
    try:
        source.give_labels(*labels_of(tensors[1], len(source)))
    except DataError as error:
        source.labels_missing = str(error)
        source.notes += (f"the second tensor cannot be used as labels: {error}",)
    return source


def _loader_notes(loader: "DataLoader[Any]", num_images: int) -> tuple[str, ...]:
    sampler = loader.sampler
    name = type(sampler).__name__
    notes = (
        "of the DataLoader its dataset is used, with the transform of that; its batch size, order, "
        "collate function and workers are not (training.batch_size, data.workers)",
    )
    if isinstance(sampler, RandomSampler | SequentialSampler) or sampler is None:
        return notes
    return (
        *notes,
        f"its sampler, {name}, is not used: all {num_images:,} images are; "
        "torch.utils.data.Subset chooses some",
    )


def refuse_streams(data: object) -> None:
    """Refuse what has no random access.

    Raises:
        DataError: with what to give instead.
    """
    inner = data.dataset if isinstance(data, DataLoader) else data
    name, said = type(inner).__name__, "dataset" if inner is data else "loader.dataset"
    if is_hub_stream(inner) and isinstance(inner, Mapping):
        raise DataError(f"data of type {name} has several splits; give one: {said}['train']")
    if is_hub_stream(inner) or isinstance(inner, IterableDataset):
        streamed = (
            f"to train on it in order, give {said} itself with data.streaming=true and "
            "data.num_images=N"
            if is_iterable_dataset(inner)
            else "to train in order, give a set of the Hugging Face Hub (hf:NAME) or tar shards "
            "with data.streaming=true"
        )
        raise DataError(
            f"data of type {name} has no length and no random access; give a list of its items, "
            f"list({said}), if they fit into memory; {streamed} (docs/data.md)"
        )
    is_iterated = hasattr(inner, "__iter__") and not hasattr(inner, "__getitem__")
    if hasattr(inner, "__next__") or (is_iterated and not _is_set(inner)):
        raise DataError(
            f"data of type {name} is read once, in order, and images are read again in every "
            "epoch; give a list: list(...)"
        )


def _refuse_others(data: object) -> None:
    """Refuse what is no sequence and no dataset.

    Raises:
        DataError: with what to give instead.
    """
    name = type(data).__name__
    if name == "DataFrame":
        raise DataError(
            "a DataFrame; give its columns: (list(frame['path']), list(frame['label']))"
        )
    if isinstance(data, Image.Image) or kind_of(data):
        raise DataError(f"a single image of type {name}; give a list of images")
    if isinstance(data, Mapping):
        raise DataError(
            f"data of type {name} with the keys {', '.join(map(str, list(data)[:5]))}; give "
            "(images, labels), or a list of images"
        )
    if _is_set(data):
        raise DataError(f"data of type {name} has no order; give a list: sorted(...)")
    if not _is_map_style(data):
        raise DataError(
            f"data of type {name}; give a path, an array of images, a list of {ACCEPTED}, or a "
            "dataset with __len__ and __getitem__"
        )


def _is_set(data: object) -> bool:
    return isinstance(data, set | frozenset)


def _is_map_style(data: object) -> TypeGuard[MapStyle]:
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _may_be_item(value: object) -> bool:
    """Whether a value of a list is an item of a dataset: (image, label) or a dict."""
    return isinstance(value, tuple | Mapping)


def _columns_as_lists(data: object) -> object:
    """A column of a table as a list; anything else as it is."""
    is_of_table = type(data).__module__.partition(".")[0] in ("pandas", "polars", "datasets")
    is_column = is_of_table and type(data).__name__ in ("Series", "Index", "Column")
    return list(data) if is_column else data  # type: ignore[call-overload]
