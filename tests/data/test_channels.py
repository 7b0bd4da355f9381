"""Images of other than three channels: decoding, store, views, encoder, evaluation, embedding."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.data.dataset import Dataset, DataSettings, open_dataset
from sparring.data.decode import PixelFormat, UnreadableImageError, decode
from sparring.errors import DataError

SIZE = 16
DRAW = np.random.default_rng(0)


def tiff(values: np.ndarray, **options: object) -> bytes:
    """TIFF of bands (height, width, bands), uncompressed, as measuring instruments write it.

    Args:
        values: of any type of numbers.
        options: `order` of the bytes (`<` or `>`), `is_apart` (one plane per band), `rows` per
            strip, `is_colour`, `extra` samples.
    """
    order, is_apart = str(options.get("order", "<")), bool(options.get("is_apart"))
    height, width, bands = values.shape
    rows = int(str(options.get("rows", height)))
    stored = values.astype(values.dtype.newbyteorder(order))
    planes = [stored[:, :, [band]] for band in range(bands)] if is_apart else [stored]
    strips = [plane[y : y + rows].tobytes() for plane in planes for y in range(0, height, rows)]
    bits, kind = 8 * values.dtype.itemsize, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    extra = [0] * int(str(options.get("extra", 0)))
    tags: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [bits] * bands,
        259: [1],
        262: [2 if options.get("is_colour") else 1],
        273: [0] * len(strips),
        277: [bands],
        278: [rows],
        279: [len(strip) for strip in strips],
        284: [2 if is_apart else 1],
        **({338: extra} if extra else {}),
        339: [kind] * bands,
    }
    end = 8 + 2 + 12 * len(tags) + 4
    lists = sum(4 * len(entries) for entries in tags.values() if len(entries) > 1)
    place = end + lists
    for number, strip in enumerate(strips):
        tags[273][number], place = place, place + len(strip)
    entries, tail = b"", b""
    for tag, numbers in sorted(tags.items()):
        if len(numbers) == 1:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, numbers[0])
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, len(numbers), end + len(tail))
            tail += struct.pack(f"{order}{len(numbers)}I", *numbers)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    return head + directory + tail + b"".join(strips)


def noise(bands: int, *, side: int = SIZE, dtype: str = "uint8") -> np.ndarray:
    return DRAW.integers(0, 256, (side, side, bands)).astype(dtype)


def write(folder: Path, contents: list[bytes], suffix: str = "tif") -> Path:
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number:02d}.{suffix}").write_bytes(content)
    return folder


def opened(data: object, channels: int, **settings: object) -> tuple[Dataset, list[str]]:
    lines: list[str] = []
    chosen = DataSettings.build({"channels": channels, **settings})
    dataset = open_dataset(data, chosen, image_size=SIZE, report=lines.append)  # type: ignore[arg-type]
    return dataset, lines


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("rows", [SIZE, 5])
@pytest.mark.parametrize("bands", [2, 4, 5, 7])
def test_bands_of_a_tiff_are_the_channels(
    order: str, is_apart: bool, rows: int, bands: int
) -> None:
    values = noise(bands)
    content = tiff(values, order=order, is_apart=is_apart, rows=rows)
    found = decode(content, PixelFormat(bands))
    assert (found.permute(1, 2, 0).numpy() == values).all()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64", "uint32"])
def test_deep_bands_are_scaled_by_one_range(dtype: str) -> None:
    values = noise(5, dtype=dtype)
    found = decode(tiff(values, order=">"), PixelFormat(5, (0.0, 255.0)))
    assert (found.permute(1, 2, 0).numpy() == values).all()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_compressed_tiffs_are_read(compression: str, predictor: int) -> None:
    """Written by libtiff: 16-bit colours, which Pillow holds in one grey channel only."""
    values = DRAW.integers(0, 4096, (SIZE, SIZE)).astype(np.uint16)
    buffer = io.BytesIO()
    tags = {317: predictor} if predictor > 1 and compression != "packbits" else {}
    Image.fromarray(values).save(buffer, "TIFF", compression=compression, tiffinfo=tags)
    found = decode(buffer.getvalue(), PixelFormat(1, (0.0, 4095.0)))
    assert np.abs(found[0].numpy() - values / 4095 * 255).max() <= 0.5


def test_pages_of_a_tiff_are_channels_if_so_many_are_asked_for(tmp_path: Path) -> None:
    pages = [Image.fromarray(noise(1)[..., 0]) for _ in range(5)]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    folder = write(tmp_path / "x", [buffer.getvalue()])
    dataset, _ = opened(folder, 5)
    assert (dataset.images([0])[0].numpy() == np.stack([np.asarray(page) for page in pages])).all()
    first, _ = opened(folder, 3)  # a colour image: the first page, as ever
    assert (first.images([0])[0].numpy() == np.asarray(pages[0])).all()


@pytest.mark.parametrize("store", ["always", "never"])
@pytest.mark.parametrize("bands", [2, 4, 6])
def test_store_and_files_give_all_channels(tmp_path: Path, bands: int, store: str) -> None:
    images = [noise(bands) for _ in range(3)]
    dataset, lines = opened(write(tmp_path / "x", [tiff(v) for v in images]), bands, store=store)
    expected = np.stack(images).transpose(0, 3, 1, 2)
    assert (dataset.images(range(3)).numpy() == expected).all()
    assert lines == []


@pytest.mark.parametrize("bands", [2, 4, 5, 12])
@pytest.mark.parametrize("side", [SIZE, SIZE + 8], ids=["right size", "resized"])
def test_arrays_of_any_channels(bands: int, side: int) -> None:
    values = DRAW.integers(0, 256, (3, bands, side, side)).astype(np.uint8)
    dataset, _ = opened(values, bands)
    assert dataset.images([1]).shape == (1, bands, SIZE, SIZE)
    other, _ = opened(np.ascontiguousarray(values.transpose(0, 2, 3, 1)), bands)
    assert torch.equal(dataset.images([1]), other.images([1]))


def test_transparency_is_kept_as_the_fourth_channel(tmp_path: Path) -> None:
    values = noise(4)
    folder = tmp_path / "x"
    folder.mkdir()
    Image.fromarray(values).save(folder / "a.png")
    Image.fromarray(values[..., :3]).save(folder / "b.png")
    dataset, _ = opened(folder, 4)
    assert (dataset.images([0])[0].permute(1, 2, 0).numpy() == values).all()
    assert (dataset.images([1])[0, 3] == 255).all()


def test_grey_is_one_channel_and_colours_become_grey_with_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    image = Image.fromarray(noise(3))
    image.convert("L").save(folder / "a.png")
    dataset, lines = opened(folder, 1)
    assert (dataset.images([0])[0, 0].numpy() == np.asarray(image.convert("L"))).all()
    assert lines == []
    image.save(folder / "b.png")
    dataset, lines = opened(folder, 1)
    assert torch.equal(dataset.images([0]), dataset.images([1]))
    assert lines == ["colours are converted to grey, as data.channels is 1"]


@pytest.mark.parametrize(("found", "channels"), [(4, 3), (5, 3), (2, 1), (4, 5), (3, 4), (3, 2)])
@pytest.mark.parametrize("kind", ["array", "files"])
def test_other_channels_are_refused_with_the_setting(
    tmp_path: Path, found: int, channels: int, kind: str
) -> None:
    data = DRAW.integers(0, 256, (2, found, SIZE, SIZE)).astype(np.uint8)
    files = [tiff(image.transpose(1, 2, 0), is_colour=found == 3) for image in data]
    given = data if kind == "array" else write(tmp_path / "x", files)
    reason = f"has {found} channels, but data.channels is {channels}: set data.channels={found}"
    with pytest.raises(DataError, match=reason):
        opened(given, channels)


def test_one_file_of_other_channels_is_left_out_and_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", [tiff(noise(5)), tiff(noise(5)), tiff(noise(4))])
    dataset, lines = opened(folder, 5)
    assert len(dataset) == 2
    assert lines == [
        "1 of 3 images cannot be read and are left out, such as 02.tif (4 channels, but "
        "data.channels is 5: set data.channels=4)"
    ]


def test_a_fourth_band_beside_colours_is_not_dropped_silently(tmp_path: Path) -> None:
    content = tiff(noise(4), is_colour=True, extra=1)
    with pytest.raises(DataError, match=r"4 channels, but data.channels is 3"):
        opened(write(tmp_path / "x", [content]), 3)
    assert decode(content, PixelFormat(4)).shape == (4, SIZE, SIZE)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_tiff_of_bands_that_is_cut_off_is_unreadable(share: float) -> None:
    content = tiff(noise(5), rows=4)
    with pytest.raises(UnreadableImageError):
        decode(content[: int(share * len(content))], PixelFormat(5))
