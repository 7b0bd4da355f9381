"""Boxes in parquet files of Hugging Face's layout."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
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
