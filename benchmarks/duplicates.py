"""Recall and precision of `sparring duplicates` on copies that are made of real photographs.

    python benchmarks/duplicates.py RUN --data ../shared/data/pacs-96px.parquet [--images 1000]

A folder of images of the set is written, and beside 150 of them copies as collections have them:
compressed anew, resized, cropped, compressed and cropped. Recall: copies that land in the group of
their image. Every other pair that is found is printed to be looked at: the set has duplicates of
its own. The second table has the same with the features alone, at thresholds that a user may give.
"""

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sparring.data.sources.source import open_source
from sparring.indexing.building import index_images
from sparring.indexing.duplicates import Duplicates, find_duplicates
from sparring.training.encoders import load_encoder
from sparring.training.run_folder import RunFolder

COPIED = 150
THRESHOLDS = (0.9, 0.98)


def inner(image: Image.Image, margin: float) -> Image.Image:
    """The image without its margins."""
    width, height = image.size
    left, top = round(margin * width), round(margin * height)
    return image.crop((left, top, width - left, height - top))


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """The image after JPEG compression."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


def scaled(image: Image.Image, scale: float) -> Image.Image:
    """The image at another size."""
    width, height = image.size
    return image.resize((round(scale * width), round(scale * height)), Image.Resampling.LANCZOS)


KINDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 75": lambda image: compressed(image, 75),
    "jpeg 30": lambda image: compressed(image, 30),
    "half size": lambda image: scaled(image, 0.5),
    "twice the size": lambda image: scaled(image, 2),
    "cropped 2 % a side": lambda image: inner(image, 0.02),
    "cropped 4 % a side": lambda image: inner(image, 0.04),
    "half size, cropped 2 %, jpeg 60": lambda image: compressed(
        inner(scaled(image, 0.5), 0.02), 60
    ),
}


def write_set(data: str, folder: Path, num_images: int) -> None:
    """Images of the set and copies of some, named `NUMBER.png` and `NUMBER KIND.png`."""
    source = open_source(data, part="all")
    chosen = np.random.default_rng(0).permutation(len(source))[:num_images]
    for number, row in enumerate(chosen):
        image = Image.open(io.BytesIO(source.read(int(row)))).convert("RGB")
        image.save(folder / f"{number:04}.png")
        for kind, copy in KINDS.items() if number < COPIED else ():
            copy(image).save(folder / f"{number:04} {kind}.png")


def judged(found: Duplicates) -> tuple[Counter[str], list[tuple[str, str]]]:
    """Copies of each kind that are in the group of their image, and the pairs of others."""
    hits: Counter[str] = Counter()
    others = []
    for group in found.groups:
        keys = [found.images.key(row).removesuffix(".png") for row in (group.keep, *group.others)]
        numbers = [key[:4] for key in keys]
        for key in keys:
            if key[5:] and numbers.count(key[:4]) > 1:
                hits[key[5:]] += 1
        strangers = dict.fromkeys(numbers)
        others += [(numbers[0], one) for one in strangers if one != numbers[0]]
    return hits, others


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    folder = RunFolder(options.run)
    encoder = load_encoder(folder)
    size = folder.read_config().image_size
    with tempfile.TemporaryDirectory() as place:
        write_set(options.data, Path(place), options.images)
        images = index_images(folder, encoder, place)
        for threshold in (None, *THRESHOLDS):
            found = find_duplicates(
                images,
                encoder,
                image_size=size,
                device=torch.device("cpu"),
                threshold=threshold,
            )
            hits, others = judged(found)
            name = "auto" if threshold is None else f"{threshold:g}"
            shares = ", ".join(f"{kind} {hits[kind] / COPIED:.3f}" for kind in KINDS)
            print(f"threshold {name} ({found.threshold:.4f}): recall {shares}", flush=True)
            total = sum(hits.values())
            precision = total / max(1, total + len(others))
            print(f"  {len(others)} other pairs, precision at least {precision:.4f}", flush=True)
            if threshold is None:
                print("  other pairs:", others[:40])


if __name__ == "__main__":
    main()
