"""The segmentation protocol: it learns what can be learned, leaves the encoder alone, and
repeats itself."""

import json
import math

import numpy as np
import pytest
import tiny_encoders
import torch
from masked_images import evaluation_data, masked_images

from sparring.errors import ConfigError, TrainingError
from sparring.evaluation.catalogue import choose
from sparring.evaluation.protocol import Result
from sparring.evaluation.segmentation.segmentation import (
    SegmentationSettings,
    learning_rate_factor,
    pixel_loss,
    segmentation,
)

QUICK = {
    "steps": 40,
    "crop": 24,
    "batch_size": 6,
    "scale": (0.8, 1.25),
    "output_stride": 4,
    "head_channels": 32,
    "backbone_learning_rate": 0.1,
    "head_learning_rate": 0.1,
}


def run(
    data: object = None, *, variant: str = "fcn", seed: int = 0, start: int = 0, **settings: object
) -> Result:
    """Result of the protocol on tiny masked_images."""
    (chosen,) = choose([f"segmentation:{variant}"], {"segmentation": {**QUICK, **settings}})
    return chosen(
        tiny_encoders.evaluated_encoder(width=0.125, seed=start), data or evaluation_data(seed=seed)
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["fcn", "deeplabv3", "moco", "deeplabv3-paper"])
@pytest.mark.slow
def test_coloured_regions_are_learned(variant: str) -> None:
    result = run(variant=variant)
    assert result["miou"] > 0.55  # 0.2 for the ground alone
    assert result["training_loss"] < 0.6
    assert result["steps"] == 40


def test_regions_that_look_alike_are_not() -> None:
    alike = evaluation_data(
        masked_images(12, colourless=True), masked_images(6, seed=1, colourless=True)
    )
    result = run(alike)
    assert result["miou"] < 0.4
    assert result["classes"] == 3


def test_the_result_is_plain_data() -> None:
    result = run(steps=3)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert 0 <= result["miou"] <= 1
    assert [row[0] for row in result["table"]["rows"]] == ["0", "1", "2"]
    assert (result["train_images"], result["test_images"]) == (12, 6)
    assert [point[0] for point in result["curves"]["lines"]["training"]] == [1, 2, 3]


def test_two_runs_give_the_same_digits_and_another_seed_others() -> None:
    torch.manual_seed(1)
    first = run(steps=6)
    torch.manual_seed(2)  # whatever the state of the global generator
    second, other = run(steps=6), run(steps=6, seed=1)
    assert first == second
    assert first["curves"] != other["curves"]


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_the_evaluated_encoder_is_left_alone_while_a_copy_learns() -> None:
    evaluated = tiny_encoders.evaluated_encoder()
    before, modes = (
        tiny_encoders.state_digest(evaluated.encoder),
        [module.training for module in evaluated.encoder.modules()],
    )  # type: ignore[arg-type]
    text = str(evaluated.encoder)
    segmentation(evaluated, evaluation_data(), SegmentationSettings.build({**QUICK, "steps": 2}))
    assert tiny_encoders.state_digest(evaluated.encoder) == before  # type: ignore[arg-type]
    assert [module.training for module in evaluated.encoder.modules()] == modes
    assert str(evaluated.encoder) == text


def test_it_matters_where_the_encoder_starts() -> None:
    assert run(steps=4)["curves"] != run(steps=4, start=1)["curves"]


def test_images_are_scored_at_the_size_of_their_masks() -> None:
    small, large = (
        sum(row[2] for row in run(steps=2, longer_side=side)["table"]["rows"])
        for side in (16, None)
    )
    assert small == large == pytest.approx(1)
    assert run(longer_side=16, crop=16)["miou"] > 0.5


def test_fewer_images_than_a_batch_come_by_again() -> None:
    assert run(evaluation_data(masked_images(3)), batch_size=8, steps=2)["steps"] == 2


def test_epochs_make_steps() -> None:
    result = run(steps=None, epochs=2, batch_size=5)
    assert result["steps"] == 2 * math.ceil(12 / 5)


def test_the_crop_is_the_shorter_side_if_none_is_set() -> None:
    images, masks = masked_images(12)
    assert run(evaluation_data((images[:, :18], masks[:, :18])), crop=None, steps=2) == run(
        evaluation_data((images[:, :18], masks[:, :18])), crop=18, steps=2
    )


def test_a_class_that_training_lacks_scores_nothing() -> None:
    result = run(
        evaluation_data(masked_images(8, classes=2), masked_images(4, seed=1)),
        steps=10,
        num_classes=3,
    )
    assert {row[0]: row[1] for row in result["table"]["rows"]}["2"] == 0
    assert result["note"].endswith(": 2")


def test_a_loss_that_is_not_finite_stops_with_one_line() -> None:
    with pytest.raises(
        TrainingError,
        match=r"the loss is (nan|inf) at step \d+ of 40; lower segmentation.backbone_learning_rate",
    ):
        run(backbone_learning_rate=1e30, head_learning_rate=1e30)


def test_a_crop_without_a_class_changes_nothing_to_nan() -> None:
    images, masks = masked_images(2)
    masks[0] = 255
    assert math.isfinite(
        run(evaluation_data((images, masks)), batch_size=2, steps=4)["training_loss"]
    )


def test_progress_is_told_of_each_step_and_image() -> None:
    told: list[tuple[str, int, int]] = []

    class Listener:
        def report(self, line: str) -> None: ...

        def count(self, what: str, done: int, total: int) -> None:
            told.append((what, done, total))

    run(evaluation_data(listener=Listener()), steps=3)
    assert [entry for entry in told if "training to segment" in entry[0]][-1][1:] == (3, 3)
    assert [entry for entry in told if entry[0].startswith("segmenting")][-1][1:] == (6, 6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"head": "unet"}, "segmentation.head"),
        ({"output_stride": 7}, "segmentation.output_stride"),
        ({"scale": (2.0, 0.5)}, "segmentation.scale"),
        ({"scale": (0.0, 1.0)}, "segmentation.scale"),
        ({"crop": 0}, "segmentation.crop"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(**settings)


def test_the_rates_fall_as_told() -> None:
    assert (
        learning_rate_factor("poly", 0.0)
        == learning_rate_factor("cosine", 0.0)
        == learning_rate_factor("steps", 0.0)
        == 1
    )
    assert learning_rate_factor("poly", 0.75) == pytest.approx(0.25**0.9)
    assert learning_rate_factor("cosine", 0.5) == pytest.approx(0.5)
    assert [learning_rate_factor("steps", t) for t in (0.69, 0.7, 0.89, 0.9, 0.99)] == [
        1,
        0.1,
        0.1,
        0.01,
        0.01,
    ]


def test_the_loss_is_the_mean_over_known_pixels() -> None:
    draw = torch.Generator().manual_seed(0)
    logits, masks = (
        torch.randn(2, 3, 4, 5, generator=draw),
        torch.randint(0, 3, (2, 4, 5), generator=draw),
    )
    masks[0, :2] = 255
    losses = [
        -torch.log_softmax(logits[image, :, row, column], dim=0)[masks[image, row, column]].item()
        for image, row, column in np.argwhere(masks.numpy() != 255)
    ]
    assert len(losses) == 30
    assert pixel_loss(logits, masks, ignore_index=255).item() == pytest.approx(
        sum(losses) / 30, rel=1e-5
    )
    assert pixel_loss(logits, torch.full_like(masks, 255), ignore_index=255).item() == 0
