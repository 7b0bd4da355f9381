"""The benchmark of the dial at toy size: every part runs, and games without a dial are told."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from sparring.contract.toy import dataset
from sparring.optim.schedule import Position

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def strength(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("strength")


@pytest.mark.slow
def test_every_part_writes_a_row(
    strength: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["strength", "--toy", "--only", "adco"])
    strength.main()
    cost, monotone, settling = capsys.readouterr().out.splitlines()
    assert "% of a step" in cost
    assert "0: 0.000 +-" in monotone.replace("-0.000", "0.000")
    assert "0.3" in settling


def test_a_game_without_a_dial_is_told(strength: ModuleType) -> None:
    none = strength.Opponent(name="none", method="simclr", recipe="simclr-small")
    assert "unknown setting 'strength'" in strength.has_dial(none, toy=True)
    assert strength.has_dial(strength.GAMES[0], toy=True) == ""


def test_the_settled_step_and_the_error_afterwards_are_those_of_the_measurements(
    strength: ModuleType,
) -> None:
    bench = strength.Bench(strength.GAMES[0], 0.1, dataset(64), seed=0, toy=True)
    values = iter([0.1] * 10 + [0.3] * 90)

    def step() -> None:
        (dial,) = strength.dials(bench.game.method)
        now = Position(step=0, num_steps=1, steps_per_epoch=1)
        dial.turn(torch.tensor(next(values)), now)

    bench.step = step
    found = strength.settling(bench, steps=100, before=[0.1])
    # The mean of eight measurements is within 15 % of 0.3 once at most one of them is still 0.1.
    assert "in 17 steps" in found
    assert "within 15 % at 100 %" in found


def test_a_share_set_by_hand_ends_with_its_block(strength: ModuleType) -> None:
    bench = strength.Bench(strength.GAMES[0], 0.1, dataset(64), seed=0, toy=True)
    (dial,) = strength.dials(bench.game.method)
    now = Position(step=0, num_steps=1, steps_per_epoch=1)

    def share() -> Tensor:
        found: Tensor = dial.share(now)
        return found

    own = share()
    with strength.shared(bench.game.method, 0.75):
        assert float(share()) == 0.75
    assert torch.equal(share(), own)
