"""Findings about small data sets whose faults are known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring.api import inspect_data
from sparring.data.inspection.findings import DataFinding, findings
from sparring.data.inspection.inspecting import inspect_images
from sparring.data.sources.source import ImageData, open_source


def noise(seed: int, *, width: int = 40, height: int = 40) -> Image.Image:
    """A smooth random picture: blurred noise, so that a copy of another size looks like it."""
    values = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six pictures each, without faults."""
    for number in range(12):
        place = tmp_path / ("cat" if number % 2 else "dog")
        place.mkdir(exist_ok=True)
        noise(number).save(place / f"{number:02d}.png")
    return tmp_path


def found_in(data: ImageData, **options: int) -> dict[str, DataFinding]:
    return {
        finding.name: finding for finding in findings(inspect_images(open_source(data), **options))
    }


def test_a_set_without_faults_has_none(folder: Path) -> None:
    found = found_in(folder)
    assert [name for name, finding in found.items() if not finding.is_fine] == []
    assert found["images"].detail == "12 images"
    assert found["classes"].detail == "2 classes, 6 images of each"


def test_an_unreadable_image_is_named_with_its_reason(folder: Path) -> None:
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    found = found_in(folder)["unreadable"]
    assert not found.is_fine
    assert "1 of 13 images" in found.detail
    assert "broken.png" in found.detail
    assert "not an image" in found.detail


def test_equal_pixels_are_found_in_another_format_and_under_another_name(folder: Path) -> None:
    noise(3).save(folder / "cat" / "copy.bmp")
    found = found_in(folder)["duplicates"]
    assert not found.is_fine
    assert "1 of 13 images" in found.detail
    assert "copy.bmp" in found.detail
    assert [len(group) for group in found.groups] == [2]


def test_equal_pictures_in_two_classes_are_a_wrong_label(folder: Path) -> None:
    noise(3).save(folder / "dog" / "copy.png")  # 3 is a cat
    found = found_in(folder)["labels"]
    assert not found.is_fine
    assert "dog/copy.png" in found.detail


def test_a_smaller_copy_looks_alike_without_being_equal(folder: Path) -> None:
    noise(3, width=32, height=32).save(folder / "cat" / "small.jpg", quality=80)
    found = found_in(folder)
    assert found["duplicates"].is_fine
    assert not found["look alike"].is_fine
    assert "small.jpg" in found["look alike"].detail


def test_small_narrow_and_blank_images_are_counted(folder: Path) -> None:
    noise(50, width=8, height=8).save(folder / "cat" / "tiny.png")
    noise(51, width=200, height=40).save(folder / "cat" / "strip.png")
    Image.new("RGB", (40, 40), (9, 90, 200)).save(folder / "dog" / "blue.png")
    found = found_in(folder)
    assert "2 of 15 images are less than half that size (1)" in found["small or narrow"].detail
    assert "1 of 15 images are of a single colour" in found["blank"].detail
    assert "dog/blue.png" in found["blank"].detail


@pytest.mark.parametrize(("count", "words"), [(1, "there is a single image"), (2, "from 2 images")])
def test_lone_and_rare_classes_are_told(folder: Path, count: int, words: str) -> None:
    (folder / "rare").mkdir()
    for number in range(count):
        noise(70 + number).save(folder / "rare" / f"{number}.png")
    for number in range(20):
        noise(80 + number).save(folder / "cat" / f"more{number}.png")
    found = found_in(folder)["classes"]
    assert not found.is_fine
    assert words in found.detail


def test_class_names_that_a_person_takes_for_one_are_told(folder: Path) -> None:
    (folder / "Cat ").mkdir()
    noise(90).save(folder / "Cat " / "0.png")
    found = found_in(folder)["class names"]
    assert not found.is_fine
    assert "'Cat', 'cat'" in found.detail


def test_grey_images_are_told() -> None:
    values = np.random.default_rng(0).integers(0, 255, (6, 16, 16), dtype=np.uint8)
    assert "all images are grey" in found_in(values)["colour"].detail


def test_a_part_of_a_large_set_is_looked_at_and_said() -> None:
    values = np.random.default_rng(0).integers(0, 255, (30, 8, 8, 3), dtype=np.uint8)
    assert found_in(values, limit=10)["images"].detail == "30 images; 10 of them were looked at"


def test_images_that_both_parts_of_a_set_show_are_told(tmp_path: Path) -> None:
    for number in range(12):
        place = tmp_path / ("test" if number % 3 == 2 else "train") / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        noise(number).save(place / f"{number:02d}.png")
    noise(0).save(tmp_path / "test" / "class0" / "again.bmp")
    found = {one.name: one for one in inspect_data(tmp_path, progress=False)}
    assert not found["shared images"].is_fine
    assert "1 of 5 images of the test part" in found["shared images"].detail
    assert "again.bmp" in found["shared images"].detail
    assert found["images"].detail == "8 images"


def test_one_range_of_the_set_is_used_and_told(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4095, (6, 16, 16)).astype(np.uint16)
    values[0] //= 16  # a dark one
    seen = inspect_images(open_source(values))
    assert any("4095" in note for note in seen.notes)
    assert seen.thumbnails[0].float().mean() < 20 < seen.thumbnails[1].float().mean()


def test_threads_change_nothing(folder: Path) -> None:
    one, four = (found_in(folder, workers=workers) for workers in (1, 4))
    assert one == four
