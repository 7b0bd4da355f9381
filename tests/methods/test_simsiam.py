"""SimSiam: which side predicts, which side holds still, and that without either the embeddings
collapse."""

from typing import Any

import collapse
import pytest
import ring
import torch
from torch import Tensor, nn

import games
from sparring.methods.simsiam import SimSiam, SimSiamSettings
from sparring.models.view import as_views
from sparring.objectives.alignment import negative_cosine
from sparring.training.build import Game

PLAIN = {"predictor": {"kind": "plain", "hidden": 24}}


def started(**settings: Any) -> tuple[Game, SimSiam]:
    """Game after two steps."""
    game = ring.game(
        "simsiam", **{"players": {"encoder": {"learning_rate": 0.05}}, **PLAIN, **settings}
    )
    for number in (10, 11):
        game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))
    assert isinstance(game.method, SimSiam)
    return game, game.method


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def one_way(method: SimSiam, asking: Tensor, answering: Tensor) -> Tensor:
    prediction, target = method.predictor(method.encoder(asking)), method.encoder(answering)
    return -(unit(prediction) * unit(target)).sum(dim=1).mean()


def test_the_loss_is_the_mean_of_both_directions_negative_cosines() -> None:
    game, method = started()
    first, second = ring.views()
    loss = method.loss(as_views([first, second]), ring.prepared(game)).loss
    torch.testing.assert_close(
        loss,
        (one_way(method, first, second) + one_way(method, second, first)) / 2,
        rtol=1e-12,
        atol=0,
    )
    itself = (one_way(method, first, first) + one_way(method, second, second)) / 2
    assert not torch.isclose(loss, itself, rtol=1e-6)


def gradients(loss: Tensor, method: SimSiam) -> Tensor:
    return torch.cat(
        [
            gradient.flatten()
            for gradient in torch.autograd.grad(loss, list(method.encoder.parameters()))
        ]
    )


def test_no_gradient_flows_through_the_target() -> None:
    game, method = started()
    first, second = ring.views()
    targets = [method.encoder(view).detach().clone() for view in (second, first)]
    fixed = [
        negative_cosine(method.predictor(method.encoder(view)), target)
        for view, target in zip((first, second), targets, strict=True)
    ]
    found = gradients(method.loss(as_views([first, second]), ring.prepared(game)).loss, method)
    torch.testing.assert_close(
        found, gradients(torch.stack(fixed).mean(), method), rtol=1e-10, atol=1e-14
    )
    # The same value with the gradient let through moves the encoder elsewhere.
    through = gradients(
        (one_way(method, first, second) + one_way(method, second, first)) / 2, method
    )
    assert (through - found).norm() > 0.1 * found.norm()


def test_gradient_reaches_backbone_projector_and_predictor() -> None:
    game, method = started()
    loss = method.loss(as_views(ring.views()), ring.prepared(game)).loss
    for part in (method.encoder.backbone, method.encoder.projector, method.predictor):
        assert isinstance(part, nn.Module)
        found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in found)


def test_the_predictor_keeps_its_rate_by_default_and_the_encoder_does_not() -> None:
    moved = {}
    for steady in (SimSiamSettings().players.encoder.steady, ()):
        game, method = started(
            players={
                "encoder": {
                    "learning_rate": 0.05,
                    "momentum": 0.0,
                    "weight_decay": 0.0,
                    "steady": steady,
                }
            }
        )
        parts = {"encoder": method.encoder, "predictor": method.predictor}
        before = {
            name: torch.cat([p.flatten() for p in ring.parameters(part)])
            for name, part in parts.items()
        }
        method.step(as_views(ring.views()), game.players, ring.prepared(game, 75))
        moved[steady] = {
            name: torch.cat([p.flatten() for p in ring.parameters(part)]) - before[name]
            for name, part in parts.items()
        }
    # After three quarters of a cosine to 0 the rate is (1 - sqrt(1/2)) / 2 of its peak. The two
    # starting points differ by two early steps.
    ratio = {
        name: float(moved[("predictor",)][name].norm() / moved[()][name].norm())
        for name in ("encoder", "predictor")
    }
    assert ratio["encoder"] == pytest.approx(1.0, rel=0.05)
    assert ratio["predictor"] == pytest.approx(2 / (1 - 0.5**0.5), rel=0.05)


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    game, method = started(players={"encoder": {"learning_rate": 0.05, "momentum": 0.0}})
    views, now = ring.views(), ring.prepared(game)
    before = method.loss(as_views(views), now).loss
    game.players["encoder"].update(before)
    assert method.loss(as_views(views), now).loss < before


def test_with_predictor_and_stopped_gradient_the_embeddings_stay_apart() -> None:
    game = collapse.game("simsiam")
    spread = collapse.spread_after(
        game,
        lambda views, number: game.method.step(
            as_views(views), game.players, games.context(number)
        ),
    )
    assert spread > collapse.APART


def test_without_the_predictor_the_embeddings_collapse() -> None:
    game = collapse.game("simsiam")
    game.method.predictor = nn.Identity()
    spread = collapse.spread_after(
        game,
        lambda views, number: game.method.step(
            as_views(views), game.players, games.context(number)
        ),
    )
    assert spread < collapse.TOGETHER


def test_without_the_stopped_gradient_the_embeddings_collapse() -> None:
    game = collapse.game("simsiam")
    method = game.method
    assert isinstance(method, SimSiam)

    def move(views: list[Tensor], number: int) -> None:
        game.players["encoder"].update(
            (one_way(method, views[0], views[1]) + one_way(method, views[1], views[0])) / 2
        )

    assert collapse.spread_after(game, move) < collapse.TOGETHER
