"""COCO json files: where images are found, what the ids mean, and errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as reference

import rectangles
from sparring.data.sources.coco_json import open_coco
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.errors import DataError

MADE = rectangles.scenes(4)


def test_boxes_labels_and_masks_are_those_of_the_scenes(tmp_path: Path) -> None:
    images = open_detection_images(rectangles.write_coco(tmp_path, MADE))
    assert images.class_names == ("red", "blue")  # in the order of their numbers, 3 and 7
    for index, scene in enumerate(MADE):
        objects, masks = images.objects(index), images.masks(index)
        assert objects.boxes.tolist() == [[float(value) for value in box] for box in scene.boxes]
        assert objects.labels.tolist() == [2 - kind for kind in scene.classes]
        assert torch.equal(images.image(index), torch.from_numpy(scene.image).permute(2, 0, 1))
        for mask, (left, top, right, bottom) in zip(masks, scene.boxes, strict=True):
            expected = torch.zeros(rectangles.HEIGHT, rectangles.WIDTH, dtype=torch.bool)
            expected[top:bottom, left:right] = True
            assert torch.equal(mask, expected)


@pytest.mark.parametrize("folder", [".", "images", "../val2017"])
def test_images_are_found_beside_the_json_and_in_the_folder_of_the_split(
    tmp_path: Path, folder: str
) -> None:
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    rectangles.write_images(annotations / folder, MADE)
    path = annotations / "instances_val2017.json"
    path.write_text(json.dumps(rectangles.coco_tree(MADE)))
    assert open_coco(path).image(3).shape == (3, rectangles.HEIGHT, rectangles.WIDTH)


def test_missing_images_are_told_with_the_places_that_were_looked_at(tmp_path: Path) -> None:
    path = rectangles.write_coco(tmp_path / "here", MADE)
    (path.parent / "002.png").unlink()
    with pytest.raises(
        DataError, match=r"1 of the 4 images of .* are not in .*here, such as 002\.png"
    ):
        open_coco(path)
    for file in path.parent.glob("*.png"):
        file.unlink()
    with pytest.raises(
        DataError,
        match=(
            rf"000\.png, are in none of {path.parent}, {path.parent / 'images'}, "
            rf"{tmp_path / 'instances'}"
        ),
    ):
        open_coco(path)


def test_run_lengths_are_read_in_both_forms_and_crowds_are_marked(tmp_path: Path) -> None:
    tree = rectangles.coco_tree(MADE[:1])
    shape = (rectangles.HEIGHT, rectangles.WIDTH)
    masks = np.random.default_rng(0).random((2, *shape)) < 0.3
    compressed = reference.encode(np.asfortranarray(masks[0].astype(np.uint8)))
    compressed["counts"] = compressed["counts"].decode()
    columns = (
        masks[1].T.flatten().astype(int)
    )  # run lengths go down the columns and begin with the zeros
    changes = np.flatnonzero(np.diff(np.concatenate([[0], columns])))
    plain = np.diff(np.concatenate([[0], changes, [columns.size]])).tolist()
    example = {**tree["annotations"][0], "id": 50}
    tree["annotations"] = [
        {**example, "segmentation": compressed},
        {**example, "segmentation": {"counts": plain, "size": list(shape)}, "iscrowd": 1},
    ]
    images = open_coco(rectangles.write_coco(tmp_path, MADE[:1], tree))
    assert np.array_equal(images.masks(0).numpy(), masks)
    assert images.objects(0).is_crowd.tolist() == [False, True]
    assert images.objects(0).is_ignored.tolist() == [False, True]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and NumPy 2
def test_polygons_of_one_object_are_united_as_pycocotools_does(tmp_path: Path) -> None:
    tree = rectangles.coco_tree(MADE[:1])
    parts = [[3.5, 4.2, 40.1, 8.8, 20.0, 60.3], [50, 50, 90.5, 52, 70, 90, 55, 80]]
    tree["annotations"] = [{**tree["annotations"][0], "segmentation": parts}]
    mask = open_coco(rectangles.write_coco(tmp_path, MADE[:1], tree)).masks(0)[0]
    united = reference.decode(
        reference.merge(reference.frPyObjects(parts, rectangles.HEIGHT, rectangles.WIDTH))
    )
    assert np.array_equal(mask.numpy(), united.astype(bool))


def test_without_sizes_in_the_json_the_files_tell(tmp_path: Path) -> None:
    tree = rectangles.coco_tree(MADE)
    tree["images"] = [
        {"id": image["id"], "file_name": image["file_name"]} for image in tree["images"]
    ]
    assert (
        open_coco(rectangles.write_coco(tmp_path, MADE, tree)).sizes.tolist()
        == [[rectangles.HEIGHT, rectangles.WIDTH]] * 4
    )


def test_annotations_in_any_order_come_to_their_images(tmp_path: Path) -> None:
    tree = rectangles.coco_tree(MADE)
    tree["annotations"].reverse()
    images = open_coco(rectangles.write_coco(tmp_path, MADE, tree))
    for index, scene in enumerate(MADE):
        assert sorted(images.objects(index).boxes.tolist()) == sorted(
            [float(value) for value in box] for box in scene.boxes
        )
        for mask, box in zip(
            images.masks(index), images.objects(index).boxes.int().tolist(), strict=True
        ):
            assert mask[box[1] : box[3], box[0] : box[2]].all()


def test_boxes_without_outlines_are_enough_until_masks_are_asked_for(tmp_path: Path) -> None:
    tree = rectangles.coco_tree(MADE)
    tree["annotations"][2]["segmentation"] = []
    images = open_coco(rectangles.write_coco(tmp_path, MADE, tree))
    total = len(tree["annotations"])
    assert images.outlines_missing.startswith(
        f"1 of {total} annotations have no 'segmentation', such as "
    )


def test_an_outline_that_is_none_is_told(tmp_path: Path) -> None:
    for outline in ([["a"]], {"size": [3, 3]}, {"size": [3, 3], "counts": [9]}, [7]):
        tree = rectangles.coco_tree(MADE[:1])
        tree["annotations"][0]["segmentation"] = outline
        images = open_coco(rectangles.write_coco(tmp_path, MADE[:1], tree))
        with pytest.raises(
            DataError, match=r"000\.png: (an outline is neither|run lengths for 3 x 3)"
        ):
            images.masks(0)


def _no_images(tree: dict[str, Any]) -> Any:
    return {**tree, "images": []}


def _list(tree: dict[str, Any]) -> Any:
    return [tree]


def _captions(tree: dict[str, Any]) -> Any:
    return {**tree, "annotations": [{"id": 1, "image_id": 100, "caption": "a"}]}


def _unknown_category(tree: dict[str, Any]) -> Any:
    tree["annotations"][0].update(category_id=99, id=17)
    return tree


def _unknown_image(tree: dict[str, Any]) -> Any:
    tree["annotations"][0].update(image_id=99)
    return tree


def _short_box(tree: dict[str, Any]) -> Any:
    tree["annotations"][0].update(bbox=[1, 2, 3])
    return tree


def _twice(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda tree: {**tree, key: [*tree[key], tree[key][0]]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_no_images, "names no images"),
        (
            _list,
            "is not COCO: it needs lists 'images', 'annotations' and 'categories', and "
            "'images' is none",
        ),
        (_captions, "every entry of 'annotations' needs bbox, category_id, image_id, unlike 1"),
        (
            _unknown_category,
            r"annotation 17 \(category 99, image 100\) has a category that 'categories' lacks; "
            "it lists 3, 7",
        ),
        (_unknown_image, "belongs to an image that 'images' lacks"),
        (_short_box, r"has no bbox \[x, y, width, height\]"),
        (_twice("images"), "two images have the same id"),
        (_twice("categories"), "two categories have the same id"),
    ],
)
def test_a_json_that_is_not_coco_is_told_in_a_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    path = rectangles.write_coco(tmp_path, MADE, change(rectangles.coco_tree(MADE)))
    with pytest.raises(DataError, match=sentence):
        open_coco(path)


def test_a_file_that_is_not_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="is not JSON"):
        open_coco(path)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_coco(rectangles.write_coco(tmp_path, MADE))
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval.core", None)
    with pytest.raises(DataError, match=r"pip install 'sparring\[detection\]'"):
        images.masks(0)
