"""Boxes are clipped at the edges, and everything that belongs to a box stays with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import rectangles
from sparring.data.sources.annotations import (
    AnnotatedImages,
    ObjectAnnotation,
    concatenated,
    stack_annotations,
)
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.data.sources.files import Files
from sparring.data.sources.image_source import UnreadableItemError
from sparring.errors import DataError


def annotated(
    folder: Path,
    marks: list[ObjectAnnotation],
    *,
    count: int = 2,
    names: tuple[str, ...] = ("a", "b"),
) -> AnnotatedImages:
    """Blank images of 20 x 10 pixels with these objects; the k-th object of an image has the mask
    whose only pixel is (0, k)."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", (20, 10)).save(folder / f"{number}.png")

    def outlines(index: int) -> torch.Tensor:
        masks = torch.zeros(sum(mark.image == index for mark in marks), 10, 20, dtype=torch.bool)
        for number, mask in enumerate(masks):
            mask[0, number] = True
        return masks

    source = Files(folder, [f"{number}.png" for number in range(count)])
    return AnnotatedImages(
        source,
        stack_annotations(marks),
        sizes=torch.tensor([[10, 20]] * count),
        class_names=names,
        outlines=outlines,
    )


def test_boxes_are_clipped_at_the_edges_and_counted(tmp_path: Path) -> None:
    images = annotated(
        tmp_path,
        [
            ObjectAnnotation(0, (-5, 2, 8, 30), 1),
            ObjectAnnotation(0, (1, 1, 20.4, 9), 2),
            ObjectAnnotation(1, (0, 0, 20, 10), 2),
        ],
    )
    assert images.objects(0).boxes.tolist() == [[0, 2, 8, 10], [1, 1, 20, 9]]
    assert images.objects(1).boxes.tolist() == [[0, 0, 20, 10]]
    assert (images.num_clipped, images.num_dropped) == (1, 0)


def test_boxes_of_no_area_are_dropped_with_their_masks(tmp_path: Path) -> None:
    nothing = [
        ObjectAnnotation(0, (3, 3, 3, 9), 1),
        ObjectAnnotation(0, (25, 2, 30, 4), 1),
        ObjectAnnotation(0, (float("nan"), 0, 5, 5), 1),
    ]
    images = annotated(
        tmp_path,
        [
            nothing[0],
            ObjectAnnotation(0, (1, 1, 4, 4), 2),
            nothing[1],
            nothing[2],
            ObjectAnnotation(1, (0, 0, 2, 2), 1),
        ],
    )
    assert images.num_dropped == 3
    assert images.objects(0).labels.tolist() == [2]
    assert images.masks(0).nonzero().tolist() == [[0, 0, 1]]
    assert images.masks(1).nonzero().tolist() == [[0, 0, 0]]


def test_areas_are_the_annotated_ones_or_those_of_the_boxes_that_are_left(tmp_path: Path) -> None:
    images = annotated(
        tmp_path,
        [ObjectAnnotation(0, (0, 0, 4, 5), 1, area=7.0), ObjectAnnotation(0, (-2, 0, 4, 5), 1)],
    )
    assert images.objects(0).areas.tolist() == [7.0, 20.0]


def test_an_image_without_objects_has_empty_ones(tmp_path: Path) -> None:
    images = annotated(tmp_path, [ObjectAnnotation(1, (0, 0, 2, 2), 1)])
    assert len(images.objects(0)) == 0
    assert images.objects(0).boxes.shape == (0, 4)
    assert images.masks(0).shape == (0, 10, 20)


def test_pixels_are_whole_and_a_wrong_size_is_reported(tmp_path: Path) -> None:
    images = annotated(tmp_path, [])
    values = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "0.png")
    assert torch.equal(images.image(0), torch.from_numpy(values).permute(2, 0, 1))
    images.check(0)
    Image.new("RGB", (10, 20)).save(tmp_path / "1.png")
    for look in (images.image, images.check):
        with pytest.raises(DataError, match="10 x 20 pixels, but its boxes are for 20 x 10"):
            look(1)


def test_a_missing_or_damaged_image_is_named(tmp_path: Path) -> None:
    images = annotated(tmp_path, [])
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"nonsense")
    for index in (0, 1):
        with pytest.raises(
            DataError, match=rf"{index}\.png cannot be read \(.*\); repair the image"
        ):
            images.image(index)
    with pytest.raises(UnreadableItemError, match="cannot be read"):
        images.check(0)


def test_sets_are_concatenated_in_order(tmp_path: Path) -> None:
    one = annotated(
        tmp_path / "one",
        [
            ObjectAnnotation(0, (0, 0, 2, 2), 1),
            ObjectAnnotation(1, (5, 5, 5, 5), 1),
            ObjectAnnotation(1, (1, 1, 3, 3), 2),
        ],
    )
    other = annotated(tmp_path / "other", [ObjectAnnotation(2, (4, 4, 9, 9), 2)], count=3)
    both = concatenated([one, other])
    assert len(both) == 5
    assert [len(both.objects(index)) for index in range(5)] == [1, 1, 0, 0, 1]
    assert both.objects(4).boxes.tolist() == [[4, 4, 9, 9]]
    assert both.masks(1).nonzero().tolist() == [[0, 0, 1]]
    assert both.masks(4).shape == (1, 10, 20)
    assert both.read(3) == (tmp_path / "other" / "1.png").read_bytes()
    assert both.key(2) == "0.png"
    assert both.fingerprint() != concatenated([other, one]).fingerprint()


def test_sets_of_other_classes_are_not_concatenated(tmp_path: Path) -> None:
    one, other = (
        annotated(tmp_path / "one", []),
        annotated(tmp_path / "other", [], names=("a", "c")),
    )
    with pytest.raises(DataError, match="differ in 'b', 'c'"):
        concatenated([one, other])


def test_sets_of_the_same_classes_in_another_order_are_concatenated_by_name(
    tmp_path: Path,
) -> None:
    mark = ObjectAnnotation(0, (0, 0, 2, 2), 1)
    one = annotated(tmp_path / "one", [mark])
    other = annotated(tmp_path / "other", [mark], names=("b", " a"))
    both = concatenated([one, other])
    assert both.class_names == ("a", "b")
    assert [both.objects(index).labels.tolist() for index in (0, 2)] == [[1], [2]]


def test_counts_of_cut_and_dropped_boxes_survive_concatenation(tmp_path: Path) -> None:
    marks = [ObjectAnnotation(0, (-5, 2, 8, 30), 1), ObjectAnnotation(1, (3, 3, 3, 9), 1)]
    sets = [annotated(tmp_path / name, marks) for name in ("one", "other")]
    both = concatenated(sets)
    assert (both.num_clipped, both.num_dropped) == (2, 2)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_are_for_the_upright_image_or_for_the_stored_one_by_the_size(
    tmp_path: Path, orientation: int
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "0.png", exif=exif)
    source = Files(tmp_path, ["0.png"])

    def made(height: int, width: int) -> AnnotatedImages:
        sizes, marks = torch.tensor([[height, width]]), stack_annotations([])
        return AnnotatedImages(source, marks, sizes=sizes, class_names=("a",), outlines="none")

    stored, upright = made(10, 20), made(20, 10)
    with Image.open(tmp_path / "0.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(stored.image(0).permute(1, 2, 0).numpy(), values)
    assert np.array_equal(upright.image(0).permute(1, 2, 0).numpy(), expected)
    for images in (stored, upright):
        images.check(0)


def test_the_fingerprint_changes_with_a_box(tmp_path: Path) -> None:
    source = Files(tmp_path, ["0.png"])

    def fingerprint(bottom: float) -> str:
        sizes = torch.tensor([[10, 20]])
        return AnnotatedImages(
            source,
            stack_annotations([ObjectAnnotation(0, (0, 0, 2, bottom), 1)]),
            sizes=sizes,
            class_names=("a",),
            outlines="",
        ).fingerprint()

    assert fingerprint(2) == fingerprint(2) != fingerprint(3)


def test_two_paths_with_a_comma_are_taken_together(tmp_path: Path) -> None:
    made = rectangles.scenes(3)
    paths = [rectangles.write_voc(tmp_path / name, made) for name in ("VOC2007", "VOC2012")]
    both = open_detection_images(f"{paths[0]}, {paths[1]}")
    assert len(both) == 6
    assert both.objects(4).boxes.tolist() == [[float(v) for v in box] for box in made[1].boxes]
    with pytest.raises(DataError, match=r"no such file or folder: .*elsewhere\.txt"):
        open_detection_images(f"{paths[0]},{tmp_path / 'elsewhere.txt'}")


@pytest.mark.parametrize("name", ["list.csv", "folder", "missing.json"])
def test_anything_else_is_refused_with_what_is_accepted(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.csv").write_text("path\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"COCO \.json.*VOC.*parquet"):
        open_detection_images(tmp_path / name)


def test_arrays_are_refused_and_open_sets_pass(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in memory have no boxes"):
        open_detection_images(np.zeros((2, 8, 8, 3), np.uint8))
    images = annotated(tmp_path, [])
    assert open_detection_images(images) is images
