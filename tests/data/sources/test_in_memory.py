"""Images that a caller holds open as a source, or one clear line says what to give instead."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from sparring.data.decode import PixelFormat, UnreadableImageError, decode
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.items import Items
from sparring.data.sources.source import open_source
from sparring.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
COLOURS = Image.fromarray(PIXELS[..., :3])
DEEP = PixelFormat(3, (0, 65535.0))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PICTURES: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "RGB.png": (COLOURS, {}),
    "L.png": (COLOURS.convert("L"), {}),
    "1.png": (COLOURS.convert("1"), {}),
    "P.png": (COLOURS.quantize(16), {}),
    "P transparent.png": (COLOURS.quantize(16), {"transparency": 3}),
    "L transparent.png": (COLOURS.convert("L"), {"transparency": 7}),
    "RGBA.png": (Image.fromarray(PIXELS), {}),
    "LA.png": (Image.fromarray(PIXELS).convert("LA"), {}),
    "CMYK.tif": (COLOURS.convert("CMYK"), {}),
    "I;16.png": (Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 200), {}),
    "F.tif": (Image.fromarray(PIXELS[..., 0] / np.float32(255)), {}),
    "turned.jpg": (COLOURS, {"exif": turned(6)}),
    **{f"turned {number}.png": (COLOURS, {"exif": turned(number)}) for number in range(2, 9)},
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_gives_the_pixels_of_its_file(name: str, channels: int, tmp_path: Path) -> None:
    image, options = PICTURES[name]
    image.save(tmp_path / name, **options)
    form = PixelFormat(channels, (0, 65535.0))
    expected = pixels((tmp_path / name).read_bytes(), form)
    with Image.open(tmp_path / name) as unread:
        pass
    assert np.array_equal(pixels(open_source([unread]).read(0), form), expected)
    with Image.open(tmp_path / name) as read:
        read.load()
    (tmp_path / name).unlink()
    if name.endswith(".jpg") and channels == 1:
        return  # torchvision takes the brightness of a JPEG as stored, Pillow that of its colours
    assert np.array_equal(pixels(open_source([read]).read(0), form), expected)


def pixels(content: Any, form: PixelFormat) -> Any:
    """Pixels of an image, or why there are none."""
    try:
        return decode(content, form).numpy()
    except UnreadableImageError as error:
        return str(error)


def test_a_picture_that_was_changed_is_not_read_from_its_file(tmp_path: Path) -> None:
    COLOURS.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.putpixel((0, 0), (1, 2, 3))
    assert decode(open_source([image]).read(0))[:, 0, 0].tolist() == [1, 2, 3]


def test_arrays_may_differ_in_size_and_layout() -> None:
    items = [PIXELS[..., :3], torch.from_numpy(PIXELS[:9, :, :3]).permute(2, 0, 1), PIXELS[..., 0]]
    source = open_source(items)
    found = [decode(source.read(row)).shape for row in range(3)]
    assert found == [(3, 20, 30), (3, 9, 30), (3, 20, 30)]
    assert np.array_equal(decode(source.read(1)).permute(1, 2, 0).numpy(), PIXELS[:9, :, :3])


@pytest.mark.parametrize("make", [bytes, bytearray, lambda content: {"bytes": content}])
def test_encoded_images_are_read_as_files_are(make: Any) -> None:
    buffer = io.BytesIO()
    COLOURS.save(buffer, "PNG")
    source = open_source([make(buffer.getvalue())])
    assert source.read(0) == buffer.getvalue()


def test_paths_are_read_like_their_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, files = open_source(folder), sorted(folder.rglob("*.png"))
    monkeypatch.chdir(folder.parent)
    relative = [str(path.relative_to(folder.parent)) for path in files]
    for given in (files, relative, np.array(relative), [{"path": str(path)} for path in files]):
        source = open_source(given)  # type: ignore[arg-type]
        assert [source.read(row) for row in range(10)] == [whole.read(row) for row in range(10)]
    source = open_source(files)
    assert [source.key(row) for row in range(10)] == [whole.key(row) for row in range(10)]
    assert source.fingerprint() == whole.fingerprint()
    assert source.content_fingerprint() == whole.content_fingerprint()


def test_missing_and_repeated_paths_are_told(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    source = open_source([*files, folder / "nowhere.png", files[0]])
    missing, repeated = source.notes
    assert "1 of the 12 images of the list do not exist, such as" in missing
    assert "nowhere.png" in missing
    assert repeated == "1 row of the list repeats an image, such as 'cats/0.png'"
    with pytest.raises(DataError, match=r"none of the 1 images of the list exists; the first"):
        open_source(["nowhere/1.png"])


@pytest.mark.parametrize(
    "labels",
    [["b", "a", "b"], ("b", "a", "b"), np.array(["b", "a", "b"])],
)
@pytest.mark.parametrize("kind", ["pictures", "arrays", "list of arrays", "dataset"])
def test_labels_stand_beside_images_of_every_form(kind: str, labels: Any) -> None:
    forms: dict[str, Any] = {
        "pictures": [COLOURS] * 3,
        "arrays": np.stack([PIXELS] * 3),
        "list of arrays": [PIXELS] * 3,
        "dataset": TensorDataset(torch.zeros(3, 3, 8, 8)),
    }
    source = open_source((forms[kind], labels))
    found = source.labels()
    assert found is not None
    assert (found.tolist(), source.class_names) == ([1, 0, 1], ("a", "b"))
    with pytest.raises(DataError, match=r"labels of shape \(2,\) for 3 images; give one label"):
        open_source((forms[kind], [0, 1]))


def test_labels_may_be_left_out_of_a_tuple() -> None:
    assert open_source(([PIXELS], None)).labels() is None


def test_content_fingerprints_tell_sequences_apart() -> None:
    pictures = [COLOURS, Image.fromarray(PIXELS[::-1, :, :3])]
    same, other = open_source([image.copy() for image in pictures]), open_source(pictures[::-1])
    source = open_source(pictures)
    for found in (Items.fingerprint, Items.content_fingerprint):
        assert found(source) == found(same) != found(other)  # type: ignore[arg-type]


def test_the_contents_of_a_sequence_reach_another_process() -> None:
    there = pickle.loads(pickle.dumps(open_source([PIXELS])))
    assert np.array_equal(there.read(0), PIXELS)


def test_a_tensor_dataset_is_read_as_its_tensors() -> None:
    images = torch.from_numpy(np.stack([PIXELS[..., :3]] * 4))
    source = open_source(TensorDataset(images, torch.tensor([0, 1, 1, 0])))
    assert isinstance(source, Arrays)
    found = source.labels()
    assert found is not None
    assert found.tolist() == [0, 1, 1, 0]
    boxes = open_source(TensorDataset(images, torch.zeros(4, 2)))
    assert boxes.labels() is None
    assert "the second tensor cannot be used as labels: labels of shape (4, 2)" in boxes.notes[0]


def test_parts_of_datasets_keep_images_and_labels_together() -> None:
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 3, 8, 8)
    data = TensorDataset(images, torch.arange(6))
    chosen = Subset(data, [4, 1])
    both = open_source(ConcatDataset([chosen, Subset(data, [5])]))
    labels = both.labels()
    assert labels is not None
    assert labels.tolist() == [4, 1, 5]
    assert [int(decode(both.read(row))[0, 0, 0]) for row in range(3)] == [4, 1, 5]
    assert [both.key(row) for row in range(3)] == [
        *("part 0/image 4", "part 0/image 1", "part 1/image 5"),
    ]


def test_a_loader_says_what_of_it_is_used() -> None:
    data = TensorDataset(torch.zeros(6, 3, 8, 8, dtype=torch.uint8))
    source = open_source(DataLoader(data, batch_size=2, sampler=SubsetRandomSampler([1, 2])))
    used, sampler = source.notes
    assert len(source) == 6
    assert "of the DataLoader its dataset is used" in used
    assert "its sampler, SubsetRandomSampler, is not used: all 6 images are" in sampler
    assert len(open_source(DataLoader(data, shuffle=True)).notes) == 1


class Stream(IterableDataset[Any]):
    """A dataset without random access."""

    def __iter__(self) -> Iterator[Any]:
        yield PIXELS


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "type list without items; give some images"),
        ([PIXELS, COLOURS], r"item 1 of the images is a PIL image, and those before it are each"),
        ([COLOURS, None], "item 1 of the images is a value of type NoneType"),
        ([[1, 2], [3, 4]], "item 0 of the images is a value of type list; give images of one kind"),
        ([PIXELS, PIXELS[0, 0]], r"item 1 of the images is an array of shape \(4,\)"),
        ([PIXELS[None], np.arange(1)], r"item 0 .* shape \(1, 20, 30, 4\); .* or \(images, labels"),
        ([PIXELS.astype(complex)], "an array of type complex128; accepted are numbers"),
        (("a.png", "b.png"), r"a tuple is \(images, labels\), and its first value is a path"),
        ((PIXELS, [0], [1]), r"a tuple of 3 values; a tuple is \(images, labels\)"),
        (COLOURS, "a single image of type Image; give a list of images"),
        (b"\x89PNG", "a single image of type bytes; give a list of images"),
        ({"image": [PIXELS], "label": [0]}, r"type dict with the keys image, label; give \(images"),
        ({"a.png", "b.png"}, "type set has no order"),
        (iter([PIXELS]), r"read once, in order, .* give a list: list\(\.\.\.\)"),
        ((image for image in [PIXELS]), "type generator is read once"),
        (Stream(), "type Stream has no length and no random access; give a list of its items"),
        (DataLoader(Stream()), "type Stream has no length"),
        (7, "data of type int; give a path, an array of images, a list of paths"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(data: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        open_source(data)
    assert "\n" not in str(caught.value)


def test_a_folder_in_a_list_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"item 0 of the images is the folder .*; give a folder by"):
        open_source([folder])


@pytest.mark.slow  # pandas is imported for it
def test_columns_of_pandas_are_lists(folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    files = sorted(folder.rglob("*.png"))
    frame = pandas.DataFrame(
        {"path": map(str, files), "label": [path.parent.name for path in files]}
    )
    shuffled = frame.iloc[::-1]
    source = open_source((shuffled["path"], shuffled["label"]))
    labels = source.labels()
    assert labels is not None
    assert source.key(0) == "dogs/4.png"
    assert labels.tolist() == [1] * 5 + [0] * 5
    with pytest.raises(DataError, match=r"a DataFrame; give its columns: \(list\(frame"):
        open_source(frame)
