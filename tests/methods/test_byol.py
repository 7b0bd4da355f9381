"""BYOL: what the predictions are held to, and what holds still."""

from typing import Any

import collapse
import pytest
import ring
import torch
from torch import Tensor, nn

import games
from sparring.methods.byol import BYOL
from sparring.models.view import as_views
from sparring.objectives.alignment import normalised_regression
from sparring.training.build import Game

PLAIN = {"predictor": {"kind": "plain", "hidden": 24}}


def started(**settings: Any) -> tuple[Game, BYOL]:
    """Game after two steps, so that teacher and encoder differ."""
    game = ring.game(
        "byol",
        **{
            "players": {"encoder": {"learning_rate": 0.5}},
            "teacher_momentum": 0.5,
            **PLAIN,
            **settings,
        },
    )
    for number in (10, 11):
        game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))
    assert isinstance(game.method, BYOL)
    return game, game.method


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def one_way(method: BYOL, student_view: Tensor, teacher_view: Tensor) -> Tensor:
    prediction, target = (
        method.predictor(method.encoder(student_view)),
        method.teacher(teacher_view),
    )
    return (unit(prediction) - unit(target)).square().sum(dim=1).mean()


def test_the_loss_is_the_sum_of_both_directions_mean_squared_distances() -> None:
    game, method = started()
    first, second = ring.views()
    loss = method.loss(as_views([first, second]), ring.prepared(game)).loss
    torch.testing.assert_close(
        loss, one_way(method, first, second) + one_way(method, second, first), rtol=1e-12, atol=0
    )
    # A view is predicted from the other one, not from itself.
    itself = one_way(method, first, first) + one_way(method, second, second)
    assert not torch.isclose(loss, itself, rtol=1e-6)


def test_only_the_student_has_a_predictor() -> None:
    _, method = started()
    view = ring.views()[0]
    assert torch.equal(method.teacher(view), method.teacher.network(view))
    assert not [name for name, _ in method.teacher.named_parameters() if "predictor" in name]


def test_gradient_reaches_backbone_projector_and_predictor_but_not_the_teacher() -> None:
    game, method = started()
    loss = method.loss(as_views(ring.views()), ring.prepared(game)).loss
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    for part in (method.encoder.backbone, method.encoder.projector, method.predictor):
        assert isinstance(part, nn.Module)
        found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in found)


def test_the_gradient_is_that_of_fixed_targets() -> None:
    game, method = started()
    first, second = ring.views()
    targets = [method.teacher(second), method.teacher(first)]
    weights = list(method.encoder.parameters())
    fixed = sum(
        normalised_regression(method.predictor(method.encoder(view)), target)
        for view, target in zip((first, second), targets, strict=True)
    )
    assert isinstance(fixed, Tensor)
    ours = torch.autograd.grad(
        method.loss(as_views([first, second]), ring.prepared(game)).loss, weights
    )
    for found, wanted in zip(ours, torch.autograd.grad(fixed, weights), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)


def momentum_of(number: int, **settings: Any) -> float:
    """The coefficient with which the teacher moved at this step of 100, read off its parameters."""
    game, method = started(**settings)
    before = torch.cat([parameter.flatten() for parameter in ring.parameters(method.teacher)])
    now = ring.prepared(game, number)
    method.step(as_views(ring.views()), game.players, now)
    online = torch.cat([parameter.flatten() for parameter in ring.parameters(method.encoder)])
    after = torch.cat([parameter.flatten() for parameter in ring.parameters(method.teacher)])
    # teacher' = m teacher + (1 - m) online, so m is the share of the way that is left.
    return float((after - online) @ (before - online) / (before - online).square().sum())


@pytest.mark.parametrize(
    ("number", "expected"), [(0, 0.6), (50, 0.8), (99, 1 - 0.4 * 0.5 * (1 - 0.9995065603657316))]
)
def test_the_teacher_slows_down_along_half_a_cosine(number: int, expected: float) -> None:
    # 1 - (1 - 0.6) (cos(pi k / 100) + 1) / 2; cos(0.99 pi) = -0.99950656...
    assert momentum_of(number, teacher_momentum=0.6) == pytest.approx(expected, rel=1e-9)


def test_a_constant_schedule_keeps_the_teachers_pace() -> None:
    assert momentum_of(99, teacher_momentum=0.6, teacher_schedule="constant") == pytest.approx(
        0.6, rel=1e-9
    )


def test_the_teacher_follows_the_moved_encoder() -> None:
    game, method = started(teacher_momentum=0.0, teacher_schedule="constant")
    method.step(as_views(ring.views()), game.players, ring.prepared(game))
    for mine, online in zip(method.teacher.parameters(), method.encoder.parameters(), strict=True):
        torch.testing.assert_close(mine, online.detach(), rtol=1e-12, atol=0)


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    game, method = started(players={"encoder": {"learning_rate": 0.05, "momentum": 0.0}})
    views, now = ring.views(), ring.prepared(game)
    before = method.loss(as_views(views), now).loss
    game.players["encoder"].update(before)
    assert method.loss(as_views(views), now).loss < before


def test_with_predictor_and_teacher_the_embeddings_stay_apart() -> None:
    game = collapse.game("byol")
    spread = collapse.spread_after(
        game,
        lambda views, number: game.method.step(
            as_views(views), game.players, games.context(number)
        ),
    )
    assert spread > collapse.APART


def test_without_the_predictor_the_embeddings_collapse() -> None:
    game = collapse.game("byol")
    game.method.predictor = nn.Identity()
    spread = collapse.spread_after(
        game,
        lambda views, number: game.method.step(
            as_views(views), game.players, games.context(number)
        ),
    )
    assert spread < collapse.TOGETHER


def test_with_the_student_itself_as_teacher_the_embeddings_collapse() -> None:
    game = collapse.game("byol")
    method = game.method
    assert isinstance(method, BYOL)

    def move(views: list[Tensor], number: int) -> None:
        embeddings = [method.encoder(view) for view in views]
        predictions = [method.predictor(embedding) for embedding in embeddings]
        game.players["encoder"].update(
            normalised_regression(predictions[0], embeddings[1])
            + normalised_regression(predictions[1], embeddings[0])
        )

    assert collapse.spread_after(game, move) < collapse.TOGETHER
