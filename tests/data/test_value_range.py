"""One range of values for all images of a set."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.pixel_format import UnreadableImageError, value_range
from sparring.errors import ConfigError, DataError

SIZE = 16
GRADIENT = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)


def tiff(values: np.ndarray, *, no_data: str = "") -> bytes:
    """Grey TIFF file, with GDAL's tag for missing pixels."""
    buffer, tags = io.BytesIO(), ImageFileDirectory_v2()
    if no_data:
        tags[42113] = no_data
    Image.fromarray(values).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


def write(folder: Path, images: list[np.ndarray], *, no_data: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for number, values in enumerate(images):
        (folder / f"{number}.tif").write_bytes(tiff(values, no_data=no_data))
    return folder


def opened(
    data: Path | np.ndarray, **settings: object
) -> tuple[np.ndarray, tuple[float, float] | None, str]:
    """First channel of every image, the range, and the lines told."""
    lines: list[str] = []
    dataset = open_dataset(data, DataSettings.build(settings), image_size=SIZE, report=lines.append)
    images = dataset.images(range(len(dataset)))
    assert torch.equal(images[:, 0], images[:, 2])
    return images[:, 0].int().numpy(), dataset.form.value_range, "\n".join(lines)


def whole(share: np.ndarray, top: int) -> np.ndarray:
    return np.rint(share * top).astype(np.uint16)


@pytest.mark.parametrize(("bits", "top"), [(10, 1023), (12, 4095), (14, 16383), (16, 65535)])
@pytest.mark.parametrize("kind", ["files", "array"])
def test_whole_numbers_are_scaled_by_the_bits_of_the_sensor(
    tmp_path: Path, bits: int, top: int, kind: str
) -> None:
    images = [whole(share * GRADIENT, 2**bits - 1) for share in (1, 0.5, 0.01)]
    data = write(tmp_path / "x", images) if kind == "files" else np.stack(images)
    found, values, told = opened(data)
    assert values == (0, top)
    assert f"values from 0 to {top} become black to white" in told
    for image, share in zip(found, (1, 0.5, 0.01), strict=True):
        assert np.abs(image - 255 * share * GRADIENT).max() <= 1


def test_a_dark_and_a_bright_image_of_32_bits_keep_their_ratio(tmp_path: Path) -> None:
    images = [(share * GRADIENT).astype(np.float32) for share in (1.4, 0.7)]
    found, values, _ = opened(write(tmp_path / "x", images))
    assert values == (0, pytest.approx(1.4))
    assert np.abs(found[0] - 2 * found[1]).max() <= 1


@pytest.mark.parametrize(
    "missing", [-9999, -99999, np.nan, np.inf, -np.inf, float(np.finfo(np.float32).min)]
)
def test_missing_pixels_are_black_and_decide_nothing(tmp_path: Path, missing: float) -> None:
    images = [(share * GRADIENT).astype(np.float32) for share in (1.0, 0.5)]
    images[1][:8] = missing
    found, values, told = opened(write(tmp_path / "x", images))
    assert values == (0, 1)
    assert (found[1, :8] == 0).all()
    assert np.abs(found[1, 8:] - 127.5 * GRADIENT[8:]).max() <= 1
    assert "clipped" not in told


def test_the_files_own_value_of_missing_pixels_is_taken(tmp_path: Path) -> None:
    images = [(share * GRADIENT).astype(np.float32) for share in (1.0, 0.5)]
    images[0][:4] = 1e6
    found, values, told = opened(write(tmp_path / "x", images, no_data="1e+06"))
    assert values == (0, 1)
    assert (found[0, :4] == 0).all()
    assert "clipped" not in told


def test_negative_measurements_are_kept(tmp_path: Path) -> None:
    images = [(1200 * GRADIENT - 1000).astype(np.int32) for _ in range(2)]
    found, values, _ = opened(write(tmp_path / "x", images))
    assert values == (-1000, 200)
    assert np.abs(found[0] - 255 * GRADIENT).max() <= 1


def test_a_hot_pixel_decides_nothing_and_is_told(tmp_path: Path) -> None:
    images = [(3 * GRADIENT).astype(np.float32) for _ in range(16)]
    images[0][0, 0] = 5000
    _, values, told = opened(write(tmp_path / "x", images))
    assert values is not None
    assert 2.9 < values[1] < 3.1
    assert "16 images have values outside data.value_range, which are clipped" in told


def test_a_range_can_be_set_and_clipping_is_told(tmp_path: Path) -> None:
    images = [whole(share * GRADIENT, 4000) for share in (1, 0.2)]
    folder = write(tmp_path / "x", images)
    found, values, told = opened(folder, value_range=[0, 1000])
    assert values == (0, 1000)
    assert (found[0][GRADIENT > 0.26] == 255).all()
    assert "1 of 2 images have values outside data.value_range, which are clipped" in told
    again = opened(folder, value_range=[0, 1000])[2]  # from the store
    assert again == told


def test_another_range_is_another_store(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", [whole(GRADIENT, 4000)])
    first, second = (opened(folder, value_range=[0, top])[0] for top in (4000, 8000))
    assert np.abs(first - 2 * second).max() <= 1


def test_8_bit_images_keep_their_values_and_cost_no_line(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    values = np.rint(100 * GRADIENT).astype(np.uint8)
    Image.fromarray(values).save(folder / "a.png")
    found, no_range, told = opened(folder)
    assert ((found[0] == values).all(), no_range, told) == (True, None, "")
    found, _, told = opened(folder, value_range=[0, 100])
    assert (found[0] == values).all()
    assert "is not used for them" in told


def test_8_bit_images_among_deep_ones_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", [whole(GRADIENT, 4095)])
    Image.fromarray(np.rint(255 * GRADIENT).astype(np.uint8)).save(folder / "1.png")
    found, _, told = opened(folder)
    assert np.abs(found[0] - found[1]).max() <= 1
    assert "1 of 2 images looked at are of 8 bits" in told


def test_deep_colours_are_not_cut_to_their_upper_byte(tmp_path: Path) -> None:
    """Pillow reads them as 8 bits, so that 12-bit colours turn black."""
    folder = tmp_path / "x"
    folder.mkdir()
    pixels = whole(GRADIENT, 4095)
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in pixels)
    (folder / "a.png").write_bytes(png(SIZE, rows, bits=16, colour=2))
    found, values, _ = opened(folder)
    assert values == (0, 4095)
    assert np.abs(found[0] - 255 * GRADIENT).max() <= 1


def png(side: int, rows: bytes, *, bits: int, colour: int) -> bytes:
    """Content of a PNG file, its rows each after the byte of a filter."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return len(content).to_bytes(4, "big") + kind + content + check.to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes((bits, colour, 0, 0, 0))
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_training_from_files_tells_the_first_clipped_image(tmp_path: Path) -> None:
    folder, lines = write(tmp_path / "x", [whole(GRADIENT, 4000)] * 3), []
    settings = DataSettings(store="never", value_range=(0, 1000))
    dataset = open_dataset(folder, settings, image_size=SIZE, is_training=True, report=lines.append)
    dataset.images([0, 1, 2])
    assert [line for line in lines if "clipped" in line] == [
        "some images have values outside data.value_range, which are clipped"
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 1, 1], np.uint16), (0, 1)),
        (np.array([0, 0, 0], np.uint16), (0, 255)),
        (np.array([0, 200], np.int64), (0, 255)),
        (np.array([0, 300.0]), (0, 1023)),
        (np.array([0.25, 0.5]), (0, 1)),
        (np.array([-1.5, 3]), (-1.5, 3)),
        (np.array([7.5, 7.5]), (0, 7.5)),
        (np.array([100_000], np.uint32), (0, 100_000)),
    ],
)
def test_the_range_follows_from_type_and_values(
    values: np.ndarray, expected: tuple[float, float]
) -> None:
    assert value_range([(values, None)]) == expected


def test_a_set_without_one_value_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", [np.full((4, 4), np.nan, np.float32)])
    with pytest.raises(DataError, match=r"0.tif: no pixel of the sample has a value"):
        opened(folder)
    with pytest.raises(UnreadableImageError):
        value_range([])


@pytest.mark.parametrize("given", [[1, 1], [5, 2], "all", [1]])
def test_a_range_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"data\.value_range|value_range"):
        DataSettings.build({"value_range": given})
