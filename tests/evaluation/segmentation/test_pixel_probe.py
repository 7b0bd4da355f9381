"""The pixel probe: frozen to the bit, equal to what it claims to be, and honest about the test
set."""

import json

import pytest
import tiny_encoders
import torch
from masked_images import MaskedImages, evaluation_data, masked_images

from sparring.errors import DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Result
from sparring.evaluation.segmentation.pixel_probe import (
    FrozenMap,
    PixelProbeSettings,
    interpolated,
    pixel_probe,
)
from sparring.evaluation.segmentation.segmenters import dilated_maps, upsampled


def run(
    data: EvaluationData | None = None,
    evaluated: EvaluatedEncoder | None = None,
    **settings: object,
) -> Result:
    given = PixelProbeSettings.build(
        {
            "pixels": 1000,
            "output_stride": 4,
            "stage": "layer2",
            "regularisations": (1e-2, 1e-4),
            **settings,
        }
    )
    return pixel_probe(
        evaluated or tiny_encoders.evaluated_encoder(width=0.25), data or evaluation_data(), given
    )


def test_coloured_regions_are_told_apart() -> None:
    result = run()
    assert result["miou"] > 0.6  # 0.2 for the ground alone
    assert result["channels"] == 32
    assert result["train_pixels"] == 12 * (1000 // 12)


def test_regions_that_look_alike_are_not() -> None:
    assert (
        run(
            evaluation_data(
                masked_images(12, colourless=True), masked_images(6, seed=1, colourless=True)
            )
        )["miou"]
        < 0.4
    )


def test_the_encoder_is_frozen_to_the_bit() -> None:
    evaluated = tiny_encoders.evaluated_encoder()
    before, text = tiny_encoders.state_digest(evaluated.encoder), str(evaluated.encoder)  # type: ignore[arg-type]
    run(evaluated=evaluated)
    assert tiny_encoders.state_digest(evaluated.encoder) == before  # type: ignore[arg-type]
    assert str(evaluated.encoder) == text
    assert not any(module.training for module in evaluated.encoder.modules())


def test_the_map_is_that_of_the_encoder_in_evaluation_mode_and_stays_so() -> None:
    encoder, image = (
        tiny_encoders.encoder(image_size=64, small_images=False),
        torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)),
    )
    expected = encoder.features(image[None])[0]
    frozen = FrozenMap(
        encoder.train(), dilated_maps(encoder, output_stride=32, stage="layer4"), stage="layer4"
    )
    first, second = frozen(image), frozen(image)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.mean(dim=(1, 2)), expected, atol=1e-5, rtol=1e-5)


def test_two_runs_give_the_same_digits_and_another_seed_others() -> None:
    first, second = run(), run()
    assert first == second
    assert run(evaluation_data(seed=1))["validation_miou"] != first["validation_miou"]


def test_the_result_is_plain_data() -> None:
    result = run()
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_some_pixels_of_a_map_are_those_of_the_whole_upsampled_map() -> None:
    draw = torch.Generator().manual_seed(0)
    map_ = torch.randn(5, 3, 4, generator=draw)
    places = torch.cartesian_prod(torch.arange(20), torch.arange(31))
    whole = upsampled(map_[None], (20, 31))[0].flatten(1).T
    torch.testing.assert_close(interpolated(map_, places, (20, 31)), whole, atol=1e-5, rtol=1e-5)


def test_the_test_masks_have_no_say_in_the_fit() -> None:
    images, masks = masked_images(6, seed=1)
    swapped: MaskedImages = images, masks.copy()
    swapped[1][masks == 1], swapped[1][masks == 2] = 2, 1
    first, second = run(), run(evaluation_data(None, swapped))
    assert first["regularisation"] == second["regularisation"]
    assert first["validation_miou"] == second["validation_miou"]
    assert first["miou"] > second["miou"] + 0.2


def test_the_regularisation_is_one_of_those_given() -> None:
    assert run(regularisations=[0.03])["regularisation"] == 0.03
    assert run(regularisations=[100.0, 0.001])["regularisation"] == 0.001


def test_a_class_that_training_lacks_scores_nothing_and_is_named() -> None:
    result = run(
        evaluation_data(masked_images(8, classes=2), masked_images(4, seed=1)), num_classes=3
    )
    assert {row[0]: row[1] for row in result["table"]["rows"]}["2"] == 0
    assert result["note"].endswith(": 2")


def test_ids_with_a_gap_are_given_back_as_they_are() -> None:
    (train, masks), (test, others) = masked_images(12), masked_images(6, seed=1)
    gap = run(
        evaluation_data((train, masks + 4 * (masks == 2)), (test, others + 4 * (others == 2)))
    )
    plain = run()
    assert gap["miou"] == pytest.approx(plain["miou"])
    assert [row[0] for row in gap["table"]["rows"]] == ["0", "1", "6"]


def test_large_images_may_be_shrunk() -> None:
    assert run(longer_side=16)["miou"] > 0.5


def test_the_settings_are_called_by_the_name_of_this_protocol() -> None:
    with pytest.raises(DataError, match=r"set pixel-probe\.num_classes"):
        run(num_classes=2)


def test_one_training_image_is_not_enough() -> None:
    with pytest.raises(DataError, match="needs at least two, got one"):
        run(evaluation_data(masked_images(1)))
