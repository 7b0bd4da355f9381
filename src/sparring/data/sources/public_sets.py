"""Public classification sets by name, from the folders of torchvision's downloads.

Nothing is downloaded here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from sparring.data.sources import public_layouts
from sparring.data.sources.addresses import is_address
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.files import Files
from sparring.data.sources.image_source import Source, Subset
from sparring.data.sources.public_layouts import Listing, Presence, SplitFiles
from sparring.errors import DataError, unknown_name

Metric: TypeAlias = Literal["top-1", "mean-per-class", "11-point-mAP"]
"""Metric that the literature reports for a set: accuracy over images, mean accuracy over classes,
or mean average precision over classes."""

ROOT_VARIABLE = "SPARRING_DATA"


@dataclass(frozen=True)
class PublicSetInfo:
    """Origin, layout and metric of a public set.

    Attributes:
        metric: convention of Kornblith et al. 2019, arXiv:1805.08974, and Ericsson et al. 2021,
            arXiv:2011.13377.
        origin: authors and year.
        torchvision: class of `torchvision.datasets`.
        layout: files below the root that show that the set is there.
    """

    metric: Metric
    origin: str
    torchvision: str
    layout: str

    @property
    def supply(self) -> str:
        """Sentence that says how to get the set."""
        # The original site is gone, and torchvision no longer downloads the set.
        if self.torchvision == "StanfordCars":
            return (
                f"get it from a copy of the set of {self.origin} "
                "(torchvision.datasets.StanfordCars shows the same layout)"
            )
        if self.torchvision == "VOCDetection":
            return (
                "torchvision.datasets.VOCDetection(root, '2007', 'trainval', download=True), and "
                "again with 'test', fetch it"
            )
        return (
            f"torchvision.datasets.{self.torchvision}(root, download=True) fetches it "
            f"({self.origin})"
        )


PUBLIC_SETS: dict[str, PublicSetInfo] = {
    "cifar10": PublicSetInfo(
        "top-1",
        "Krizhevsky 2009",
        "CIFAR10",
        "cifar-10-batches-py/data_batch_1 .. 5, test_batch and batches.meta",
    ),
    "cifar100": PublicSetInfo(
        "top-1", "Krizhevsky 2009", "CIFAR100", "cifar-100-python/train, test and meta"
    ),
    "dtd": PublicSetInfo(
        "top-1",
        "Cimpoi et al. 2014",
        "DTD",
        "dtd/dtd/images/CLASS/*.jpg and dtd/dtd/labels/train1.txt, val1.txt, test1.txt",
    ),
    "stanford_cars": PublicSetInfo(
        "top-1",
        "Krause et al. 2013",
        "StanfordCars",
        "stanford_cars/cars_train, cars_test, cars_test_annos_withlabels.mat and "
        "devkit/cars_meta.mat, devkit/cars_train_annos.mat",
    ),
    "sun397": PublicSetInfo(
        "top-1", "Xiao et al. 2010", "SUN397", "SUN397/ClassName.txt and SUN397/a/abbey/sun_*.jpg"
    ),
    "fgvc_aircraft": PublicSetInfo(
        "mean-per-class",
        "Maji et al. 2013",
        "FGVCAircraft",
        "fgvc-aircraft-2013b/data with images, variants.txt and images_variant_train.txt, "
        ".._val.txt, .._test.txt",
    ),
    "flowers102": PublicSetInfo(
        "mean-per-class",
        "Nilsback & Zisserman 2008",
        "Flowers102",
        "flowers-102/jpg/image_*.jpg, flowers-102/imagelabels.mat and setid.mat",
    ),
    "caltech101": PublicSetInfo(
        "mean-per-class",
        "Fei-Fei et al. 2004",
        "Caltech101",
        "caltech101/101_ObjectCategories/CLASS/image_*.jpg",
    ),
    "food101": PublicSetInfo(
        "top-1",
        "Bossard et al. 2014",
        "Food101",
        "food-101/images/CLASS/*.jpg and food-101/meta/train.json, test.json",
    ),
    "oxford_pets": PublicSetInfo(
        "mean-per-class",
        "Parkhi et al. 2012",
        "OxfordIIITPet",
        "oxford-iiit-pet/images/*.jpg and oxford-iiit-pet/annotations/trainval.txt, test.txt",
    ),
    "voc2007": PublicSetInfo(
        "11-point-mAP",
        "Everingham et al. 2010",
        "VOCDetection",
        "VOCdevkit/VOC2007/JPEGImages/*.jpg and "
        "VOCdevkit/VOC2007/ImageSets/Main/CLASS_train.txt, .._val.txt, .._test.txt",
    ),
}


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """An opened public set.

    Attributes:
        name: key of `PUBLIC_SETS`.
        train_and_validation: training and validation images, in this order.
        train: training images.
        validation: official validation images, if there are any.
        test: test images.
        class_names: names in the order of the labels.
        metric: metric that the literature reports.
        presence: by image key, the classes that the image shows, for sets with several classes per
            image; their sources have no labels.
        note: how the split was drawn, if there is no official one.
    """

    name: str
    train_and_validation: Source
    train: Source
    validation: Source | None = None
    test: Source
    class_names: tuple[str, ...]
    metric: Metric
    presence: Mapping[str, Presence] = field(default_factory=dict)
    note: str = ""


def is_public_set(data: object) -> bool:
    """Whether this is the name of a public set, and not an existing path."""
    return isinstance(data, str) and data in PUBLIC_SETS and not Path(data).exists()


def nearest_public_set(data: str) -> str | None:
    """Public set with the most similar name.

    None for an existing path, for an address, or for text that looks like a path.
    """
    if is_address(data) or Path(data).exists() or Path(data).name != data or Path(data).suffix:
        return None
    return next(iter(get_close_matches(data.lower(), PUBLIC_SETS, n=1, cutoff=0.7)), None)


def default_root() -> Path:
    """Default folder of the public sets: $SPARRING_DATA, otherwise `data` in the working folder."""
    return Path(os.environ.get(ROOT_VARIABLE) or "data")


def open_public_set(name: str, root: Path | None = None) -> PublicSet:
    """A public set as torchvision's download leaves it.

    Args:
        name: key of `PUBLIC_SETS`.
        root: folder given to torchvision as `root`; None: see `default_root`.

    Raises:
        DataError: for an unknown name, or if the set is missing or incomplete.
    """
    if name not in PUBLIC_SETS:
        raise DataError(unknown_name("public set", name, PUBLIC_SETS))
    public, folder = (
        PUBLIC_SETS[name],
        (default_root() if root is None else Path(root)).expanduser(),
    )
    try:
        return _open_cifar(name, folder) if name.startswith("cifar") else _open_files(name, folder)
    except ImportError as error:
        raise DataError(
            f"{name} needs the package {error.name} to read its labels; pip install {error.name}"
        ) from None
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        elsewhere = (
            f" (or choose another folder with --root or {ROOT_VARIABLE})" if root is None else ""
        )
        raise DataError(
            f"{name} is incomplete in {folder.resolve()}: {_reason(error, folder)}; "
            f"expected there are {public.layout}; {public.supply}{elsewhere}"
        ) from None


def _open_files(name: str, root: Path) -> PublicSet:
    parts: SplitFiles = getattr(public_layouts, name)(root)
    listing = parts.train + parts.validation
    _require(root, listing + parts.test)
    train_and_validation, cut = _files(root, listing, parts), len(parts.train)
    return PublicSet(
        name=name,
        train_and_validation=train_and_validation,
        train=Subset(train_and_validation, np.arange(cut)),
        validation=Subset(train_and_validation, np.arange(cut, len(listing)))
        if parts.validation
        else None,
        test=_files(root, parts.test, parts),
        class_names=parts.class_names,
        metric=PUBLIC_SETS[name].metric,
        presence=parts.presence,
        note=parts.note,
    )


def _files(root: Path, listing: Listing, parts: SplitFiles) -> Files:
    paths, labels = (
        [path for path, _ in listing],
        np.array([label for _, label in listing], np.int64),
    )
    return Files(
        root, paths, labels=None if parts.presence else labels, class_names=parts.class_names
    )


def _require(root: Path, listing: Listing) -> None:
    """Raise ValueError unless every image is there.

    The loaders would skip missing images, and the score would not be comparable with the
    literature.
    """
    missing = [path for path, _ in listing if not (root / path).is_file()]
    if missing or not listing:
        raise ValueError(
            f"{len(missing):,} of {len(listing):,} images are missing, such as "
            f"{missing[0] if missing else 'all'}"
        )


def _open_cifar(name: str, root: Path) -> PublicSet:
    """CIFAR-10 or CIFAR-100.

    Torchvision checks the digests of the files before it unpickles them, which makes unpickling
    safe.
    """
    from torchvision import datasets

    kind: Any = getattr(datasets, PUBLIC_SETS[name].torchvision)
    train, test = (kind(root, train=is_train) for is_train in (True, False))
    class_names = tuple(str(text) for text in train.classes)
    sources = [Arrays(part.data, part.targets) for part in (train, test)]
    for source in sources:
        source.class_names = class_names
    return PublicSet(
        name=name,
        train_and_validation=sources[0],
        train=sources[0],
        test=sources[1],
        class_names=class_names,
        metric=PUBLIC_SETS[name].metric,
    )


def _reason(error: Exception, root: Path) -> str:
    if isinstance(error, OSError) and isinstance(error.filename, str | Path):
        path = Path(error.filename)
        return (
            f"cannot read {path.relative_to(root) if path.is_relative_to(root) else path} "
            f"({error.strerror})"
        )
    if isinstance(error, RuntimeError):  # torchvision's error for missing or altered files
        return "its files are missing, or are not the original ones"
    if isinstance(error, LookupError):
        return f"one of its lists names {error}, which another does not know"
    return str(error)
