"""Random small sets, written from a description: every image is used, or left out and told, and
every label meets its own image.

The description is slow and independent: each picture has a colour of its own, by which it is found
again after decoding.
"""

import csv
import io
import itertools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparring.data.dataset import Dataset, DataSettings, open_dataset
from sparring.errors import DataError

COLOURS = list(itertools.product((20, 90, 160, 230), repeat=3))
"""Far enough apart to be told apart after lossy compression."""
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".JPEG": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".PPM": "PPM",
}
STEMS = (
    "a",
    "b c",
    "-dash",
    "caf\u00e9",
    "cafe\u0301",
    "\u732b",
    "it's",
    'x"y',
    "c,d",
    "#1",
    "100%",
)
CLASSES = ("cat", "dog", "\u732b", "na\u00efve", "two words", "Z", "10", "9")
HURTS = ("whole", "whole", "whole", "cut", "text", "empty")
SIZE = 8


@dataclass(frozen=True)
class Picture:
    """One image of a described set."""

    colour: tuple[int, int, int]
    stem: str
    suffix: str
    hurt: str
    label: str
    has_label: bool
    part: str
    width: int
    height: int

    @property
    def is_readable(self) -> bool:
        return self.hurt == "whole"

    def content(self) -> bytes:
        """Bytes of the file."""
        file = io.BytesIO()
        image = Image.new("RGB", (self.width, self.height), self.colour)
        image.save(file, FORMATS[self.suffix])
        whole = file.getvalue()
        # A cut after a few bytes hurts every format; later ones leave some pictures whole.
        return {"whole": whole, "cut": whole[:20], "text": b"no picture", "empty": b""}[self.hurt]


@st.composite
def pictures(draw: st.DrawFn) -> list[Picture]:
    """Up to 24 pictures in two to four classes, of which at least one can be read."""
    colours = draw(st.permutations(COLOURS))
    names = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    count = draw(st.integers(2 * len(names), 24))
    found = [
        Picture(
            colour=colours[number],
            stem=f"{draw(st.sampled_from(STEMS))}{number}",
            suffix=draw(st.sampled_from(sorted(FORMATS))),
            hurt=draw(st.sampled_from(HURTS)),
            label=names[number % len(names)],
            has_label=draw(st.integers(0, 5)) > 0,
            part="test" if number // len(names) % 3 == 1 else "train",
            width=draw(st.integers(SIZE, 40)),
            height=draw(st.integers(SIZE, 40)),
        )
        for number in range(count)
    ]
    return [*found[1:], Picture(**{**vars(found[0]), "hurt": "whole"})]


def write_flat(root: Path, images: list[Picture]) -> Path:
    """All files in one folder, beside files that are no images."""
    for image in images:
        (root / f"{image.stem}{image.suffix}").write_bytes(image.content())
    (root / "notes.txt").write_text("no list")
    (root / ".hidden.png").write_bytes(images[0].content())
    return root


def write_classes(root: Path, images: list[Picture]) -> Path:
    """A folder per class; every other picture one level deeper."""
    for number, image in enumerate(images):
        place = root / image.label / ("deeper" if number % 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{image.stem}{image.suffix}").write_bytes(image.content())
    return root


def write_parts(root: Path, images: list[Picture]) -> Path:
    """train/CLASS and test/CLASS."""
    for image in images:
        (root / image.part / image.label).mkdir(parents=True, exist_ok=True)
        place = root / image.part / image.label / f"{image.stem}{image.suffix}"
        place.write_bytes(image.content())
    return root


def write_csv(root: Path, images: list[Picture]) -> Path:
    """A table that lists the files in another order than their names', with a byte order mark."""
    write_flat(root, images)
    with (root / "list.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(["label", "path"])
        table.writerows(
            [image.label if image.has_label else "", f"{image.stem}{image.suffix}"]
            for image in images[::-1]
        )
    return root / "list.csv"


def write_split_list(root: Path, images: list[Picture]) -> Path:
    """A table of tabs with a column that parts the set, and Windows' line ends."""
    write_flat(root, images)
    rows = [("split", "file", "class")]
    rows += [(image.part, f"{image.stem}{image.suffix}", image.label) for image in images]
    with (root / "list.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\r\n").writerows(rows)
    return root / "list.csv"


def write_parquet(root: Path, images: list[Picture]) -> Path:
    """Two files, each with a numbering of the classes of its own."""
    half = len(images) // 2
    for number, rows in enumerate((images[:half], images[half:])):
        names = sorted({image.label for image in rows}, reverse=bool(number))
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        content = {
            "image": [{"bytes": image.content(), "path": None} for image in rows],
            "label": [names.index(image.label) if image.has_label else -1 for image in rows],
        }
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table(content).replace_schema_metadata(metadata)
        pq.write_table(table, root / f"{number}.parquet", row_group_size=3)
    return root


LAYOUTS = {
    "flat": write_flat,
    "classes": write_classes,
    "parts": write_parts,
    "csv": write_csv,
    "parquet": write_parquet,
    "split list": write_split_list,
}

PARTED = ("parts", "split list")


def told_number(lines: list[str], words: str) -> int:
    """First number of the line that holds the words; 0 without such a line."""
    for line in lines:
        if words in line:
            return int("".join(itertools.takewhile(str.isdigit, line.replace(",", ""))) or 0)
    return 0


def nearest_picture(pixels: np.ndarray, images: list[Picture]) -> Picture:
    """The picture of that colour."""
    colour = pixels.reshape(3, -1).mean(axis=1)
    return min(images, key=lambda image: float(np.abs(colour - np.array(image.colour)).sum()))


def check(dataset: Dataset, lines: list[str], images: list[Picture], *, layout: str) -> None:
    """Every image is used, or left out and told; labels and keys meet their own image."""
    readable = [image for image in images if image.is_readable]
    seen = [
        nearest_picture(pixels, images)
        for pixels in dataset.images(np.arange(len(dataset))).numpy().astype(float)
    ]
    assert sorted(image.colour for image in seen) == sorted(image.colour for image in readable)
    assert len(dataset) + len(dataset.quarantine) == len(images)
    hurt = len(images) - len(readable)
    assert told_number(lines, "cannot be read") == hurt
    labels = dataset.labels
    may_lack = layout in ("csv", "parquet")
    if layout == "flat":
        assert labels is None
    elif not may_lack or any(image.has_label for image in seen):
        assert labels is not None
    if labels is not None:
        names = dataset.class_names  # None if all classes are numbers
        found = [
            "" if label < 0 else str(label) if names is None else names[label] for label in labels
        ]
        assert found == [image.label if image.has_label or not may_lack else "" for image in seen]
    for key, image in zip(dataset.keys, seen, strict=True):
        assert image.stem in key or ".parquet#" in key


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("store", ["always", "never"])
@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(images=pictures())
def test_count_in_is_used_and_left_out_and_labels_meet_their_images(
    layout: str, store: str, images: list[Picture]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (root := Path(folder, "set")).mkdir()
        path = LAYOUTS[layout](root, images)
        lines: list[str] = []
        keep = DataSettings(
            store=store, cache=str(Path(folder, "cache")), max_bad_share=1.0, workers=1
        )
        if layout in PARTED:
            images = [image for image in images if image.part == "train"]
        if not any(image.is_readable for image in images):
            with pytest.raises(DataError, match=r"can be read|cannot be read"):
                open_dataset(path, keep, image_size=SIZE)
            return
        dataset = open_dataset(path, keep, image_size=SIZE, report=lines.append)
        check(dataset, lines, images, layout=layout)
        if layout in PARTED:
            assert any("train" in line and "test" in line for line in lines)
