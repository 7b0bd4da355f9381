"""Outlines of single objects out of CamVid's class masks, as COCO json, to try instance
segmentation on real pictures.

    python benchmarks/camvid_instances.py DATA OUT [--min-pixels 60]
        [--classes sign car pedestrian bicyclist]
    sparring evaluate RUN --protocol instance-segmentation
        --train-data OUT/train/instances.json --data OUT/test/instances.json

DATA is the folder with camvid-240x180-train.parquet and camvid-240x180-test.parquet. An object is a
connected piece of a class of at least so many pixels (diagonal neighbours are connected). Two cars
that touch are one object and a car behind a pole is two, so the figures compare encoders with each
other and nothing else. Smaller pieces are marked as crowds: finding them is neither right nor
wrong.
"""

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image
from scipy import ndimage

NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""Classes 0 to 10 of the masks; 11 is void."""
SPLITS = ("train", "test")


def pieces(mask: npt.NDArray[np.uint8], number: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Connected pieces of a class, each as a mask."""
    labelled, count = ndimage.label(mask == number, structure=np.ones((3, 3)))
    for piece in range(1, count + 1):
        yield labelled == piece


def run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's plain run lengths: down the columns, zeros first."""
    columns = mask.T.flatten()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], columns]).astype(np.int8)))
    return {
        "size": list(mask.shape),
        "counts": np.diff(np.concatenate([[0], changes, [columns.size]])).tolist(),
    }


def annotation(mask: npt.NDArray[np.bool_], *, is_crowd: bool) -> dict[str, Any]:
    """What COCO says of an object, but for its numbers."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
    return {
        "bbox": box,
        "area": int(mask.sum()),
        "iscrowd": int(is_crowd),
        "segmentation": run_lengths(mask),
    }


def convert(source: Path, folder: Path, *, classes: list[str], min_pixels: int) -> tuple[int, int]:
    """Write the pictures and `instances.json` of one split; returns how many objects and how many
    crowds there are."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(pq.read_table(source).to_pylist(), start=1):
        picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        mask = np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"])))
        name = f"{number:04}.png"
        picture.save(folder / name)
        images.append(
            {"id": number, "file_name": name, "height": picture.height, "width": picture.width}
        )
        for category in classes:
            for piece in pieces(mask, NAMES.index(category)):
                found = annotation(piece, is_crowd=int(piece.sum()) < min_pixels)
                numbers = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": NAMES.index(category),
                }
                annotations.append({**numbers, **found})
    categories = [{"id": NAMES.index(category), "name": category} for category in classes]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    crowds = sum(entry["iscrowd"] for entry in annotations)
    return len(annotations) - crowds, crowds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the parquet files")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--min-pixels", type=int, default=60, help="smallest object")
    parser.add_argument(
        "--classes", nargs="+", choices=NAMES, default=["sign", "car", "pedestrian", "bicyclist"]
    )
    arguments = parser.parse_args()
    for split in SPLITS:
        source = arguments.data / f"camvid-240x180-{split}.parquet"
        objects, crowds = convert(
            source,
            arguments.out / split,
            classes=arguments.classes,
            min_pixels=arguments.min_pixels,
        )
        print(
            f"{split}: {objects:,} objects and {crowds:,} small pieces in "
            f"{arguments.out / split / 'instances.json'}"
        )


if __name__ == "__main__":
    main()
