"""Images of coloured rectangles on noise, and the layouts in which their boxes come."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

NAMES = ("blue", "red")
COLOURS = np.array([(40, 40, 220), (220, 40, 40)])
HEIGHT, WIDTH = 96, 112


@dataclass(frozen=True)
class Scene:
    """An image, the boxes in it (left, top, right, bottom; half-open) and which of `NAMES` each
    is."""

    image: npt.NDArray[np.uint8]
    boxes: list[tuple[int, int, int, int]]
    classes: list[int]


def scenes(count: int, *, seed: int = 0) -> list[Scene]:
    """Images with one rectangle in the left half and often one in the right."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        image = draw.normal(120, 20, (HEIGHT, WIDTH, 3))
        boxes, classes = [], []
        for start in (0, WIDTH // 2)[: draw.integers(1, 3)]:
            width, height = draw.integers(24, 48, 2)
            left, top = (
                start + draw.integers(0, WIDTH // 2 - width + 1),
                draw.integers(0, HEIGHT - height + 1),
            )
            kind = int(draw.integers(2))
            image[top : top + height, left : left + width] = COLOURS[kind] + draw.normal(
                0, 10, (height, width, 3)
            )
            boxes.append((int(left), int(top), int(left + width), int(top + height)))
            classes.append(kind)
        made.append(Scene(np.clip(image, 0, 255).astype(np.uint8), boxes, classes))
    return made


def coco_tree(made: Sequence[Scene], *, ids: Sequence[int] = (7, 3)) -> dict[str, Any]:
    """The scenes as COCO tells them; `ids` are the numbers of `NAMES`, so the classes come in the
    order red, blue."""
    images = [
        {"id": 100 + n, "file_name": f"{n:03}.png", "height": HEIGHT, "width": WIDTH}
        for n in range(len(made))
    ]
    annotations = [
        {
            "id": 1000 * n + k,
            "image_id": 100 + n,
            "category_id": ids[kind],
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
        }
        for n, scene in enumerate(made)
        for k, ((left, top, right, bottom), kind) in enumerate(
            zip(scene.boxes, scene.classes, strict=True)
        )
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in zip(ids, NAMES)],
    }


def write_images(folder: Path, made: Sequence[Scene], *, suffix: str = ".png") -> None:
    """The images as 000, 001, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, scene in enumerate(made):
        Image.fromarray(scene.image).save(folder / f"{n:03}{suffix}")


def write_coco(folder: Path, made: Sequence[Scene], tree: dict[str, Any] | None = None) -> Path:
    """Json and images beside each other; the path of the json."""
    write_images(folder, made)
    path = folder / "instances.json"
    path.write_text(json.dumps(coco_tree(made) if tree is None else tree))
    return path


def voc_xml(scene: Scene, *, difficult: Sequence[int] = (), more: str = "") -> str:
    """An annotation as VOC writes it: counted from one, the last pixel included."""
    objects = "".join(
        f"<object><name>{NAMES[kind]}</name><difficult>{int(k in difficult)}</difficult>"
        f"<bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>{more}</object>"
        for k, ((left, top, right, bottom), kind) in enumerate(
            zip(scene.boxes, scene.classes, strict=True)
        )
    )
    return (
        f"<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        f"{objects}</annotation>"
    )


def write_voc(root: Path, made: Sequence[Scene]) -> Path:
    """`Annotations`, `JPEGImages`, `SegmentationObject` and `ImageSets/Main/trainval.txt`; the path
    of that list."""
    write_images(root / "JPEGImages", made, suffix=".jpg")
    for name in ("Annotations", "SegmentationObject", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for n, scene in enumerate(made):
        (root / "Annotations" / f"{n:03}.xml").write_text(voc_xml(scene))
        values = np.zeros((HEIGHT, WIDTH), np.uint8)
        for k, (left, top, right, bottom) in enumerate(scene.boxes, start=1):
            values[top:bottom, left:right] = k
            values[top, left:right] = 255
        palette = Image.fromarray(values, mode=None).convert("P")
        palette.putdata(values.flatten().tolist())
        palette.save(root / "SegmentationObject" / f"{n:03}.png")
    path = root / "ImageSets" / "Main" / "trainval.txt"
    path.write_text("".join(f"{n:03}\n" for n in range(len(made))))
    return path
