"""Public functions that ask an index of embeddings: neighbours, duplicates, clusters, outliers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from torch import nn

from sparring.api.common import Run, folder_of, heard_by
from sparring.data.sources.source import ImageData
from sparring.errors import ConfigError
from sparring.files import refuse_folders
from sparring.indexing.building import index_images
from sparring.indexing.clusters import NUM_CLUSTERS, Clusters, find_clusters
from sparring.indexing.duplicates import Duplicates, find_duplicates, require_threshold
from sparring.indexing.indexed_images import IndexedImages
from sparring.indexing.neighbours import Neighbours, find_neighbours
from sparring.indexing.outliers import NUM_NEIGHBORS, Outliers, find_outliers
from sparring.indexing.pages import (
    clusters_page,
    duplicates_page,
    neighbours_page,
    outliers_page,
)
from sparring.indexing.queries import find_queries
from sparring.indexing.search import require_known
from sparring.indexing.writing import write_csv, write_lines, write_page
from sparring.models.encoder import Encoder
from sparring.training.encoders import load_encoder
from sparring.training.listener import Listener, counter
from sparring.training.settings import RunConfig

NUM_SHOWN = 12
"""Neighbours of each query if no number is given."""

Place = str | Path | None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """An index that is asked something, and who is told."""

    images: IndexedImages
    encoder: Encoder
    config: RunConfig
    listener: Listener | None

    @property
    def searched(self) -> Callable[[int, int], None] | None:
        return counter("searching", self.listener)


@contextmanager
def _asking(
    run: str | Path | Run,
    data: ImageData,
    features: Place,
    backbone: nn.Module | None,
    device: str,
    *,
    listener: Listener | None,
    progress: bool,
) -> Iterator[_Asked]:
    folder = folder_of(run)
    with heard_by(listener, progress=progress) as heard:
        tell = None if heard is None else heard.report
        encoder = load_encoder(folder, backbone=backbone, device=device, report=tell)
        images = index_images(folder, encoder, data, given=features, listener=heard)
        yield _Asked(images=images, encoder=encoder, config=folder.read_config(), listener=heard)


Answer = TypeVar("Answer", Neighbours, Duplicates, Clusters, Outliers)


def _write(found: Answer, page: Callable[[Answer], str], *, out: Place, csv: Place) -> None:
    """Write the files of an answer that are wanted."""
    if out is not None:
        write_page(page(found), Path(out))
    if csv is not None:
        write_csv(*found.table(), Path(csv))


def neighbours(
    run: str | Path | Run,
    data: ImageData,
    query: ImageData,
    *,
    k: int = NUM_SHOWN,
    index: str = "auto",
    out: Place = None,
    csv: Place = None,
    features: Place = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    progress: bool = True,
) -> Neighbours:
    """The most similar images of a set for each query, by cosine of a run's features.

    The query itself is left out, and so is every image with its content.

    Args:
        run: run folder; it keeps the features of the set for the next question.
        data: images that are searched, in any form that `train` takes.
        query: key of an image in the set, path of an image, of a folder or of any other set, or a
            list of these; or images in any other form that `train` takes.
        k: images per query, >= 1.
        index: `exact`; `faiss`, approximate; `auto`: faiss for more than 10^12 comparisons.
        out: HTML page to write; None: none.
        csv: CSV file to write; None: none.
        features: file of `sparring embed` with the features of the set; None: kept or computed.
        backbone: the network of your own with which the run was trained, if any.
        device: where to embed; the search is on the CPU.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        DataError: if a query is neither a key nor an image.
    """
    refuse_folders(out, csv)
    require_known(index)
    with _asking(
        run, data, features, backbone, device, listener=listener, progress=progress
    ) as asked:
        queries = find_queries(query, asked.images, asked.encoder, asked.config, asked.listener)
        found = find_neighbours(
            asked.images, queries, num_neighbors=k, how=index, progress=asked.searched
        )
        _write(found, neighbours_page, out=out, csv=csv)
    return found


def duplicates(
    run: str | Path | Run,
    data: ImageData,
    *,
    threshold: float | None = None,
    index: str = "auto",
    out: Place = None,
    csv: Place = None,
    removable: Place = None,
    features: Place = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    progress: bool = True,
) -> Duplicates:
    """Groups of images that repeat one another, with the one to keep; nothing is deleted.

    Args:
        run: run folder; it keeps the features of the set for the next question.
        data: images, in any form that `train` takes.
        threshold: cosine from which images are alike, in (0, 1]; None: found for this encoder and
            set from copies that are made of its images, and the pixels have to agree too.
        index: `exact`; `faiss`, approximate; `auto`: faiss for more than 10^12 comparisons.
        out: HTML page to write; None: none.
        csv: CSV file to write, every image of every group; None: none.
        removable: text file to write with the keys of the images that could go; None: none.
        features: file of `sparring embed` with the features of the set; None: kept or computed.
        backbone: the network of your own with which the run was trained, if any.
        device: where to embed; the search is on the CPU.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        ConfigError: if the threshold is out of range.
    """
    refuse_folders(out, csv, removable)
    require_known(index)
    require_threshold(threshold)
    with _asking(
        run, data, features, backbone, device, listener=listener, progress=progress
    ) as asked:
        found = find_duplicates(
            asked.images,
            asked.encoder,
            image_size=asked.config.image_size,
            device=asked.encoder.mean.device,
            threshold=threshold,
            how=index,
            progress=asked.searched,
        )
        _write(found, duplicates_page, out=out, csv=csv)
        if removable is not None:
            write_lines(found.removable_keys(), Path(removable))
    return found


def clusters(
    run: str | Path | Run,
    data: ImageData,
    *,
    num: int | Literal["auto"] = NUM_CLUSTERS,
    seed: int = 0,
    out: Place = None,
    csv: Place = None,
    features: Place = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    progress: bool = True,
) -> Clusters:
    """Clusters of a set by k-means on the directions of a run's features.

    Args:
        run: run folder; it keeps the features of the set for the next question.
        data: images, in any form that `train` takes; labels are compared with the clusters, never
            used to find them.
        num: number of clusters; `auto`: the one with the largest silhouette of 2 to 50.
        seed: of the first centres.
        out: HTML page to write; None: none.
        csv: CSV file to write, every image with its cluster; None: none.
        features: file of `sparring embed` with the features of the set; None: kept or computed.
        backbone: the network of your own with which the run was trained, if any.
        device: where to embed.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        ConfigError: if `num` is out of range.
        DataError: for a set of one image.
    """
    refuse_folders(out, csv)
    if isinstance(num, str) and num != "auto":
        raise ConfigError(f"--num must be a number of clusters or auto, got '{num}'")
    with _asking(
        run, data, features, backbone, device, listener=listener, progress=progress
    ) as asked:
        found = find_clusters(asked.images, num=None if num == "auto" else num, seed=seed)
        _write(found, clusters_page, out=out, csv=csv)
    return found


def outliers(
    run: str | Path | Run,
    data: ImageData,
    *,
    k: int = NUM_NEIGHBORS,
    index: str = "auto",
    out: Place = None,
    csv: Place = None,
    features: Place = None,
    backbone: nn.Module | None = None,
    device: str = "auto",
    listener: Listener | None = None,
    progress: bool = True,
) -> Outliers:
    """Images of a set by their mean cosine distance to their nearest others, the farthest first.

    Args:
        run: run folder; it keeps the features of the set for the next question.
        data: images, in any form that `train` takes.
        k: nearest neighbours per image, >= 1; images with equal content are none.
        index: `exact`; `faiss`, approximate; `auto`: faiss for more than 10^12 comparisons.
        out: HTML page to write; None: none.
        csv: CSV file to write, every image with its score; None: none.
        features: file of `sparring embed` with the features of the set; None: kept or computed.
        backbone: the network of your own with which the run was trained, if any.
        device: where to embed; the search is on the CPU.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        DataError: for a set without two different images.
    """
    refuse_folders(out, csv)
    require_known(index)
    with _asking(
        run, data, features, backbone, device, listener=listener, progress=progress
    ) as asked:
        found = find_outliers(asked.images, num_neighbors=k, how=index, progress=asked.searched)
        _write(found, outliers_page, out=out, csv=csv)
    return found
