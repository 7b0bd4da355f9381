"""Views made by a peer, one turn at a time; one thread. Run by the benchmarks of views in the
peers' environment.

    python views_of_peers.py LIBRARY SIZE RECIPE [FOLDER]

LIBRARY is lightly, kornia, albumentations or torchvision, RECIPE the JSON of one view's settings.
With a folder, its JPEG files are read in every turn, decoded once for two views; without, small
pictures are in memory.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from entrants.pictures import small
from side_by_side import serve

BATCH = 256
SAMPLE = 64
"""Pictures of one turn where they are made one by one."""


def lightly(size: int, recipe: dict[str, Any]) -> Callable[[Image.Image], list[torch.Tensor]]:
    """SimCLRTransform with the recipe's numbers: two views per call, normalised as its default
    is."""
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(
        input_size=size,
        cj_prob=recipe["jitter"],
        cj_bright=recipe["brightness"],
        cj_contrast=recipe["contrast"],
        cj_sat=recipe["saturation"],
        cj_hue=recipe["hue"],
        min_scale=recipe["crop_scale"][0],
        random_gray_scale=recipe["greyscale"],
        gaussian_blur=recipe["blur"],
    )


def albumentations(size: int, recipe: dict[str, Any]) -> Callable[[np.ndarray], list[torch.Tensor]]:
    """Its own operations on uint8 pictures, then a float tensor; called twice for two views."""
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    strengths = [recipe[name] for name in ("brightness", "contrast", "saturation", "hue")]
    transform = A.Compose(
        [
            A.RandomResizedCrop(
                (size, size), scale=tuple(recipe["crop_scale"]), ratio=tuple(recipe["crop_ratio"])
            ),
            A.HorizontalFlip(p=recipe["flip"]),
            A.ColorJitter(*strengths, p=recipe["jitter"]),
            A.ToGray(p=recipe["greyscale"]),
            A.GaussianBlur(blur_limit=0, sigma_limit=tuple(recipe["blur_sigma"]), p=recipe["blur"]),
            A.ToFloat(max_value=255),
            ToTensorV2(),
        ]
    )
    return lambda image: [transform(image=image)["image"] for _ in range(2)]


def kornia(size: int, recipe: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Its batched operations, with parameters per sample."""
    import kornia.augmentation as K

    strengths = [recipe[name] for name in ("brightness", "contrast", "saturation", "hue")]
    taps = max(3, size // 10 // 2 * 2 + 1)
    return K.AugmentationSequential(
        K.RandomResizedCrop(
            (size, size), scale=tuple(recipe["crop_scale"]), ratio=tuple(recipe["crop_ratio"])
        ),
        K.RandomHorizontalFlip(p=recipe["flip"]),
        K.ColorJitter(*strengths, p=recipe["jitter"]),
        K.RandomGrayscale(p=recipe["greyscale"]),
        *(
            [K.RandomGaussianBlur((taps, taps), tuple(recipe["blur_sigma"]), p=recipe["blur"])]
            if recipe["blur"]
            else []
        ),
    )


def small_turn(library: str, size: int, recipe: dict[str, Any]) -> Callable[[], dict[str, int]]:
    """A turn on pictures in memory."""
    pictures = small(BATCH, size)
    if library == "kornia":
        make, batch = (
            kornia(size, recipe),
            torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(),
        )

        def all_at_once() -> dict[str, int]:
            """One view of each picture of the batch."""
            make(batch.float() / 255)
            return {"views": len(batch)}

        return all_at_once
    ready = [
        Image.fromarray(picture) if library == "lightly" else picture
        for picture in pictures[:SAMPLE]
    ]
    pair = {"lightly": lightly, "albumentations": albumentations}[library](size, recipe)

    def one_by_one() -> dict[str, int]:
        """Two views of each picture."""
        return {"views": sum(len(pair(picture)) for picture in ready)}

    return one_by_one


def file_turn(
    library: str, size: int, recipe: dict[str, Any], folder: Path
) -> Callable[[], dict[str, int]]:
    """A turn on files: each read and decoded once, two views of it."""
    paths = sorted(folder.glob("*.jpg"))
    if library == "albumentations":
        import cv2

        cv2.setNumThreads(0)
        make = albumentations(size, recipe)
        return lambda: {
            "views": sum(
                len(make(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))) for path in paths
            )
        }
    pair = lightly(size, recipe)
    return lambda: {"views": sum(len(pair(Image.open(path).convert("RGB"))) for path in paths)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen, side, settings, *files = sys.argv[1:]
    numbers = json.loads(settings)
    serve(
        file_turn(chosen, int(side), numbers, Path(files[0]))
        if files
        else small_turn(chosen, int(side), numbers)
    )
