"""Equal images of two sets are found whatever they are called and however they are stored."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring.data.dataset import Dataset, DataSettings, open_dataset
from sparring.data.duplicates import known_images
from sparring.data.sources.source import ImageData

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    for number, image in enumerate(PIXELS):
        Image.fromarray(image).save(root / f"{number}.png")
    return root


def opened(data: ImageData, store: str) -> Dataset:
    return open_dataset(data, DataSettings(store=store), image_size=16)  # type: ignore[arg-type]


def found(learned: Dataset, scored: Dataset) -> list[int]:
    rows, scored_rows = (np.arange(len(each)) for each in (learned, scored))
    return known_images(learned, scored, rows=rows, scored_rows=scored_rows).tolist()


@pytest.mark.parametrize("first", ["always", "never"])
@pytest.mark.parametrize("second", ["always", "never"])
def test_renamed_files_in_another_order_are_found(
    pictures: Path, tmp_path: Path, first: str, second: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name, source in (("a", 4), ("b", 1), ("c", None)):
        path = other / f"{name}.png"
        if source is None:
            Image.fromarray(PIXELS[0] ^ 1).save(path)
        else:
            shutil.copy(pictures / f"{source}.png", path)
    assert found(opened(pictures, first), opened(other, second)) == [4, 1, -1]


def test_decoded_images_are_equal_whatever_their_format(pictures: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    contents = []
    for image in PIXELS[::-1]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "BMP")
        contents.append(file.getvalue())
    pq.write_table(pa.table({"image": contents}), pictures.parent / "a.parquet")
    learned = opened(pictures, "always")
    assert found(learned, opened(pictures.parent / "a.parquet", "always")) == [5, 4, 3, 2, 1, 0]
    assert found(learned, opened(PIXELS[[2, 3]], "auto")) == [2, 3]


def test_files_of_equal_size_and_middle_are_compared_whole(tmp_path: Path) -> None:
    contents = []
    for number in range(2):
        image = np.zeros((64, 64, 3), np.uint8)
        image[0, 0] = 255 * number  # far from the middle
        file = io.BytesIO()
        Image.fromarray(image).save(file, "BMP")
        contents.append(file.getvalue())
    for name, content in (("a", contents[0]), ("b", contents[1]), ("c", contents[0])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.bmp").write_bytes(content)
    a, b, c = (opened(tmp_path / name, "never") for name in "abc")
    assert a.source.excerpt(0) == b.source.excerpt(0)
    assert (found(a, b), found(a, c)) == ([-1], [0])


def test_only_the_chosen_rows_are_compared(pictures: Path) -> None:
    dataset = opened(pictures, "never")
    rows, scored_rows = np.array([0, 2, 4]), np.array([5, 4, 0])
    equal = known_images(dataset, dataset, rows=rows, scored_rows=scored_rows)
    assert equal.tolist() == [-1, 4, 0]


def test_a_missing_file_is_equal_to_none(pictures: Path) -> None:
    dataset = opened(pictures, "never")
    (pictures / "3.png").unlink()
    assert found(dataset, dataset) == [0, 1, 2, -1, 4, 5]
