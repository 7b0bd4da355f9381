"""Learning rates by depth: what each layer's is, for every optimiser, and what is kept of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.optim.finite_check import FiniteCheck, deferred_checks
from sparring.optim.optimizers import OptimizerName
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position

DEPTHS = {"stem.weight": 2, "stem.bias": 2, "block.weight": 1, "block.bias": 1}
"""The third layer of `network`, its head, has depth 0."""
FACTORS = {"stem": 0.25, "block": 0.5, "head": 1.0}
INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))


def network() -> nn.ModuleDict:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.ModuleDict(
            {
                "stem": nn.Linear(4, 6),
                "block": nn.Linear(6, 6),
                "head": nn.Linear(6, 2),
            }
        )


def loss_of(module: nn.ModuleDict, step: int) -> Tensor:
    outputs = INPUTS + step
    for name in FACTORS:
        outputs = torch.tanh(module[name](outputs))
    return outputs.square().sum()


def player(module: nn.Module, **settings: Any) -> Player:
    check = settings.pop("check", None)
    plain = {"schedule": "constant", "learning_rate": 0.2, "layer_decay": 0.5}
    return Player(
        "encoder",
        dict(module.named_parameters()),
        PlayerSettings.build({**plain, **settings}),
        depths=DEPTHS,
        check=check,
    )


def trained(steps: int = 3, **settings: Any) -> nn.ModuleDict:
    module = network()
    mover = player(module, **settings)
    for step in range(steps):
        mover.prepare(Position(step=step, num_steps=100, steps_per_epoch=10))
        mover.update(loss_of(module, step))
    return module


def plainly_trained(optimizer: OptimizerName, steps: int = 3) -> nn.ModuleDict:
    """Each layer by a player of its own, at its own rate; gradients are those of one backward
    pass."""
    module = network()
    movers = [
        Player(
            name,
            dict(module[name].named_parameters()),
            PlayerSettings(
                optimizer=optimizer,
                schedule="constant",
                learning_rate=0.2 * factor,
                decay_vectors=False,
            ),
        )
        for name, factor in FACTORS.items()
    ]
    for step in range(steps):
        before = {name: one.detach().clone() for name, one in module.named_parameters()}
        after = {}
        for mover in movers:
            mover.prepare(Position(step=step, num_steps=100, steps_per_epoch=10))
            mover.update(loss_of(module, step))
            for name, one in module.named_parameters():
                if name.startswith(mover.name):
                    after[name] = one.detach().clone()
            module.load_state_dict(before)
        module.load_state_dict(after)
    return module


def same(left: nn.Module, right: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True)
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_each_layer_moves_as_at_a_rate_of_its_own(optimizer: OptimizerName) -> None:
    ours = trained(optimizer=optimizer, decay_vectors=False)
    assert same(ours, plainly_trained(optimizer))
    assert not same(ours, trained(optimizer=optimizer, decay_vectors=False, layer_decay=1.0))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_deferred_checks_change_nothing(optimizer: OptimizerName) -> None:
    with deferred_checks():
        deferred = trained(optimizer=optimizer, check=FiniteCheck(torch.device("cpu")))
    at_once = trained(optimizer=optimizer)
    for ours, theirs in zip(deferred.parameters(), at_once.parameters(), strict=True):
        # Fused and other kernels of PyTorch round differently in float32.
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def rates(step: int, **settings: Any) -> dict[str, float]:
    """Distance that each layer moves along a gradient of ones: its rate, when nothing decays."""
    module = network()
    before = {name: one.detach().clone() for name, one in module.named_parameters()}
    mover = player(module, momentum=0.0, weight_decay=0.0, **settings)
    mover.prepare(Position(step=step, num_steps=100, steps_per_epoch=10))
    mover.update(
        torch.stack([(one * torch.ones_like(one)).sum() for one in module.parameters()]).sum()
    )
    return {
        name.partition(".")[0]: float((before[name] - one.detach()).mean())
        for name, one in module.named_parameters()
    }


def test_the_schedule_and_the_warm_up_hold_for_every_layer() -> None:
    assert rates(0, warmup_epochs=2.0) == pytest.approx(
        {name: 0.2 / 20 * factor for name, factor in FACTORS.items()}, rel=1e-4
    )
    assert rates(50, schedule="cosine") == pytest.approx(
        {name: 0.1 * factor for name, factor in FACTORS.items()}, rel=1e-4
    )


def test_a_steady_part_keeps_its_layers_rate() -> None:
    found = rates(50, schedule="cosine", steady=("block",))
    assert found == pytest.approx({"stem": 0.025, "block": 0.1, "head": 0.1}, rel=1e-4)


def test_gradients_are_clipped_to_their_joint_norm() -> None:
    found = rates(0, clip_norm=1.0)
    norm = sum(one.numel() for one in network().parameters()) ** 0.5
    assert found == pytest.approx({n: 0.2 * f / norm for n, f in FACTORS.items()}, rel=1e-3)


def test_at_one_rate_the_optimiser_is_what_it_was_before_there_were_layers() -> None:
    module = network()
    mover = player(module, layer_decay=1.0, decay_vectors=False)
    matrices, vectors = mover.state_dict()["param_groups"]
    assert (matrices["params"], vectors["params"]) == ([0, 1, 2], [3, 4, 5])
    assert not {"depth", "layer_decay"} & {*matrices, *vectors}
    assert mover.lowest_factor == 1


def test_the_lowest_factor_is_that_of_the_deepest_layer_that_learns() -> None:
    module = network()
    learning = {name: p for name, p in module.named_parameters() if not name.startswith("stem")}
    found = Player("encoder", learning, PlayerSettings(layer_decay=0.5), depths=DEPTHS)
    assert found.lowest_factor == 0.5
    assert player(module).lowest_factor == 0.25


def test_a_state_goes_on_to_the_bit() -> None:
    module = trained(steps=2)
    whole, module = trained(steps=4), network()
    first = player(module)
    for step in range(4):
        if step == 2:
            state = first.state_dict()
            first = player(module)
            first.load_state_dict(state)
        first.prepare(Position(step=step, num_steps=100, steps_per_epoch=10))
        first.update(loss_of(module, step))
    assert same(module, whole)


@pytest.mark.parametrize("other", [1.0, 0.6])
def test_a_state_of_another_decay_is_refused(other: float) -> None:
    state = player(network(), layer_decay=other).state_dict()
    with pytest.raises(ValueError, match=r"players\.encoder: the optimiser"):
        player(network()).load_state_dict(state)


def test_another_decay_may_be_meant() -> None:
    mover = player(network())
    mover.load_state_dict(player(network(), layer_decay=0.6).state_dict(), own_settings=True)
    assert mover.lowest_factor == 0.25


def test_a_player_without_a_backbone_refuses_a_decay() -> None:
    with pytest.raises(ConfigError, match=r"^players\.bank\.layer_decay=0\.5: .* no backbone"):
        Player("bank", {}, PlayerSettings(layer_decay=0.5))


@pytest.mark.parametrize("value", [0.0, 1.1])
def test_only_shares_are_accepted(value: float) -> None:
    with pytest.raises(ConfigError, match="layer_decay"):
        PlayerSettings.build({"layer_decay": value})
