"""The pictures of a report: views, retrievals, an embedding map, and the bank's hardest negatives.

Pure functions of images and of what an encoder made of them; whoever has the encoder and the data
calls them.
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
"""(height, width, 3), or (images, height, width, 3)."""

NUM_QUERIES, NUM_NEIGHBORS = 8, 8
NUM_NEGATIVES, NUM_FACES = 4, 3
NUM_VIEW_ROWS = 8
MAP_IMAGES = 1500


@dataclass(frozen=True, kw_only=True)
class ViewRow:
    """An image and the views that training made of it; views may differ in size."""

    original: Pixels
    views: tuple[Pixels, ...]


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """An image and its nearest neighbours by features, nearest first."""

    query: Pixels
    neighbours: Pixels
    cosines: npt.NDArray[np.float32]
    same_label: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """Features in the plane; coordinates in [0, 1]."""

    xy: npt.NDArray[np.float32]
    thumbnails: Pixels
    projection: str
    """How the plane was found: `t-SNE` or `PCA`."""
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class HardNegative:
    """A vector of the bank, shown by the images whose embeddings are nearest to it."""

    cosine: float
    """With the query."""
    faces: Pixels
    face_cosines: npt.NDArray[np.float32]
    same_label: npt.NDArray[np.bool_] | None = None
    """Whether each face is of the query's class."""


@dataclass(frozen=True, kw_only=True)
class HardestNegatives:
    """An image and the vectors of the bank that are hardest to tell from it, hardest first."""

    query: Pixels
    negatives: tuple[HardNegative, ...]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a pair of generators made of the same latent vectors at one moment of the joint
    training."""

    share: float
    """Of the joint training, in [0, 1)."""
    first: Pixels
    """One generator's images, (pairs, height, width, 3)."""
    second: Pixels
    """The other's."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The pictures of one encoder; any part may be missing."""

    views: tuple[ViewRow, ...] = ()
    attacks: tuple[ViewRow, ...] = ()
    """Views, each beside its perturbation around mid-grey and its attacked copy."""
    moments: tuple[Moment, ...] = ()
    """Generated pairs, in the order of time."""
    retrievals: tuple[Retrieval, ...] = ()
    embedding_map: EmbeddingMap | None = None
    bank_hardest: tuple[HardestNegatives, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Images and what one encoder makes of them, row by row."""

    images: UInt8[Tensor, "images 3 height width"]
    features: Float[Tensor, "images channels"]
    labels: Int[Tensor, "images"] | None = None
    """-1 = unknown."""
    class_names: tuple[str, ...] | None = None
    embeddings: Float[Tensor, "images dim"] | None = None
    """Needed for the bank only."""
    bank: Float[Tensor, "bank dim"] | None = None
    views: tuple[Float[Tensor, "rows 3 _ _"], ...] = ()
    """Views of the first rows of `images`, in [0, 1]."""
    attack: tuple[Float[Tensor, "rows 3 _ _"], Float[Tensor, "rows 3 _ _"]] | None = None
    """Views and their attacked copies."""
    album: UInt8[Tensor, "moments 2 pairs 3 height width"] | None = None
    """Pictures of generated pairs at equal distances over the joint training, as far as it has
    come."""
    num_moments: int = 1
    """Of the whole joint training."""


def make_gallery(sample: Sample, *, seed: int) -> Gallery:
    """All pictures that the sample allows; the same seed and labels give the same queries for every
    encoder."""
    queries = choose_queries(len(sample.images), sample.labels, seed=seed)
    return Gallery(
        views=view_rows(sample),
        attacks=() if sample.attack is None else attack_rows(*sample.attack),
        moments=moments(sample),
        retrievals=retrievals(sample, queries),
        embedding_map=embedding_map(sample, seed=seed),
        bank_hardest=hardest_negatives(sample, queries),
    )


def choose_queries(
    count: int, labels: Int[Tensor, "images"] | None, *, seed: int
) -> Int[Tensor, "queries"]:
    """Rows to ask with: drawn at random, one of each class before a second of any."""
    order = torch.randperm(count, generator=generator(seed, "queries"))
    if labels is not None:
        seen: dict[int, int] = {}
        rounds = []
        for label in labels.cpu()[order].tolist():
            rounds.append(seen.get(label, 0) if label >= 0 else count)
            seen[label] = seen.get(label, 0) + 1
        order = order[torch.tensor(rounds).argsort(stable=True)]
    return order[:NUM_QUERIES]


def view_rows(sample: Sample) -> tuple[ViewRow, ...]:
    """The first images beside their views."""
    count = min([NUM_VIEW_ROWS, *(len(view) for view in sample.views)]) if sample.views else 0
    as_bytes = [(view[:count] * 255).round().clamp(0, 255).byte() for view in sample.views]
    return tuple(
        ViewRow(
            original=pixels(sample.images[row]), views=tuple(pixels(view[row]) for view in as_bytes)
        )
        for row in range(count)
    )


def attack_rows(
    views: Float[Tensor, "rows 3 height width"], attacked: Float[Tensor, "rows 3 height width"]
) -> tuple[ViewRow, ...]:
    """Views, what was added to them, scaled so that its largest value is white, its smallest black
    and none mid-grey, and the sum."""
    added = attacked - views
    shown = 0.5 + added / (2 * added.abs().max().clamp(min=1e-12))
    clean, change, sums = (
        [pixels((part[row] * 255).round().clamp(0, 255).byte()) for row in range(len(part))]
        for part in (views, shown, attacked)
    )
    return tuple(
        ViewRow(original=row[0], views=row[1:]) for row in zip(clean, change, sums, strict=True)
    )


def moments(sample: Sample) -> tuple[Moment, ...]:
    """The album's pictures with their time."""
    if sample.album is None:
        return ()
    pictures = sample.album.permute(0, 1, 2, 4, 5, 3).cpu().numpy()
    return tuple(
        Moment(share=number / sample.num_moments, first=pair[0], second=pair[1])
        for number, pair in enumerate(pictures)
    )


def retrievals(sample: Sample, queries: Int[Tensor, "queries"]) -> tuple[Retrieval, ...]:
    """Nearest other images of each query by the cosine of features."""
    if len(sample.images) < 2:
        return ()
    queries = queries.to(sample.features.device)
    cosines, rows = nearest(sample.features, sample.features[queries], NUM_NEIGHBORS + 1)
    found = []
    for query, near, cosine in zip(queries, rows, cosines, strict=True):
        others = (near != query).nonzero().flatten()[:NUM_NEIGHBORS]
        found.append(
            Retrieval(
                query=pixels(sample.images[query.cpu()]),
                neighbours=pixels(sample.images[near[others].cpu()]),
                cosines=cosine[others].cpu().numpy(),
                same_label=_same_label(sample, query, near[others]),
            )
        )
    return tuple(found)


def hardest_negatives(
    sample: Sample, queries: Int[Tensor, "queries"]
) -> tuple[HardestNegatives, ...]:
    """Bank vectors with the largest cosine to each query's embedding, and the images nearest to
    them."""
    if sample.bank is None or sample.embeddings is None:
        return ()
    queries = queries.to(sample.embeddings.device)
    cosines, vectors = nearest(sample.bank, sample.embeddings[queries], NUM_NEGATIVES)
    found = []
    for query, hardest, cosine in zip(queries, vectors, cosines, strict=True):
        face_cosines, faces = nearest(sample.embeddings, sample.bank[hardest], NUM_FACES)
        negatives = tuple(
            HardNegative(
                cosine=float(cosine[rank]),
                faces=pixels(sample.images[faces[rank].cpu()]),
                face_cosines=face_cosines[rank].cpu().numpy(),
                same_label=_same_label(sample, query, faces[rank]),
            )
            for rank in range(len(hardest))
        )
        found.append(
            HardestNegatives(query=pixels(sample.images[query.cpu()]), negatives=negatives)
        )
    return tuple(found)


def embedding_map(sample: Sample, *, seed: int) -> EmbeddingMap | None:
    """Features of at most `MAP_IMAGES` images in the plane; None for fewer than three images."""
    if len(sample.images) < 3:
        return None
    rows = torch.randperm(len(sample.images), generator=generator(seed, "map"))[:MAP_IMAGES]
    unit = F.normalize(sample.features.cpu().float()[rows], dim=1)
    components = principal_components(unit, 50)
    xy, projection = _tsne(components, seed=seed)
    low, high = xy.min(axis=0), xy.max(axis=0)
    return EmbeddingMap(
        xy=((xy - low) / np.maximum(high - low, 1e-12)).astype(np.float32),
        thumbnails=pixels(sample.images[rows]),
        projection=projection,
        labels=None
        if sample.labels is None
        else sample.labels.cpu()[rows].numpy().astype(np.int64),
        class_names=sample.class_names,
    )


def principal_components(
    features: Float[Tensor, "rows dim"], count: int
) -> npt.NDArray[np.float32]:
    """Coordinates along the directions of largest variance, largest first; the sign makes the
    largest entry positive."""
    centred = (features - features.mean(dim=0)).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)
    directions = directions.flip(1)[:, : min(count, len(features))]
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    components: npt.NDArray[np.float32] = (centred @ (directions * largest.sign())).float().numpy()
    return components


def _tsne(components: npt.NDArray[np.float32], *, seed: int) -> tuple[npt.NDArray[np.float32], str]:
    """t-SNE of the components if scikit-learn is there and the rows suffice, else the first two
    components."""
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


def pixels(images: UInt8[Tensor, "*batch 3 height width"]) -> Pixels:
    """Images with channels last, as NumPy and Pillow have them."""
    array: Pixels = images.movedim(-3, -1).contiguous().cpu().numpy()
    return array


def _same_label(sample: Sample, query: Tensor, rows: Tensor) -> npt.NDArray[np.bool_] | None:
    if sample.labels is None or sample.labels[query.cpu()] < 0:
        return None
    same: npt.NDArray[np.bool_] = (
        (sample.labels[rows.cpu()] == sample.labels[query.cpu()]).cpu().numpy()
    )
    return same
