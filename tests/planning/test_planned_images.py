"""The sample of a rough plan counts all images, holds some, and keeps nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparring.planning import planned_images
from sparring.planning.planned_images import open_planned, open_planned_sample
from sparring.training.configure import configure
from tiny import PIXELS, tiny_images


def test_a_sample_counts_all_images_and_leaves_no_store(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(planned_images, "SAMPLE", 10)
    asked = configure(photos, image_size=PIXELS, batch_size=8)
    config, images = open_planned_sample(asked, photos, None)
    assert config == asked
    assert (images.count, images.sampled) == (64, 10)
    assert images.data.shape == (10, PIXELS, PIXELS, 3)
    assert images.kept_bytes == 10 * 3 * PIXELS**2
    assert images.store_bytes == 64 * 3 * PIXELS**2
    assert not (tmp_path / "cache").exists()
    exact = open_planned(asked, photos, None)[1]
    assert (exact.count, exact.sampled) == (64, 64)
    assert exact.cache == str(tmp_path / "cache")


def test_the_users_limit_counts(photos: Path) -> None:
    config = configure(photos, image_size=PIXELS, settings={"data": {"limit": 40}})
    assert open_planned_sample(config, photos, None)[1].count == 40


def test_large_photos_are_left_to_the_process_that_measures(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(4):
        pixels = draw.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg")
    config = configure(tmp_path, image_size=32)
    assert config.training.batch_size > 4
    images = open_planned_sample(config, tmp_path, None)[1]
    assert images.data == str(tmp_path)
    assert (images.store_bytes, images.kept_bytes) == (0, 0)
    assert images.settings["store"] == "never"


def test_images_in_memory_are_sampled_too() -> None:
    pixels, _ = tiny_images(200)
    images = open_planned_sample(configure(pixels, image_size=PIXELS), pixels, None)[1]
    assert (images.count, len(images.data)) == (400, planned_images.SAMPLE)


def test_a_sample_fills_a_larger_batch() -> None:
    pixels, _ = tiny_images(400)
    config = configure(pixels, image_size=PIXELS, batch_size=512)
    images = open_planned_sample(config, pixels, None)[1]
    assert (len(images.data), images.sampled) == (512, 512)
    assert images.kept_bytes == images.data.nbytes
    first = images.data[: planned_images.SAMPLE]
    assert np.array_equal(images.data[planned_images.SAMPLE :], first)


@pytest.mark.parametrize(("store", "is_mapped"), [("auto", True), ("memory", False)])
def test_images_kept_in_memory_are_not_mapped(store: str, is_mapped: bool, photos: Path) -> None:
    settings = {"data": {"store": store}}
    config = configure(photos, image_size=PIXELS, batch_size=8, settings=settings)
    assert open_planned_sample(config, photos, None)[1].is_mapped == is_mapped
