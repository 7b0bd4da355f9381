"""The dial, turned against simulated opponents."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch

from sparring.optim.schedule import Position
from sparring.strength.dial import SMALLEST, Dial
from sparring.strength.findings import SWINGING, dial_alarm
from sparring.strength.settings import Strength, StrengthSchedule

WINDOW = 25
"""Measurements over which a held excess loss is averaged."""
HELD = 0.15
"""Distance of that mean from the target that counts as held, as a share of the target."""
REACHED = 60
"""Measurements within which a target is reached from the start, or after a jump."""


@dataclass
class Trace:
    """What a dial did: excess losses without noise, shares, and the dial."""

    dial: Dial
    excess: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)

    def record(self) -> dict[str, float]:
        """Metrics after the last step, as numbers."""
        metrics = self.dial.metrics(at(len(self.share)))
        return {name: float(value) for name, value in metrics.items()}

    def reached(self, target: float, *, start: int = 0) -> int | None:
        """Measurements after which means over `WINDOW` are at the target; None if never."""
        for first in range(start, len(self.excess) - WINDOW):
            mean = sum(self.excess[first : first + WINDOW]) / WINDOW
            if abs(mean - target) <= HELD * target:
                return first - start
        return None

    def farthest(self, target: float, *, start: int) -> float:
        """Largest distance of such a mean from the target, as a share of it, from a step on."""
        means = (
            sum(self.excess[first : first + WINDOW]) / WINDOW
            for first in range(start, len(self.excess) - WINDOW + 1)
        )
        return max(abs(mean - target) for mean in means) / target


def at(step: int, *, num_steps: int = 500) -> Position:
    """Position of a step in a run."""
    return Position(step=step, num_steps=num_steps, steps_per_epoch=50)


def turned(
    strength: Strength | Sequence[Strength],
    plant: Callable[[int, float], float],
    *,
    noise: float = 0.0,
    num_steps: int = 500,
) -> Trace:
    """Trace of a dial on an opponent whose excess loss follows from step and share.

    Args:
        strength: the setting; several: each for an equal part of the run.
        plant: excess loss at a step and a share.
        noise: standard deviation of the measurements.
        num_steps: measurements.
    """
    parts = strength if isinstance(strength, Sequence) and strength != "released" else [strength]
    draws = torch.Generator().manual_seed(0)
    trace = Trace(Dial(parts[0]))
    for step in range(num_steps):
        trace.dial.strength = parts[step * len(parts) // num_steps]
        position = at(step, num_steps=num_steps)
        trace.share.append(float(trace.dial.share(position)))
        trace.excess.append(plant(step, trace.share[-1]))
        drawn = noise * torch.randn((), generator=draws)
        trace.dial.turn(trace.excess[-1] + drawn, position)
    return trace


def proportional(gain: float) -> Callable[[int, float], float]:
    """Opponent that adds as many nats with all it has, and less in proportion."""
    return lambda step, share: gain * share


def late(by: int, *, power: float = 1.0) -> Callable[[int, float], float]:
    """Opponent whose excess loss answers to the share of some measurements ago."""
    shares: list[float] = []

    def plant(step: int, share: float) -> float:
        shares.append(share)
        return shares[max(0, step - by)] ** power

    return plant


@pytest.mark.parametrize(
    ("gain", "asked"),
    [(gain, asked) for gain in (0.05, 0.3, 1.0, 5.0) for asked in (0.4, 0.9)]
    + [(0.3, 0.05), (1.0, 0.05), (5.0, 0.05)],
)
def test_a_target_is_reached_and_then_held_whatever_the_opponent_can_add(
    gain: float, asked: float
) -> None:
    target = asked * gain
    trace = turned(target, proportional(gain), noise=0.2 * target)
    reached = trace.reached(target)
    assert reached is not None
    assert reached <= REACHED
    assert trace.farthest(target, start=REACHED) <= HELD


def test_noise_does_not_shift_the_excess_loss() -> None:
    trace = turned(0.1, proportional(1.0), noise=0.05, num_steps=2000)
    late_mean = sum(trace.excess[200:]) / len(trace.excess[200:])
    # An error relative to max(target, measured) would end 15 % above.
    assert late_mean == pytest.approx(0.1, rel=0.05)


def test_an_opponent_that_becomes_stronger_is_held_all_the_same() -> None:
    trace = turned(0.2, lambda step, share: (0.5 + 4.5 * step / 500) * share, noise=0.02)
    assert trace.farthest(0.2, start=REACHED) <= HELD


def test_a_target_is_reached_after_a_jump_in_either_direction() -> None:
    trace = turned([0.1, 0.6, 0.1], proportional(1.0), noise=0.02, num_steps=600)
    for start, target in ((200, 0.6), (400, 0.1)):
        reached = trace.reached(target, start=start)
        assert reached is not None
        assert reached <= REACHED


def test_nothing_winds_up_while_the_opponent_cannot_be_that_strong() -> None:
    trace = turned([5.0, 0.3], proportional(1.0), num_steps=1000)
    assert trace.share[499] == 1.0
    # A wound-up integral would hold the share at 1 for as long as it stood there.
    reached = trace.reached(0.3, start=500)
    assert reached is not None
    assert reached <= 30


def test_nothing_winds_up_at_the_smallest_share() -> None:
    trace = turned(0.1, lambda step, share: 0.5 + share if step < 500 else share, num_steps=1000)
    assert trace.share[499] == pytest.approx(SMALLEST)
    reached = trace.reached(0.1, start=500)
    assert reached is not None
    assert reached <= REACHED


def test_equal_measurements_give_equal_shares_to_the_bit() -> None:
    first, second = (turned(0.2, proportional(1.0), noise=0.1) for _ in range(2))
    assert first.share == second.share


def test_a_dial_goes_on_from_its_state_to_the_bit() -> None:
    whole, part = Dial(0.2), Dial(0.2)
    for step in range(10):
        whole.turn(torch.tensor(0.1 * step), at(step))
        part.turn(torch.tensor(0.1 * step), at(step))
        if step == 4:
            state = part.state_dict()
            part = Dial(0.2)
            part.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(whole.buffers(), part.buffers(), strict=True))
    assert whole.num_measured == part.num_measured == 10


@pytest.mark.parametrize("schedule", ["rising", "falling"])
def test_a_schedule_is_followed(schedule: str) -> None:
    strength = StrengthSchedule.build({"nats": 0.4, "schedule": schedule})
    trace = turned(strength, proportional(1.0), noise=0.02, num_steps=1000)
    for start in range(200, 800, WINDOW):
        middle = trace.dial.target(at(start + WINDOW // 2, num_steps=1000))
        mean = sum(trace.excess[start : start + WINDOW]) / WINDOW
        assert mean == pytest.approx(middle, rel=HELD)


def test_the_share_is_exactly_zero_where_the_target_is_and_recovers_after_it() -> None:
    trace = turned([0.2, 0.0, 0.2], proportional(1.0), num_steps=300)
    assert set(trace.share[100:200]) == {0.0}
    assert trace.reached(0.2, start=200) == 0


def test_a_released_opponent_plays_with_all_it_has_and_is_only_measured() -> None:
    trace = turned("released", proportional(0.3), num_steps=60)
    assert set(trace.share) == {1.0}
    assert trace.record() == {"opponent/excess_loss": pytest.approx(0.3)}


def test_a_dial_that_holds_its_target_raises_no_alarm() -> None:
    trace = turned(0.2, proportional(1.0), noise=0.04)
    assert dial_alarm(trace.record()) is None


def test_no_alarm_is_raised_on_the_way_to_the_target() -> None:
    for num_steps in range(1, 120, 7):
        trace = turned([0.5, 0.5], proportional(1.0), noise=0.05, num_steps=num_steps)
        assert dial_alarm(trace.record()) is None


def test_a_target_out_of_reach_is_told() -> None:
    trace = turned(0.4, proportional(0.12))
    assert dial_alarm(trace.record()) == (
        "the opponent adds 0.12 nats with all it has and does not reach strength=0.4; ask for less"
    )


def test_an_opponent_that_is_too_strong_at_its_smallest_share_is_told() -> None:
    text = dial_alarm(turned(0.1, lambda step, share: 0.5 + share).record())
    assert text is not None
    assert text.startswith("the opponent adds 0.50 nats with the smallest share of it")


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0])
def test_an_opponent_that_answers_too_late_swings(power: float) -> None:
    swings = [
        turned(0.3, late(20, power=power), noise=0.03, num_steps=count).record()["opponent/swing"]
        for count in (300, 350, 400)
    ]
    assert max(swings) > SWINGING


def test_swinging_is_told() -> None:
    text = dial_alarm(turned(0.3, late(30, power=2.0), num_steps=400).record())
    assert text is not None
    assert text.startswith("the excess loss of the opponent swings about strength=0.3")


@pytest.mark.parametrize("relative", [0.2, 0.5, 1.0])
def test_noise_is_no_swing(relative: float) -> None:
    for num_steps in (60, 120, 240, 480):
        trace = turned(0.3, proportional(1.0), noise=relative * 0.3, num_steps=num_steps)
        assert trace.record()["opponent/swing"] < SWINGING


def test_an_alarm_names_the_opponent_inside() -> None:
    record = turned(0.4, proportional(0.12)).record()
    inside = {name.replace("opponent/", "opponent/inner/"): v for name, v in record.items()}
    text = dial_alarm({"opponent/excess_loss": 0.1, **inside})
    assert text is not None
    assert text.startswith("the opponent inside adds 0.12 nats")


def test_a_record_without_a_dial_raises_no_alarm() -> None:
    assert dial_alarm({"loss": 1.0}) is None


def test_the_share_stays_within_its_bounds_whatever_is_measured() -> None:
    dial = Dial(0.1)
    for step, value in enumerate(itertools.chain([1e6, -1e6] * 50, [0.0] * 100)):
        dial.turn(torch.tensor(value), at(step))
        assert math.log(SMALLEST) <= float(dial.log_share) <= 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("strength", ["released", 0.1])
def test_a_measurement_that_is_not_finite_counts_as_the_mean_so_far(
    value: float, strength: Strength
) -> None:
    lost, other = Dial(strength), Dial(strength)
    for step in range(12):
        measured = torch.tensor(0.01 * step)
        is_lost = step in (0, 7)
        lost.turn(torch.tensor(value) if is_lost else measured, at(step))
        other.turn(other.mean if is_lost else measured, at(step))
    assert all(tensor.isfinite().all() for tensor in lost.buffers())
    for ours, theirs in zip(lost.buffers(), other.buffers(), strict=True):
        assert torch.equal(ours, theirs)
