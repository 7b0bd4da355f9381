"""CaCo: filling, who chooses, both roles' moves against steps written by hand, crops, and the
disarmed twins."""

from pathlib import Path
from typing import Any

import pytest
import ring
import torch
from torch import Tensor

import games
from sparring.methods.caco import FILL_TEMPERATURE, CaCo
from sparring.methods.method import Context, MethodLoss
from sparring.models.view import as_views
from sparring.objectives.contrastive import info_nce
from sparring.objectives.similarity import cosine, unit_rows
from sparring.optim.schedule import Position, teacher_momentum
from sparring.training.build import Game
from sparring.training.metrics import read_metrics

TEMPERATURE = 0.2


def caco(**settings: Any) -> tuple[Game, CaCo]:
    """Untrained game in which both players take large steps."""
    given = {
        "bank": {"size": 40, "temperature": TEMPERATURE},
        "queue_epochs": 0.0,
        "teacher_schedule": "cosine",
        "scale_bank_rate": False,
        "players": {"encoder": {"learning_rate": 0.5}, "bank": {"learning_rate": 1.0}},
    }
    game = ring.game("caco", **{**given, **settings})
    assert isinstance(game.method, CaCo)
    return game, game.method


def begun(**settings: Any) -> tuple[Game, CaCo]:
    """Game whose teacher differs from the encoder and whose bank is full of spread directions of
    various lengths."""
    game, method = caco(**settings)
    with torch.no_grad():
        for parameter in method.teacher.network.parameters():
            parameter.add_(
                0.3
                * parameter.abs().mean()
                * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)).double()
            )
    queries = unit_rows(
        method.encoder(torch.cat([ring.views(number)[0] for number in (20, 21, 22)])).detach()
    )[:40]
    method.bank.fill(queries + 0.5 * unit_rows(ring.spread(40)))
    with torch.no_grad():
        method.bank.vectors.mul_(torch.linspace(0.5, 2.0, 40, dtype=torch.float64)[:, None])
    return game, method


def vectors(method: CaCo) -> Tensor:
    return method.bank.vectors.detach().clone()


def one_way(method: CaCo, asking: Tensor, choosing: Tensor) -> Tensor:
    """Cross-entropy of the query of one view; the other view's key chooses."""
    chosen = cosine(method.teacher(choosing), method.bank.vectors.detach()).argmax(dim=1)
    return torch.nn.functional.cross_entropy(
        cosine(method.encoder(asking), method.bank.vectors.detach()) / TEMPERATURE, chosen
    )


def test_while_filling_the_key_is_the_positive_and_the_keys_overwrite_the_bank() -> None:
    game, method = caco()
    keys = []
    for number in range(3):
        views, now = ring.views(number), ring.prepared(game, number)
        assert not method.bank.is_full
        found = method.loss(as_views(views), now)
        expected = info_nce(
            method.encoder(views[0]),
            method.teacher(views[1]),
            vectors(method),
            temperature=FILL_TEMPERATURE,
        )
        torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0)
        keys.append(unit_rows(method.teacher(views[1])))
        method.step(as_views(views), game.players, now)
    filled = torch.cat(keys)
    torch.testing.assert_close(
        vectors(method), torch.cat([filled[40:], filled[8:40]]), rtol=1e-12, atol=0
    )
    assert ring.equal(ring.parameters(method.teacher), ring.parameters(method.encoder))
    assert not game.players["bank"].state_dict()["state"]


def test_the_loss_is_the_sum_over_views_and_the_other_views_key_chooses() -> None:
    game, method = begun()
    first, second = ring.views()
    loss = method.loss(as_views([first, second]), ring.prepared(game)).loss
    torch.testing.assert_close(
        loss, one_way(method, first, second) + one_way(method, second, first), rtol=1e-9, atol=0
    )
    own = one_way(method, first, first) + one_way(method, second, second)
    assert not torch.isclose(loss, own, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"queue_epochs": 9.0}, {"disarmed": "instance-key"}])
def test_the_mean_over_views_is_half_the_sum_for_the_encoder_and_the_same_game_for_the_bank(
    settings: dict[str, Any],
) -> None:
    found = []
    for reduction in ("sum", "mean"):
        game, method = begun(reduction=reduction, **settings)
        found.append(method.loss(as_views(ring.views()), ring.prepared(game)))
    total, mean = found
    torch.testing.assert_close(mean.loss, total.loss / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(mean.outputs["bank_loss"], total.outputs["bank_loss"])


def by_hand(method: CaCo, pairs: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    """The bank's gradient of weighted (query view, key view) pairs, from the equations."""
    bank, total = vectors(method), torch.zeros_like(method.bank.vectors)
    unit, norm = unit_rows(bank), bank.norm(dim=1, keepdim=True)
    for asking, choosing, weight in pairs:
        q = unit_rows(method.encoder(asking).detach())
        s = q @ unit.T
        c = (s / TEMPERATURE).softmax(dim=1)
        rows, chosen = (
            torch.arange(len(q)),
            (unit_rows(method.teacher(choosing)) @ unit.T).argmax(dim=1),
        )
        c[rows, chosen] = 1 - c[rows, chosen]
        total -= (
            weight * (c.T @ q - (c * s).sum(dim=0)[:, None] * unit) / (len(q) * TEMPERATURE * norm)
        )
    return total


def test_the_bank_moves_as_written_by_hand_without_decay_or_renormalisation() -> None:
    game, method = begun()
    velocity = torch.zeros_like(vectors(method))
    for number in range(3):
        (first, second), bank = ring.views(number), vectors(method)
        velocity = 0.9 * velocity + by_hand(method, [(first, second, 1.0), (second, first, 1.0)])
        method.step(as_views([first, second]), game.players, ring.prepared(game, number))
        # float64: the closed form sums in another order.
        torch.testing.assert_close(vectors(method), bank - velocity, rtol=1e-9, atol=1e-12)
    assert (
        vectors(method).norm(dim=1) - torch.linspace(0.5, 2.0, 40, dtype=torch.float64)
    ).min() > -0.6
    assert game.method.settings.players.bank.weight_decay == 0  # type: ignore[union-attr]


def test_the_encoders_move_leaves_the_bank_and_the_banks_move_leaves_the_encoder() -> None:
    game, method = begun()
    found = method.loss(as_views(ring.views()), ring.prepared(game))
    bank, encoder = vectors(method), ring.parameters(method.encoder)
    game.players["encoder"].update(found.loss)
    assert torch.equal(vectors(method), bank)
    moved = ring.parameters(method.encoder)
    assert not ring.equal(moved, encoder)
    game.players["bank"].update(found.outputs["bank_loss"])
    assert ring.equal(ring.parameters(method.encoder), moved)
    assert not torch.equal(vectors(method), bank)


def crops() -> list[Tensor]:
    """Two large views and three small ones."""
    first, second = ring.views()
    return [first, second, *(ring.views(number)[0][..., :8, :8] for number in (0, 1, 2))]


def test_crops_are_two_means_over_large_and_small_pairs() -> None:
    game, method = begun()
    first, second, *small = crops()
    found = method.loss(as_views([first, second, *small]), ring.prepared(game))
    large = (one_way(method, first, second) + one_way(method, second, first)) / 2
    crossed = torch.stack(
        [one_way(method, crop, key) for crop in small for key in (first, second)]
    ).mean()
    torch.testing.assert_close(found.loss, large + crossed, rtol=1e-9, atol=0)
    pairs = [
        (first, second, 0.5),
        (second, first, 0.5),
        *((crop, key, 1 / 6) for crop in small for key in (first, second)),
    ]
    gradient = torch.autograd.grad(found.outputs["bank_loss"], method.bank.vectors)[0]
    torch.testing.assert_close(gradient, by_hand(method, pairs), rtol=1e-9, atol=1e-12)


def test_the_published_crops_run_through_filling_and_game(tmp_path: Path) -> None:
    run = games.training(
        "caco", tmp_path, count=32, views={"preset": "multi-crop-caco"}, training={"max_steps": 4}
    )
    recipes = run.config.method_settings.views.resolve(224)
    assert [view.size for view in recipes] == [224, 224, *[96] * 6]
    assert [view.crop_scale for view in recipes[1:3]] == [(0.14, 1.0), (0.05, 0.14)]
    assert {(view.saturation, view.blur, view.solarise) for view in recipes} == {(0.4, 0.5, 0.0)}
    run.run()
    assert [
        "bank/positive_mass" in record for record in read_metrics(tmp_path / "metrics.jsonl")
    ] == [False, False, False, True]


# The schedule and the scale


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.99), (100, 0.995), (200, 1.0)])
def test_the_teachers_momentum_rises_from_epoch_to_epoch(epoch: int, expected: float) -> None:
    for within in (0, 9):
        now = Position(step=10 * epoch + within, num_steps=2000, steps_per_epoch=10)
        assert teacher_momentum(0.99, now, schedule="cosine", per_epoch=True) == pytest.approx(
            expected, abs=1e-12
        )


def bank_gradient(method: CaCo, found: MethodLoss) -> Tensor:
    return torch.autograd.grad(found.outputs["bank_loss"], method.bank.vectors)[0]


def test_the_banks_step_is_scaled_to_the_published_one_in_small_batches_only() -> None:
    gradients = []
    for scale in (True, False):
        game, method = begun(scale_bank_rate=scale)
        gradients.append(
            bank_gradient(method, method.loss(as_views(ring.views()), ring.prepared(game)))
        )
    torch.testing.assert_close(
        gradients[0], gradients[1] * 16 * TEMPERATURE / (1024 * 0.08), rtol=1e-9, atol=0
    )
    game, method = begun(
        scale_bank_rate=True, bank={"size": 40, "temperature": 10.0}, temperature=10.0
    )
    large = bank_gradient(method, method.loss(as_views(ring.views()), ring.prepared(game)))
    game, method = begun(
        scale_bank_rate=False, bank={"size": 40, "temperature": 10.0}, temperature=10.0
    )
    assert torch.equal(
        large, bank_gradient(method, method.loss(as_views(ring.views()), ring.prepared(game)))
    )


# Duty


def loss_after(method: CaCo, views: list[Tensor], now: Context) -> float:
    return float(method.loss(as_views(views), now).loss.detach())


@pytest.mark.parametrize(("twin", "sign"), [("negatives-only", 1), ("positives-only", -1)])
def test_each_role_changes_the_loss_in_its_direction_more_than_random_steps_of_equal_size(
    twin: str, sign: int
) -> None:
    # A small step, so that no query changes its choice.
    players = {"encoder": {}, "bank": {"learning_rate": 0.02, "momentum": 0.0}}
    game, method = begun(disarmed=twin, players=players)
    views, now, before = ring.views(), ring.prepared(game), vectors(method)
    found = method.loss(as_views(views), now)
    game.players["bank"].update(found.outputs["bank_loss"])
    change = sign * (loss_after(method, views, now) - float(found.loss.detach()))
    length = (vectors(method) - before).norm(dim=1, keepdim=True)
    random = []
    for seed in range(20):
        noise = ring.spread(40, seed=seed)
        noise = noise - (noise * unit_rows(before)).sum(dim=1, keepdim=True) * unit_rows(before)
        with torch.no_grad():
            method.bank.vectors.copy_(before + length * unit_rows(noise))
        random.append(sign * (loss_after(method, views, now) - float(found.loss.detach())))
    assert change > 0
    assert change > 2 * max(random)


# Twins


def test_frozen_learns_from_the_same_game_and_its_bank_stands_still() -> None:
    armed, frozen = begun(), begun(disarmed="frozen")
    bank = vectors(frozen[1])
    for number in range(2):
        losses = [
            float(
                method.step(
                    as_views(ring.views(number)), game.players, ring.prepared(game, number)
                )["loss"]
            )
            for game, method in (armed, frozen)
        ]
        assert (losses[0] == losses[1]) == (number == 0)
    assert torch.equal(vectors(frozen[1]), bank)
    assert not torch.equal(vectors(armed[1]), bank)


def test_positives_only_moves_the_chosen_entries_only() -> None:
    game, method = begun(disarmed="positives-only")
    bank, views = vectors(method), ring.views()
    chosen = set(torch.cat([method.bank.nearest(method.teacher(view)) for view in views]).tolist())
    method.step(as_views(views), game.players, ring.prepared(game))
    assert set((vectors(method) != bank).any(dim=1).nonzero().flatten().tolist()) == chosen
    assert len(chosen) < 40


def test_own_choice_lets_the_anchor_choose() -> None:
    game, method = begun(disarmed="own-choice")
    views = ring.views()
    logits = [
        cosine(method.encoder(view), method.bank.vectors.detach()) / TEMPERATURE for view in views
    ]
    expected = sum(torch.nn.functional.cross_entropy(each, each.argmax(dim=1)) for each in logits)
    found = method.loss(as_views(views), ring.prepared(game))
    torch.testing.assert_close(found.loss, expected, rtol=1e-9, atol=0)
    assert (
        found.loss < method.loss(as_views(list(reversed(views))), ring.prepared(game)).loss + 1e-9
    )
    armed = begun()[1].loss(as_views(views), ring.prepared(game))
    assert found.loss < armed.loss  # nobody has a better positive than one's own nearest


def test_instance_key_is_contrast_with_the_key_and_a_bank_of_negatives_only() -> None:
    game, method = begun(disarmed="instance-key")
    first, second = ring.views()
    found = method.loss(as_views([first, second]), ring.prepared(game))

    def loss(bank: Tensor) -> Tensor:
        return info_nce(
            method.encoder(first), method.teacher(second), bank, temperature=TEMPERATURE
        ) + info_nce(method.encoder(second), method.teacher(first), bank, temperature=TEMPERATURE)

    torch.testing.assert_close(found.loss, loss(vectors(method)), rtol=1e-9, atol=0)
    free = vectors(method).requires_grad_()
    torch.testing.assert_close(
        bank_gradient(method, found),
        -torch.autograd.grad(loss(free), free)[0],
        rtol=1e-9,
        atol=1e-12,
    )


def test_until_the_queues_epochs_are_over_the_full_bank_holds_the_newest_keys() -> None:
    game, method = caco(queue_epochs=0.5)
    for number in range(6):
        before = vectors(method)
        key = unit_rows(method.teacher(ring.views(number)[1]))
        metrics = method.step(
            as_views(ring.views(number)), game.players, ring.prepared(game, number)
        )
        if number < 5:
            assert (vectors(method) @ key.T).amax(dim=0).min() > 1 - 1e-12
            assert not game.players["bank"].state_dict()["state"]
        else:
            assert "bank/positive_mass" in metrics
            assert not torch.equal(vectors(method), before)


@pytest.mark.parametrize(("key_views", "stored"), [("one", [1]), ("all", [1, 0])])
def test_as_a_queue_the_bank_takes_in_the_keys_of_one_view_or_of_all(
    key_views: str, stored: list[int]
) -> None:
    bank = {"size": 64, "temperature": TEMPERATURE, "key_views": key_views}
    game, method = caco(queue_epochs=9.0, bank=bank)
    method.bank.fill(ring.spread(64))
    views, now = ring.views(), ring.prepared(game)
    expected = torch.cat([unit_rows(method.teacher(views[number])) for number in stored])
    method.step(as_views(views), game.players, now)
    torch.testing.assert_close(vectors(method)[: len(expected)], expected, rtol=1e-12, atol=0)
    assert method.bank.num_filled == 64 + len(expected)
