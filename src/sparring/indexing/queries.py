"""What a user asks about: images of the set by their keys, or others by their paths."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparring.data.decode import UnreadableImageError, read_content
from sparring.data.names import shown
from sparring.data.sources.addresses import is_address
from sparring.data.sources.formats import is_image
from sparring.data.sources.image_source import as_bytes
from sparring.data.sources.shard_paths import is_shard_pattern
from sparring.data.sources.source import ImageData, Subset, open_source
from sparring.errors import DataError
from sparring.indexing.building import embedded
from sparring.indexing.indexed_images import IndexedImages
from sparring.models.encoder import Encoder
from sparring.training.listener import Listener
from sparring.training.settings import RunConfig

_MOST_COMPARED = 20_000
"""Keys among which the nearest to a misspelt one is looked for."""


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Images whose neighbours are wanted.

    Attributes:
        images: the queries with their features.
        rows: row in the set of a query given by its key; -1 for one given as an image.
    """

    images: IndexedImages
    rows: tuple[int, ...]

    def content(self, number: int) -> bytes | None:
        """Encoded file or values of a query; None if it cannot be read any more."""
        return content_of(self.images, number)


def content_of(images: IndexedImages, row: int) -> bytes | None:
    """Encoded file or values of an image; None if it cannot be read any more."""
    try:
        return as_bytes(read_content(images.source.read, row))
    except UnreadableImageError:
        return None


def find_queries(
    query: ImageData,
    images: IndexedImages,
    encoder: Encoder,
    config: RunConfig,
    listener: Listener | None,
) -> list[Queries]:
    """Queries, in their order; those given together are embedded together.

    Args:
        query: text, or several: a key of the set, else a path of an image, a folder or any other
            set of images; or images in any other form that `train` takes.
        images: the set that is searched.
        encoder: embeds queries that are not in the set.
        config: configuration of the run, which says how images are read.
        listener: told what happens; None: nobody.

    Raises:
        DataError: if a query is neither a key nor a path, or no image of it can be read.
    """
    if isinstance(query, str | Path):
        query = [query]
    named = isinstance(query, list | tuple) and all(isinstance(q, str | Path) for q in query)
    if not named:
        return [_given(query, images, encoder, config, listener)]
    names = [str(one) for one in query]  # type: ignore[union-attr]  # a list, as `named` says
    if not names:
        raise DataError("no query is given; give an image, a folder of images, or a key of the set")
    places = _places(names, images)
    found = []
    for name in names:
        if name in places:
            found.append(_from_set(images, places[name]))
        elif _is_there(name) or is_address(name) or is_shard_pattern(name):
            found.append(_given(_as_data(name), images, encoder, config, listener))
        else:
            raise DataError(_unknown(name, images))
    return found


def _places(names: Sequence[str], images: IndexedImages) -> dict[str, int]:
    """Row of each name that is a key of the set."""
    wanted, places = set(names), {}
    for row in range(len(images)):
        if (key := images.key(row)) in wanted and key not in places:
            places[key] = row
    return places


def _is_there(name: str) -> bool:
    return os.path.exists(os.path.expanduser(name))  # noqa: PTH110, PTH111 - Path raises for some


def _as_data(name: str) -> str | list[str]:
    """A single image as a list of one, everything else as it is."""
    path = Path(name).expanduser()
    return [str(path)] if path.is_file() and is_image(name) else name


def _from_set(images: IndexedImages, row: int) -> Queries:
    labels = None if images.labels is None else images.labels[row : row + 1]
    one = IndexedImages(
        name=images.name,
        source=Subset(images.source, np.array([row])),
        form=images.form,
        features=images.features[row : row + 1],
        labels=labels,
    )
    return Queries(images=one, rows=(row,))


def _given(
    query: ImageData,
    images: IndexedImages,
    encoder: Encoder,
    config: RunConfig,
    listener: Listener | None,
) -> Queries:
    """Images that are embedded now, with values in the range of those of the set."""
    source = open_source(query, part="all")
    fixed = images.form.value_range
    if fixed is not None:
        config = config.changed(data={"value_range": list(fixed)})
    found = embedded(encoder, source, config, listener)
    readable = source if len(found.rows) == len(source) else Subset(source, found.rows)
    one = IndexedImages(
        name="queries",
        source=readable,
        form=found.form,
        features=found.features,
        labels=None,
    )
    return Queries(images=one, rows=(-1,) * len(one))


def joint_features(queries: Sequence[Queries]) -> Float[Tensor, "queries channels"]:
    """Features of all queries, in their order."""
    return torch.cat([one.images.features for one in queries])


def _unknown(name: str, images: IndexedImages) -> str:
    """Message about a query that is neither a key nor a path."""
    inside = Path(images.name).expanduser() / name
    if name and _is_there(str(inside)):
        return (
            f"--query {name} is in {images.name}, but not among its images that can be read; "
            f"`sparring doctor --data` says why, and --query {shown(str(inside))} asks anyway"
        )
    step = max(1, len(images) // _MOST_COMPARED)
    keys = [images.key(row) for row in range(0, len(images), step)]
    near = get_close_matches(name, keys, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"keys look like '{keys[0]}'."
    return (
        f"--query {name} is neither a file or folder nor the key of an image in {images.name}; "
        f"{hint}"
    )
