"""Predictions from made-up measurements."""

import pytest
from example_measurements import EXAMPLE, MIB, measurement_with

from sparring.planning.prediction import duration, fit_memory, scoring_bytes, upper_bound_bytes
from sparring.training.memory_model import MARGIN, MemoryModel
from sparring.training.settings import TrainingSettings


def test_two_measurements_give_the_line_through_them() -> None:
    line = fit_memory(
        EXAMPLE, measurement_with(batch_size=32, bytes_of_steps=660 * MIB, bytes_of_all=661 * MIB)
    )
    assert line == MemoryModel(340 * MIB, 10 * MIB, floor=500 * MIB)
    assert line.at(64) == (340 + 640) * MIB
    assert line.at(2) == 500 * MIB, "the monitor pass takes more than two images"


def test_images_mapped_from_a_file_are_not_part_of_the_line() -> None:
    smaller = measurement_with(store_bytes=50 * MIB, unread_store_bytes=40 * MIB)
    larger = measurement_with(
        batch_size=32, bytes_of_steps=680 * MIB, store_bytes=50 * MIB, unread_store_bytes=20 * MIB
    )
    assert fit_memory(smaller, larger) == MemoryModel(330 * MIB, 10 * MIB, floor=490 * MIB)


def test_memory_that_shrinks_by_chance_is_taken_as_constant() -> None:
    line = fit_memory(EXAMPLE, measurement_with(batch_size=32, bytes_of_steps=490 * MIB))
    assert line == MemoryModel(490 * MIB, 0.0, floor=500 * MIB)
    assert line.largest(1000 * MIB, limit=77) == 77


@pytest.mark.parametrize(
    ("room", "largest"),
    [(340 + 640, 64), (340 + 639, 63), (340 + 20, 2), (340 + 19, 0), (100, 0), (10**6, 1000)],
)
def test_largest_batch_leaves_the_margin_and_is_no_larger_than_the_data(
    room: int, largest: int
) -> None:
    assert (
        MemoryModel(340 * MIB, 10 * MIB).largest(MARGIN * (room + 0.001) * MIB, limit=1000)
        == largest
    )


def test_no_batch_fits_if_a_monitor_pass_does_not() -> None:
    assert MemoryModel(340 * MIB, 10 * MIB, floor=2000 * MIB).largest(2000 * MIB, limit=1000) == 0


def test_memory_of_an_image_is_proportional_to_its_area() -> None:
    line = MemoryModel(100.0, 10.0)
    assert line.image_size(MARGIN * (100 + 10 * 64 / 4 + 1), batch_size=64, size=224) == 112
    assert line.image_size(MARGIN * 100_000, batch_size=64, size=224) == 224
    assert line.image_size(50.0, batch_size=64, size=224) == 0


def test_a_first_measurement_bounds_larger_batches_from_above() -> None:
    assert upper_bound_bytes(EXAMPLE, 64) == (300 + 4 * 200) * MIB
    assert upper_bound_bytes(EXAMPLE, 8) == 500 * MIB


def test_scoring_memory_is_neighbour_blocks_plus_features() -> None:
    assert scoring_bytes(EXAMPLE, 1000) == (400 + 128) * MIB + 8 * 1000 * 64 * 4


def test_time_is_that_of_steps_monitor_passes_and_the_last_checkpoint() -> None:
    training = TrainingSettings(epochs=20, batch_size=16)  # a monitor pass every other epoch
    found = duration(
        measurement_with(checkpoint_seconds=3.0), training, steps_per_epoch=50, num_steps=1000
    )
    assert found.step == 2.0
    assert found.epoch == pytest.approx((100 + 5) * (1 + 3 / 300))
    assert found.whole == pytest.approx((2000 + 100) * (1 + 3 / 300) + 3)


def test_checkpoint_after_every_step_counts_with_every_step() -> None:
    training = TrainingSettings(epochs=1, batch_size=16, checkpoint_minutes=0)
    found = duration(
        measurement_with(checkpoint_seconds=3.0), training, steps_per_epoch=5, num_steps=5
    )
    assert found.epoch == found.whole == 5 * (2 + 3) + 10


def test_a_trial_takes_its_own_steps_and_one_monitor_pass() -> None:
    found = duration(
        EXAMPLE,
        TrainingSettings(epochs=20, batch_size=16, max_steps=7),
        steps_per_epoch=50,
        num_steps=7,
    )
    assert found.whole == 7 * 2 + 10


def test_opponent_pretraining_counts_in_the_whole_run_only() -> None:
    found = duration(
        measurement_with(opponent_pretraining_seconds=1000.0),
        TrainingSettings(epochs=1, batch_size=16),
        steps_per_epoch=5,
        num_steps=5,
    )
    assert (found.opponent_pretraining, found.whole, found.epoch) == (1000, 1020, 20)


def test_steps_of_a_smaller_batch_are_scaled() -> None:
    assert (
        duration(
            EXAMPLE, TrainingSettings(epochs=1, batch_size=64), steps_per_epoch=5, num_steps=5
        ).step
        == 8.0
    )
