"""Copies of images as they happen in collections: recompressed, resized, cropped a little.

They show how alike an encoder's features of an image and of its copy are, which differs from
encoder to encoder and tells which images of a set may be copies of each other.
"""

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from sparring.data.decode import centre_square, resized_crop
from sparring.evaluation.features import FeatureEncoder, evaluating, unit_images
from sparring.indexing.indexed_images import IndexedImages

Picture = UInt8[Tensor, "bands height width"]

QUALITY = 50
"""JPEG quality of the recompressed copy, of 100; sites use 60 to 85."""
SCALE = 0.5
"""Sides of the resized copy, as a share of the image's own."""
MARGIN = 0.03
"""Share of the side that the cropped copy lacks on each of its four sides."""


def recompressed(image: Picture, quality: int = QUALITY) -> Picture:
    """The image after JPEG compression; bands other than three are compressed one by one."""
    if len(image) == 3:
        return _through_jpeg(image.permute(1, 2, 0).numpy(), quality).permute(2, 0, 1)
    return torch.stack([_through_jpeg(band.numpy(), quality) for band in image])


def resized(image: Picture, scale: float = SCALE) -> Picture:
    """The image at another size, its sides at least one pixel."""
    height, width = (max(1, round(scale * side)) for side in image.shape[1:])
    return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]


def cropped(image: Picture, margin: float = MARGIN) -> Picture:
    """The image without its margins, at least one pixel of which remains."""
    height, width = image.shape[1:]
    top, left = round(margin * height), round(margin * width)
    box = (top, left, max(1, height - 2 * top), max(1, width - 2 * left))
    return image[:, box[0] : box[0] + box[2], box[1] : box[1] + box[3]].contiguous()


SMALL = 24
"""Side in pixels of the squares by which pixels are compared."""
MARGINS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
"""Shares of the side that one of two images may lack on every side."""
CORRELATION = 0.98
"""Correlation of two such squares from which images are the same picture; see
docs/index_of_images.md for what it finds."""
PROMISING = 0.4
"""Correlation of whole images below which no margin makes them the same picture: 1 % of copies
without 6 % of each side are below 0.56."""
BATCH, PAIRS = 64, 2048


KINDS: dict[str, Callable[[Picture], Picture]] = {
    "recompressed": recompressed,
    "resized": resized,
    "cropped": cropped,
}
"""Ways to copy an image, by name."""


def copy_cosines(
    images: Sequence[Picture],
    features: Float[Tensor, "images channels"],
    encoder: FeatureEncoder,
    *,
    size: int,
    device: torch.device,
) -> Float[Tensor, "images kinds"]:
    """Cosine of the features of each image with those of each of its copies, kinds as in `KINDS`.

    Args:
        images: whole images.
        features: theirs.
        encoder: whose features they are.
        size: side in pixels of the squares that it sees.
        device: where it is.
    """
    found = []
    for copy in KINDS.values():
        copied = [square_features(encoder, batch, copy, size, device) for batch in _batches(images)]
        found.append(F.cosine_similarity(torch.cat(copied), features, dim=1))
    return torch.stack(found, dim=1)


def square_features(
    encoder: FeatureEncoder,
    images: Sequence[Picture],
    copy: Callable[[Picture], Picture],
    size: int,
    device: torch.device,
) -> Float[Tensor, "images channels"]:
    """Features of the central squares of copies of some images, on the CPU."""
    squares = torch.stack([centre_square(copy(image), size) for image in images])
    with evaluating(encoder.modules()):
        return encoder.features(unit_images(squares, device)).float().cpu()


def _batches(images: Sequence[Picture]) -> Iterator[Sequence[Picture]]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def same_picture(images: IndexedImages, pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether the pixels of two images agree, for each pair of rows.

    Both are squeezed to a small square, also without some of the margins of one of the two; the
    best of these squares correlate by at least `CORRELATION`. Pairs of which the whole images
    correlate by less than `PROMISING` are not looked at any closer.
    """
    is_same = [False] * len(pairs)
    whole = _correlations(images, pairs, margins=(0.0,))
    close = [place for place, one in enumerate(whole) if one >= PROMISING]
    best = _correlations(images, [pairs[place] for place in close], margins=MARGINS)
    for place, one in zip(close, best, strict=True):
        is_same[place] = one >= CORRELATION
    return is_same


def _correlations(
    images: IndexedImages, pairs: Sequence[tuple[int, int]], *, margins: Sequence[float]
) -> list[float]:
    """Largest correlation of the small squares of each pair, one of the two without a margin.

    Holds one small square per image and margin, and a block of pairs.
    """
    rows = sorted({row for pair in pairs for row in pair})
    places = {row: place for place, row in enumerate(rows)}
    small = [_squares(images.image(row), margins) for row in rows]
    found: list[float] = []
    for start in range(0, len(pairs), PAIRS):
        block = pairs[start : start + PAIRS]
        first, second = (
            torch.stack([small[places[pair[side]]] for pair in block]) for side in (0, 1)
        )
        tried = [
            shape_correlations(one[:, 0], other[:, margin])
            for margin in range(len(margins))
            for one, other in ((first, second), (second, first))
        ]
        found += torch.stack(tried).amax(dim=0).tolist()
    return found


def _squares(image: Picture, margins: Sequence[float]) -> UInt8[Tensor, "margins bands side side"]:
    return torch.stack([square(cropped(image, margin), SMALL) for margin in margins])


def shape_correlations(
    first: UInt8[Tensor, "pairs bands side side"], second: UInt8[Tensor, "pairs bands side side"]
) -> Float[Tensor, "pairs"]:
    """Correlation of the pixels of each pair of small images, in [-1, 1]; 0 for a blank one."""
    rows = [one.flatten(1).float() for one in (first, second)]
    centred = [F.normalize(one - one.mean(dim=1, keepdim=True), dim=1) for one in rows]
    return (centred[0] * centred[1]).sum(dim=1)


def _through_jpeg(values: np.ndarray, quality: int) -> Tensor:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(content, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(content)))


def square(image: Picture, size: int) -> UInt8[Tensor, "bands size size"]:
    """The whole image squeezed to a square."""
    return resized_crop(image, (0, 0, *image.shape[1:]), size=size)
