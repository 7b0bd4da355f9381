"""Batches, rates, and the batch norms' statistics of a detector's training."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

import rectangles
from sparring.data.sources.annotations import AnnotatedImages
from sparring.data.sources.detection_layouts import open_detection_images
from sparring.errors import TrainingError
from sparring.evaluation.detection.detection import DetectionSettings
from sparring.evaluation.detection.detector_training import (
    Example,
    batches,
    example,
    learnable,
    renew_statistics,
    train,
)
from sparring.seeding import drawing

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path) -> AnnotatedImages:
    """Seven images with boxes and outlines."""
    return open_detection_images(rectangles.write_coco(tmp_path, rectangles.scenes(7)))


def test_a_mirrored_example_marks_the_same_pixels(images: AnnotatedImages) -> None:
    pixels, target = example(images, 1, is_flipped=False, with_masks=True)
    mirrored, other = example(images, 1, is_flipped=True, with_masks=True)
    for (left, top, right, bottom), box in zip(
        target["boxes"].int().tolist(), other["boxes"].int().tolist(), strict=True
    ):
        assert torch.equal(
            mirrored[:, box[1] : box[3], box[0] : box[2]], pixels[:, top:bottom, left:right].flip(2)
        )
    for mask, box in zip(other["masks"], other["boxes"].int().tolist(), strict=True):
        assert mask[box[1] : box[3], box[0] : box[2]].all()
        assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
    assert torch.equal(target["labels"], other["labels"])


def test_crowds_and_difficult_objects_are_not_learned_from(tmp_path: Path) -> None:
    made = rectangles.scenes(3)
    tree = rectangles.coco_tree(made)
    first = next(annotation for annotation in tree["annotations"] if annotation["image_id"] == 101)
    first["iscrowd"] = 1
    tree["annotations"] = [
        annotation for annotation in tree["annotations"] if annotation["image_id"] != 100
    ]
    images = open_detection_images(rectangles.write_coco(tmp_path, made, tree))
    _, target = example(images, 1, is_flipped=False, with_masks=True)
    assert (
        len(target["boxes"])
        == len(target["masks"])
        == len(target["labels"])
        == len(made[1].boxes) - 1
    )
    assert learnable(images) == ([1, 2] if len(made[1].boxes) > 1 else [2])


def seen(source: Iterator[list[Example]], count: int) -> list[list[int]]:
    """Which image is which, by the sum of its pixels."""
    return [[int(pixels.sum()) for pixels, _ in batch] for batch in islice(source, count)]


def test_every_image_comes_once_before_any_comes_again(images: AnnotatedImages) -> None:
    rows = [0, 1, 2, 4, 6]
    stream = [
        image
        for batch in seen(batches(images, rows, batch_size=3, seed=0, with_masks=False), 10)
        for image in batch
    ]
    expected = sorted(int(images.image(row).sum()) for row in rows)
    epochs = [stream[start : start + 5] for start in range(0, 30, 5)]
    assert all(sorted(epoch) == expected for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_are_larger_than_the_set_if_need_be_and_half_is_mirrored(
    images: AnnotatedImages,
) -> None:
    source = batches(images, [3], batch_size=40, seed=0, with_masks=False)
    (batch,) = islice(source, 1)
    flipped = [not torch.equal(pixels, images.image(3)) for pixels, _ in batch]
    assert 10 < sum(flipped) < 30


def test_the_seed_decides_the_batches(images: AnnotatedImages) -> None:
    streams = [
        seen(batches(images, list(range(7)), batch_size=2, seed=seed, with_masks=False), 6)
        for seed in (0, 0, 1)
    ]
    assert streams[0] == streams[1] != streams[2]


def test_global_draws_follow_the_seed_inside_and_go_on_outside() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with drawing(0, "detector", device=CPU):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with drawing(0, "detector", device=CPU):
        assert torch.equal(torch.rand(2), inside)
    with drawing(1, "detector", device=CPU):
        assert not torch.equal(torch.rand(2), inside)


class Normed(nn.Module):
    """Takes and gives what a detector does; its loss is the mean of its batch norm's output times a
    weight."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.weight = nn.BatchNorm2d(3), nn.Parameter(torch.ones(()))

    def forward(self, images: list[torch.Tensor], targets: object) -> dict[str, torch.Tensor]:
        return {"loss": self.norm(torch.stack(images)).square().mean() * self.weight}


def noise(count: int) -> list[list[Example]]:
    draw = torch.Generator().manual_seed(0)
    return [
        [
            (torch.randint(0, 256, (3, 8, 8), generator=draw, dtype=torch.uint8), {})
            for _ in range(2)
        ]
        for _ in range(count)
    ]


def test_renewed_statistics_are_plain_means_over_batches_and_forget_what_was_before() -> None:
    model, source = Normed().train(), noise(3)
    model(list(torch.full((4, 3, 8, 8), 90.0).unbind()), None)
    renew_statistics(model, iter(source), device=CPU)
    values = torch.stack(
        [torch.stack([pixels.float() / 255 for pixels, _ in batch]) for batch in source]
    )
    assert torch.allclose(model.norm.running_mean, values.mean(dim=(0, 1, 3, 4)))  # type: ignore[arg-type]
    assert torch.allclose(model.norm.running_var, values.var(dim=(1, 3, 4)).mean(dim=0))  # type: ignore[arg-type]
    assert model.norm.momentum == 0.1
    assert not model.weight.grad


def test_without_batches_the_running_averages_stay() -> None:
    model = Normed().train()
    model(list(torch.rand(4, 3, 8, 8).unbind()), None)
    before = model.norm.running_mean.clone()  # type: ignore[union-attr]
    renew_statistics(model, iter([]), device=CPU)
    assert torch.equal(before, model.norm.running_mean)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_names_the_step() -> None:
    source = noise(5)
    model = Normed()
    settings = DetectionSettings(
        steps=5, learning_rate=1e30, warmup_steps=0, precise_steps=0, drops=()
    )
    with pytest.raises(
        TrainingError,
        match=r"loss is not finite at step [1-4]; "
        r"lower learning_rate \(1e\+30\) or raise warmup_steps",
    ):
        train(model, iter(source), settings, device=CPU)


def test_training_tells_its_steps_and_ends_in_evaluation_mode() -> None:
    told: list[tuple[int, int]] = []
    model, settings = Normed(), DetectionSettings(steps=3, precise_steps=1)
    train(
        model,
        iter(noise(4)),
        settings,
        device=CPU,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert not model.training


def test_frozen_norms_keep_their_statistics_through_training_and_their_renewal() -> None:
    model, settings = Normed(), DetectionSettings(steps=2, precise_steps=1)
    model.norm.requires_grad_(False)
    train(model, iter(noise(3)), settings, device=CPU)
    assert torch.equal(model.norm.running_mean, torch.zeros(3))  # type: ignore[arg-type]
    assert torch.equal(model.norm.running_var, torch.ones(3))  # type: ignore[arg-type]
    assert model.weight != 1
