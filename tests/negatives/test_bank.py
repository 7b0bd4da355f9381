"""The bank: how it is filled, and the numbers by which it is watched."""

import math

import pytest
import torch
from torch import Tensor, nn

from sparring.negatives.bank import WATCHED, Bank, Usage


def bank(size: int = 7, dim: int = 3) -> Bank:
    return Bank(size, dim, generator=torch.Generator().manual_seed(0))


def keys(first: int, count: int) -> Tensor:
    """Keys whose direction carries their number, none of length 1."""
    angle = 0.1 * torch.arange(first, first + count)
    return 5 * torch.stack([angle.cos(), angle.sin(), torch.zeros(count)], dim=1)


def numbers(opponent: Bank) -> list[int]:
    found = opponent.vectors.detach()
    return [round(float(n)) for n in 10 * torch.atan2(found[:, 1], found[:, 0])]


def turned(rows: Tensor, radians: float) -> Tensor:
    """Rows turned in the plane of the first two coordinates."""
    cosine, sine = math.cos(radians), math.sin(radians)
    first, second = rows[:, 0], rows[:, 1]
    return torch.cat(
        [
            (cosine * first - sine * second)[:, None],
            (sine * first + cosine * second)[:, None],
            rows[:, 2:],
        ],
        dim=1,
    )


def test_a_new_bank_is_gaussian_noise_with_gradient() -> None:
    opponent = bank(4000, 4)
    # Five standard errors of a mean (0.008) and of a deviation (0.006) of 16,000 draws.
    drawn = opponent.vectors.detach()
    assert abs(float(drawn.mean())) < 0.04
    assert abs(float(drawn.std()) - 1) < 0.03
    assert isinstance(opponent.vectors, nn.Parameter)
    assert not opponent.is_full


def test_keys_are_written_in_order_as_unit_vectors() -> None:
    opponent = bank()
    noise = opponent.vectors.detach().clone()
    opponent.fill(keys(1, 3))
    assert numbers(opponent)[:3] == [1, 2, 3]
    assert torch.equal(opponent.vectors[3:], noise[3:])
    opponent.fill(keys(4, 3))
    assert not opponent.is_full
    opponent.fill(keys(7, 3))
    assert opponent.is_full
    # 1e-6: rounding of a norm in float32.
    torch.testing.assert_close(
        opponent.vectors.norm(dim=1).detach(), torch.ones(7), rtol=1e-6, atol=0
    )


def test_filling_on_replaces_the_oldest_keys() -> None:
    opponent = bank()
    for first in (1, 4, 7, 10):
        opponent.fill(keys(first, 3))
    assert numbers(opponent) == [8, 9, 10, 11, 12, 6, 7]


def test_of_more_keys_than_vectors_the_last_are_kept() -> None:
    opponent = bank()
    opponent.fill(keys(1, 12))
    assert sorted(numbers(opponent)) == [6, 7, 8, 9, 10, 11, 12]
    assert opponent.is_full


def test_filling_keeps_the_parameter_that_the_player_moves() -> None:
    opponent = bank()
    before = opponent.vectors
    opponent.fill(keys(1, 7))
    assert opponent.vectors is before
    assert before.requires_grad
    assert before.grad_fn is None


def test_a_restored_bank_knows_how_far_it_was_filled() -> None:
    whole, restored = bank(), bank()
    whole.fill(keys(1, 5))
    restored.load_state_dict(whole.state_dict())
    assert not restored.is_full
    for opponent in (whole, restored):
        opponent.fill(keys(6, 4))
    assert restored.is_full
    assert numbers(whole) == numbers(restored)


@pytest.mark.parametrize("radians", [1e-4, 1e-3, 0.018, 0.5, math.pi])
def test_the_angle_of_a_known_turn_is_measured_however_small(radians: float) -> None:
    opponent = bank(50)
    with torch.no_grad():
        opponent.vectors[:, 2] = 0  # in the plane of the turn
    before = opponent.watched()
    with torch.no_grad():
        opponent.vectors.copy_(3 * turned(opponent.vectors, radians))
    found = float(opponent.dynamics(before)["bank/angle_degrees"])
    # Coordinates of unit rows are good to 6e-8, so a chord of 1e-4 to 1e-3; acos of their product
    # would give 0 or 3.5e-4. Half a turn is where asin is steepest: rounding of 6e-8 in the chord
    # is 5e-4 there.
    assert found == pytest.approx(math.degrees(radians), rel=2e-3)


def test_growing_without_turning_is_no_angle() -> None:
    opponent = bank(50)
    before = opponent.watched()
    with torch.no_grad():
        opponent.vectors.mul_(2)  # exact in floating point
    assert opponent.dynamics(before)["bank/angle_degrees"] == 0


def test_the_angle_is_a_mean_over_the_watched_entries_only() -> None:
    opponent = bank(WATCHED + 50)
    before = opponent.watched()
    with torch.no_grad():
        opponent.vectors[WATCHED:] *= -1
    assert opponent.dynamics(before)["bank/angle_degrees"] == 0
    with torch.no_grad():
        opponent.vectors[: WATCHED // 2] *= -1
    # Half of them turned by 180 degrees; tolerance as above.
    assert float(opponent.dynamics(before)["bank/angle_degrees"]) == pytest.approx(90, rel=2e-3)


def test_what_is_watched_is_a_copy() -> None:
    opponent = bank()
    before = opponent.watched()
    kept = before.clone()
    with torch.no_grad():
        opponent.vectors.neg_()
    assert torch.equal(before, kept)
    assert not before.requires_grad


def test_norm_quantiles_of_a_known_spread() -> None:
    opponent = bank(101)
    with torch.no_grad():
        opponent.vectors.copy_(
            nn.functional.normalize(opponent.vectors, dim=1) * torch.arange(101)[:, None]
        )
    found = opponent.dynamics(opponent.watched())
    values = [float(found[f"bank/norm_{name}"]) for name in ("low", "median", "high")]
    assert values == pytest.approx([10, 50, 90], rel=1e-5)


def test_filling_says_when_the_bank_has_just_become_full() -> None:
    opponent = bank()
    assert [opponent.fill(keys(first, 3)) for first in (1, 4, 7, 10)] == [False, False, True, False]


@pytest.mark.parametrize("chunk", [2, 100])
def test_the_nearest_entry_has_the_largest_cosine_whatever_its_length(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.negatives.bank.CHUNK", chunk)
    opponent = bank(7)
    opponent.fill(keys(0, 7))
    with torch.no_grad():
        opponent.vectors.mul_(torch.tensor([9.0, 1, 0.1, 5, 1, 0.2, 3])[:, None])
    asked = keys(0, 7)[[6, 2, 3, 0, 2]] * torch.tensor([1.0, 7, 0.3, 1, 1])[:, None]
    assert opponent.nearest(asked).tolist() == [6, 2, 3, 0, 2]


def test_of_equally_near_entries_the_first_is_chosen() -> None:
    opponent = bank(6)
    opponent.fill(torch.cat([keys(5, 2), keys(5, 2), keys(5, 2)]))
    assert opponent.nearest(keys(6, 1)).tolist() == [1]


def test_usage_counts_choices_and_forgets_old_ones() -> None:
    usage = Usage(8)
    even = usage.note(torch.arange(8), 10)
    assert float(even["bank/usage_perplexity"]) == pytest.approx(8)
    assert float(even["bank/distinct_positives"]) == 1
    assert float(even["bank/busiest_share"]) == pytest.approx(1 / 8)
    for _ in range(200):
        one = usage.note(torch.full((8,), 3), 10)
    assert float(one["bank/usage_perplexity"]) == pytest.approx(1, abs=1e-3)
    assert float(one["bank/distinct_positives"]) == 1 / 8
    assert float(one["bank/busiest_share"]) == pytest.approx(1, abs=1e-3)
