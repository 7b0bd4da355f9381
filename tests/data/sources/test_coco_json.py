"""COCO json files: where images are found, what the ids mean, and errors."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as reference

import rectangles
from sparring.data.sources.annotations import AnnotatedImages
from sparring.data.sources.coco_json import open_coco
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.data.sources.image_source import UnreadableItemError
from sparring.errors import DataError

MADE = rectangles.scenes(4, seed=5)


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


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ([["a"] * 6], "a polygon with a coordinate that is not a number"),
        ([[1, 1, float("nan"), 5, 9, 1]], "a polygon with a coordinate that is not a finite"),
        ([[1, 1, 10**400, 5, 9, 1]], "a polygon with a coordinate that is not a number"),
        ([[1, 1, 1e8, 5, 9, 1]], "a polygon that reaches 1e"),
        ([[10, 10, 30, 40]], "an outline of 2 points that encloses nothing"),
        ([[5, 5] * 4], "an outline of 4 points that encloses nothing"),
        ([[1, 1, 5, 5, 9, 9]], "an outline of 3 points that encloses nothing"),
        ([[1, 1, 5, 5, 9, 1, 4]], "a polygon of 7 numbers: every x needs its y"),
        ([7], "a polygon of 1 numbers"),
        ({"size": [3, 3]}, "an outline is neither polygons"),
        ({"size": [3, 3], "counts": [9]}, "run lengths for 3 x 3 pixels"),
        ({"size": None, "counts": [9]}, "run lengths whose 'size' None"),
        ({"size": [96, 112], "counts": [96 * 112]}, "run lengths that enclose nothing"),
        ({"size": [96, 112], "counts": [5, 96 * 112]}, "run lengths that do not add up"),
        ({"size": [96, 112], "counts": [-1, 96 * 112 + 1]}, "run lengths that do not add up"),
        ({"size": [96, 112], "counts": "b'PPYo1'"}, "run lengths whose text is damaged"),
        ({"size": [96, 112], "counts": None}, "run lengths whose 'counts' are None"),
    ],
)
def test_an_outline_that_is_none_is_told_and_its_box_is_kept(
    tmp_path: Path, outline: Any, reason: str
) -> None:
    tree = rectangles.coco_tree(MADE[:1])
    tree["annotations"][0]["segmentation"] = outline
    images = open_coco(rectangles.write_coco(tmp_path, MADE[:1], tree))
    assert re.match(
        rf"1 of \d annotations have no usable outline, such as 0 .*: {re.escape(reason)}",
        images.outlines_missing,
    )
    assert len(images.objects(0)) == len(MADE[0].boxes)


def test_an_object_that_is_left_out_needs_no_outline(tmp_path: Path) -> None:
    tree = rectangles.coco_tree(MADE[:1])
    nothing = {"bbox": [5, 5, 0, 0], "segmentation": [[5, 5, 5, 5]], "image_id": 100}
    tree["annotations"].insert(0, {**tree["annotations"][0], **nothing})
    images = open_coco(rectangles.write_coco(tmp_path, MADE[:1], tree))
    assert images.num_dropped == 1
    for mask, (left, top, right, bottom) in zip(images.masks(0), MADE[0].boxes, strict=True):
        assert int(mask.sum()) == (right - left) * (bottom - top)


def test_a_part_that_encloses_nothing_adds_nothing_to_an_outline(tmp_path: Path) -> None:
    for path, more in ((tmp_path / "plain", []), (tmp_path / "more", [[10, 10, 80, 90]])):
        tree = rectangles.coco_tree(MADE[:1])
        tree["annotations"][0]["segmentation"] += more
        images = open_coco(rectangles.write_coco(path, MADE[:1], tree))
        left, top, right, bottom = MADE[0].boxes[0]
        assert int(images.masks(0)[0].sum()) == (right - left) * (bottom - top)


def _no_images(tree: dict[str, Any]) -> Any:
    return {**tree, "images": []}


def _list(tree: dict[str, Any]) -> Any:
    return [tree]


def _captions(tree: dict[str, Any]) -> Any:
    return {**tree, "annotations": [{"id": 1, "image_id": 100, "caption": "a"}]}


def _unknown_category(tree: dict[str, Any]) -> Any:
    tree["annotations"][0].update(category_id=99, id=17)
    return tree


def _short_box(tree: dict[str, Any]) -> Any:
    tree["annotations"][0].update(bbox=[1, 2, 3])
    return tree


def _same_id(key: str, name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda tree: {**tree, key: [*tree[key], {**tree[key][0], name: "another.png"}]}


def _one_field(part: str, key: str, value: object) -> Callable[[dict[str, Any]], Any]:
    def change(tree: dict[str, Any]) -> Any:
        tree[part][0][key] = value
        return tree

    return change


def _corners(tree: dict[str, Any]) -> Any:
    for annotation in tree["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
    return tree


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_no_images, "names no images"),
        (
            _list,
            "is not COCO: it needs lists 'images', 'annotations' and 'categories', and "
            "'images' is none",
        ),
        (_captions, "every entry of 'annotations' needs category_id, image_id, unlike 1"),
        (
            _unknown_category,
            r"annotation 17 \(category 99, image 100\) has a category that 'categories' lacks; "
            "it lists 3, 7",
        ),
        (_short_box, r"has no bbox \[x, y, width, height\]"),
        (_same_id("images", "file_name"), "two images have the same id 100"),
        (_same_id("categories", "name"), "two categories have the same id 7"),
        (_corners, "boxes reach beyond their image as .* and none does as"),
        (_one_field("annotations", "bbox", [1, 2, "a", 4]), "annotation 0 .* 'bbox' 'a'; it must"),
        (_one_field("annotations", "bbox", [1, 2, float("nan"), 4]), "'bbox' nan; it must be a"),
        (_one_field("annotations", "bbox", [1, 2, 10**400, 4]), "'bbox' 10*.*; it must be a"),
        (_one_field("annotations", "bbox", {"x": 1}), "has no bbox"),
        (_one_field("annotations", "iscrowd", "perhaps"), "'iscrowd' 'perhaps'; it must be 0 or 1"),
        (_one_field("annotations", "area", [3]), r"'area' \[3\]; it must be a number"),
        (_one_field("annotations", "category_id", None), "'category_id' None; it must be a whole"),
        (_one_field("annotations", "image_id", [100]), r"'image_id' \[100\]; it must be a whole"),
        (_one_field("images", "id", True), "image True has 'id' True; it must be a whole"),
        (_one_field("images", "file_name", None), "'file_name' None; it must be a path"),
        (_one_field("images", "width", "wide"), "'width' 'wide'; it must be a number"),
        (_one_field("categories", "name", None), "'name' None; it must be"),
    ],
)
def test_a_json_that_is_not_coco_is_told_in_a_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], sentence: str
) -> None:
    path = rectangles.write_coco(tmp_path, MADE, change(rectangles.coco_tree(MADE)))
    with pytest.raises(DataError, match=sentence):
        open_coco(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe{", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_a_file_that_is_not_json_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json.*{sentence}"):
        open_coco(path)


def opened(folder: Path, change: Callable[[dict[str, Any]], object]) -> AnnotatedImages:
    """The scenes with a change of their tree."""
    tree = rectangles.coco_tree(MADE)
    change(tree)
    return open_coco(rectangles.write_coco(folder, MADE, tree))


def assert_as_made(images: AnnotatedImages) -> None:
    """Check the boxes, labels, areas and crowds of the scenes."""
    assert images.class_names == ("red", "blue")
    for index, scene in enumerate(MADE):
        objects = images.objects(index)
        boxes = [[float(value) for value in box] for box in scene.boxes]
        assert objects.boxes.tolist() == boxes
        assert objects.labels.tolist() == [2 - kind for kind in scene.classes]
        assert objects.areas.tolist() == [(box[2] - box[0]) * (box[3] - box[1]) for box in boxes]
        assert not objects.is_crowd.any()


def _each(part: str, **fields: object) -> Callable[[dict[str, Any]], object]:
    """A change of fields of every entry: functions of the entry, or values; `...` removes them."""

    def change(tree: dict[str, Any]) -> None:
        for entry in tree[part]:
            for key, value in fields.items():
                entry[key] = value(entry) if callable(value) else value
                if value is ...:
                    del entry[key]

    return change


def _as_text(key: str) -> Callable[[dict[str, Any]], object]:
    def changed(entry: dict[str, Any]) -> object:
        value = entry[key]
        return [str(each) for each in value] if isinstance(value, list) else str(value)

    return changed


@pytest.mark.parametrize(
    "change",
    [
        *(_each("annotations", iscrowd=value) for value in (..., None, False, "0", "false", 0.0)),
        *(_each("annotations", area=value) for value in (..., None, "", 0, -1, _as_text("area"))),
        *(_each("annotations", segmentation=value) for value in (..., None, [])),
        _each("annotations", bbox=_as_text("bbox")),
        _each("annotations", bbox=None),
        _each("annotations", bbox=[]),
        _each("annotations", bbox=[None] * 4),
        _each("annotations", image_id=_as_text("image_id")),
        _each("annotations", image_id=lambda entry: float(entry["image_id"])),
        _each("annotations", category_id=_as_text("category_id")),
        _each("annotations", id=None),
        _each("images", id=_as_text("id")),
        _each("categories", id=_as_text("id"), supercategory=None),
        *(_each("images", width=value, height=value) for value in (..., None, 0)),
        _each("images", width=_as_text("width"), height=lambda entry: float(entry["height"])),
        lambda tree: tree["images"].extend(tree["images"][:2]),
        lambda tree: tree["categories"].reverse(),
        lambda tree: tree["annotations"].sort(key=lambda entry: -entry["image_id"]),
        _each("categories", name=lambda entry: f" {entry['name']} "),
    ],
)
def test_fields_of_other_types_and_orders_mean_the_same(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    assert_as_made(opened(tmp_path, change))


@pytest.mark.parametrize("value", [1, True, "1", "true", 1.0])
def test_crowds_are_crowds_however_they_are_marked(tmp_path: Path, value: object) -> None:
    assert opened(tmp_path, _each("annotations", iscrowd=value)).everything.is_crowd.all()


def test_boxes_with_negative_sizes_are_read_from_their_other_corner_and_told(
    tmp_path: Path,
) -> None:
    def change(tree: dict[str, Any]) -> None:
        x, y, width, height = tree["annotations"][0]["bbox"]
        tree["annotations"][0]["bbox"] = [x + width, y + height, -width, -height]

    images = opened(tmp_path, change)
    assert_as_made(images)
    assert [note for note in images.notes if "1 boxes have a negative width" in note]


def test_what_is_left_out_is_told_in_one_line_each(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        example = tree["annotations"][0]
        tree["annotations"] += [{**example, "image_id": 7, "id": 8000 + n} for n in range(3)]
        tree["annotations"] += [{**example, "bbox": None, "segmentation": None, "id": 9000}]

    images = opened(tmp_path, change)
    assert_as_made(images)
    assert [note.partition(": ")[2] for note in images.notes] == [
        "3 annotations belong to images that 'images' lacks; they were left out",
        "1 annotations have neither a box nor an outline; they were left out",
    ]


def test_an_image_listed_under_two_ids_is_one_image_with_all_its_objects(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["images"].append({**tree["images"][0], "id": 999})
        moved = [entry for entry in tree["annotations"] if entry["image_id"] == 100]
        tree["annotations"] += [{**entry, "image_id": 999, "id": 5000} for entry in moved]

    images = opened(tmp_path, change)
    assert_as_made(images)
    assert len(images) == len(MADE)
    assert any("listed more than once" in note for note in images.notes)


def test_categories_of_one_name_are_one_class_and_unused_ones_stay_listed(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["categories"] += [{"id": 12, "name": "blue"}, {"id": 20, "name": "unused"}]
        for entry in tree["annotations"][::2]:
            entry["category_id"] = {7: 12}.get(entry["category_id"], entry["category_id"])

    images = opened(tmp_path, change)
    assert images.class_names == ("red", "blue", "unused")
    assert [images.objects(index).labels.tolist() for index in range(len(MADE))] == [
        [2 - kind for kind in scene.classes] for scene in MADE
    ]
    assert any("several categories are called 'blue'" in note for note in images.notes)


def test_an_image_that_cannot_be_read_is_left_to_its_protocol(tmp_path: Path) -> None:
    path = rectangles.write_coco(tmp_path, MADE)
    tree = rectangles.coco_tree(MADE)
    _each("images", width=None)(tree)
    path.write_text(json.dumps(tree))
    (tmp_path / "001.png").write_bytes(b"nonsense")
    images = open_coco(path)
    assert images.num_dropped == 0
    with pytest.raises(UnreadableItemError, match=r"001\.png cannot be read"):
        images.image(1)
    assert images.image(2).shape == (3, rectangles.HEIGHT, rectangles.WIDTH)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_coco(rectangles.write_coco(tmp_path, MADE))
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval.core", None)
    with pytest.raises(DataError, match=r"pip install 'sparring\[detection\]'"):
        images.masks(0)


def test_messages_stay_short_and_no_name_is_too_long(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["images"][0]["file_name"] = "x" * 5000

    with pytest.raises(DataError, match="are in none of") as error:
        opened(tmp_path, change)
    assert len(str(error.value)) < 600 + 3 * len(str(tmp_path))
