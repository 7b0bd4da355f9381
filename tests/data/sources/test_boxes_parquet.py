"""Boxes in parquet files of Hugging Face's layout."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import rectangles
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.errors import DataError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

MADE = rectangles.scenes(3)
NESTED = {
    "feature": {
        "bbox": {"length": 4},
        "category": {"names": ["blue", "red"], "_type": "ClassLabel"},
    },
    "_type": "Sequence",
}
FLAT = {
    "bbox": {"length": 4},
    "category": {"feature": {"names": ["blue", "red"], "_type": "ClassLabel"}, "_type": "List"},
}


def objects_of(scene: rectangles.Scene) -> dict[str, Any]:
    boxes = [[left, top, right - left, bottom - top] for left, top, right, bottom in scene.boxes]
    return {"bbox": [[float(value) for value in box] for box in boxes], "category": scene.classes}


def write(
    path: Path,
    *,
    objects: list[Any] | None = None,
    features: object = NESTED,
    column: str = "objects",
) -> Path:
    contents = []
    for scene in MADE:
        stream = io.BytesIO()
        Image.fromarray(scene.image).save(stream, "PNG")
        contents.append({"bytes": stream.getvalue(), "path": None})
    table = pa.table(
        {
            "image": contents,
            column: [objects_of(scene) for scene in MADE] if objects is None else objects,
        }
    )
    metadata = (
        {"huggingface": json.dumps({"info": {"features": {"objects": features}}})}
        if features
        else None
    )
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)
    return path


@pytest.mark.parametrize("features", [NESTED, FLAT])
def test_boxes_and_names_are_those_of_the_scenes(tmp_path: Path, features: object) -> None:
    images = open_detection_images(write(tmp_path / "a.parquet", features=features))
    assert images.class_names == ("blue", "red")
    for index, scene in enumerate(MADE):
        assert images.objects(index).boxes.tolist() == [
            [float(value) for value in box] for box in scene.boxes
        ]
        assert images.objects(index).labels.tolist() == [kind + 1 for kind in scene.classes]
    assert images.image(2).shape == (3, rectangles.HEIGHT, rectangles.WIDTH)
    assert images.outlines_missing == "parquet files hold boxes only"


def test_without_names_the_numbers_are_names_and_a_folder_of_files_is_one_set(
    tmp_path: Path,
) -> None:
    write(tmp_path / "a.parquet", features=None)
    write(tmp_path / "b.parquet", features=None)
    images = open_detection_images(tmp_path)
    assert images.class_names == ("0", "1")
    assert len(images) == 6
    assert images.objects(4).labels.tolist() == images.objects(1).labels.tolist()


def test_rows_without_objects_are_images_without_objects(tmp_path: Path) -> None:
    objects = [None, {"bbox": [], "category": []}, objects_of(MADE[2])]
    images = open_detection_images(write(tmp_path / "a.parquet", objects=objects))
    assert [len(images.objects(index)) for index in range(3)] == [0, 0, len(MADE[2].boxes)]


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        (
            {"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": [2]},
            r"a\.parquet#0 has category 2; accepted are 0 to 1 \(blue, red\)",
        ),
        ({"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": []}, "has 1 boxes and 0 categories"),
        (
            {"bbox": [[1.0, 1.0, 5.0]], "category": [0]},
            r"a box is \[x, y, width, height\], got \[1.0, 1.0, 5.0\]",
        ),
    ],
)
def test_objects_that_cannot_be_are_told(tmp_path: Path, objects: object, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        open_detection_images(write(tmp_path / "a.parquet", objects=[objects] * 3))


def test_null_boxes_are_left_out_and_counted(tmp_path: Path) -> None:
    objects = [
        {"bbox": None, "category": None},
        {"bbox": [None, [1.0, 2.0, 3.0, 4.0], [None] * 4], "category": [0, 1, 1]},
        {"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [0]},
    ]
    images = open_detection_images(write(tmp_path / "a.parquet", objects=objects))
    assert [images.objects(index).labels.tolist() for index in range(3)] == [[], [2], [1]]
    assert images.objects(1).boxes.tolist() == [[1, 2, 4, 6]]
    assert [note for note in images.notes if "2 objects have no box; they were left out" in note]


def test_objects_may_be_a_list_of_pairs_and_categories_names(tmp_path: Path) -> None:
    pairs = [
        [
            {"bbox": box, "category": f" {rectangles.NAMES[kind]}"}
            for box, kind in zip(*objects_of(scene).values(), strict=True)
        ]
        for scene in MADE
    ]
    images = open_detection_images(write(tmp_path / "a.parquet", objects=pairs, features=None))
    assert images.class_names == rectangles.NAMES
    for index, scene in enumerate(MADE):
        assert images.objects(index).boxes.int().tolist() == [list(box) for box in scene.boxes]
        assert images.objects(index).labels.tolist() == [kind + 1 for kind in scene.classes]


def _written(box: tuple[int, int, int, int], form: str) -> list[float]:
    left, top, right, bottom = box
    width, height = rectangles.WIDTH, rectangles.HEIGHT
    centred = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return {
        "coco": [left, top, right - left, bottom - top],
        "xyxy": [left, top, right, bottom],
        "pascal_voc": [right, bottom, left, top],
        "cxcywh": centred,
        "yolo": [value / side for value, side in zip(centred, (width, height) * 2, strict=True)],
        "albumentations": [left / width, top / height, right / width, bottom / height],
    }[form]


@pytest.mark.parametrize("place", ["feature", "file"])
@pytest.mark.parametrize("form", ["coco", "xyxy", "pascal_voc", "cxcywh", "yolo", "albumentations"])
def test_the_metadata_says_in_which_order_the_numbers_of_a_box_are(
    tmp_path: Path, form: str, place: str
) -> None:
    objects = [
        {
            "bbox": [[float(value) for value in _written(box, form)] for box in scene.boxes],
            "category": scene.classes,
        }
        for scene in MADE
    ]
    features = {**FLAT, "bbox": {"length": 4, "format": form}} if place == "feature" else FLAT
    path = write(tmp_path / "a.parquet", objects=objects, features=features)
    if place == "file":
        table = pq.read_table(path)
        known = {**table.schema.metadata, b"bbox_format": form.encode()}
        pq.write_table(table.replace_schema_metadata(known), path)
    images = open_detection_images(path)
    for index, scene in enumerate(MADE):
        found = images.objects(index).boxes
        torch.testing.assert_close(found, torch.tensor(scene.boxes).float(), atol=1e-3, rtol=0)


def test_an_unknown_format_is_refused_with_the_nearest(tmp_path: Path) -> None:
    features = {**FLAT, "bbox": {"format": "xyxi"}}
    with pytest.raises(DataError, match="unknown format of boxes 'xyxi'; did you mean 'xyxy'"):
        open_detection_images(write(tmp_path / "a.parquet", features=features))


def test_corners_that_no_metadata_announces_are_refused(tmp_path: Path) -> None:
    made = [box for scene in rectangles.scenes(9, seed=5) for box in scene.boxes]
    corners = [[float(value) for value in box] for box in made]
    objects = [{"bbox": corners, "category": [0] * len(corners)}] * 3
    with pytest.raises(DataError, match="boxes reach beyond their image as"):
        open_detection_images(write(tmp_path / "a.parquet", objects=objects))


def test_classes_of_several_files_are_matched_by_name(tmp_path: Path) -> None:
    turned = {"bbox": {}, "category": {"names": ["red", " blue"]}}
    one = write(tmp_path / "one" / "a.parquet", features=FLAT)
    for number, features in enumerate((FLAT, turned)):
        write(tmp_path / "both" / f"{number}.parquet", features=features)
    images = open_detection_images(tmp_path / "both")
    assert images.class_names == open_detection_images(one).class_names == ("blue", "red")
    for index, scene in enumerate(MADE):
        assert images.objects(index).labels.tolist() == [kind + 1 for kind in scene.classes]
        assert images.objects(index + 3).labels.tolist() == [2 - kind for kind in scene.classes]
    write(tmp_path / "both" / "2.parquet", features={"category": {"names": ["red", "green"]}})
    with pytest.raises(DataError, match="differ in 'blue', 'green'"):
        open_detection_images(tmp_path / "both")
    write(tmp_path / "both" / "2.parquet", features=None)
    with pytest.raises(DataError, match="name their classes and others do not"):
        open_detection_images(tmp_path / "both")


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        ({"bbox": [float("nan")], "category": [0]}, r"a\.parquet#0: a box is"),
        ({"bbox": [[1.0, 1.0, float("nan"), 5.0]], "category": [0]}, "'bbox' nan; it must be a"),
        ({"bbox": [["a", "1", "2", "3"]], "category": [0]}, "'bbox' 'a'; it must be a number"),
        ({"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": 0}, "'category' 0; it must be a list"),
        ({"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": [0.5]}, r"'category' 0\.5; it must be"),
        ({"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": [None]}, "'category' None; it must be"),
        ({"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": [-1]}, "has category -1; accepted are"),
        ({"bbox": [[1.0, 1.0, 5.0, 5.0]], "category": ["green"]}, "has category green; accepted"),
    ],
)
def test_damaged_fields_are_told(tmp_path: Path, objects: object, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        open_detection_images(write(tmp_path / "a.parquet", objects=[objects] * 3))


def test_files_without_boxes_are_told(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="has no boxes: its columns are image, things, and 'objects' must be one"
    ):
        open_detection_images(write(tmp_path / "a.parquet", column="things"))
    with pytest.raises(DataError, match="must be a struct of lists 'bbox' and 'category'"):
        open_detection_images(write(tmp_path / "a.parquet", objects=[1, 2, 3]))


def test_the_real_blood_cells_are_read(shared_data: Path) -> None:
    images = open_detection_images(shared_data / "bccd-320x240-train.parquet")
    assert (len(images), images.class_names) == (205, ("RBC", "WBC", "Platelets"))
    assert images.image(0).shape == (3, 240, 320)
    assert images.objects(0).boxes[0].tolist() == [34.0, 157.5, 143.0, 240.0]
    assert images.num_dropped == 0
