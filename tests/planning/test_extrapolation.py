"""What small batches say of a large one: a range of times, and a line of memory."""

import pytest
from example_measurements import MIB, measurement_with

from sparring.planning.extrapolation import extrapolate, fit_growing, step_range
from sparring.planning.measurement import Measurement
from sparring.training.settings import TrainingSettings


def measured(batch: int, seconds: float, **changed: object) -> Measurement:
    return measurement_with(batch_size=batch, seconds=[seconds], **changed)


def test_a_step_is_between_a_fixed_part_that_stays_and_one_that_grows() -> None:
    # 1 s, and 0.5 s per image.
    found = [measured(2, 2.0), measured(8, 5.0)]
    assert step_range(found, 32) == pytest.approx((17.0, 20.0))
    step, (low, high) = extrapolate(
        found, TrainingSettings(batch_size=32), num_images=100, sampled=100
    )
    assert low < step.seconds[0] < high
    assert step.batch_size == 32


def test_batches_that_cost_more_per_image_as_they_grow_widen_the_range_upwards() -> None:
    low, high = step_range([measured(2, 1.0), measured(8, 5.0)], 32)
    assert (low, high) == pytest.approx((20.0, 21.0))


def test_a_single_batch_gives_a_wide_range_and_the_planned_one_none() -> None:
    assert step_range([measured(2, 1.0)], 32) == (8.0, 16.0)
    assert step_range([measured(2, 1.0)], 2) == (1.0, 1.0)
    assert step_range([measured(2, 1.0), measured(32, 9.0)], 32) == (9.0, 9.0)


def test_noise_cannot_make_a_larger_batch_faster() -> None:
    assert step_range([measured(2, 3.0), measured(4, 2.0)], 8) == (2.0, 4.0)


def test_a_monitor_pass_grows_with_its_images_and_pretraining_comes_from_the_first() -> None:
    found = [
        measured(2, 1.0, opponent_pretraining_seconds=7.0),
        measured(16, 1.0, monitor_seconds=0.5, opponent_pretraining_seconds=0.0),
    ]
    settings = TrainingSettings(batch_size=16, monitor_images=2000)
    whole, _ = extrapolate(found, settings, num_images=160, sampled=100)
    assert whole.monitor_seconds == pytest.approx(5.0)  # 160 images, not 16
    assert whole.opponent_pretraining_seconds == 7.0


def test_memory_of_two_batches_is_a_line_without_the_images_held_for_measuring() -> None:
    found = [
        measured(batch, 1.0, bytes_of_steps=(300 + 10 * batch) * MIB, bytes_of_all=0)
        for batch in (2, 8)
    ]
    line = fit_growing(found, kept_bytes=50 * MIB)
    assert line.at(64) == pytest.approx((250 + 640) * MIB)


def test_memory_of_one_batch_grows_in_what_is_not_weights() -> None:
    # 300 MiB before, 30 MiB of weights, gradients and optimisers, 170 MiB of 16 images.
    line = fit_growing([measured(16, 1.0)], kept_bytes=0)
    assert line.at(16) == 500 * MIB
    assert line.at(32) == 670 * MIB
