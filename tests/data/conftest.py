"""Encoded images for the tests of the data package."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Encode = Callable[..., bytes]


def random_picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth RGB picture, so that JPEG keeps it well."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    """Content of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    """The function `random_picture`."""
    return random_picture


@pytest.fixture
def encode() -> Encode:
    """The function `encoded`."""
    return encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two class folders of five 40 x 30 pictures each."""
    root = tmp_path / "photos"
    for number, name in enumerate(["cats", "dogs"]):
        (root / name).mkdir(parents=True)
        for i in range(5):
            random_picture(30, 40, seed=10 * number + i).save(root / name / f"{i}.png")
    return root
