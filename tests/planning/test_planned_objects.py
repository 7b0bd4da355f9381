"""Images that only this process can open are planned with like any others."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sparring
from sparring.data.sources.source import open_source
from sparring.planning import planned_images
from sparring.planning.planned_images import open_planned, open_planned_sample
from sparring.training.configure import configure
from tiny import PIXELS, tiny_images


class Photos:
    """A dataset that cannot be handed to another process, of large or small images."""

    def __init__(self, images: list[Any]) -> None:
        self.images, self.only_here = images, lambda: None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


def test_decoded_images_of_a_dataset_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned_images, "SAMPLE", 10)
    data = Photos(list(tiny_images(16)[0]))
    config = configure(data, image_size=PIXELS, batch_size=8)
    rough, exact = (open_(config, data, None)[1] for open_ in (open_planned_sample, open_planned))
    assert (rough.count, rough.sampled, rough.is_mapped) == (32, 10, False)
    assert (exact.count, exact.sampled, exact.cache) == (32, 32, "")
    assert np.array_equal(exact.data, data.images)


def test_contents_of_large_images_are_handed_over(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(4)]
    pixels[2] = np.zeros((0, 3), np.uint8)  # cannot be read
    data = Photos([Image.fromarray(values) if values.size else values for values in pixels])
    config = configure(data, image_size=32, settings={"data": {"max_bad_share": 0.5}})
    images = open_planned_sample(config, data, None)[1]
    there = open_source(pickle.loads(pickle.dumps(images.data)))
    assert len(there) == 3
    assert np.array_equal(there.read(2), pixels[3])


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
def test_a_dataset_is_planned_for(exact: bool) -> None:
    settings = {
        "encoder": {"width": 0.0625},
        "projector": {"dim": 16},
        "training": {"image_size": PIXELS, "batch_size": 8, "monitor_images": 8},
    }
    data = Photos(list(tiny_images(16)[0]))
    plan = sparring.plan(data, method="simclr", settings=settings, exact=exact)
    assert plan.images == 32
