"""VOC folders: images of a list, counting of pixels, and errors."""

from pathlib import Path

import pytest
import torch

import rectangles
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.data.sources.voc_xml import open_voc
from sparring.errors import DataError

MADE = rectangles.scenes(4)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Folder of a set of four images."""
    return rectangles.write_voc(tmp_path / "VOC2007", MADE).parents[2]


def test_a_box_of_one_pixel_at_the_corner_is_counted_from_zero(voc: Path) -> None:
    scene = rectangles.Scene(
        MADE[0].image, [(0, 0, 1, 1), (0, 0, rectangles.WIDTH, rectangles.HEIGHT)], [0, 1]
    )
    (voc / "Annotations" / "000.xml").write_text(rectangles.voc_xml(scene))
    assert (
        "<xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax>"
        in (voc / "Annotations" / "000.xml").read_text()
    )
    assert open_voc(voc).objects(0).boxes.tolist() == [
        [0, 0, 1, 1],
        [0, 0, rectangles.WIDTH, rectangles.HEIGHT],
    ]


def test_a_list_names_the_images_and_a_folder_means_all(voc: Path) -> None:
    (voc / "ImageSets" / "Main" / "red_val.txt").write_text("002  1\n000 -1\n")
    images = open_detection_images(voc / "ImageSets" / "Main" / "red_val.txt")
    assert [images.key(index) for index in range(len(images))] == ["002.jpg", "000.jpg"]
    assert images.objects(0).boxes.tolist() == [
        [float(value) for value in box] for box in MADE[2].boxes
    ]
    assert len(open_detection_images(voc)) == 4
    assert open_detection_images(voc).class_names == ("blue", "red")
    assert open_detection_images(voc).objects(1).labels.tolist() == [
        kind + 1 for kind in MADE[1].classes
    ]


def test_difficult_objects_are_marked_and_boxes_of_parts_are_not_objects(voc: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    part = f"<part><name>head</name>{box}</part>"
    (voc / "Annotations" / "000.xml").write_text(
        rectangles.voc_xml(MADE[0], difficult=[0], more=part)
    )
    objects = open_voc(voc).objects(0)
    assert len(objects) == len(MADE[0].boxes)
    assert objects.is_difficult.tolist() == [place == 0 for place in range(len(objects))]
    assert objects.is_ignored.equal(objects.is_difficult)


def test_masks_are_the_pixels_of_each_objects_number(voc: Path) -> None:
    images = open_voc(voc)
    for index, scene in enumerate(MADE):
        for mask, (left, top, right, bottom) in zip(images.masks(index), scene.boxes, strict=True):
            expected = torch.zeros(rectangles.HEIGHT, rectangles.WIDTH, dtype=torch.bool)
            expected[top + 1 : bottom, left:right] = True  # the first row is void
            assert torch.equal(mask, expected)


def test_images_without_a_mask_are_told(voc: Path) -> None:
    (voc / "SegmentationObject" / "001.png").unlink()
    assert open_voc(voc).outlines_missing.startswith(
        "1 of 4 images have no file in SegmentationObject, such as 001.png; take the lists"
    )


def test_a_mask_with_more_objects_than_the_xml_is_told(voc: Path) -> None:
    (voc / "Annotations" / "000.xml").write_text(
        rectangles.voc_xml(rectangles.Scene(MADE[0].image, [], []))
    )
    with pytest.raises(DataError, match="whose pixels number the 0 objects"):
        open_voc(voc).masks(0)


def test_without_a_size_in_the_xml_the_file_tells(voc: Path) -> None:
    path = voc / "Annotations" / "000.xml"
    path.write_text(path.read_text().replace("<width>112</width>", ""))
    assert open_voc(voc).sizes[0].tolist() == [rectangles.HEIGHT, rectangles.WIDTH]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<annotation>", "is not XML"),
        ("<html></html>", "is not VOC: its root is <html>"),
        (
            "<annotation><object><name>red</name></object></annotation>",
            "needs a <name> and a <bndbox>",
        ),
        (
            "<annotation><object><bndbox><xmin>a</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></object></annotation>",
            "object 1 has 'xmin' 'a'; it must be a number",
        ),
    ],
)
def test_an_xml_that_is_not_voc_is_told(voc: Path, text: str, sentence: str) -> None:
    (voc / "Annotations" / "000.xml").write_text(text)
    with pytest.raises(DataError, match=rf"000\.xml.*{sentence}"):
        open_voc(voc)


def test_missing_files_and_lists_in_the_wrong_place_are_told(voc: Path, tmp_path: Path) -> None:
    (voc / "JPEGImages" / "003.jpg").unlink()
    with pytest.raises(DataError, match=r"no image 003\.jpg in .*JPEGImages"):
        open_voc(voc)
    (voc / "Annotations" / "002.xml").unlink()
    with pytest.raises(DataError, match=r"cannot read .*002\.xml"):
        open_voc(voc / "ImageSets" / "Main" / "trainval.txt")
    (tmp_path / "list.txt").write_text("000\n")
    with pytest.raises(DataError, match="not a list of a VOC set"):
        open_voc(tmp_path / "list.txt")
    (voc / "ImageSets" / "Main" / "trainval.txt").write_text("\n")
    with pytest.raises(DataError, match="names no images"):
        open_voc(voc / "ImageSets" / "Main" / "trainval.txt")
