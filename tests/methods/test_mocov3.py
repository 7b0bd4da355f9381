"""MoCo v3: who asks, among which keys, with which weight; and how the teacher slows down."""

import math
from typing import Any

import pytest
import ring
import torch
from torch import Tensor, nn

from sparring.methods.mocov3 import MoCoV3
from sparring.models.view import as_views
from sparring.training.build import Game

PLAIN = {"predictor": {"kind": "plain", "hidden": 24}}


def started(**settings: Any) -> tuple[Game, MoCoV3]:
    """Game after two steps, so that teacher and encoder differ."""
    game = ring.game(
        "mocov3",
        **{
            "players": {"encoder": {"learning_rate": 0.5}},
            "teacher_momentum": 0.5,
            **PLAIN,
            **settings,
        },
    )
    for number in (10, 11):
        game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))
    assert isinstance(game.method, MoCoV3)
    return game, game.method


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def one_way(method: MoCoV3, asking: Tensor, answering: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy written as a loop over the rows."""
    query, key = unit(method.predictor(method.encoder(asking))), unit(method.teacher(answering))
    terms = []
    for i in range(len(query)):
        logits = key @ query[i] / temperature
        terms.append(torch.logsumexp(logits, dim=0) - logits[i])
    return torch.stack(terms).mean()


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_loss_is_twice_the_temperature_times_both_directions_cross_entropies(
    temperature: float,
) -> None:
    game, method = started(temperature=temperature)
    first, second = ring.views()
    loss = method.loss(as_views([first, second]), ring.prepared(game)).loss
    both = one_way(method, first, second, temperature=temperature) + one_way(
        method, second, first, temperature=temperature
    )
    torch.testing.assert_close(loss, 2 * temperature * both, rtol=1e-12, atol=0)
    itself = one_way(method, first, first, temperature=temperature) + one_way(
        method, second, second, temperature=temperature
    )
    assert not torch.isclose(loss, 2 * temperature * itself, rtol=1e-9, atol=0)


def test_indistinguishable_keys_cost_four_times_the_temperature_times_the_log_of_the_batch() -> (
    None
):
    game, method = started(temperature=0.25)
    with torch.no_grad():
        for network in (method.encoder, method.teacher.network):
            list(network.parameters())[
                -2
            ].zero_()  # the projector's last weight; its bias answers to every image
    loss = method.loss(as_views(ring.views()), ring.prepared(game)).loss
    assert float(loss.detach()) == pytest.approx(4 * 0.25 * math.log(ring.BATCH), rel=1e-12)


def test_the_weight_keeps_the_size_of_the_gradient_when_the_temperature_changes() -> None:
    sizes = {}
    for temperature in (50.0, 100.0):
        game, method = started(temperature=1.0)
        weights = list(method.encoder.parameters())
        method.settings = method.settings.model_copy(update={"temperature": temperature})
        found = torch.autograd.grad(
            method.loss(as_views(ring.views()), ring.prepared(game)).loss, weights
        )
        sizes[temperature] = float(torch.cat([gradient.flatten() for gradient in found]).norm())
    # Softmax is nearly flat at both, so the cross-entropy's gradient falls as 1 / t; deviations are
    # of order 1 / 50.
    assert sizes[50.0] == pytest.approx(sizes[100.0], rel=0.05)


def test_gradient_reaches_backbone_projector_and_predictor_but_not_the_teacher() -> None:
    game, method = started()
    loss = method.loss(as_views(ring.views()), ring.prepared(game)).loss
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    for part in (method.encoder.backbone, method.encoder.projector, method.predictor):
        assert isinstance(part, nn.Module)
        found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in found)


def test_only_the_student_has_a_predictor() -> None:
    _, method = started()
    assert not [name for name, _ in method.teacher.named_parameters() if "predictor" in name]


def momentum_of(number: int, **settings: Any) -> float:
    """The coefficient with which the teacher moved at this step of 100, read off its parameters."""
    game, method = started(**settings)
    before = torch.cat([parameter.flatten() for parameter in ring.parameters(method.teacher)])
    method.step(as_views(ring.views()), game.players, ring.prepared(game, number))
    online = torch.cat([parameter.flatten() for parameter in ring.parameters(method.encoder)])
    after = torch.cat([parameter.flatten() for parameter in ring.parameters(method.teacher)])
    # teacher' = m teacher + (1 - m) online, so m is the share of the way that is left.
    return float((after - online) @ (before - online) / (before - online).square().sum())


@pytest.mark.parametrize("number", [0, 50, 99])
def test_the_teacher_slows_down_along_half_a_cosine(number: int) -> None:
    expected = 1 - (1 - 0.6) * (1 + math.cos(math.pi * number / 100)) / 2
    assert momentum_of(number, teacher_momentum=0.6) == pytest.approx(expected, rel=1e-9)


def test_a_constant_schedule_keeps_the_teachers_pace() -> None:
    assert momentum_of(99, teacher_momentum=0.6, teacher_schedule="constant") == pytest.approx(
        0.6, rel=1e-9
    )


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    game, method = started(players={"encoder": {"learning_rate": 0.05, "momentum": 0.0}})
    views, now = ring.views(), ring.prepared(game)
    before = method.loss(as_views(views), now).loss
    game.players["encoder"].update(before)
    assert method.loss(as_views(views), now).loss < before
