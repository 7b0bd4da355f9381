"""Tar shards for tests, written as the webdataset library writes them, but without it."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

Sample = tuple[str, Mapping[str, bytes]]
"""Key of a sample, and its members by suffix."""


def write_shard(
    path: Path, samples: Sequence[Sample], *, format_: int = tarfile.PAX_FORMAT
) -> Path:
    """A shard of these samples, whose members lie one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format_) as file:
        for key, members in samples:
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size, member.mtime = len(content), 1.5
                file.addfile(member, io.BytesIO(content))
    return path


def write_shards(folder: Path, files: Sequence[Path], *, count: int) -> None:
    """So many shards, `0.tar` and on, of PNG files that are dealt out to them in turn."""
    for shard in range(count):
        samples = [(file.stem, {"png": file.read_bytes()}) for file in files[shard::count]]
        write_shard(folder / f"{shard}.tar", samples)


def png(colour: tuple[int, int, int], *, pixels: int = 8) -> bytes:
    """A picture of one colour, by which it is known again."""
    buffer = io.BytesIO()
    Image.new("RGB", (pixels, pixels), colour).save(buffer, "PNG")
    return buffer.getvalue()


def coloured(count: int, *, first: int = 0) -> list[Sample]:
    """Samples of colours of their own, with classes 0 and 1 in turn."""
    return [
        (
            f"{number:05}",
            {"cls": b"%d" % (number % 2), "png": png((number % 256, number // 256, 9))},
        )
        for number in range(first, first + count)
    ]
