"""What the entrants look at: pictures made of noise of several grains, as a photograph has large
and small things.

With numpy and Pillow alone, so that every environment can make them.
"""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def small(number: int, size: int = 32) -> npt.NDArray[np.uint8]:
    """Noise, (number, size, size, 3): no operation on small pictures is faster or slower on it."""
    return np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)


def photograph(seed: int, width: int = 500, height: int = 375) -> Image.Image:
    """A picture of about 50 kB as JPEG, as ImageNet's are."""
    draws = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 90.0), (16, 45.0), (64, 20.0), (250, 9.0)):
        noise = (
            draws.normal(128, 50, (max(2, cells * 3 // 4), cells, 3)).clip(0, 255).astype(np.uint8)
        )
        canvas += (
            weight
            / 164
            * np.asarray(
                Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC), np.float32
            )
        )
    stretched = (canvas - canvas.mean()) / canvas.std() * 55 + 120
    return Image.fromarray(stretched.clip(0, 255).astype(np.uint8))


def write_photographs(folder: Path, number: int) -> list[Path]:
    """JPEG files of quality 90."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(number):
        content = io.BytesIO()
        photograph(seed).save(content, "JPEG", quality=90)
        paths.append(folder / f"{seed:04}.jpg")
        paths[-1].write_bytes(content.getvalue())
    return paths
