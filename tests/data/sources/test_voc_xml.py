"""VOC folders: images of a list, counting of pixels, and errors."""

from pathlib import Path

import pytest
import torch
from PIL import Image

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


def _object(name: str, box: str, *, more: str = "") -> str:
    edges = dict(zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True))
    tags = "".join(f"<{key}>{value}</{key}>" for key, value in sorted(edges.items()))
    return f"<object>{more}<bndbox>{tags}</bndbox><name>{name}</name></object>"


def _write(voc: Path, *objects: str) -> None:
    (voc / "Annotations" / "000.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")


def test_fields_may_lack_be_fractions_and_stand_in_any_order(voc: Path) -> None:
    _write(
        voc,
        _object("red", "3.5 4.25 20.5 30.75"),
        _object("traffic light", " 1 1 9 9 ", more="<pose/><difficult>1</difficult>"),
        _object(
            " blue ", "1 1 9 9", more="<difficult>False</difficult><part><name>x</name></part>"
        ),
    )
    images = open_voc(voc)
    objects = images.objects(0)
    assert images.class_names == ("blue", "red", "traffic light")
    assert objects.labels.tolist() == [2, 3, 1]
    assert objects.boxes[0].tolist() == [2.5, 3.25, 20.5, 30.75]
    assert objects.is_difficult.tolist() == [False, True, False]
    assert images.notes == ()


def test_reversed_edges_are_exchanged_and_counted(voc: Path) -> None:
    _write(
        voc, _object("red", "20 4 3 30"), _object("red", "3 30 20 4"), _object("red", "3 4 20 30")
    )
    images = open_voc(voc)
    assert images.objects(0).boxes.tolist() == [[2, 3, 20, 30]] * 3
    assert [note for note in images.notes if "2 boxes end before they begin" in note]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (_object("red", "nan 1 9 9"), "object 2 has 'xmin' 'nan'; it must be a finite number"),
        (_object("red", "1 1 1e999 9"), "object 2 has 'xmax' '1e999'; it must be a finite"),
        (_object("red", f"1 1 {'9' * 400} 9"), "object 2 has 'xmax' '99.*'; it must be a finite"),
        (_object("", "1 1 9 9"), "object 2 needs a <name>"),
        (_object("red", "1 1 9 9").replace("name", "label"), "object 2 needs a <name>"),
        (
            _object("red", "1 1 9 9", more="<difficult>rather</difficult>"),
            "object 2 has 'difficult' 'rather'; it must be 0 or 1",
        ),
    ],
)
def test_damaged_fields_are_told_with_file_and_field(voc: Path, entry: str, sentence: str) -> None:
    _write(voc, _object("red", "1 1 9 9"), entry)
    with pytest.raises(DataError, match=rf"000\.xml.*{sentence}"):
        open_voc(voc)


@pytest.mark.parametrize(
    "content",
    [
        b"<?xml version='1.0' encoding='none'?><annotation/>",
        b"<?xml version='1.0' encoding='utf-16'?><annotation/>",
        b"\xff\xff",
        b"",
    ],
)
def test_bytes_that_are_no_xml_are_told(voc: Path, content: bytes) -> None:
    (voc / "Annotations" / "000.xml").write_bytes(content)
    with pytest.raises(DataError, match=r"000\.xml is not XML"):
        open_voc(voc)


def test_names_of_images_may_have_spaces_and_count_once(voc: Path) -> None:
    for folder, suffix in (("Annotations", ".xml"), ("JPEGImages", ".jpg")):
        (voc / folder / f"003{suffix}").rename(voc / folder / f"my photo 1{suffix}")
    listed = voc / "ImageSets" / "Main" / "a.txt"
    listed.write_bytes("\ufeffmy photo 1\n000 -1\n001  1\n000\n".encode())
    images = open_voc(listed)
    assert [images.key(index) for index in range(len(images))] == [
        "my photo 1.jpg",
        "000.jpg",
        "001.jpg",
    ]


def test_a_mask_of_another_size_and_a_damaged_one_are_told(voc: Path) -> None:
    images = open_voc(voc)
    Image.new("L", (20, 10)).save(voc / "SegmentationObject" / "000.png")
    with pytest.raises(DataError, match=r"000\.png has 20 x 10 pixels and its image 112 x 96"):
        images.masks(0)
    (voc / "SegmentationObject" / "000.png").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"000\.png cannot be used"):
        images.masks(0)


@pytest.mark.parametrize("is_stored", [False, True])
def test_boxes_and_masks_of_a_turned_photo_fit_each_other(voc: Path, is_stored: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    with Image.open(voc / "JPEGImages" / "000.jpg") as picture:
        picture.transpose(Image.Transpose.ROTATE_270).save(
            voc / "JPEGImages" / "000.jpg", exif=exif, quality=95
        )
    upright = open_voc(voc)
    assert upright.image(0).shape == (3, rectangles.HEIGHT, rectangles.WIDTH)
    expected = upright.masks(0)
    if is_stored:  # the mask is for the picture as stored, the boxes are for the upright one
        path = voc / "SegmentationObject" / "000.png"
        with Image.open(path) as mask:
            mask.transpose(Image.Transpose.ROTATE_270).save(path)
    assert torch.equal(open_voc(voc).masks(0), expected)
