"""Which files of a folder are read, and which are passed over and counted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.data import image_file
from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.decode import decode
from sparring.data.sources.formats import passed_over
from sparring.data.sources.source import open_source
from sparring.errors import DataError

OTHERS = ("scan.dcm", "b/DSC1.NEF", "b/DSC2.nef", "clip.MP4", "logo.svg", "x.npy", "all.zip")


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_pictures_that_are_not_read_are_counted_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, *OTHERS, "labels.csv", "readme.md", "b/Thumbs.db", "b/notes.json", "c/noext")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    source = open_source(tmp_path)
    assert len(source) == 1
    assert source.notes == (
        "passed over in formats that are not read: 1 DICOM (such as scan.dcm), 1 archives (such as "
        "all.zip), 1 arrays (such as x.npy), 2 camera RAW (such as b/DSC1.NEF), 1 drawings (such "
        "as logo.svg), 1 video (such as clip.MP4); convert them to JPEG, PNG or TIFF",
    )
    lines: list[str] = []
    open_dataset(tmp_path, DataSettings(), image_size=8, report=lines.append)
    assert lines == list(source.notes)


def test_a_folder_of_images_and_other_files_costs_no_line(tmp_path: Path) -> None:
    write(tmp_path, "labels.csv", "a.txt", "b/readme.md")
    Image.new("RGB", (4, 4)).save(tmp_path / "b" / "a.png")
    assert open_source(tmp_path).notes == ()


def test_a_folder_without_one_image_that_is_read_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path, "1.dcm", "2.dcm")
    with pytest.raises(DataError, match=r"no image that is read here; .* 2 DICOM .*convert them"):
        open_source(tmp_path)


def test_heic_without_the_plug_in_is_counted_with_the_way_to_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_file, "reads_heif", lambda: False)
    (line,) = passed_over(["a.jpg", "b.HEIC", "c.heif"])
    assert "2 HEIC (such as b.HEIC)" in line
    assert "pip install 'sparring[heif]'" in line


@pytest.mark.skipif(not image_file.reads_heif(), reason="the plug-in is not installed")
def test_heic_loads_where_the_plug_in_is_there(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((24, 32, 3), (200, 30, 60), np.uint8))
    image.save(tmp_path / "a.heic")
    content = (tmp_path / "a.heic").read_bytes()
    found = decode(content)
    assert found.shape == (3, 24, 32)
    assert image_file.read_header(content).height == 24
    assert (found.float().mean(dim=(1, 2)) - torch.tensor([200.0, 30, 60])).abs().max() < 8
    assert open_source(tmp_path).notes == ()


@pytest.mark.skipif(
    ".avif" not in Image.registered_extensions(), reason="this Pillow has no AVIF codec"
)
def test_avif_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (16, 12), (9, 180, 90)).save(tmp_path / "a.avif")
    dataset = open_dataset(tmp_path, DataSettings(), image_size=8)
    assert (dataset.images([0])[0, 1].float().mean() - 180).abs() < 8
