"""Schedules: the values of the literature's formulas at known places."""

import math

import pytest
import torch
from torch import nn

from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import (
    Position,
    cosine,
    linear_warmup,
    teacher_momentum,
    warmup_and_fraction,
)

STEPS_PER_EPOCH = 7


def at(step: int, *, epochs: int = 20) -> Position:
    return Position(step=step, num_steps=epochs * STEPS_PER_EPOCH, steps_per_epoch=STEPS_PER_EPOCH)


def rate(step: int, *, epochs: int, **settings: object) -> float:
    """Learning rate with which a player would make this step."""
    player = Player(
        "encoder", {"weight": nn.Parameter(torch.zeros(2))}, PlayerSettings.build(settings)
    )
    player.prepare(at(step, epochs=epochs))
    return player.learning_rate


def test_a_cosine_goes_from_start_through_the_middle_to_the_end() -> None:
    assert cosine(0.3, 0.1, 0.0) == pytest.approx(0.3, rel=1e-12)
    assert cosine(0.3, 0.1, 0.5) == pytest.approx(0.2, rel=1e-12)
    assert cosine(0.3, 0.1, 1.0) == pytest.approx(0.1, rel=1e-12)
    assert cosine(0.3, 0.1, 0.25) == pytest.approx(0.2 + 0.1 * math.sqrt(0.5), rel=1e-12)


def test_a_cosine_stays_at_its_ends_beyond_them() -> None:
    assert cosine(1.0, 0.25, 1.5) == pytest.approx(0.25)
    assert cosine(1.0, 0.25, -0.5) == pytest.approx(1.0)


def test_a_position_counts_epochs() -> None:
    assert [at(step).epoch for step in (0, 6, 7, 13, 14)] == [0, 0, 1, 1, 2]
    assert at(0).num_epochs == 20


def test_a_warm_up_per_epoch_reaches_the_peak_in_its_last_epoch() -> None:
    # CaCo: ten epochs of warm-up, rate of epoch e is (e + 1) / 10 of the peak.
    settings = {
        "learning_rate": 2.0,
        "schedule_per_epoch": True,
        "warmup_epochs": 10,
        "schedule": "cosine",
    }
    factors = {
        epoch: rate(epoch * STEPS_PER_EPOCH + 3, epochs=100, **settings) / 2.0
        for epoch in (0, 4, 9, 10)
    }
    assert factors == pytest.approx({0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0}, rel=1e-12)


def test_a_warm_up_per_step_rises_at_every_step_and_then_leaves_the_cosine_whole() -> None:
    settings = {"learning_rate": 1.0, "warmup_epochs": 2.0}
    rising = [rate(step, epochs=20, **settings) for step in range(2 * STEPS_PER_EPOCH)]
    assert rising == pytest.approx([(step + 1) / 14 for step in range(14)], rel=1e-12)
    middle = 14 + (140 - 14) // 2
    assert rate(14, epochs=20, **settings) == pytest.approx(1.0, rel=1e-12)
    assert rate(middle, epochs=20, **settings) == pytest.approx(0.5, rel=1e-12)


def test_a_rate_per_epoch_changes_between_epochs_only() -> None:
    values = [
        rate(step, epochs=20, learning_rate=1.0, schedule_per_epoch=True)
        for step in range(3 * STEPS_PER_EPOCH)
    ]
    assert len(set(values)) == 3
    assert values == sorted(values, reverse=True)
    assert (
        len({rate(step, epochs=20, learning_rate=1.0) for step in range(3 * STEPS_PER_EPOCH)})
        == 3 * STEPS_PER_EPOCH
    )


@pytest.mark.parametrize("epoch", [0, 1, 50, 100, 150, 199])
def test_adcos_published_schedule(epoch: int) -> None:
    # lr(e) = lr_f + 0.5 (1 + cos(pi e / E)) (lr_0 - lr_f), Hu et al. 2021, released code.
    published = 0.0006 + 0.5 * (1 + math.cos(math.pi * epoch / 200)) * (0.03 - 0.0006)
    settings = {"learning_rate": 0.03, "learning_rate_final": 0.0006, "schedule_per_epoch": True}
    for step in (0, STEPS_PER_EPOCH - 1):
        assert rate(epoch * STEPS_PER_EPOCH + step, epochs=200, **settings) == pytest.approx(
            published, rel=1e-12
        )


def test_a_constant_rate_is_constant() -> None:
    assert {
        rate(step, epochs=20, learning_rate=3.0, schedule="constant") for step in (0, 50, 139)
    } == {3.0}


def test_a_plan_shorter_than_its_warm_up_never_divides_by_zero() -> None:
    for per_epoch in (False, True):
        factors = [
            warmup_and_fraction(at(step, epochs=2), per_epoch=per_epoch, warmup_epochs=5.0)[0]
            for step in range(14)
        ]
        assert factors == sorted(factors)
        assert all(0 < factor < 1 for factor in factors)


def test_the_rate_reaches_every_group_of_the_optimiser() -> None:
    tensors = {"matrix": nn.Parameter(torch.ones(2, 2)), "vector": nn.Parameter(torch.ones(2))}
    settings = PlayerSettings(
        learning_rate=0.5, schedule="constant", decay_vectors=False, momentum=0.0, weight_decay=0.0
    )
    player = Player("encoder", tensors, settings)
    player.prepare(at(0))
    player.update(tensors["matrix"].sum() + tensors["vector"].sum())
    for tensor in tensors.values():
        assert torch.equal(tensor, torch.full_like(tensor, 0.5))


@pytest.mark.parametrize("step", [0, 1, 35, 70, 139])
def test_a_teachers_momentum_follows_byols_formula(step: int) -> None:
    # 1 - (1 - tau_0) (cos(pi k / K) + 1) / 2, Grill et al. 2020, section 3.3.
    published = 1 - (1 - 0.996) * (math.cos(math.pi * step / 140) + 1) / 2
    assert teacher_momentum(0.996, at(step), schedule="cosine") == pytest.approx(
        published, rel=1e-12
    )


def test_a_teachers_momentum_rises_from_its_start_through_the_middle_towards_1() -> None:
    values = [teacher_momentum(0.9, at(step), schedule="cosine") for step in range(140)]
    assert values[0] == pytest.approx(0.9, rel=1e-12)
    assert values[70] == pytest.approx(0.95, rel=1e-12)
    assert values == sorted(values)
    assert 0.9999 < values[-1] < 1


def test_a_teachers_momentum_per_epoch_changes_between_epochs_only() -> None:
    values = [
        teacher_momentum(0.9, at(step), schedule="cosine", per_epoch=True)
        for step in range(3 * STEPS_PER_EPOCH)
    ]
    assert len(set(values)) == 3
    assert values[STEPS_PER_EPOCH] == pytest.approx(
        1 - 0.1 * (math.cos(math.pi / 20) + 1) / 2, rel=1e-12
    )


def test_a_constant_teachers_momentum_is_constant() -> None:
    assert {teacher_momentum(0.99, at(step), schedule="constant") for step in (0, 70, 139)} == {
        0.99
    }


def test_a_linear_warm_up_is_a_straight_line_to_a_value_that_stays() -> None:
    found = [linear_warmup(0.04, 0.07, at(step), epochs=3.0) for step in (0, 7, 14, 20, 21, 139)]
    published = [0.04, 0.05, 0.06, 0.04 + 0.03 * 20 / 21, 0.07, 0.07]
    assert found == pytest.approx(published, rel=1e-12)
    assert linear_warmup(0.04, 0.07, at(0), epochs=0.0) == 0.07


DECAY = {"optimizer": "adamw", "weight_decay": 0.04, "weight_decay_final": 0.4}


def decays(step: int, **settings: object) -> dict[int, float]:
    """Weight decay of matrices and of vectors at a step of 140, by their dimensions."""
    tensors = {"matrix": nn.Parameter(torch.ones(2, 2)), "vector": nn.Parameter(torch.ones(2))}
    player = Player("encoder", tensors, PlayerSettings.build({**DECAY, **settings}))
    player.prepare(at(step))
    groups = player.state_dict()["param_groups"]
    sizes = [2, 1] if len(groups) == 2 else [2]
    return dict(zip(sizes, (group["weight_decay"] for group in groups), strict=True))


@pytest.mark.parametrize("step", [0, 1, 35, 70, 139])
def test_a_weight_decay_follows_half_a_cosine_whatever_the_warm_up(step: int) -> None:
    # 0.4 + (0.04 - 0.4) (cos(pi k / K) + 1) / 2, as DINO's released schedule.
    published = 0.4 + (0.04 - 0.4) * (math.cos(math.pi * step / 140) + 1) / 2
    for settings in ({}, {"warmup_epochs": 10.0}, {"schedule": "constant"}):
        assert decays(step, **settings)[2] == pytest.approx(published, rel=1e-12)


def test_a_weight_decay_per_epoch_changes_between_epochs_only() -> None:
    values = [decays(step, schedule_per_epoch=True)[2] for step in range(3 * STEPS_PER_EPOCH)]
    assert len(set(values)) == 3


def test_vectors_that_are_not_decayed_stay_so() -> None:
    assert decays(139, decay_vectors=False)[1] == 0.0
    assert decays(139, decay_vectors=False)[2] > 0.39


def test_a_weight_decay_without_a_final_one_stays() -> None:
    assert {decays(step, weight_decay_final=None)[2] for step in (0, 70, 139)} == {0.04}
