"""DINO: which views follow which, where the centre goes, and what stays fixed at the start."""

import math
from pathlib import Path
from typing import Any

import pytest
import ring
import torch
from torch import Tensor, nn

from ranks import on_ranks
from sparring import distributed
from sparring.methods.dino import DINO
from sparring.models.view import as_views
from sparring.training.build import Game

SMALL = {"num_prototypes": 12, "frozen_prototype_epochs": 0.0}


def started(**settings: Any) -> tuple[Game, DINO]:
    """Game after two steps, so that teacher and encoder differ and the centre is not zero."""
    game = ring.game(
        "dino",
        **{
            "players": {"encoder": {"learning_rate": 0.5}},
            "teacher_momentum": 0.5,
            **SMALL,
            **settings,
        },
    )
    for number in (10, 11):
        game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))
    assert isinstance(game.method, DINO)
    return game, game.method


def crops() -> list[Tensor]:
    """Two large views and three of half their side."""
    large, small = ring.views(), ring.views(1) + ring.views(2)
    return large + [view[:, :, ::2, ::2].contiguous() for view in small[:3]]


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def cross_entropy(method: DINO, seen: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """One pair of views, row by row: the student in `other` follows the teacher in `seen`."""
    teacher = unit(method.teacher(seen)) @ unit(method.teacher_prototypes.network.weight).T
    student = unit(method.encoder(other)) @ unit(method.prototypes.weight).T
    terms = []
    for t, s in zip(teacher, student, strict=True):
        wanted = ((t - method.centre) / temperature).exp()
        logits = s / method.settings.temperature
        terms.append(-(wanted / wanted.sum()) @ (logits - logits.exp().sum().log()))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("views", [ring.views(), crops()], ids=["two views", "multi-crop"])
def test_the_loss_is_the_mean_over_large_views_of_the_teacher_and_all_others(
    views: list[Tensor],
) -> None:
    game, method = started()
    loss = method.loss(as_views(views), ring.prepared(game)).loss
    pairs = [
        cross_entropy(method, views[t], views[s], temperature=0.04)
        for t in range(2)
        for s in range(len(views))
        if s != t
    ]
    torch.testing.assert_close(loss, torch.stack(pairs).mean(), rtol=1e-11, atol=0)


def test_views_of_one_size_share_batch_norm_statistics() -> None:
    game = ring.game("dino", network=ring.Normed, **SMALL)
    views, method = crops(), game.method
    assert isinstance(method, DINO)
    with torch.no_grad():
        large, small = (method.encoder(torch.cat(group)) for group in (views[:2], views[2:]))
        apart = method.encoder(views[0])
        found = method._scores(as_views(views), ring.prepared(game))
        expected = [*method.prototypes(large).chunk(2), *method.prototypes(small).chunk(3)]
    for scores, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(scores, wanted, rtol=1e-12, atol=0)
    assert not torch.allclose(found[0], method.prototypes(apart))


def test_scores_are_cosines_whatever_the_length_of_a_prototype() -> None:
    game, method = started()
    views, now = as_views(ring.views()), ring.prepared(game)
    before = method.loss(views, now).loss
    with torch.no_grad():
        method.prototypes.weight *= torch.linspace(0.1, 9, 12).double()[:, None]
    torch.testing.assert_close(method.loss(views, now).loss, before, rtol=1e-12, atol=0)


def test_gradient_reaches_backbone_projector_and_prototypes_but_not_the_teacher() -> None:
    game, method = started()
    loss = method.loss(as_views(ring.views()), ring.prepared(game)).loss
    frozen = [*method.teacher.parameters(), *method.teacher_prototypes.parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)
    for part in (method.encoder.backbone, method.encoder.projector, method.prototypes):
        assert isinstance(part, nn.Module)
        found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in found)


def test_the_centre_follows_the_teachers_mean_score_after_the_loss() -> None:
    game, method = started(centre_momentum=0.7)
    views, before = ring.views(), method.centre.clone()
    scores = [
        unit(method.teacher(view)) @ unit(method.teacher_prototypes.network.weight).T
        for view in views
    ]
    loss = method.loss(as_views(views), ring.prepared(game)).loss
    found = method.step(as_views(views), game.players, ring.prepared(game))
    assert torch.equal(torch.as_tensor(found["loss"]), loss.detach())  # with the centre of before
    expected = 0.7 * before + 0.3 * torch.cat(scores).mean(dim=0)
    torch.testing.assert_close(method.centre, expected, rtol=1e-12, atol=0)
    assert not torch.allclose(method.centre, before)


def test_small_views_are_not_shown_to_the_teacher() -> None:
    centres = []
    for views in (crops(), crops()[:2]):
        game, method = started(teacher_momentum=1.0)
        method.step(as_views(views), game.players, ring.prepared(game))
        centres.append(method.centre)
    assert torch.equal(*centres)


def centre_of_share(folder: Path) -> Tensor:
    """The centre after two steps on this process's share of the batch."""
    game = ring.game("dino", **SMALL)
    for number in range(2):
        whole = ring.views(number)
        rows = distributed.own_rows(len(whole[0]) // distributed.num_processes())
        shares = as_views([view[rows] for view in whole])
        game.method.step(shares, game.players, ring.prepared(game, number, batch=len(rows)))
    assert isinstance(game.method, DINO)
    return game.method.centre


@pytest.mark.slow
def test_two_processes_have_the_centre_of_the_joint_batch(tmp_path: Path) -> None:
    first, second = on_ranks(centre_of_share, 2, tmp_path)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, centre_of_share(tmp_path), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_prototypes_stay_where_they_are_drawn_in_the_first_epochs(optimizer: str) -> None:
    player = {"players": {"encoder": {"optimizer": optimizer, "learning_rate": 0.01}}}
    game = ring.game("dino", num_prototypes=12, frozen_prototype_epochs=2.0, **player)
    method = game.method
    assert isinstance(method, DINO)
    drawn = unit(method.prototypes.weight.detach())
    for number, moves in ((0, False), (19, False), (20, True)):
        encoder = ring.parameters(method.encoder)
        method.step(as_views(ring.views()), game.players, ring.prepared(game, number))
        is_drawn = torch.allclose(unit(method.prototypes.weight.detach()), drawn, rtol=1e-10)
        assert is_drawn is not moves
        assert not ring.equal(encoder, ring.parameters(method.encoder))


def teacher_temperature(step: int, **settings: Any) -> float:
    """The temperature at a step of 100, found by the entropy of the teacher's distribution."""
    game, method = started(**settings)
    now = ring.prepared(game, step)
    entropy = float(method.loss(as_views(ring.views()), now).metrics["dino/teacher_entropy"])
    scores = torch.stack(
        [now.forward(v, method.teacher, method.teacher_prototypes) for v in as_views(ring.views())]
    )
    low, high = 0.01, 0.2
    for _ in range(60):
        middle = (low + high) / 2
        found = torch.softmax((scores - method.centre) / middle, dim=-1)
        share = float(torch.special.entr(found).sum(dim=-1).mean()) / math.log(12)
        low, high = (middle, high) if share < entropy else (low, middle)
    return (low + high) / 2


def test_the_teachers_temperature_rises_in_a_line_and_then_stays() -> None:
    warming = {
        "teacher_temperature": 0.07,
        "teacher_temperature_start": 0.04,
        "teacher_temperature_epochs": 3.0,
    }
    found = [teacher_temperature(step, **warming) for step in (0, 10, 30, 99)]
    assert found == pytest.approx([0.04, 0.05, 0.07, 0.07], rel=1e-6)


@pytest.mark.parametrize("number", [0, 50, 99])
def test_encoder_and_prototypes_are_followed_by_one_coefficient(number: int) -> None:
    game, method = started(teacher_momentum=0.6)
    pairs = ((method.teacher, method.encoder), (method.teacher_prototypes, method.prototypes))
    before = [ring.parameters(teacher) for teacher, _ in pairs]
    method.step(as_views(ring.views()), game.players, ring.prepared(game, number))
    momentum = 1 - (1 - 0.6) * (1 + math.cos(math.pi * number / 100)) / 2
    for (teacher, online), old in zip(pairs, before, strict=True):
        for new, was, now in zip(
            ring.parameters(teacher), old, ring.parameters(online), strict=True
        ):
            torch.testing.assert_close(new, momentum * was + (1 - momentum) * now)


def test_metrics_tell_the_loss_apart_into_entropy_and_divergence() -> None:
    game, method = started()
    found = method.loss(as_views(crops()), ring.prepared(game))
    shares = {name.removeprefix("dino/"): float(value) for name, value in found.metrics.items()}
    whole = shares["teacher_entropy"] * math.log(12) + shares["teacher_kl"]
    assert float(found.loss.detach()) == pytest.approx(whole, rel=1e-12)
    assert 0 < shares["teacher_information"] < math.log(12)


def test_the_alarm_tells_both_kinds_of_collapse_after_the_first_epoch() -> None:
    healthy = {"epoch": 3.0, "dino/teacher_information": 0.5, "dino/teacher_entropy": 0.6}
    assert DINO.alarm(healthy) is None
    uniform = {**healthy, "dino/teacher_information": 0.0, "dino/teacher_entropy": 0.99}
    constant = {**healthy, "dino/teacher_information": 0.0, "dino/teacher_entropy": 0.05}
    assert "alike in every image" in str(DINO.alarm(uniform))
    assert "the same few prototypes" in str(DINO.alarm(constant))
    assert DINO.alarm({**uniform, "epoch": 0.5}) is None
    assert DINO.alarm({"loss": 1.0}) is None
