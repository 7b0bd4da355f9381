"""Tiny images with masks for the tests of segmentation: noisy rectangles on a ground, the colour
telling the class."""

import numpy as np
import numpy.typing as npt

from sparring.evaluation.data import EvaluationData

VOID = 255
COLOURS = np.array([(60, 60, 60), (220, 60, 40), (40, 90, 220), (220, 220, 60)])
MaskedImages = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def masked_images(
    count: int, *, classes: int = 3, size: int = 24, seed: int = 0, colourless: bool = False
) -> MaskedImages:
    """Images (N, size, size, 3) and masks of ids 0 (the ground) to classes - 1, a rectangle of
    each; the outermost pixels are void."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), np.int64)
    for mask in masks:
        for number in range(1, classes):
            top, left = draw.integers(1, size // 2, 2)
            height, width = draw.integers(size // 3, 2 * size // 3, 2)
            mask[top : top + height, left : left + width] = number
    clean = np.full((*masks.shape, 3), 128) if colourless else COLOURS[masks]
    images = np.clip(clean + draw.normal(0, 15, clean.shape), 0, 255).astype(np.uint8)
    masks[:, [0, -1]] = masks[:, :, [0, -1]] = VOID
    return images, masks


def evaluation_data(
    train: object = None, test: object = None, *, seed: int = 0, **given: object
) -> EvaluationData:
    """Learn from 12 masked_images and score 6 others, if nothing else is given."""
    train = masked_images(12) if train is None else train
    return EvaluationData(
        train, masked_images(6, seed=1) if test is None else test, image_size=16, seed=seed, **given
    )  # type: ignore[arg-type]
