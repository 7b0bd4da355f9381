"""Decoding: every mode equals Pillow's own conversion, rotation is checked by hand, and errors have
a reason."""

import io
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image

from sparring.data import decode as module
from sparring.data.decode import (
    UnreadableImageError,
    centre_square,
    decode,
    header_size,
    load,
    resized_crop,
)

Picture = Callable[..., Image.Image]
Encode = Callable[..., bytes]

JPEG_TOLERANCE = 2
"""Levels by which two builds of libjpeg may differ."""
ORIENTED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""Transforms that turn stored pixels upright, by EXIF orientation (JEITA CP-3451, table 6)."""


def pixels(content: bytes) -> np.ndarray:
    return decode(content).permute(1, 2, 0).numpy()


def by_pillow(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize(
    ("mode", "format_"),
    [
        *[
            ("RGB", "PNG"),
            ("L", "PNG"),
            ("1", "PNG"),
            ("P", "PNG"),
            ("P", "GIF"),
            ("RGB", "BMP"),
            ("RGB", "PPM"),
        ],
        *[("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF"), ("L", "TIFF"), ("CMYK", "JPEG")],
    ],
)
def test_opaque_modes_give_what_pillow_converts(
    picture: Picture, encode: Encode, mode: str, format_: str
) -> None:
    image = picture(13, 17)
    if mode == "LAB":
        image = Image.frombytes("LAB", image.size, image.tobytes())
    content = encode(image.convert(mode) if mode != "LAB" else image, format_)
    assert Image.open(io.BytesIO(content)).mode == mode
    assert (pixels(content) == by_pillow(content)).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_gives_what_pillow_decodes(
    picture: Picture, encode: Encode, mode: str, options: dict[str, object]
) -> None:
    content = encode(picture(37, 53).convert(mode), "JPEG", **options)
    assert np.abs(pixels(content).astype(int) - by_pillow(content)).max() <= JPEG_TOLERANCE


def test_jpeg_is_decoded_by_torchvision(
    picture: Picture, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode(picture(20, 20), "JPEG")
    monkeypatch.setattr(module, "_decode_with_pillow", lambda _: pytest.fail("went through Pillow"))
    assert decode(content).shape == (3, 20, 20)


def test_jpeg_that_torchvision_refuses_is_left_to_pillow(
    picture: Picture, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("not today")

    content = encode(picture(20, 20), "JPEG")
    monkeypatch.setattr(module, "_decode_jpeg", refuse)
    assert (pixels(content) == by_pillow(content)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(encode: Encode, mode: str) -> None:
    image = Image.new("RGBA", (4, 2), (200, 200, 200, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 2))
    if mode != "RGBA":
        image = image.convert(mode) if mode == "LA" else image.quantize()
    values = pixels(encode(image))
    assert (values[:, :2] == 255).all()
    assert (values[:, 2:] == 200).all()


def test_half_transparent_pixels_mix_with_white(encode: Encode) -> None:
    values = pixels(encode(Image.new("RGBA", (1, 1), (100, 0, 255, 128))))
    assert values.ravel().tolist() == pytest.approx(
        [177, 127, 255], abs=1
    )  # 255 + (v - 255) * 128 / 255


def test_palette_with_transparent_bytes_does_not_warn(encode: Encode) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encode(image, transparency=b"\x00\xff")).tolist() == [
        [[255, 255, 255], [40, 50, 60]]
    ]


def test_warnings_of_pillow_are_silenced(encode: Encode) -> None:
    cut_exif = (
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"  # announces five entries and ends within the first
    )
    assert pixels(encode(Image.new("RGB", (4, 3), (1, 2, 3)), exif=cut_exif))[2, 3].tolist() == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PPM"])
def test_16_bit_values_are_scaled_not_clipped(encode: Encode, format_: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    assert pixels(encode(Image.fromarray(values), format_))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[-2, 0, 2]], np.float32), [0, 128, 255]),
        (np.array([[-7, -7, -7]], np.float32), [0, 0, 0]),
    ],
)
def test_32_bit_values_are_scaled_by_their_range(
    encode: Encode, values: np.ndarray, expected: list[int]
) -> None:
    assert pixels(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == expected


def test_values_that_are_not_finite_are_unreadable(encode: Encode) -> None:
    with pytest.raises(UnreadableImageError, match="not finite"):
        decode(encode(Image.fromarray(np.array([[np.nan, 1]], np.float32)), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format_", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("TIFF", "RGB")]
)
def test_exif_rotation_turns_the_image_upright(
    picture: Picture, encode: Encode, orientation: int, format_: str, mode: str
) -> None:
    image, exif = picture(16, 24).convert(mode), Image.Exif()
    exif[0x0112] = orientation
    expected = ORIENTED[orientation](pixels(encode(image, format_)))
    assert (pixels(encode(image, format_, exif=exif)) == expected).all()


def test_animations_give_their_first_picture(encode: Encode) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "lime")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(content)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_truncated_files_are_unreadable(picture: Picture, encode: Encode, format_: str) -> None:
    content = encode(picture(64, 64), format_)
    assert decode(content).shape == (3, 64, 64)
    with pytest.raises(UnreadableImageError):
        decode(content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"just some text\n", "not an image"),
        (b"\xff\xd8\xff", "."),
        (b"\x89PNG\r\n\x1a\n", "."),
    ],
)
def test_content_that_is_not_an_image_is_unreadable_with_a_reason(
    content: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableImageError, match=reason) as caught:
        decode(content)
    assert "\n" not in str(caught.value)


def test_random_damage_never_raises_anything_else(picture: Picture, encode: Encode) -> None:
    draw = np.random.default_rng(0)
    for format_ in ("JPEG", "PNG", "GIF", "TIFF", "WEBP"):
        whole = np.frombuffer(encode(picture(24, 24), format_), np.uint8)
        for _ in range(30):
            content = whole.copy()
            places = draw.integers(0, min(len(content), 200), 4)
            content[places] = draw.integers(0, 256, 4)
            with suppress(UnreadableImageError):
                decode(content.tobytes())


@pytest.mark.parametrize(
    "side", [10_000, 20_000]
)  # Pillow warns at the first and raises at the second
def test_decompression_bombs_are_refused_by_their_header(encode: Encode, side: int) -> None:
    content = encode(Image.new("1", (side, side)))
    with pytest.raises(UnreadableImageError, match=r"limit|bomb"):
        decode(content)
    with pytest.raises(UnreadableImageError, match=r"limit|bomb"):
        header_size(content)


def test_jpeg_bombs_are_refused_by_their_header(picture: Picture, encode: Encode) -> None:
    content = bytearray(encode(picture(20, 20), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UnreadableImageError, match="65535 x 65535 pixels exceed the limit"):
        decode(bytes(content))


@pytest.mark.parametrize(
    ("format_", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("GIF", "P")]
)
def test_header_tells_the_size(picture: Picture, encode: Encode, format_: str, mode: str) -> None:
    assert header_size(encode(picture(11, 19).convert(mode), format_)[:700]) == (11, 19)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_values_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = decode(values)
    assert image.shape == (3, 4, 5)
    assert (image.permute(1, 2, 0).numpy() == values.reshape(4, 5, -1)).all()


def test_floating_values_are_scaled_to_255() -> None:
    assert decode(np.array([[0.0, 0.5, 1.0]]))[0, 0].tolist() == [0, 128, 255]


def test_missing_files_are_unreadable() -> None:
    def read(index: int) -> bytes:
        raise FileNotFoundError(2, "No such file or directory", "x.jpg")

    with pytest.raises(UnreadableImageError, match=r"^No such file or directory$"):
        load(read, 0)


def test_an_image_of_the_right_size_keeps_its_pixels(picture: Picture, encode: Encode) -> None:
    image = decode(encode(picture(32, 32)))
    assert centre_square(image, 32) is image


@pytest.mark.parametrize(
    ("height", "width", "box"), [(20, 30, (0, 5, 20, 20)), (30, 20, (5, 0, 20, 20))]
)
def test_the_square_is_the_centre_resized(
    picture: Picture, encode: Encode, height: int, width: int, box: tuple[int, int, int, int]
) -> None:
    image = decode(encode(picture(height, width)))
    top, left, side, _ = box
    expected = F.resize(image[:, top : top + side, left : left + side], [8, 8], antialias=True)
    assert torch.equal(centre_square(image, 8), expected)


@pytest.mark.parametrize("box", [(0, 0, 30, 40), (3, 5, 9, 30), (29, 39, 1, 1), (2, 7, 8, 8)])
def test_a_resized_crop_is_that_of_torchvision_whatever_the_order_of_memory(
    picture: Picture, encode: Encode, box: tuple[int, int, int, int]
) -> None:
    image = decode(encode(picture(30, 40)))
    expected = F.resized_crop(image.contiguous(), *box, [8, 8], antialias=True)
    for same in (image, image.contiguous(), image.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        assert torch.equal(resized_crop(same, box, size=8), expected)


def test_a_long_strip_needs_little_memory() -> None:
    assert centre_square(torch.zeros(3, 1, 3_000_000, dtype=torch.uint8), 224).shape == (
        3,
        224,
        224,
    )
