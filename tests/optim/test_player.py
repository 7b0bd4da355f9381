"""What an update is: plain PyTorch, on the player's own parameters, or nothing at all."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError, TrainingError
from sparring.optim.player import Added, Averaged, LossOf, Player, PlayerSettings
from sparring.optim.schedule import Position

NOW = Position(step=0, num_steps=100, steps_per_epoch=10)
INPUTS = torch.randn(5, 4, generator=torch.Generator().manual_seed(9))


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))


def player(module: nn.Module, *, name: str = "encoder", **settings: Any) -> Player:
    made = Player(
        name,
        dict(module.named_parameters()),
        PlayerSettings.build({"schedule": "constant", **settings}),
    )
    made.prepare(NOW)
    return made


def loss_of(module: nn.Module, step: int = 0) -> Tensor:
    return (module(INPUTS + step) - 1).square().mean()


def same(left: nn.Module, right: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(left.parameters(), right.parameters(), strict=True)
    )


def test_an_update_is_plain_sgd_to_the_bit() -> None:
    ours, plain = network(), network()
    mover = player(ours, learning_rate=0.3, momentum=0.8, weight_decay=0.01)
    sgd = torch.optim.SGD(plain.parameters(), lr=0.3, momentum=0.8, weight_decay=0.01)
    for step in range(5):
        mover.update(loss_of(ours, step))
        sgd.zero_grad()
        loss_of(plain, step).backward()  # type: ignore[no-untyped-call]
        sgd.step()
    assert same(ours, plain)
    assert not same(ours, network())


def test_an_update_is_plain_adamw_to_the_bit() -> None:
    ours, plain = network(), network()
    mover = player(ours, optimizer="adamw", learning_rate=0.01, momentum=0.9, weight_decay=0.1)
    adamw = torch.optim.AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0.1)
    for step in range(3):
        mover.update(loss_of(ours, step))
        adamw.zero_grad()
        loss_of(plain, step).backward()  # type: ignore[no-untyped-call]
        adamw.step()
    assert same(ours, plain)


def test_an_update_leaves_no_gradient_behind() -> None:
    ours, other = network(), network(1)
    player(ours).update(loss_of(ours) + loss_of(other))
    assert all(parameter.grad is None for parameter in [*ours.parameters(), *other.parameters()])


def test_an_update_moves_its_own_parameters_only() -> None:
    ours, other = network(), network(1)
    player(ours).update(loss_of(nn.Sequential(ours, nn.Linear(2, 4), other)))
    assert not same(ours, network())
    assert same(other, network(1))


def test_a_stale_gradient_does_not_enter_an_update() -> None:
    ours, plain = network(), network()
    for parameter in ours.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    player(ours).update(loss_of(ours))
    player(plain).update(loss_of(plain))
    assert same(ours, plain)


def test_two_players_on_one_graph_each_answer_what_both_saw() -> None:
    ours, start = network(), network()
    bank = nn.Linear(2, 5, bias=False)
    vectors = bank.weight.detach().clone()
    encoder, adversary = (
        player(m, momentum=0.0, weight_decay=0.0, learning_rate=0.5) for m in (ours, bank)
    )
    query = ours(INPUTS)
    loss, bank_loss = (query * bank.weight).sum(), -(query.detach() * bank.weight).sum()
    seen = query.detach().clone()
    wanted = torch.autograd.grad((start(INPUTS) * vectors).sum(), list(start.parameters()))
    encoder.update(loss)
    assert torch.equal(
        bank.weight, vectors
    )  # the encoder's loss reaches the bank, its update does not
    adversary.update(bank_loss)
    assert (ours(INPUTS) - seen).abs().max() > 0.01
    # One rounding of a product and a sum in float32.
    torch.testing.assert_close(bank.weight.detach(), vectors + 0.5 * seen, rtol=1e-6, atol=1e-6)
    for new, old, gradient in zip(ours.parameters(), start.parameters(), wanted, strict=True):
        torch.testing.assert_close(new, old - 0.5 * gradient, rtol=1e-6, atol=1e-6)


def test_a_parameter_that_the_loss_does_not_reach_still_decays() -> None:
    # Players differ from a bare backward() here: an unreached gradient is zero, not absent, so
    # decay and momentum go on.
    parts = nn.ModuleDict({"used": nn.Linear(4, 2), "idle": nn.Linear(4, 2)})
    before = parts["idle"].weight.detach().clone()  # type: ignore[union-attr]
    player(parts, learning_rate=0.5, momentum=0.0, weight_decay=0.1).update(loss_of(parts["used"]))
    torch.testing.assert_close(parts["idle"].weight, before * 0.95, rtol=1e-6, atol=0.0)


def moved_by(**settings: Any) -> Tensor:
    ours, start = network(), network()
    player(ours, learning_rate=1.0, momentum=0.0, weight_decay=0.0, **settings).update(
        100 * loss_of(ours)
    )
    return torch.cat(
        [
            (a - b).detach().flatten()
            for a, b in zip(ours.parameters(), start.parameters(), strict=True)
        ]
    )


def test_clipping_bounds_the_joint_norm_and_keeps_the_direction() -> None:
    free, clipped = moved_by(), moved_by(clip_norm=0.5)
    assert free.norm() > 5
    # clip_grad_norm_ divides by norm + 1e-6.
    torch.testing.assert_close(clipped.norm(), torch.tensor(0.5), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(
        torch.cosine_similarity(free, clipped, dim=0), torch.tensor(1.0), rtol=1e-5, atol=0.0
    )


def test_clipping_leaves_small_gradients_alone() -> None:
    assert torch.equal(moved_by(clip_norm=1e6), moved_by())


@pytest.mark.parametrize(
    ("poison", "what"),
    [
        (lambda loss, _: loss * float("nan"), "loss"),
        (lambda loss, _: loss + float("inf"), "loss"),  # the gradient is finite
        (
            lambda loss, weight: loss + (weight - weight.detach()).abs().sqrt().sum(),
            "gradient",
        ),  # the loss is finite
    ],
)
def test_what_is_not_finite_is_refused_and_nothing_has_moved(poison: Any, what: str) -> None:
    ours = network()
    mover = player(ours, name="bank")
    mover.update(loss_of(ours))
    before, state = [p.clone() for p in ours.parameters()], str(mover.state_dict())
    weight = next(ours.parameters())
    with pytest.raises(
        TrainingError,
        match=rf"player 'bank': its {what} is not finite.*players\.bank\.learning_rate",
    ):
        mover.update(poison(loss_of(ours), weight))
    assert all(torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True))
    assert str(mover.state_dict()) == state
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_a_restored_player_continues_to_the_bit(optimizer: str) -> None:
    whole, parts = network(), network()
    first, second = (player(module, optimizer=optimizer) for module in (whole, parts))
    for step in range(3):
        first.update(loss_of(whole, step))
        second.update(loss_of(parts, step))
    restored = player(parts, optimizer=optimizer)
    restored.load_state_dict(second.state_dict())
    fresh = network()
    fresh.load_state_dict(parts.state_dict())
    forgetful = player(fresh, optimizer=optimizer)
    for step in range(3, 5):
        first.update(loss_of(whole, step))
        restored.update(loss_of(parts, step))
        forgetful.update(loss_of(fresh, step))
    assert same(whole, parts)
    assert not same(whole, fresh)  # without its state a player goes elsewhere


@pytest.mark.parametrize(
    "other",
    [
        {"optimizer": "adamw"},
        {"optimizer": "lars"},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"decay_vectors": False},
    ],
)
def test_a_player_refuses_the_state_of_another_optimiser(other: dict[str, Any]) -> None:
    # PyTorch loads it and goes on with the settings of the file, or fails at the next step.
    ours = network()
    first = player(ours)
    first.update(loss_of(ours))
    with pytest.raises(
        ValueError,
        match=r"players\.encoder: the optimiser, its momentum or one of its decays was another",
    ):
        player(network(), **other).load_state_dict(first.state_dict())
    player(network(), learning_rate=1.0).load_state_dict(
        first.state_dict()
    )  # the rate is set at every step anyway


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_a_restored_player_continues_a_schedule_of_its_weight_decay(optimizer: str) -> None:
    settings: dict[str, Any] = {
        "optimizer": optimizer,
        "weight_decay": 0.04,
        "weight_decay_final": 0.9,
    }
    whole, parts, plain = network(), network(), network()
    first, second, third = (
        player(whole, **settings),
        player(parts, **settings),
        player(plain, **{**settings, "weight_decay_final": None}),
    )
    for step in range(4):
        if step == 2:
            restored = player(parts, **settings)
            restored.load_state_dict(second.state_dict())
            second = restored
        for mover, module in ((first, whole), (second, parts), (third, plain)):
            mover.prepare(Position(step=25 * step, num_steps=100, steps_per_epoch=10))
            mover.update(loss_of(module, step))
    assert same(whole, parts)
    assert not same(whole, plain)


def test_a_constant_weight_decay_refuses_the_state_of_a_schedule() -> None:
    ours = network()
    first = player(ours, weight_decay=0.04, weight_decay_final=0.4)
    first.prepare(Position(step=50, num_steps=100, steps_per_epoch=10))
    first.update(loss_of(ours))
    with pytest.raises(ValueError, match="one of its decays was another"):
        player(network(), weight_decay=0.04).load_state_dict(first.state_dict())


def test_the_defaults_are_those_of_moco_v2() -> None:
    settings = PlayerSettings()
    assert (settings.optimizer, settings.momentum, settings.schedule, settings.decay_vectors) == (
        "sgd",
        0.9,
        "cosine",
        True,
    )


def parts() -> nn.ModuleDict:
    """Three parts, each a matrix and a vector."""
    return nn.ModuleDict(
        {
            "encoder": nn.Linear(4, 3),
            "predictor": nn.Linear(3, 2),
            "predictor_like": nn.Linear(2, 2),
        }
    )


def moves(step: int, **settings: Any) -> dict[str, float]:
    """How far each part moves along a gradient of ones at this step of 100, ten an epoch: its rate,
    when nothing decays."""
    module = parts()
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    fixed = {"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.5, "schedule": "cosine"}
    mover = Player(
        "encoder", dict(module.named_parameters()), PlayerSettings.build({**fixed, **settings})
    )
    mover.prepare(Position(step=step, num_steps=100, steps_per_epoch=10))
    mover.update(torch.stack([parameter.sum() for parameter in module.parameters()]).sum())
    found: dict[str, set[float]] = {}
    for name, parameter in module.named_parameters():
        distances = (before[name] - parameter.detach()).flatten().tolist()
        found.setdefault(name.partition(".")[0], set()).update(
            round(distance, 5) for distance in distances
        )
    assert all(max(distances) - min(distances) < 2e-5 for distances in found.values())
    return {name: min(distances) for name, distances in found.items()}


@pytest.mark.parametrize("decay_vectors", [True, False])
@pytest.mark.parametrize(("step", "scheduled"), [(0, 0.5), (50, 0.25), (75, 0.25 * (1 - 0.5**0.5))])
def test_a_steady_part_keeps_the_peak_rate_while_the_others_follow_the_schedule(
    step: int, scheduled: float, decay_vectors: bool
) -> None:
    found = moves(step, steady=("predictor",), decay_vectors=decay_vectors)
    # A name that only begins like a part is another part. Float32 rounds differences of numbers
    # below 1 to 1e-7.
    assert found == pytest.approx(
        {"encoder": scheduled, "predictor": 0.5, "predictor_like": scheduled}, abs=2e-5
    )


def test_a_steady_part_warms_up_with_the_others_and_then_stays() -> None:
    rates = [moves(step, steady=("predictor",), warmup_epochs=2.0) for step in (0, 9, 19, 60)]
    assert [rate["predictor"] for rate in rates] == pytest.approx(
        [0.5 / 20, 0.25, 0.5, 0.5], abs=2e-5
    )
    assert [rate["encoder"] for rate in rates] == pytest.approx(
        [0.5 / 20, 0.25, 0.5, 0.25], abs=2e-5
    )


def test_steady_parts_do_not_change_a_players_own_rate() -> None:
    mover = Player(
        "encoder",
        dict(parts().named_parameters()),
        PlayerSettings(learning_rate=0.5, steady=("predictor",)),
    )
    mover.prepare(Position(step=50, num_steps=100, steps_per_epoch=10))
    assert mover.learning_rate == pytest.approx(0.25, rel=1e-12)  # what is logged


def test_an_unknown_steady_part_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError,
        match=r"part in players\.encoder\.steady: 'predictr'; did you mean 'predictor'\?",
    ):
        Player("encoder", dict(parts().named_parameters()), PlayerSettings(steady=("predictr",)))


def test_a_player_refuses_the_state_of_one_with_other_steady_parts() -> None:
    first = Player(
        "encoder", dict(parts().named_parameters()), PlayerSettings(steady=("predictor",))
    )
    second = Player("encoder", dict(parts().named_parameters()), PlayerSettings())
    with pytest.raises(ValueError, match=r"players\.encoder: the optimiser"):
        second.load_state_dict(first.state_dict())


def weights_after(mover: Player, module: nn.Module, loss: Tensor) -> tuple[Tensor, Tensor]:
    """What an update minimised, and all parameters after it."""
    found = mover.update(loss)
    return found, torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_an_added_term_is_minimised_beside_the_loss() -> None:
    ours, plain = network(), network()
    beside = player(ours).beside(Added(0.5, lambda: loss_of(ours, 1)))
    found, moved = weights_after(beside, ours, loss_of(ours))
    wanted = loss_of(plain) + 0.5 * loss_of(plain, 1)
    assert torch.equal(found, wanted.detach())
    assert torch.equal(moved, weights_after(player(plain), plain, wanted)[1])
    assert not torch.equal(found, loss_of(network()).detach())


def test_an_averaged_term_counts_by_its_rows() -> None:
    ours, plain = network(), network()
    beside = player(ours).beside(Averaged(6.0, 2.0, lambda: loss_of(ours, 1)))
    found, moved = weights_after(beside, ours, loss_of(ours))
    wanted = (6 * loss_of(plain) + 2 * loss_of(plain, 1)) / 8
    # Written in another order; float32 rounds sums of order one to 1e-7.
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-6, atol=0)
    moved_plain = weights_after(player(plain), plain, wanted)[1]
    torch.testing.assert_close(moved, moved_plain, rtol=1e-5, atol=1e-6)


def constant(value: float) -> LossOf:
    """A term that is a number."""
    return lambda: torch.tensor(value)


@pytest.mark.parametrize("is_sum_first", [True, False])
def test_averages_come_before_sums_whoever_brings_them_first(is_sum_first: bool) -> None:
    ours = network()
    terms = [Added(0.5, constant(8.0)), Averaged(3.0, 1.0, constant(6.0))]
    mover, loss = player(ours), 2.0 + 0 * loss_of(ours)
    for term in terms if is_sum_first else reversed(terms):
        mover = mover.beside(term)
    # (3 * 2 + 1 * 6) / 4 + 0.5 * 8; the other way round it would be (3 * (2 + 4) + 6) / 4 = 6.
    assert float(mover.update(loss)) == 7.0


def test_terms_given_at_once_are_as_terms_given_one_by_one() -> None:
    terms = [
        Added(0.5, constant(8.0)),
        Averaged(3.0, 1.0, constant(6.0)),
        Added(2.0, constant(1.0)),
    ]
    at_once, one_by_one = player(network()).beside(*terms), player(network())
    for term in terms:
        one_by_one = one_by_one.beside(term)
    for mover in (at_once, one_by_one):
        nothing = 0 * next(mover.parameters()).sum()
        assert float(mover.update(2.0 + nothing)) == 9.0  # 3 of the average, 4 and 2


def test_without_terms_the_loss_itself_is_returned_without_gradient() -> None:
    ours = network()
    loss = loss_of(ours)
    found = player(ours).update(loss)
    assert torch.equal(found, loss.detach())
    assert not found.requires_grad


def test_a_term_is_computed_once_per_update_and_only_then() -> None:
    ours, calls = network(), []

    def term() -> Tensor:
        calls.append(None)
        return loss_of(ours, 1)

    mover = player(ours).beside(Added(1.0, term))
    assert not calls
    for made in (1, 2):
        mover.update(loss_of(ours))
        assert len(calls) == made


def test_a_player_with_terms_leaves_the_player_that_it_came_from_unchanged() -> None:
    ours, plain = network(), network()
    mover, reference = player(ours), player(plain)
    mover.beside(Added(100.0, lambda: loss_of(ours, 1)))
    for each, module in ((mover, ours), (reference, plain)):
        each.update(loss_of(module))
    assert same(ours, plain)


def test_a_player_with_terms_shares_parameters_rate_and_optimiser() -> None:
    ours, plain = network(), network()
    mover, reference = player(ours, learning_rate=0.3), player(plain, learning_rate=0.3)
    beside = mover.beside(Added(0.0, constant(1.0)))
    assert beside.learning_rate == mover.learning_rate == 0.3
    assert list(beside.parameters()) == list(mover.parameters())
    for step, each in enumerate((mover, beside, mover)):
        each.update(loss_of(ours, step))
        reference.update(loss_of(plain, step))
    # One momentum for both: had it begun anew, the second step would be shorter.
    assert same(ours, plain)
    assert str(beside.state_dict()) == str(mover.state_dict())


def test_a_term_that_is_not_finite_stops_the_player_that_it_stands_beside() -> None:
    ours = network()
    with pytest.raises(TrainingError, match="player 'encoder': its loss is not finite"):
        player(ours).beside(Added(1.0, constant(float("nan")))).update(loss_of(ours))
    assert same(ours, network())


def as_of_version_0_1(state: dict[str, Any]) -> dict[str, Any]:
    """A player's state as version 0.1 wrote it: no settings but those in use, steps as integers."""
    kept = {"lr", "momentum", "betas", "weight_decay", "trust", "eps", "is_steady", "params"}
    groups = [
        {key: value for key, value in group.items() if key in kept}
        for group in state["param_groups"]
    ]
    memory = {
        number: {
            name: int(value) if name == "step" else value.clone() for name, value in each.items()
        }
        for number, each in state["state"].items()
    }
    return {"state": memory, "param_groups": groups}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_the_state_of_version_0_1_goes_on_to_the_same_bits(optimizer: str) -> None:
    ours, restored = network(), network()
    first, second = (player(module, optimizer=optimizer) for module in (ours, restored))
    for step in range(2):
        first.update(loss_of(ours, step))
    restored.load_state_dict(ours.state_dict())
    state = first.state_dict()
    old = as_of_version_0_1(state)
    has_more = state["param_groups"][0].keys() > old["param_groups"][0].keys()
    assert has_more is (optimizer != "lars")  # there is something that version 0.1 lacked
    second.load_state_dict(old)
    for step in range(2, 4):
        first.update(loss_of(ours, step))
        second.update(loss_of(restored, step))
    assert same(ours, restored)
