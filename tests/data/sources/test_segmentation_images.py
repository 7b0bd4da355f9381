"""Masks are read as exact class ids; anything else is refused."""

import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from sparring.data.sources.image_source import Source
from sparring.data.sources.segmentation_images import SegmentationImages
from sparring.errors import DataError

IDS = np.random.default_rng(0).integers(0, 21, (6, 9)).astype(np.uint8)


class Bytes(Source):
    """Encoded files in memory."""

    def __init__(self, *contents: bytes) -> None:
        self._contents = contents

    def __len__(self) -> int:
        return len(self._contents)

    def key(self, index: int) -> str:
        return f"photo {index}"

    def read(self, index: int) -> bytes:
        return self._contents[index]

    def fingerprint(self) -> str:
        return str(hash(self._contents))


def encoded(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def photo(*, width: int = 9, height: int = 6, **options: object) -> bytes:
    return encoded(Image.new("RGB", (width, height), "red"), "JPEG", **options)


def masked(mask: bytes, image: bytes | None = None) -> SegmentationImages:
    return SegmentationImages(Bytes(photo() if image is None else image), Bytes(mask))


def palette_png(ids: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(ids, "L").convert("P")
    picture.putdata(ids.flatten().tolist())
    picture.putpalette(np.random.default_rng(1).integers(0, 256, 768).tolist())
    return encoded(picture)


def test_a_grey_picture_gives_its_values() -> None:
    assert np.array_equal(masked(encoded(Image.fromarray(IDS))).mask(0).numpy(), IDS)


def test_a_palette_gives_its_indices_and_not_its_colours() -> None:
    content = palette_png(IDS)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.mode == "P"
        assert not np.array_equal(np.asarray(picture.convert("L")), IDS)
    assert np.array_equal(masked(content).mask(0).numpy(), IDS)


def test_ids_beyond_a_byte_are_kept() -> None:
    ids = IDS.astype(np.uint16) + 1000
    assert np.array_equal(masked(encoded(Image.fromarray(ids))).mask(0).numpy(), ids)


def test_a_picture_of_one_bit_has_the_ids_0_and_1() -> None:
    mask = masked(encoded(Image.fromarray(IDS > 10))).mask(0)
    assert mask.dtype == torch.int64
    assert np.array_equal(mask.numpy(), IDS > 10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            encoded(Image.new("RGB", (9, 6))),
            "a picture of colours (RGB); masks are PNGs of class ids, grey or with a palette",
        ),
        (encoded(Image.new("LA", (9, 6))), "a picture of colours (LA)"),
        (encoded(Image.new("L", (9, 6)), "JPEG"), "a JPEG blurs class ids; save masks as PNG"),
        (encoded(Image.fromarray(IDS))[:60], "the mask of photo 0 cannot be used"),
        (b"no picture", "the mask of photo 0 cannot be used: not an image that Pillow knows"),
        (b"", "photo 0 has no mask; every image needs one"),
    ],
)
def test_what_is_no_picture_of_ids_is_refused_in_one_line(content: bytes, words: str) -> None:
    with pytest.raises(DataError) as error:
        masked(content).mask(0)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    data = masked(encoded(Image.fromarray(IDS)), photo(width=18, height=12))
    with pytest.raises(
        DataError,
        match=r"photo 0 has 18 x 12 pixels and its mask 9 x 6; both must have the same size",
    ):
        data.checked_mask(0)


@pytest.mark.parametrize(("orientation", "turns"), [(6, -1), (8, 1), (3, 0)])
def test_masks_are_for_the_upright_image_or_of_the_size_of_the_stored_one(
    orientation: int, turns: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = {"width": 6, "height": 9} if turns else {}
    image = photo(**size, exif=exif)
    assert torch.equal(masked(palette_png(IDS), image).checked_mask(0), torch.from_numpy(IDS))
    stored = np.ascontiguousarray(np.rot90(IDS, -turns))
    if turns:
        lying = masked(encoded(Image.fromarray(stored)), image)
        assert torch.equal(lying.checked_mask(0), torch.from_numpy(IDS))


def test_a_mask_that_lies_beside_an_image_that_nobody_turned_is_refused() -> None:
    lying = masked(encoded(Image.fromarray(np.ascontiguousarray(IDS.T))))
    with pytest.raises(DataError, match="9 x 6 pixels and its mask 6 x 9"):
        lying.checked_mask(0)


def test_a_palette_in_another_order_is_refused_and_one_of_other_colours_is_not() -> None:
    colours = np.random.default_rng(2).permutation(256 * 3).reshape(256, 3) % 256

    def png(ids: npt.NDArray[np.uint8], palette: npt.NDArray[np.int64]) -> bytes:
        picture = Image.fromarray(ids, "L").convert("P")
        picture.putdata(ids.flatten().tolist())
        picture.putpalette(palette.flatten().tolist())
        return encoded(picture)

    ids, swapped = IDS % 3, np.array([1, 0, 2], np.uint8)[IDS % 3]
    same, other = png(ids, colours), colours.copy()
    other[[0, 1]] = other[[1, 0]]
    images = Bytes(photo(), photo())
    for second in (same, encoded(Image.fromarray(ids)), png(ids, colours[::-1])):
        data = SegmentationImages(images, Bytes(same, second))
        assert torch.equal(data.checked_mask(0), data.checked_mask(1))
    data = SegmentationImages(images, Bytes(same, png(swapped, other)))
    data.checked_mask(0)
    with pytest.raises(DataError, match=r"palettes of the masks differ: the colour .* photo 1"):
        data.checked_mask(1)


def test_an_unreadable_image_is_named() -> None:
    data = masked(encoded(Image.fromarray(IDS)), b"nothing")
    with pytest.raises(
        DataError, match=r"photo 0 cannot be read .*repair it, or remove it and its mask"
    ):
        data.checked_mask(0)
