"""Tiny folders in the layouts of the public sets, as torchvision's download leaves them: two
classes, told apart by colour.

Images are PNG in files called .jpg, so that two decoders agree on every pixel.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sparring.data.sources.public_layouts import _VOC_CLASSES

COLOURS = ((200, 40, 40), (40, 40, 200))
Write = Callable[[Path], None]


def pixels(label: int, seed: int, *, size: int = 16) -> npt.NDArray[np.uint8]:
    """Noisy image of a class."""
    noise = np.random.default_rng(seed).normal(0, 25, (size, size, 3))
    return np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)


def write_image(path: Path, label: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(label, seed)).save(path, "PNG")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def dtd(root: Path) -> None:
    for seed, (part, count) in enumerate((("train", 6), ("val", 4), ("test", 8))):
        names = [
            f"{('banded', 'zigzagged')[i % 2]}/{('banded', 'zigzagged')[i % 2]}_{part}{i:04}.jpg"
            for i in range(count)
        ]
        for i, name in enumerate(names):
            write_image(root / "dtd/dtd/images" / name, i % 2, 100 * seed + i)
        write_lines(root / f"dtd/dtd/labels/{part}1.txt", names)


def fgvc_aircraft(root: Path) -> None:
    data, variants, image = root / "fgvc-aircraft-2013b/data", ("707-320", "DC-9 30/X"), 0
    write_lines(data / "variants.txt", variants)
    for part, count in (("train", 6), ("val", 4), ("test", 8)):
        lines = []
        for i in range(count):
            image += 1
            write_image(data / f"images/{image:07}.jpg", i % 2, image)
            lines.append(f"{image:07} {variants[i % 2]}")
        write_lines(data / f"images_variant_{part}.txt", lines)


def food101(root: Path) -> None:
    for seed, (part, count) in enumerate((("train", 10), ("test", 8))):
        listed: dict[str, list[str]] = {
            "waffles": [],
            "apple_pie": [],
        }  # the file's order is not the classes'
        for i in range(count):
            name = ("apple_pie", "waffles")[i % 2]
            listed[name].append(f"{name}/{seed}{i:03}")
            write_image(root / f"food-101/images/{name}/{seed}{i:03}.jpg", i % 2, 100 * seed + i)
        write_lines(root / f"food-101/meta/{part}.json", [json.dumps(listed)])


def oxford_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    for seed, (part, count) in enumerate((("trainval", 10), ("test", 8))):
        lines = []
        for i in range(count):
            image = f"{('Abyssinian', 'american_bulldog')[i % 2]}_{100 * seed + i}"
            write_image(folder / f"images/{image}.jpg", i % 2, 100 * seed + i)
            lines.append(f"{image} {i % 2 + 1} {i % 2 + 1} 1")
        write_lines(folder / f"annotations/{part}.txt", lines)


def stanford_cars(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    savemat(
        folder / "devkit/cars_meta.mat",
        {"class_names": np.array(["AM General Hummer SUV 2000", "smart fortwo 2012"], object)},
    )
    kind = np.dtype([("class", object), ("fname", object)])
    for table, images, count in (
        ("devkit/cars_train_annos", "cars_train", 10),
        ("cars_test_annos_withlabels", "cars_test", 8),
    ):
        for i in range(count):
            write_image(folder / f"{images}/{i + 1:05}.jpg", i % 2, 100 * len(images) + i)
        rows = np.array([(i % 2 + 1, f"{i + 1:05}.jpg") for i in range(count)], kind)
        savemat(folder / f"{table}.mat", {"annotations": rows})


def flowers102(root: Path) -> None:
    from scipy.io import savemat

    folder = root / "flowers-102"
    for image in range(1, 19):
        write_image(folder / f"jpg/image_{image:05}.jpg", image % 2, image)
    savemat(
        folder / "imagelabels.mat",
        {"labels": np.array([[image % 2 + 1 for image in range(1, 19)]])},
    )
    order = np.random.default_rng(0).permutation(18) + 1
    savemat(
        folder / "setid.mat",
        {"trnid": order[None, :6], "valid": order[None, 6:10], "tstid": order[None, 10:]},
    )


def caltech101(root: Path) -> None:
    for label, (name, count) in enumerate((("accordion", 33), ("wrench", 35))):
        for i in range(count):
            write_image(
                root / f"caltech101/101_ObjectCategories/{name}/image_{i + 1:04}.jpg",
                label,
                100 * label + i,
            )
    write_image(root / "caltech101/101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", 0, 999)


def sun397(root: Path) -> None:
    write_lines(root / "SUN397/ClassName.txt", ["/a/abbey", "/b/balcony/interior"])
    for i in range(20):
        write_image(
            root / f"SUN397/{('a/abbey', 'b/balcony/interior')[i % 2]}/sun_{i:04}.jpg", i % 2, i
        )


def voc2007(root: Path, *, counts: tuple[int, int, int] = (12, 12, 20)) -> None:
    """Each image shows an aeroplane, a bicycle, or now and then both; all other classes are in a
    train and a validation image alone."""
    folder, number = root / "VOCdevkit/VOC2007", 0
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        flags: dict[str, list[str]] = {name: [] for name in _VOC_CLASSES}
        images = []
        for i in range(count):
            number += 1
            images.append(f"{number:06}")
            write_image(folder / f"JPEGImages/{images[-1]}.jpg", i % 2, number)
            for name in _VOC_CLASSES:
                is_there = {"aeroplane": i % 2 == 0, "bicycle": i % 2 == 1}.get(
                    name, i == 2 and part != "test"
                )
                flag = "0" if name == "bird" and i == 1 else "1" if is_there else "-1"
                flags[name].append(f"{images[-1]} {flag:>2}")
        write_lines(folder / f"ImageSets/Main/{part}.txt", images)
        for name, lines in flags.items():
            write_lines(folder / f"ImageSets/Main/{name}_{part}.txt", lines)


def cifar(root: Path, patch: pytest.MonkeyPatch, *, classes: int) -> None:
    """Batches of few images, and torchvision told that theirs are the digests of the originals."""
    from torchvision import datasets

    kind = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    folder = root / kind.base_folder
    folder.mkdir(parents=True)

    def write(name: str, content: object) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def batch(seed: int, count: int) -> dict[str, object]:
        planes = np.stack(
            [
                pixels(i % 2, 100 * seed + i, size=32).transpose(2, 0, 1).reshape(-1)
                for i in range(count)
            ]
        )
        return {
            "data": planes,
            "labels" if classes == 10 else "fine_labels": [i % 2 for i in range(count)],
        }

    train = [name for name, _ in kind.train_list]
    patch.setattr(
        kind,
        "train_list",
        [[name, write(name, batch(seed, 10 // len(train)))] for seed, name in enumerate(train)],
    )
    patch.setattr(
        kind, "test_list", [[name, write(name, batch(9, 8))] for name, _ in kind.test_list]
    )
    meta = write(
        kind.meta["filename"],
        {kind.meta["key"]: [f"thing {number:02}" for number in range(classes)]},
    )
    patch.setattr(kind, "meta", {**kind.meta, "md5": meta})


WRITERS: dict[str, Write] = {
    "dtd": dtd,
    "stanford_cars": stanford_cars,
    "sun397": sun397,
    "fgvc_aircraft": fgvc_aircraft,
    "flowers102": flowers102,
    "caltech101": caltech101,
    "food101": food101,
    "oxford_pets": oxford_pets,
    "voc2007": voc2007,
}


def write_set(name: str, root: Path, patch: pytest.MonkeyPatch) -> Path:
    """A tiny set of that name below the folder."""
    if name.startswith("cifar"):
        cifar(root, patch, classes=int(name.removeprefix("cifar")))
    else:
        WRITERS[name](root)
    return root
