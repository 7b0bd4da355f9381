"""What the GPU's scripts share: options, the device and what is known of it, images, clocks.

`--cpu` runs everything at toy size on the CPU, to see that a script works before a GPU is at hand.
"""

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entrants.pictures import small

PACKAGES = ("sparring", "torch", "torchvision", "triton", "timm", "lightly", "kornia")
GENERATED = "generated images (noise) in the shape of CIFAR-10"


@dataclass(frozen=True)
class Machine:
    """The device of the figures, and whether they are of toy size."""

    device: torch.device
    is_toy: bool

    def synchronise(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def facts(self) -> dict[str, Any]:
        """Card, versions and date."""
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "CPU, toy size",
            "driver": torch.version.cuda if cuda else None,
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "versions": {name: installed(name) for name in PACKAGES},
            "date": time.strftime("%Y-%m-%d"),
        }

    def per_second(self, work: Callable[[], int]) -> Callable[[], float]:
        """Work that says how many things it made, as an entrant: that number per second of the
        clock, the device's work included."""

        def turn() -> float:
            """Rate of one call."""
            self.synchronise()
            start = time.perf_counter()
            number = work()
            self.synchronise()
            return number / (time.perf_counter() - start)

        return turn

    def seconds(self, work: Callable[[], object]) -> Callable[[], float]:
        """Work as an entrant whose figure is its seconds, the device's work included."""

        def turn() -> float:
            """Seconds of one call."""
            self.synchronise()
            start = time.perf_counter()
            work()
            self.synchronise()
            return time.perf_counter() - start

        return turn


def installed(name: str) -> str:
    """Version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Parser with what every script of the GPU accepts."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="everything at toy size on the CPU")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="file for the figures")
    return parser


def machine_of(options: argparse.Namespace) -> Machine:
    """The device that the options ask for.

    Raises:
        SystemExit: without a CUDA device, unless the CPU is asked for.
    """
    if not options.cpu and not torch.cuda.is_available():
        raise SystemExit("error: there is no CUDA device here; --cpu tries the script at toy size")
    return Machine(torch.device("cpu" if options.cpu else "cuda"), options.cpu)


def cifar(path: Path | None, number: int, *, size: int = 32) -> tuple[Tensor, Tensor, str]:
    """Images, uint8 (number, 3, size, size), their labels, and what they are in words.

    Args:
        path: parquet file with the columns `image` and `label`; None: noise is made.
        number: how many; a smaller file is repeated, labels included.
        size: side of generated images.
    """
    if path is None:
        images = torch.from_numpy(small(min(number, 10_000), size)).permute(0, 3, 1, 2)
        labels, words = torch.arange(len(images)) % 10, GENERATED if size == 32 else "noise"
    else:
        images, labels = _decoded(path)
        words = f"{path.name}, {len(images):,} images"
    times = -(-number // len(images))
    return (
        images.repeat(times, 1, 1, 1)[:number].contiguous(),
        labels.repeat(times)[:number],
        words,
    )


def _decoded(path: Path) -> tuple[Tensor, Tensor]:
    import pyarrow.parquet as pq
    from PIL import Image

    rows = pq.read_table(path).to_pydict()
    found = [
        np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows["image"]
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2), torch.tensor(rows["label"])


def write(path: Path | None, machine: Machine, found: object, **more: object) -> None:
    """The figures as JSON with the machine they are from, if a file is wanted."""
    if path is not None:
        content = {**machine.facts(), **more, "found": found}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def median(figures: list[float]) -> float:
    """Median."""
    return statistics.median(figures)
