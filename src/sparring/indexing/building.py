"""Making of the index of a set: its images with their features, kept, given or computed now."""

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.source import ImageData, Source, Subset, open_source
from sparring.errors import DataError, unknown_name
from sparring.evaluation.features import extract_features
from sparring.indexing.indexed_images import IndexedImages
from sparring.indexing.kept_features import (
    KeptFeatures,
    encoder_digest,
    keep_if_possible,
    read_kept,
    set_digest,
)
from sparring.models.encoder import Encoder
from sparring.training.listener import Listener, counter
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

CHECKED = 8
"""Images that are embedded to see whether given features are this encoder's."""
SAME_FEATURES = 0.01
"""Largest distance of given features to those computed here, as a share of their length; rounding
differs by less, also where a device computes with fewer bits."""


def index_images(
    folder: RunFolder,
    encoder: Encoder,
    data: ImageData,
    *,
    given: str | Path | None = None,
    listener: Listener | None = None,
) -> IndexedImages:
    """Images of a set with their features by a run's encoder.

    Args:
        folder: run folder, which keeps the features for the next question.
        encoder: its trained encoder, on the device that computes.
        data: images in any form that `train` takes; every part of a set.
        given: file of `sparring embed` with the features; None: kept ones, or computed now.
        listener: told what happens; None: nobody.

    Raises:
        DataError: if no image can be read, or the given features are not those of these images.
    """
    config = folder.read_config()
    source = open_source(data, part="all", progress=counter("indexing shards", listener))
    if listener is not None:
        for note in source.notes:
            listener.report(note)
    if given is not None:
        found = _from_file(Path(given), encoder, source, config, listener)
    else:
        found = _kept_or_computed(folder, encoder, source, config, listener)
    readable = source if len(found.rows) == len(source) else Subset(source, found.rows)
    return IndexedImages(
        name=str(data) if isinstance(data, str | Path) else "the given images",
        source=readable,
        form=found.form,
        features=found.features,
        labels=readable.labels(),
        num_left_out=len(source) - len(found.rows),
        encoder=f"{folder.path} ({config.encoder.backbone})",
    )


def embedded(
    encoder: Encoder, source: Source, config: RunConfig, listener: Listener | None
) -> KeptFeatures:
    """Features of the readable images of a source, computed now.

    Args:
        encoder: on the device that computes.
        source: images.
        config: configuration of the run, which says how images are read.
        listener: told what happens; None: nobody.

    Raises:
        DataError: if no image can be read.
        TrainingError: if a feature is not finite.
    """
    dataset = open_dataset(
        source,
        config.data.model_copy(update={"limit": None}),
        image_size=config.image_size,
        progress=counter("reading images", listener),
        report=None if listener is None else listener.report,
    )
    features = extract_features(
        encoder,
        dataset,
        device=encoder.mean.device,
        kept_on="cpu",
        progress=counter("features", listener),
    )
    return KeptFeatures(features=features, rows=_rows(source, dataset), form=dataset.form)


def _kept_or_computed(
    folder: RunFolder,
    encoder: Encoder,
    source: Source,
    config: RunConfig,
    listener: Listener | None,
) -> KeptFeatures:
    if source.is_random or source.is_costly:  # no name that says which images these are
        return embedded(encoder, source, config, listener)
    reading = f"{config.data.channels}/{config.data.value_range}/{config.data.max_bad_share}"
    names = (
        encoder_digest(encoder),
        set_digest(source, image_size=config.image_size, reading=reading),
    )
    if (kept := read_kept(folder.path, *names)) is not None:
        if listener is not None:
            listener.report(f"features of {len(kept.rows):,} images, kept in {folder.path}")
            _tell_left_out(len(source) - len(kept.rows), listener)
        return kept
    found = embedded(encoder, source, config, listener)
    line = keep_if_possible(folder.path, *names, found)
    if line and listener is not None:
        listener.report(line)
    return found


def _tell_left_out(count: int, listener: Listener) -> None:
    if count:
        listener.report(f"{count:,} images that cannot be read are left out")


def _rows(source: Source, dataset: Dataset) -> npt.NDArray[np.int64]:
    """Indices in a source of the images of its data set, which lacks unreadable ones."""
    bad = {key for key, _ in dataset.quarantine}
    if not bad:
        return np.arange(len(source))
    rows = [row for row in range(len(source)) if source.key(row) not in bad]
    assert len(rows) == len(dataset), "keys of a source are those of its data set"
    return np.array(rows, np.int64)


def _from_file(
    path: Path, encoder: Encoder, source: Source, config: RunConfig, listener: Listener | None
) -> KeptFeatures:
    """Features of a file of `sparring embed`, each at its image."""
    features, keys = _read_embedded(path)
    places = {source.key(row): row for row in range(len(source))}
    if strangers := [key for key in keys if key not in places]:
        raise DataError(
            f"{path} has features of {strangers[0]}, which is not in this set; give the --data "
            f"of the `sparring embed` that wrote it, or leave --features out"
        )
    rows = np.array([places[key] for key in keys], np.int64)
    if len(set(keys)) < len(keys):
        raise DataError(f"{path} names an image twice; write it anew with `sparring embed`")
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(CHECKED, len(rows))).astype(int))
    sample = embedded(encoder, Subset(source, rows[chosen]), config, None)
    same = len(sample.rows) == len(chosen) and sample.features.shape[1] == features.shape[1]
    if same:
        distances = (sample.features - features[chosen]).norm(dim=1)
        same = bool((distances <= SAME_FEATURES * sample.features.norm(dim=1)).all())
    if not same:
        raise DataError(
            f"{path} does not hold this encoder's features of these images; write it anew with "
            "`sparring embed`, or leave --features out"
        )
    if listener is not None:
        listener.report(f"features of {len(rows):,} images from {path}")
        if left_out := len(source) - len(rows):
            listener.report(
                f"{left_out:,} images of the set have no features in {path} and are left out: they "
                "could not be read when it was written, or were added since"
            )
    order = rows.argsort(kind="stable")
    return KeptFeatures(features=features[order], rows=rows[order], form=sample.form)


def _read_embedded(path: Path) -> tuple[Float[Tensor, "images channels"], list[str]]:
    """Features and keys of a file of `sparring embed`.

    Raises:
        DataError: if it is missing, damaged or another file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"features", "keys"} - set(arrays.files)
            if missing:
                raise DataError(unknown_name("array", sorted(missing)[0], arrays.files))
            features, keys = arrays["features"], arrays["keys"]
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an .npz"
        raise DataError(
            f"cannot read {path} ({reason}); --features takes a file that `sparring embed` wrote"
        ) from None
    if features.ndim != 2 or keys.shape != features.shape[:1] or not len(keys):
        raise DataError(f"{path} holds no features with their keys; use `sparring embed`")
    found = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    if not bool(found.isfinite().all()):
        raise DataError(f"{path} holds features that are not finite; use `sparring embed`")
    return found, keys.tolist()
