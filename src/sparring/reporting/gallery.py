"""Pictures of a report: views, retrievals, an embedding map, the bank's hardest negatives.

Pure functions of images, features and embeddings; callers supply the encoder and the data.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sparring.measures.knn import nearest
from sparring.seeding import derived_seed, generator

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""uint8 values, (height, width, 3) or (images, height, width, 3)."""

NUM_QUERIES, NUM_NEIGHBORS = 8, 8
NUM_NEGATIVES, NUM_NEAREST_IMAGES = 4, 3
NUM_VIEW_ROWS = 8
MAP_IMAGES = 1500


@dataclass(frozen=True, kw_only=True)
class ViewRow:
    """An image and the views made of it in training; views may differ in size."""

    original: Pixels
    views: tuple[Pixels, ...]


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """A query image and its nearest neighbours by features, nearest first."""

    query: Pixels
    neighbours: Pixels
    cosines: npt.NDArray[np.float32]
    same_label: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """Features projected to the plane, coordinates in [0, 1]."""

    xy: npt.NDArray[np.float32]
    thumbnails: Pixels
    projection: str
    """Projection method: `t-SNE` or `PCA`."""
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] | None = None
    keys: tuple[str, ...] = ()
    """Names of the images; empty if they are not known."""


@dataclass(frozen=True, kw_only=True)
class HardNegative:
    """A bank vector, shown by the images whose embeddings are nearest to it."""

    cosine: float
    """Cosine of the bank vector and the query."""
    nearest_images: Pixels
    image_cosines: npt.NDArray[np.float32]
    same_label: npt.NDArray[np.bool_] | None = None
    """Whether each nearest image has the query's class."""


@dataclass(frozen=True, kw_only=True)
class HardestNegatives:
    """A query image and the bank vectors with the largest cosine to it, largest first."""

    query: Pixels
    negatives: tuple[HardNegative, ...]


@dataclass(frozen=True, kw_only=True)
class HardestPair:
    """An anchor's image and that of its hardest negative, or the image that a stored vector
    resembles most."""

    anchor: Pixels
    negative: Pixels
    cosine: float
    """Cosine of anchor and negative."""
    positive: float
    """Cosine of the anchor and its positive, to read the other beside."""
    is_stored: bool = False
    """Whether the negative is a vector of a bank or queue, shown by an image."""
    same_label: bool | None = None
    """Whether both images are of one class; None if that is not known."""


@dataclass(frozen=True, kw_only=True)
class GeneratedPairs:
    """Images of a generator pair from the same latent vectors, at one time of the joint
    training."""

    share: float
    """Elapsed share of the joint training, in [0, 1)."""
    first: Pixels
    """Images of the first generator, (pairs, height, width, 3)."""
    second: Pixels
    """Images of the second generator."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Pictures of one encoder; any part may be missing."""

    views: tuple[ViewRow, ...] = ()
    attacks: tuple[ViewRow, ...] = ()
    """Views, each with its perturbation around mid-grey and its attacked copy."""
    generated_pairs: tuple[GeneratedPairs, ...] = ()
    """Generated pairs in order of time."""
    retrievals: tuple[Retrieval, ...] = ()
    embedding_map: EmbeddingMap | None = None
    bank_hardest: tuple[HardestNegatives, ...] = ()
    hardest_pairs: tuple[HardestPair, ...] = ()
    """Anchors with their hardest negatives, the hardest first."""


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """Images, and what one encoder computes from them, row by row."""

    images: UInt8[Tensor, "images bands height width"]
    features: Float[Tensor, "images channels"]
    labels: Int[Tensor, "images"] | None = None
    """Class of each image; -1 is unknown."""
    class_names: tuple[str, ...] | None = None
    keys: tuple[str, ...] = ()
    embeddings: Float[Tensor, "images dim"] | None = None
    """Embeddings of the images; only needed with a bank."""
    bank: Float[Tensor, "bank dim"] | None = None
    views: tuple[Float[Tensor, "rows bands _ _"], ...] = ()
    """Views of the first rows of `images`, in [0, 1]."""
    attack: tuple[Float[Tensor, "rows bands _ _"], Float[Tensor, "rows bands _ _"]] | None = None
    """Views and their attacked copies, in [0, 1]."""
    album: UInt8[Tensor, "moments 2 pairs 3 height width"] | None = None
    """Generated pairs at equal intervals of the joint training, as far as it has come."""
    num_moments: int = 1
    """Number of intervals in the whole joint training."""


def make_gallery(encoded: EncodedImages, *, seed: int) -> Gallery:
    """All pictures that can be made.

    The same seed and labels give the same queries for every encoder.
    """
    queries = choose_queries(len(encoded.images), encoded.labels, seed=seed)
    return Gallery(
        views=view_rows(encoded),
        attacks=() if encoded.attack is None else attack_rows(*encoded.attack),
        generated_pairs=generated_pairs(encoded),
        retrievals=retrievals(encoded, queries),
        embedding_map=embedding_map(encoded, seed=seed),
        bank_hardest=hardest_negatives(encoded, queries),
    )


def choose_queries(
    count: int, labels: Int[Tensor, "images"] | None, *, seed: int
) -> Int[Tensor, "queries"]:
    """Rows of the query images: random, one of each class before a second of any class."""
    order = torch.randperm(count, generator=generator(seed, "queries"))
    if labels is not None:
        seen: dict[int, int] = {}
        rounds = []
        for label in labels.cpu()[order].tolist():
            rounds.append(seen.get(label, 0) if label >= 0 else count)
            seen[label] = seen.get(label, 0) + 1
        order = order[torch.tensor(rounds).argsort(stable=True)]
    return order[:NUM_QUERIES]


def view_rows(encoded: EncodedImages) -> tuple[ViewRow, ...]:
    """The first images with their views."""
    count = min([NUM_VIEW_ROWS, *(len(view) for view in encoded.views)]) if encoded.views else 0
    as_bytes = [(view[:count] * 255).round().clamp(0, 255).byte() for view in encoded.views]
    return tuple(
        ViewRow(
            original=pixels(encoded.images[row]),
            views=tuple(pixels(view[row]) for view in as_bytes),
        )
        for row in range(count)
    )


def attack_rows(
    views: Float[Tensor, "rows bands height width"],
    attacked: Float[Tensor, "rows bands height width"],
) -> tuple[ViewRow, ...]:
    """Views, their perturbations, and their sums.

    Perturbations are scaled to the full range around mid-grey.
    """
    added = attacked - views
    shown = 0.5 + added / (2 * added.abs().max().clamp(min=1e-12))
    clean, change, sums = (
        [pixels((part[row] * 255).round().clamp(0, 255).byte()) for row in range(len(part))]
        for part in (views, shown, attacked)
    )
    return tuple(
        ViewRow(original=row[0], views=row[1:]) for row in zip(clean, change, sums, strict=True)
    )


def generated_pairs(encoded: EncodedImages) -> tuple[GeneratedPairs, ...]:
    """Pictures of the album with their time."""
    if encoded.album is None:
        return ()
    pictures = encoded.album.permute(0, 1, 2, 4, 5, 3).cpu().numpy()
    return tuple(
        GeneratedPairs(share=number / encoded.num_moments, first=pair[0], second=pair[1])
        for number, pair in enumerate(pictures)
    )


def retrievals(encoded: EncodedImages, queries: Int[Tensor, "queries"]) -> tuple[Retrieval, ...]:
    """Nearest other images of each query by cosine of the features."""
    if len(encoded.images) < 2:
        return ()
    queries = queries.to(encoded.features.device)
    cosines, rows = nearest(encoded.features, encoded.features[queries], NUM_NEIGHBORS + 1)
    found = []
    for query, near, cosine in zip(queries, rows, cosines, strict=True):
        others = (near != query).nonzero().flatten()[:NUM_NEIGHBORS]
        found.append(
            Retrieval(
                query=pixels(encoded.images[query.cpu()]),
                neighbours=pixels(encoded.images[near[others].cpu()]),
                cosines=cosine[others].cpu().numpy(),
                same_label=_same_label(encoded, query, near[others]),
            )
        )
    return tuple(found)


def hardest_negatives(
    encoded: EncodedImages, queries: Int[Tensor, "queries"]
) -> tuple[HardestNegatives, ...]:
    """Bank vectors with the largest cosine to each query's embedding, and the images nearest to
    them."""
    if encoded.bank is None or encoded.embeddings is None:
        return ()
    queries = queries.to(encoded.embeddings.device)
    cosines, vectors = nearest(encoded.bank, encoded.embeddings[queries], NUM_NEGATIVES)
    found = []
    for query, hardest, cosine in zip(queries, vectors, cosines, strict=True):
        image_cosines, nearest_images = nearest(
            encoded.embeddings, encoded.bank[hardest], NUM_NEAREST_IMAGES
        )
        negatives = tuple(
            HardNegative(
                cosine=float(cosine[rank]),
                nearest_images=pixels(encoded.images[nearest_images[rank].cpu()]),
                image_cosines=image_cosines[rank].cpu().numpy(),
                same_label=_same_label(encoded, query, nearest_images[rank]),
            )
            for rank in range(len(hardest))
        )
        found.append(
            HardestNegatives(query=pixels(encoded.images[query.cpu()]), negatives=negatives)
        )
    return tuple(found)


def embedding_map(encoded: EncodedImages, *, seed: int) -> EmbeddingMap | None:
    """Features of at most `MAP_IMAGES` images in the plane; None for fewer than three images."""
    if len(encoded.images) < 3:
        return None
    rows = torch.randperm(len(encoded.images), generator=generator(seed, "map"))[:MAP_IMAGES]
    unit = F.normalize(encoded.features.cpu().float()[rows], dim=1)
    components = principal_components(unit, 50)
    xy, projection = _tsne(components, seed=seed)
    low, high = xy.min(axis=0), xy.max(axis=0)
    return EmbeddingMap(
        xy=((xy - low) / np.maximum(high - low, 1e-12)).astype(np.float32),
        thumbnails=pixels(encoded.images[rows]),
        projection=projection,
        labels=None
        if encoded.labels is None
        else encoded.labels.cpu()[rows].numpy().astype(np.int64),
        class_names=encoded.class_names,
        keys=tuple(encoded.keys[row] for row in rows.tolist()) if encoded.keys else (),
    )


def principal_components(
    features: Float[Tensor, "rows dim"], count: int
) -> npt.NDArray[np.float32]:
    """Coordinates along the directions of largest variance, largest first.

    Each direction's largest entry is positive.
    """
    centred = (features - features.mean(dim=0)).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)
    directions = directions.flip(1)[:, : min(count, len(features))]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    components: npt.NDArray[np.float32] = (centred @ (directions * largest.sign())).float().numpy()
    return components


def _tsne(components: npt.NDArray[np.float32], *, seed: int) -> tuple[npt.NDArray[np.float32], str]:
    """t-SNE of the components, and the name of the method.

    Falls back to the first two components, without scikit-learn or for fewer than 10 rows.
    """
    if components.shape[1] < 2:
        return np.concatenate([components, np.zeros_like(components)], axis=1), "PCA"
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        return components[:, :2], "PCA"
    if len(components) < 10:
        return components[:, :2], "PCA"
    perplexity = min(30.0, (len(components) - 1) / 3)
    method = TSNE(
        perplexity=perplexity,
        init="pca",
        max_iter=500,
        random_state=derived_seed(seed, "t-SNE") % 2**32,
    )
    return method.fit_transform(components).astype(np.float32), "t-SNE"


def pixels(images: UInt8[Tensor, "*batch bands height width"]) -> Pixels:
    """Images with channels last, as NumPy and Pillow expect; of other channels than three, the
    first three, or the first one as grey."""
    bands = images.shape[-3]
    if bands != 3:
        images = images.narrow(-3, 0, 3 if bands > 3 else 1)
        images = images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    array: Pixels = images.movedim(-3, -1).contiguous().cpu().numpy()
    return array


def _same_label(
    encoded: EncodedImages, query: Tensor, rows: Tensor
) -> npt.NDArray[np.bool_] | None:
    if encoded.labels is None or encoded.labels[query.cpu()] < 0:
        return None
    same: npt.NDArray[np.bool_] = (
        (encoded.labels[rows.cpu()] == encoded.labels[query.cpu()]).cpu().numpy()
    )
    return same
