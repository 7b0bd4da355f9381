"""Folder layouts of public classification sets: the split and class of each file.

The layouts are those that torchvision's download leaves.

Every function takes the folder given to torchvision as root. They read the sets' own lists, because
the dataset classes of the oldest supported torchvision decode each image to name it. Nothing here
looks at pixels.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sparring.regular_files import open_regular, read_bytes, read_text
from sparring.seeding import generator

Listing: TypeAlias = list[tuple[str, int]]
"""Path below the folder and class of each image."""
Presence: TypeAlias = npt.NDArray[np.int8]
"""Value for each class: 1 shown, 0 not shown, -1 shown only as a difficult object."""

CALTECH_TRAINING_IMAGES = 30
"""Training images per class; the usual number since Fei-Fei et al. 2004. There is no official
split."""

_VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
_VOC_PRESENCE = {"1": 1, "-1": 0, "0": -1}


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """Files of a set by split."""

    class_names: tuple[str, ...]
    train: Listing
    validation: Listing = field(default_factory=list)
    test: Listing
    presence: dict[str, Presence] = field(default_factory=dict)
    """Classes of each path, for sets with several classes per image; the classes in the listings
    are then -1."""
    note: str = ""
    """How the split was drawn, if there is no official one."""


def dtd(root: Path) -> SplitFiles:
    """Files of the Describable Textures Dataset, first of the ten official partitions.

    Source: Cimpoi et al. 2014, arXiv:1311.3618.
    """
    lists = {
        part: _lines(root / f"dtd/dtd/labels/{part}1.txt") for part in ("train", "val", "test")
    }
    names = tuple(sorted({line.partition("/")[0] for lines in lists.values() for line in lines}))

    def listing(part: str) -> Listing:
        """Paths of one split, each with its class."""
        return [
            (f"dtd/dtd/images/{line}", names.index(line.partition("/")[0])) for line in lists[part]
        ]

    return SplitFiles(
        class_names=names, train=listing("train"), validation=listing("val"), test=listing("test")
    )


def fgvc_aircraft(root: Path) -> SplitFiles:
    """Files of FGVC-Aircraft; classes are variants.

    Source: Maji et al. 2013, arXiv:1306.5151.
    """
    folder = "fgvc-aircraft-2013b/data"
    numbers = _numbers(_lines(root / folder / "variants.txt"))

    def listing(part: str) -> Listing:
        """Paths of one split, each with its class."""
        pairs = [
            line.split(" ", 1) for line in _lines(root / folder / f"images_variant_{part}.txt")
        ]
        return [(f"{folder}/images/{image}.jpg", numbers[variant]) for image, variant in pairs]

    return SplitFiles(
        class_names=tuple(numbers),
        train=listing("train"),
        validation=listing("val"),
        test=listing("test"),
    )


def food101(root: Path) -> SplitFiles:
    """Files of Food-101; classes are dishes.

    Source: Bossard et al. 2014, Food-101: Mining Discriminative Components with Random Forests.
    """
    lists = {
        part: json.loads(read_bytes(root / f"food-101/meta/{part}.json"))
        for part in ("train", "test")
    }
    numbers = _numbers(sorted(lists["train"]))

    def listing(part: str) -> Listing:
        """Paths of one split, each with its class."""
        return [
            (f"food-101/images/{image}.jpg", numbers[name])
            for name, images in lists[part].items()
            for image in images
        ]

    return SplitFiles(class_names=tuple(numbers), train=listing("train"), test=listing("test"))


def oxford_pets(root: Path) -> SplitFiles:
    """Files of Oxford-IIIT Pet; classes are breeds of cats and dogs.

    Source: Parkhi et al. 2012, Cats and Dogs.
    """
    folder = "oxford-iiit-pet"
    rows = {
        part: [line.split() for line in _lines(root / folder / f"annotations/{part}.txt")]
        for part in ("trainval", "test")
    }
    names = {int(row[1]) - 1: row[0].rpartition("_")[0] for part in rows.values() for row in part}

    def listing(part: str) -> Listing:
        return [(f"{folder}/images/{row[0]}.jpg", int(row[1]) - 1) for row in rows[part]]

    return SplitFiles(
        class_names=tuple(names[number] for number in range(len(names))),
        train=listing("trainval"),
        test=listing("test"),
    )


def stanford_cars(root: Path) -> SplitFiles:
    """Files of Stanford Cars; classes are make, model and year.

    Source: Krause et al. 2013, 3D Object Representations for Fine-Grained Categorization.
    """
    folder = "stanford_cars"
    names = tuple(
        str(name)
        for name in np.atleast_1d(_matlab(root / folder / "devkit/cars_meta.mat")["class_names"])
    )

    def listing(table: str, images: str) -> Listing:
        rows = np.atleast_1d(_matlab(root / folder / table)["annotations"])
        return [(f"{folder}/{images}/{row['fname']}", int(row["class"]) - 1) for row in rows]

    train, test = (
        ("devkit/cars_train_annos.mat", "cars_train"),
        ("cars_test_annos_withlabels.mat", "cars_test"),
    )
    return SplitFiles(class_names=names, train=listing(*train), test=listing(*test))


def flowers102(root: Path) -> SplitFiles:
    """Files of Oxford Flowers 102.

    Source: Nilsback & Zisserman 2008, Automated Flower Classification over a Large Number of
    Classes.
    """
    from torchvision.datasets import Flowers102

    parts = _matlab(root / "flowers-102/setid.mat")
    labels = np.atleast_1d(_matlab(root / "flowers-102/imagelabels.mat")["labels"]).astype(int) - 1
    numbers = [str(number) for number in range(1, int(labels.max()) + 2)]
    names = getattr(Flowers102, "classes", numbers)  # later versions of torchvision name them

    def listing(part: str) -> Listing:
        """Paths of one split, each with its class."""
        images = np.atleast_1d(parts[part]).astype(int)
        return [
            (f"flowers-102/jpg/image_{image:05d}.jpg", int(labels[image - 1])) for image in images
        ]

    return SplitFiles(
        class_names=tuple(names),
        train=listing("trnid"),
        validation=listing("valid"),
        test=listing("tstid"),
    )


def caltech101(root: Path) -> SplitFiles:
    """Files of Caltech 101.

    Training images are drawn with seed 0, the rest are test images. The folder BACKGROUND_Google is
    not a class.

    Source: Fei-Fei et al. 2004, Learning Generative Visual Models from Few Training Examples.
    """
    folder = "caltech101/101_ObjectCategories"
    names = sorted(
        path.name
        for path in (root / folder).iterdir()
        if path.is_dir() and path.name != "BACKGROUND_Google"
    )
    files = {
        name: sorted(path.name for path in (root / folder / name).glob("*.jpg")) for name in names
    }
    images = [
        (f"{folder}/{name}/{file}", number)
        for number, name in enumerate(names)
        for file in files[name]
    ]
    train, test = _random_split(
        images, names, lambda count: min(CALTECH_TRAINING_IMAGES, count - 1), draw="caltech101"
    )
    note = (
        f"no official split: {CALTECH_TRAINING_IMAGES} training images of each class drawn by the "
        "seed 0, the rest are test images"
    )
    return SplitFiles(class_names=tuple(names), train=train, test=test, note=note)


def sun397(root: Path) -> SplitFiles:
    """Files of SUN397; classes are scenes.

    The split is the first official partition if its two lists are in SUN397 or SUN397/Partitions;
    otherwise half of each class drawn with seed 0.

    Source: Xiao et al. 2010, SUN Database: Large-scale Scene Recognition from Abbey to Zoo.
    """
    folder = root / "SUN397"
    names = [line[3:] for line in _lines(folder / "ClassName.txt")]
    numbers = _numbers(names)

    def listing(images: Iterable[str]) -> Listing:
        """Listing of paths such as a/abbey/sun_x.jpg or b/balcony/interior/sun_x.jpg."""
        return [(f"SUN397/{image}", numbers["/".join(image.split("/")[1:-1])]) for image in images]

    for place in (folder, folder / "Partitions"):
        if (place / "Training_01.txt").is_file() and (place / "Testing_01.txt").is_file():
            train, test = (
                [line.lstrip("/") for line in _lines(place / f"{part}_01.txt")]
                for part in ("Training", "Testing")
            )
            return SplitFiles(class_names=tuple(names), train=listing(train), test=listing(test))
    images = listing(
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("sun_*.jpg"))
    )
    train_drawn, test_drawn = _random_split(images, names, lambda count: count // 2, draw="sun397")
    note = (
        "half of each class drawn by the seed 0 for training: the official lists Training_01.txt "
        "and Testing_01.txt are not in SUN397"
    )
    return SplitFiles(class_names=tuple(names), train=train_drawn, test=test_drawn, note=note)


def voc2007(root: Path) -> SplitFiles:
    """Files of Pascal VOC 2007: photographs with one or several of twenty object classes.

    Source: Everingham et al. 2010, The PASCAL Visual Object Classes (VOC) Challenge.
    """
    folder, presence = "VOCdevkit/VOC2007", {}

    def listing(part: str) -> Listing:
        """Images of one split; also records which classes each image shows."""
        lists = root / folder / "ImageSets/Main"
        images = _lines(lists / f"{part}.txt")
        found = {
            name: dict(line.split() for line in _lines(lists / f"{name}_{part}.txt"))
            for name in _VOC_CLASSES
        }
        paths = [f"{folder}/JPEGImages/{image}.jpg" for image in images]
        for path, image in zip(paths, images, strict=True):
            presence[path] = np.array(
                [_VOC_PRESENCE[found[name][image]] for name in _VOC_CLASSES], np.int8
            )
        return [(path, -1) for path in paths]

    parts = {part: listing(part) for part in ("train", "val", "test")}
    return SplitFiles(
        class_names=_VOC_CLASSES,
        train=parts["train"],
        validation=parts["val"],
        test=parts["test"],
        presence=presence,
    )


def _random_split(
    images: Listing, names: Sequence[str], count: Callable[[int], int], *, draw: str
) -> tuple[Listing, Listing]:
    """Images of each class split at random into training and test images.

    `count` maps the class's number of images to its number of training images.
    """
    by_class: list[list[str]] = [[] for _ in names]
    for path, label in images:
        by_class[label].append(path)
    train: Listing = []
    test: Listing = []
    for label, paths in enumerate(by_class):
        chosen = set(
            torch.randperm(len(paths), generator=generator(0, draw, names[label]))[
                : count(len(paths))
            ].tolist()
        )
        train += [(path, label) for row, path in enumerate(paths) if row in chosen]
        test += [(path, label) for row, path in enumerate(paths) if row not in chosen]
    return train, test


def _lines(path: Path) -> list[str]:
    return [line for line in map(str.strip, read_text(path).splitlines()) if line]


def _numbers(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _matlab(path: Path) -> dict[str, Any]:
    """Variables of a MATLAB file; needs scipy."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with open_regular(path) as file:
        try:
            return dict(loadmat(file, squeeze_me=True))
        except (MatReadError, TypeError, NotImplementedError) as error:
            raise ValueError(f"{path.name} is no MATLAB file that can be read ({error})") from None
