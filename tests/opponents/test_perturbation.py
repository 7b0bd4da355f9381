"""Perturbation around a method: who sees what in which norms, what the attack may touch, and that
it does its duty."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import ring
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.methods.method import Context, Method, MethodLoss, Metrics
from sparring.models.encoder import Encoder
from sparring.models.split_norm import SplitNorm
from sparring.models.view import View, as_views
from sparring.objectives.contrastive import nt_xent
from sparring.objectives.similarity import unit_rows
from sparring.opponents.perturbation import Perturbation
from sparring.opponents.pixel_attack import PerturbationSettings
from sparring.optim.player import Player
from sparring.training.build import Game

EPSILON = 0.02
BASES = ("simclr", "plain", "uel")


def around(
    method: str = "simclr", *, network: type[nn.Module] = ring.Normed, **settings: Any
) -> Game:
    """A method in double precision with a perturbation around it."""
    section = {"epsilon": EPSILON, **settings.pop("perturbation", {})}
    return ring.game(method, network, opponent=["perturbation"], perturbation=section, **settings)


def bare(
    method: str = "simclr", *, network: type[nn.Module] = ring.Normed, **settings: Any
) -> Game:
    """The same method alone."""
    return ring.game(method, network, **settings)


def attacked(game: Game, views: Sequence[Tensor]) -> Tensor:
    """What the opponent makes of the first view."""
    opponent = game.method
    assert isinstance(opponent, Perturbation)
    return opponent.attacked(as_views(views), ring.prepared(game))[0].pixels


def stepped(game: Game, views: Sequence[Tensor]) -> Metrics:
    """One round; its metrics, of which `loss` is what the encoder's player minimised."""
    return game.method.step(as_views(views), game.players, ring.prepared(game))


@contextmanager
def seen(encoder: nn.Module) -> Iterator[list[tuple[Tensor, bool]]]:
    """Images that pass the backbone, and whether they pass the attacked images' norms."""
    found: list[tuple[Tensor, bool]] = []
    norm = next(module for module in encoder.modules() if isinstance(module, SplitNorm))
    backbone = encoder.backbone
    assert isinstance(backbone, nn.Module)
    hook = backbone.register_forward_pre_hook(
        lambda _, given: found.append((given[0].detach().clone(), norm.is_adversarial))
    )
    try:
        yield found
    finally:
        hook.remove()


@pytest.mark.parametrize("method", BASES)
def test_every_pixel_moves_by_epsilon(method: str) -> None:
    views = ring.views()
    moved = attacked(around(method), views) - views[0]
    assert float(moved.abs().max()) == pytest.approx(EPSILON, rel=1e-9)
    # A pixel on which no loss depends stays: none here, up to dead units at the border.
    assert float((moved.abs() > 0.99 * EPSILON).double().mean()) > 0.95


@pytest.mark.parametrize("method", BASES)
def test_the_attack_raises_the_loss_more_than_random_signs_of_the_same_size(method: str) -> None:
    views = ring.views()

    def loss(hard: Tensor) -> float:
        game = bare(method)
        found = game.method.loss(as_views([views[0], hard]), ring.prepared(game))
        return float(found.loss.detach())

    start, aimed = loss(views[0].clone()), loss(attacked(around(method), views))
    random = loss(attacked(around(method, perturbation={"disarmed": "random-signs"}), views))
    assert aimed > start
    assert aimed - start > 2 * (random - start)


def test_an_attack_in_one_forward_pass_is_the_attack_in_two() -> None:
    # By hand: the anchor is embedded apart from the attacked copy, both with batch statistics.
    views, game = ring.views(), bare("simclr")
    copy = views[0].clone().requires_grad_()
    anchor = game.method.encoder(views[0]).detach()
    (gradient,) = torch.autograd.grad(
        nt_xent(torch.stack([anchor, game.method.encoder(copy)]), temperature=0.2), copy
    )
    assert torch.equal(attacked(around("simclr"), views), views[0] + EPSILON * gradient.sign())


def test_at_the_start_the_direction_is_the_negatives_alone() -> None:
    views, game = ring.views(), bare("simclr")
    copy = views[0].clone().requires_grad_()
    anchor, moved = game.method.encoder(views[0]).detach(), game.method.encoder(copy)
    positive = (unit_rows(anchor) * unit_rows(moved)).sum()
    (of_positive,) = torch.autograd.grad(positive, copy, retain_graph=True)
    loss = nt_xent(torch.stack([anchor, moved]), temperature=0.2)
    (of_loss,) = torch.autograd.grad(loss, copy, retain_graph=True)
    assert float(of_positive.abs().mean()) < 1e-9 * float(of_loss.abs().mean())
    (of_negatives,) = torch.autograd.grad(loss + positive / (0.2 * ring.BATCH), copy)
    agree = (of_negatives.sign() == of_loss.sign()).double().mean()
    assert float(agree) > 0.99


def test_the_other_images_take_part_but_not_their_order() -> None:
    game, views = around("simclr", network=ring.Plain), ring.views()
    order = torch.cat(
        [
            torch.tensor([0]),
            1 + torch.randperm(ring.BATCH - 1, generator=torch.Generator().manual_seed(0)),
        ]
    )
    first = attacked(game, views)[0]
    # Sums over the batch in another order: a gradient within rounding of zero may change its sign.
    same = attacked(game, [view[order] for view in views])[0]
    assert float((first == same).double().mean()) > 0.999
    others = [torch.cat([view[:1], 1 - view[1:]]) for view in views]
    assert float((first == attacked(game, others)[0]).double().mean()) < 0.99


def test_the_step_sees_each_view_once_and_in_its_norms() -> None:
    game, views = around("simclr"), ring.views()
    attacked(game, views)  # finds out who asks, once per run
    with seen(game.method.encoder) as passes:
        stepped(game, views)
    hard = attacked(around("simclr"), views)
    # The attack's one pass, both clean views together, the attacked one: 4 images per image,
    # against 2 of the method alone; and every sixth step, such as this one, the random signs.
    assert [(len(images), is_adversarial) for images, is_adversarial in passes] == [
        (16, True),
        (32, False),
        (16, True),
        (16, True),
    ]
    encoder = game.method.encoder
    assert torch.equal(passes[0][0], (views[0] - encoder.mean) / encoder.std)
    torch.testing.assert_close(passes[3][0], (hard - encoder.mean) / encoder.std)


def test_the_loss_is_the_clean_one_and_alpha_times_the_hard_one() -> None:
    views = ring.views()
    found = {}
    for alpha in (0.0, 0.5, 1.0):
        game = around("simclr", perturbation={"alpha": alpha})
        metrics = stepped(game, views)
        found[alpha] = float(metrics["loss"])
        hard = float(metrics["perturbation/loss"])
    clean = bare("simclr")
    assert found[0.0] == float(
        clean.method.loss(as_views(views), ring.prepared(clean)).loss.detach()
    )
    assert found[0.5] == pytest.approx(found[0.0] + 0.5 * hard, rel=1e-12)
    assert found[1.0] == pytest.approx(found[0.0] + hard, rel=1e-12)


@pytest.mark.parametrize("method", ["simclr", "plain", "uel", "mocov2", "byol"])
def test_without_weight_the_step_is_the_methods_own_to_the_bit(method: str) -> None:
    views, game, alone = ring.views(), around(method, perturbation={"alpha": 0.0}), bare(method)
    for number in range(3):
        for each in (game, alone):
            each.method.step(as_views(views), each.players, ring.prepared(each, number))
    ours = {
        name.removeprefix("method.").replace(".clean.", "."): value
        for name, value in game.method.state_dict().items()
    }
    theirs = alone.method.state_dict()
    assert theirs.keys() <= ours.keys()
    assert not [
        name
        for name, value in theirs.items()
        if isinstance(value, Tensor) and not torch.equal(ours[name], value)
    ]


def test_clean_statistics_never_see_the_attack_and_gradients_stay_untouched() -> None:
    views, game, alone = ring.views(), around("simclr"), bare("simclr")
    for each in (game, alone):
        stepped(each, views)
    ours = {
        name: value for name, value in game.method.state_dict().items() if ".clean.running" in name
    }
    assert len(ours) == 2
    for name, value in ours.items():
        assert torch.equal(
            value, alone.method.state_dict()[name.removeprefix("method.").replace(".clean.", ".")]
        )
    assert all(parameter.grad is None for parameter in game.method.parameters())


@pytest.mark.parametrize(("counts", "expected"), [(True, 2), (False, 1)])
def test_whether_the_attacks_own_pass_counts_is_a_setting(counts: bool, expected: int) -> None:
    game, views = (
        around("simclr", perturbation={"attack_updates_statistics": counts}),
        ring.views(),
    )
    stepped(game, views)
    (tracked,) = (
        value
        for name, value in game.method.state_dict().items()
        if name.endswith("adversarial.num_batches_tracked")
    )
    assert int(tracked) == expected


def test_shared_norms_leave_no_twins() -> None:
    game = around("simclr", perturbation={"norms": "shared"})
    stepped(game, ring.views())
    assert not any(isinstance(module, SplitNorm) for module in game.method.modules())


def test_the_attacked_image_asks_where_a_key_has_no_gradient() -> None:
    # One-way momentum contrast: an attacked key would have none, and there would be no attack.
    game, views = around("mocov2", symmetric=False, queue={"size": 32}), ring.views()
    moved = attacked(game, views) - views[0]
    assert float((moved.abs() > 0.99 * EPSILON).double().mean()) > 0.9


class Bare(Method):
    """Positives alone, no predictor: nothing to attack at the start."""

    def __init__(self, encoder: Encoder, *, by_itself: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.by_itself = by_itself

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        left, right = (
            self.encoder(view.pixels) if self.by_itself else context.forward(view, self.encoder)
            for view in views
        )
        return MethodLoss(loss=(left - right).square().sum(dim=1).mean())

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        return {"loss": players["encoder"].update(self.loss(views, context).loss)}


def test_a_pair_that_is_empty_is_refused_and_says_what_helps() -> None:
    game, views = bare("simclr"), as_views(ring.views())
    encoder, now = game.encoder, ring.prepared(game)
    with pytest.raises(
        ConfigError,
        match=r"the loss of Bare does not change .*"
        r"set perturbation\.random_start=true or .*anchor=other-view",
    ):
        Perturbation(Bare(encoder), PerturbationSettings()).step(views, game.players, now)
    for settings in (
        PerturbationSettings(random_start=True),
        PerturbationSettings(anchor="other-view"),
    ):
        now = ring.prepared(game)
        metrics = Perturbation(Bare(encoder), settings).step(views, game.players, now)
        assert metrics["perturbation/loss"] > 0


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_method_that_hands_pixels_to_its_networks_itself_is_refused(by_itself: bool) -> None:
    # Its attacked images would go through the clean norms, unnoticed.
    game, views = bare("simclr"), as_views(ring.views())
    method = Bare(game.encoder, by_itself=by_itself)
    opponent = Perturbation(method, PerturbationSettings(anchor="other-view"))
    before = ring.parameters(game.encoder)
    if by_itself:
        with pytest.raises(
            ConfigError, match=r"no network of Bare .*context\.forward\(view, self\.encoder\)"
        ):
            opponent.step(views, game.players, ring.prepared(game))
    else:
        opponent.step(views, game.players, ring.prepared(game))
    assert ring.equal(ring.parameters(game.encoder), before) is by_itself


def test_a_predictor_is_split_and_follows_the_view_it_predicts_for() -> None:
    game, views = around("byol", predictor={"kind": "normed", "hidden": 16}), ring.views()
    stepped(game, views)
    state = game.method.state_dict()
    counts = {
        name: int(value)
        for name, value in state.items()
        if name.startswith("method.predictor") and "tracked" in name
    }
    # Clean: one batch of each view. Attacked: the attack's, and the trained one.
    assert counts == {
        "method.predictor.1.clean.num_batches_tracked": 2,
        "method.predictor.1.adversarial.num_batches_tracked": 2,
    }
