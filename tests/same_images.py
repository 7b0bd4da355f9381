"""The same images with the same classes in every form that is read, for tests that compare them."""

import csv
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("cats", "dogs")
PER_CLASS = 8
HEIGHT, WIDTH = 30, 40


def write_folder(root: Path) -> Path:
    """Class folders of PNG images whose size is not the one that is trained on."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for image in range(PER_CLASS):
            noise = draw.normal(90 + 60 * number, 40, (HEIGHT, WIDTH, 3))
            pixels = np.clip(noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{image}.png")
    return root


def files_of(folder: Path) -> list[Path]:
    """Image files in the order of all forms."""
    return sorted(folder.rglob("*.png"))


def names_of(folder: Path) -> list[str]:
    """Class of each image."""
    return [path.parent.name for path in files_of(folder)]


class PlainDataset:
    """A dataset as users write them, of tuples (image, label)."""

    classes = CLASSES

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        with Image.open(self.paths[index]) as image:
            return image.convert("RGB"), CLASSES.index(self.paths[index].parent.name)


def _loaded(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _unread(path: Path) -> Image.Image:
    """A picture whose pixels are not read yet."""
    with Image.open(path) as image:
        return image


def _parquet(folder: Path, out: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in files_of(folder)]
    pq.write_table(pa.table({"image": rows, "label": names_of(folder)}), out / "set.parquet")
    return out / "set.parquet"


def _list(folder: Path, out: Path) -> Any:
    with (out / "list.csv").open("w", newline="") as file:
        rows = zip(files_of(folder), names_of(folder), strict=True)
        csv.writer(file).writerows([("path", "label"), *rows])
    return out / "list.csv"


def _paths(folder: Path, out: Path) -> Any:
    return files_of(folder), names_of(folder)


def _opened(folder: Path, out: Path) -> Any:
    return [_unread(path) for path in files_of(folder)], names_of(folder)


def _pictures(folder: Path, out: Path) -> Any:
    return [_loaded(path) for path in files_of(folder)], names_of(folder)


def _array_list(folder: Path, out: Path) -> Any:
    return [np.asarray(_loaded(path)) for path in files_of(folder)], names_of(folder)


def _array(folder: Path, out: Path) -> Any:
    return np.stack(_array_list(folder, out)[0]), names_of(folder)


def _encoded(folder: Path, out: Path) -> Any:
    return [path.read_bytes() for path in files_of(folder)], names_of(folder)


def _torchvision(folder: Path, out: Path) -> Any:
    from torchvision.datasets import ImageFolder

    return ImageFolder(str(folder))


def _transformed(folder: Path, out: Path) -> Any:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import PILToTensor

    return ImageFolder(str(folder), transform=PILToTensor())


def _loader(folder: Path, out: Path) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(_torchvision(folder, out), batch_size=4)


def _plain(folder: Path, out: Path) -> Any:
    return PlainDataset(files_of(folder))


def _hub(folder: Path, out: Path) -> Any:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    rows = {"image": [str(path) for path in files_of(folder)], "label": names_of(folder)}
    return datasets.Dataset.from_dict(rows, features=features)


def _saved(folder: Path, out: Path) -> Any:
    _hub(folder, out).save_to_disk(str(out / "saved"))
    return out / "saved"


def _hub_address(folder: Path, out: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    _hub(folder, out).to_parquet(out / "set" / "train-00000-of-00001.parquet")
    return f"hf:{out / 'set'}"


def _hub_folder(folder: Path, out: Path) -> Any:
    return f"hf:{folder}"


def _shards(folder: Path, out: Path) -> Any:
    for number, first in enumerate(range(0, 2 * PER_CLASS, 6)):
        with tarfile.open(out / f"{number}.tar", "w") as shard:
            for path in files_of(folder)[first : first + 6]:
                key = f"{path.parent.name}-{path.stem}"
                for suffix, content in (
                    ("png", path.read_bytes()),
                    ("cls", path.parent.name.encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    return str(out / "[0-9].tar")


FORMS: dict[str, Callable[[Path, Path], Any]] = {
    "parquet": _parquet,
    "list": _list,
    "paths": _paths,
    "opened pictures": _opened,
    "pictures": _pictures,
    "list of arrays": _array_list,
    "array": _array,
    "encoded bytes": _encoded,
    "ImageFolder": _torchvision,
    "ImageFolder with a transform": _transformed,
    "DataLoader": _loader,
    "dataset of a user": _plain,
    "datasets.Dataset": _hub,
    "save_to_disk": _saved,
    "hf: and a folder of parquet files": _hub_address,
    "hf: and a folder of images": _hub_folder,
    "tar shards": _shards,
}
"""Function that gives the images of a folder in another form, by the name of that form; its second
argument is a folder to write to. A form with files adds its function here."""
PACKAGES = {
    "parquet": "pyarrow",
    "datasets.Dataset": "datasets",
    "save_to_disk": "datasets",
    "hf: and a folder of parquet files": "datasets",
    "hf: and a folder of images": "datasets",
}
"""Optional package that a form needs."""
