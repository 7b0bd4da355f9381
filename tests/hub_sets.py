"""Small sets as the Hugging Face Hub and as webdataset hold them, and the library kept offline."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NAMES = ("cat", "dog")
PIXELS = 16


def png(shade: int, *, pixels: int = PIXELS) -> bytes:
    """Encoded image of one shade and a little noise, which tells it from all others."""
    values = np.random.default_rng(shade).integers(0, 40, (pixels, pixels, 3))
    values += np.array([shade % 200, (shade * 7) % 200, (shade * 31) % 200])
    content = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def write_parquet(folder: Path, parts: Mapping[str, Sequence[int]]) -> Path:
    """Folder of parquet files as the Hub has them; parts give the images of each file. Image
    number n has the shade n and the class n % 2.

    Args:
        folder: folder to write.
        parts: sizes of the files of each split.
    """
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    )
    number = 0
    for part, sizes in parts.items():
        for shard, size in enumerate(sizes):
            rows = range(number, number + size)
            number += size
            table = datasets.Dataset.from_dict(
                {
                    "image": [{"bytes": png(n), "path": None} for n in rows],
                    "label": [n % 2 for n in rows],
                },
                features=features,
            )
            name = f"{part}-{shard:05}-of-{len(sizes):05}.parquet"
            (folder / "data").mkdir(parents=True, exist_ok=True)
            table.to_parquet(folder / "data" / name)
    return folder


def write_tars(
    folder: Path, sizes: Sequence[int], *, suffix: str = ".tar", damaged: Sequence[int] = ()
) -> str:
    """Tar shards of samples of an image and its class; returns their pattern.

    Args:
        folder: folder to write.
        sizes: number of images of each shard.
        suffix: `.tar`, or `.tar.gz` for compressed ones.
        damaged: numbers of images of which half the file is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for shard, size in enumerate(sizes):
        with tarfile.open(folder / f"{shard:03}{suffix}", "w:gz" if "gz" in suffix else "w") as tar:
            for n in range(number, number + size):
                content = png(n)
                add(tar, f"{n:06}.png", content[: len(content) // 2] if n in damaged else content)
                add(tar, f"{n:06}.cls", str(n % 2).encode())
                add(tar, f"{n:06}.json", b"{}")
        number += size
    return str(folder / f"{{000..{len(sizes) - 1:03}}}{suffix}")


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library `datasets` with an empty cache of its own, offline, without progress."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return tmp_path / "hub"


def shades_of(images: Any) -> list[int]:
    """Number of each image of a batch, found by its pixels."""
    known = _known()
    return [known[image.permute(1, 2, 0).numpy().tobytes()] for image in images]


@lru_cache
def _known() -> dict[bytes, int]:
    return {decoded(png(n)): n for n in range(40)}


def decoded(content: bytes) -> bytes:
    """Pixels of an encoded image."""
    return np.asarray(Image.open(io.BytesIO(content))).tobytes()
