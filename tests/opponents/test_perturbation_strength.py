"""The strength of the perturbation: what is measured, when, at which cost, and what holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ring
import torch
from torch import Tensor, nn

import games
from sparring.contract.toy import changed, state
from sparring.errors import ConfigError
from sparring.methods.method import Metrics
from sparring.models.split_norm import adversarial_norms
from sparring.models.view import as_views
from sparring.objectives.contrastive import nt_xent
from sparring.opponents.perturbation import MEASURED_EVERY, Perturbation
from sparring.opponents.pixel_attack import PerturbationSettings, random_signs
from sparring.strength.dial import START, STRENGTH_METRICS
from sparring.training.build import Game
from sparring.training.metrics import metrics_of

EPSILON = 0.02


class WithDropout(nn.Module):
    """As `ring.Normed`, with a layer that draws from PyTorch's own generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        return self.layers(images)  # type: ignore[no-any-return]


def around(
    method: str = "simclr", *, network: type[nn.Module] = ring.Normed, **perturbation: Any
) -> Game:
    """A method in double precision with a perturbation around it."""
    section = {"epsilon": EPSILON, **perturbation}
    return ring.game(method, network, opponent=["perturbation"], perturbation=section)


def opponent_of(game: Game) -> Perturbation:
    """The opponent of a game."""
    assert isinstance(game.method, Perturbation)
    return game.method


def stepped(game: Game, number: int = 0) -> Metrics:
    """One round on the views of its number."""
    context = ring.prepared(game, number)
    return game.method.step(as_views(ring.views(number)), game.players, context)


@contextmanager
def passes(game: Game) -> Iterator[list[bool]]:
    """Whether there were gradients in each pass through the backbone."""
    found: list[bool] = []
    backbone = game.encoder.backbone
    assert isinstance(backbone, nn.Module)
    hook = backbone.register_forward_pre_hook(lambda *_: found.append(torch.is_grad_enabled()))
    try:
        yield found
    finally:
        hook.remove()


def test_the_excess_is_that_of_the_attack_above_random_signs_by_hand() -> None:
    views, game, copy = ring.views(), around(), around()
    context = ring.prepared(copy)
    hard = opponent_of(copy).attacked(as_views(views), context)[0].pixels
    settings = PerturbationSettings(epsilon=EPSILON)
    random = random_signs(views[0], settings, generator=context.generator)
    # Both clean views share their statistics; the changed ones go through the other norms.
    anchor = copy.encoder(torch.cat(views))[: len(views[0])]
    with adversarial_norms(copy.encoder):
        aimed, unaimed = (
            nt_xent(torch.stack([anchor, copy.encoder(shown)]), temperature=0.2)
            for shown in (hard, random)
        )
    metrics = stepped(game)
    assert float(metrics["perturbation/loss"]) == pytest.approx(float(aimed.detach()), rel=1e-9)
    expected = float((aimed - unaimed).detach())
    assert expected > 0.01
    assert float(metrics["opponent/excess_loss"]) == pytest.approx(expected, rel=1e-9)


def test_the_excess_is_in_nats_whatever_the_scale_of_the_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # MoCo v3 multiplies the sum of two cross-entropies by 2 t.
    game = around("mocov3")
    opponent, seen = opponent_of(game), []
    measure = opponent._loss_on_random

    def noted(*given: Any) -> Tensor:
        """The loss that is measured, which is kept."""
        seen.append(measure(*given))
        return seen[-1]

    monkeypatch.setattr(opponent, "_loss_on_random", noted)
    metrics = stepped(game)
    raw = float(metrics["perturbation/loss"]) - float(seen[0])
    assert float(metrics["opponent/excess_loss"]) == pytest.approx(raw / (4 * 0.2), rel=1e-9)


def test_every_sixth_step_makes_one_more_pass_and_that_without_gradient() -> None:
    game = around()
    opponent_of(game).attacked(as_views(ring.views()), ring.prepared(game))  # finds who asks
    found = []
    for number in range(2 * MEASURED_EVERY):
        with passes(game) as steps:
            stepped(game, number)
        # The attack, both clean views together, the attacked view.
        found.append((steps.count(True), steps.count(False)))
    assert found == 2 * [(3, 1), *(MEASURED_EVERY - 1) * [(3, 0)]]


@pytest.mark.parametrize("method", ["simclr", "mocov2"])
def test_measuring_changes_no_bit_of_the_game(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for is_measured in (True, False):
        game = around(method, network=WithDropout)
        if not is_measured:
            monkeypatch.setattr(Perturbation, "_is_measured", lambda *_: False)
        torch.manual_seed(0)  # of dropout
        for number in range(MEASURED_EVERY + 2):
            stepped(game, number)
        found.append({k: v for k, v in state(game.method).items() if not k.startswith("dial.")})
        assert opponent_of(game).dial.num_measured == 2 * is_measured
    assert not changed(*found)


def test_a_larger_epsilon_adds_more_nats() -> None:
    excess = []
    for epsilon in (0.002, 0.005, 0.01, 0.02, 0.04):
        game = around(network=ring.Plain, epsilon=epsilon)
        excess.append(float(stepped(game)["opponent/excess_loss"]))
    assert excess[0] > 0
    assert excess == sorted(excess)


def test_a_held_strength_makes_epsilon_a_share_of_the_largest() -> None:
    game, views = around(strength=0.2, largest_epsilon=0.08), ring.views()
    moved = opponent_of(game).attacked(as_views(views), ring.prepared(game))[0].pixels - views[0]
    assert float(moved.abs().max()) == pytest.approx(START * 0.08, rel=1e-6)
    metrics = stepped(game)
    assert float(metrics["perturbation/epsilon"]) == pytest.approx(START * 0.08, rel=1e-6)


@pytest.mark.parametrize(("target", "is_more"), [(3.0, True), (1e-4, False)])
def test_epsilon_moves_towards_the_target(target: float, is_more: bool) -> None:
    game = around(network=ring.Plain, strength=target)
    sizes = [
        float(stepped(game, number)["perturbation/epsilon"])
        for number in range(3 * MEASURED_EVERY + 1)
    ]
    assert len(set(sizes)) == 4  # at three measurements it moves, and in between it stays
    assert (sizes[-1] > sizes[0]) is is_more


def test_several_steps_of_an_attack_follow_epsilon() -> None:
    game, views = around(strength=0.2, steps=3, random_start=True), ring.views()
    opponent, context = opponent_of(game), ring.prepared(game)
    moved = opponent.attacked(as_views(views), context)[0].pixels - views[0]
    size = float(torch.as_tensor(opponent.epsilon(context.position)))
    assert 0.9 * size < float(moved.abs().max()) <= size * (1 + 1e-6)


def played(**perturbation: Any) -> dict[str, Tensor]:
    """State of a game after a few steps, all but the dial's."""
    game = around(**perturbation)
    for number in range(MEASURED_EVERY + 2):
        stepped(game, number)
    return {k: v for k, v in state(game.method).items() if not k.startswith("dial.")}


@pytest.mark.parametrize("extra", [{}, {"norms": "shared"}, {"random_start": True, "clip": [0, 1]}])
def test_strength_0_is_the_twin_of_size_0_to_the_bit(extra: dict[str, Any]) -> None:
    twin = played(strength=0.0, disarmed="random-signs", **extra)
    assert not changed(played(strength=0.0, **extra), twin)
    assert changed(played(strength=0.3, **extra), twin)


def test_at_strength_0_no_pixel_moves_and_nothing_is_added() -> None:
    game, views = around(strength=0.0), ring.views()
    shown = opponent_of(game).attacked(as_views(views), ring.prepared(game))[0].pixels
    assert torch.equal(shown, views[0])
    metrics = stepped(game)
    assert metrics["perturbation/epsilon"] == 0.0
    assert float(metrics["opponent/excess_loss"]) == 0.0
    assert float(metrics["opponent/share"]) == 0.0


def test_a_held_strength_leaves_the_twin_as_it_is_and_measures_nothing() -> None:
    twin: dict[str, Any] = {"disarmed": "random-signs"}
    assert not changed(played(**twin), played(strength=0.3, **twin))
    metrics = stepped(around(strength=0.3, **twin))
    assert metrics["perturbation/epsilon"] == EPSILON
    assert not STRENGTH_METRICS.keys() & metrics.keys()


@pytest.mark.parametrize(
    ("strength", "shown"),
    [(0.2, "strength=0.2"), ({"nats": 0.3, "schedule": "rising"}, "strength.nats=0.3")],
)
def test_a_held_strength_is_refused_around_a_loss_without_nats(strength: Any, shown: str) -> None:
    with pytest.raises(ConfigError) as refused:
        games.game("byol", opponent=["perturbation"], perturbation={"strength": strength})
    assert str(refused.value) == (
        f"perturbation.{shown}: no dial here, since the loss of BYOL is no negative log-likelihood "
        "and the opponent has no strength in nats against it; leave out perturbation.strength, and "
        "perturbation.epsilon sets the size"
    )


def test_around_a_loss_without_nats_nothing_is_measured() -> None:
    game = around("byol")
    with passes(game) as steps:
        metrics = stepped(game)
    assert all(steps)
    assert not STRENGTH_METRICS.keys() & metrics.keys()


def test_a_fixed_step_size_is_refused_where_epsilon_is_held() -> None:
    PerturbationSettings.build({"step_size": 0.01})
    with pytest.raises(ConfigError, match=r"step_size=0\.01 .*leave out step_size"):
        PerturbationSettings.build({"step_size": 0.01, "strength": 0.2})


def test_the_strength_of_a_bank_inside_has_names_of_its_own() -> None:
    game = ring.game("adco", opponent=["perturbation"], bank={"size": 16}, queue_epochs=0.0)
    metrics: dict[str, Any] = {}
    for number in range(3):
        metrics |= stepped(game, number)
    assert {"opponent/excess_loss", "opponent/inner/excess_loss"} <= metrics.keys()
    assert metrics["opponent/excess_loss"] != metrics["opponent/inner/excess_loss"]
    assert metrics.keys() <= metrics_of("adco", ("perturbation",)).keys()


def test_pictures_show_the_attack_at_its_present_size() -> None:
    game = around(network=ring.Plain, strength=3.0)
    for number in range(2 * MEASURED_EVERY):
        stepped(game, number)
    context = ring.prepared(game, 2 * MEASURED_EVERY)
    found = opponent_of(game).pictures(as_views(ring.views()), context).changed
    assert found is not None
    size = float((found[1] - found[0]).abs().max())
    assert size == pytest.approx(
        float(torch.as_tensor(opponent_of(game).epsilon(context.position))), rel=1e-6
    )
    assert size > START * PerturbationSettings().largest_epsilon
