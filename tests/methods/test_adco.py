"""AdCo: filling, both players' moves against steps written by hand, the bank's duty, and the forms
of the game."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ring
import torch
from torch import Tensor

import games
from sparring.methods.adco import AdCo
from sparring.methods.method import Context
from sparring.models.view import as_views
from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.objectives.similarity import unit_rows
from sparring.training.build import Game
from sparring.training.metrics import read_metrics

TEMPERATURE, BANK_TEMPERATURE = 0.2, 0.1
"""Far from saturation: at the published 0.02 an untrained encoder's softmax falls on one entry and
gradients vanish."""


def adco(**settings: Any) -> tuple[Game, AdCo]:
    """Untrained game in which both players take large steps."""
    given = {
        "temperature": TEMPERATURE,
        "form": "one-way",
        "bank": {"size": 40, "temperature": BANK_TEMPERATURE},
        "players": {"encoder": {"learning_rate": 0.5}, "bank": {"learning_rate": 1.0}},
    }
    game = ring.game("adco", **{**given, **settings})
    assert isinstance(game.method, AdCo)
    return game, game.method


def begun(**settings: Any) -> tuple[Game, AdCo]:
    """Game whose bank is full of directions as close to the queries as theirs are to one
    another, of various lengths."""
    game, method = adco(**settings)
    queries = unit_rows(
        method.encoder(torch.cat([ring.views(number)[0] for number in (20, 21, 22)])).detach()
    )[:40]
    method.bank.fill(queries + 0.3 * unit_rows(ring.spread(40)))
    with torch.no_grad():
        method.bank.vectors.mul_(torch.linspace(0.5, 2.0, 40, dtype=torch.float64)[:, None])
    assert method.bank.is_full
    return game, method


def vectors(method: AdCo) -> Tensor:
    return method.bank.vectors.detach().clone()


def encoder_loss(
    method: AdCo, views: list[Tensor], bank: Tensor, temperature: float = TEMPERATURE
) -> Tensor:
    return in_batch_info_nce(
        method.encoder(views[0]), method.teacher(views[1]), bank, temperature=temperature
    )


def played(game: Game, number: int) -> None:
    """A whole round on the views of that number."""
    game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))


# Filling


def filling(size: int = 40, **settings: Any) -> Iterator[tuple[Game, AdCo, list[Tensor], Context]]:
    """Rounds of a fresh game, each before it is played."""
    game, method = adco(bank={"size": size, "temperature": BANK_TEMPERATURE}, **settings)
    for number in range(100):
        views, now = ring.views(number), ring.prepared(game, number)
        yield game, method, views, now
        method.step(as_views(views), game.players, now)


def test_while_filling_the_loss_is_momentum_contrast_against_the_bank_as_it_stands() -> None:
    for number, (_, method, views, now) in zip(range(3), filling(), strict=False):
        bank = vectors(method)
        found = method.loss(as_views(views), now)
        expected = info_nce(
            method.encoder(views[0]), method.teacher(views[1]), bank, temperature=TEMPERATURE
        )
        torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0, msg=f"step {number}")
        in_batch = in_batch_info_nce(
            method.encoder(views[0]), method.teacher(views[1]), bank, temperature=TEMPERATURE
        )
        assert not torch.isclose(found.loss, in_batch, rtol=1e-3)
        assert "bank_loss" not in found.outputs


@pytest.mark.parametrize(("size", "steps"), [(16, 1), (32, 2), (40, 3)])
def test_a_bank_of_k_is_full_after_k_by_batch_steps_rounded_up(size: int, steps: int) -> None:
    states = [
        method.bank.is_full
        for _, (_, method, _, _) in zip(range(steps + 1), filling(size), strict=False)
    ]
    assert states == [False] * steps + [True]


def test_the_bank_fills_with_the_teachers_unit_keys() -> None:
    keys = []
    for number, (_, method, views, _) in zip(range(4), filling(), strict=False):
        if number < 3:
            keys.append(unit_rows(method.teacher(views[1])))
    filled = torch.cat(keys)
    # 48 keys for 40 places: the last 8 take those of the oldest.
    torch.testing.assert_close(
        vectors(method), torch.cat([filled[40:], filled[8:40]]), rtol=1e-12, atol=0
    )


def test_when_the_bank_is_full_the_teacher_takes_over_parameters_and_keeps_its_statistics() -> None:
    normed = ring.game("adco", ring.Normed, form="one-way", bank={"size": 40})
    assert isinstance(normed.method, AdCo)
    for number in range(3):
        assert number == 0 or not ring.equal(
            ring.parameters(normed.method.teacher), ring.parameters(normed.method.encoder)
        )
        played(normed, number)
    method = normed.method
    assert ring.equal(ring.parameters(method.teacher), ring.parameters(method.encoder))
    online, teacher = method.encoder.get_buffer, method.teacher.network.get_buffer
    statistics = "backbone.network.layers.1.running_mean"
    assert not torch.equal(online(statistics), teacher(statistics))
    played(normed, 3)
    assert not ring.equal(ring.parameters(method.teacher), ring.parameters(method.encoder))


def test_the_bank_enters_the_game_without_momentum_and_the_encoder_keeps_its_own() -> None:
    game, _ = adco()
    for number in range(3):
        played(game, number)
    assert not game.players["bank"].state_dict()["state"]
    assert game.players["encoder"].state_dict()["state"]
    played(game, 3)
    assert game.players["bank"].state_dict()["state"]


def test_the_bank_does_not_play_while_it_fills() -> None:
    game, method = adco()
    noise = vectors(method)
    played(game, 0)
    assert torch.equal(vectors(method)[16:], noise[16:])


@pytest.mark.parametrize(("epochs", "first_move"), [(0.0, 3), (0.2, 3), (0.5, 5), (1.0, 10)])
def test_the_bank_first_moves_when_it_is_full_and_its_epochs_as_a_queue_are_over(
    epochs: float, first_move: int
) -> None:
    # Ten steps per epoch; the bank is full after three in any case.
    rounds = zip(range(first_move + 2), filling(queue_epochs=epochs), strict=False)
    has_moved = [bool(game.players["bank"].state_dict()["state"]) for _, (game, _, _, _) in rounds]
    assert has_moved == [False] * (first_move + 1) + [True]


def test_as_a_queue_the_full_bank_holds_the_newest_keys_and_the_encoder_plays_the_game() -> None:
    keys, copied = [], []
    for number, (_, method, views, now) in zip(range(7), filling(queue_epochs=0.5), strict=False):
        copied.append(ring.equal(ring.parameters(method.teacher), ring.parameters(method.encoder)))
        if number >= 3:
            torch.testing.assert_close(
                method.loss(as_views(views), now).loss,
                encoder_loss(method, views, vectors(method)),
                rtol=1e-12,
                atol=0,
            )
        if number < 5:
            keys.append(unit_rows(method.teacher(views[1])))
        if number == 5:
            newest = torch.cat(keys)[-40:]
            cosines = vectors(method) @ newest.T
            # Every vector is one of the newest keys and every one of these is there.
            assert cosines.amax(dim=0).min() > 1 - 1e-12
            assert cosines.amax(dim=1).min() > 1 - 1e-12
    assert copied == [
        True,
        False,
        False,
        True,
        False,
        False,
        False,
    ]  # at the start they are equal anyway


@pytest.mark.parametrize(
    ("form", "key_views", "stored"),
    [("symmetric", "one", [1]), ("symmetric", "all", [1, 0]), ("one-way", "all", [1])],
)
def test_as_a_queue_the_bank_takes_in_the_keys_of_one_view_or_of_all_that_are_encoded(
    form: str, key_views: str, stored: list[int]
) -> None:
    bank = {"size": 64, "temperature": BANK_TEMPERATURE, "key_views": key_views}
    game, method = adco(form=form, bank=bank, queue_epochs=9.0)
    method.bank.fill(ring.spread(64))
    views, now = ring.views(), ring.prepared(game)
    expected = torch.cat([unit_rows(method.teacher(views[number])) for number in stored])
    method.step(as_views(views), game.players, now)
    torch.testing.assert_close(vectors(method)[: len(expected)], expected, rtol=1e-12, atol=0)
    assert method.bank.num_filled == 64 + len(expected)


def test_multi_crop_fills_with_keys_of_the_key_crop() -> None:
    game, method = adco(form="multi-crop")
    views = [ring.views()[0], ring.views(1)[0][..., :12, :12], ring.views(2)[0][..., :8, :8]]
    expected = unit_rows(method.teacher(views[0]))
    found = method.loss(as_views(views), ring.prepared(game))
    loss = info_nce(
        method.encoder(views[1]), method.teacher(views[0]), vectors(method), temperature=TEMPERATURE
    )
    torch.testing.assert_close(found.loss, loss, rtol=1e-12, atol=0)
    method.step(as_views(views), game.players, ring.prepared(game))
    torch.testing.assert_close(vectors(method)[:16], expected, rtol=1e-12, atol=0)


# Both moves


@pytest.mark.parametrize("form", ["one-way", "symmetric"])
def test_the_bank_moves_as_written_by_hand_from_what_both_players_saw(form: str) -> None:
    momentum, decay, rate = 0.9, 1e-2, 1.0
    players = {
        "encoder": {"learning_rate": 0.5},
        "bank": {"learning_rate": rate, "weight_decay": decay, "momentum": momentum},
    }
    game, method = begun(form=form, players=players)
    velocity, late = torch.zeros_like(vectors(method)), []
    for number in range(4):
        views, bank = ring.views(number), vectors(method)
        directions = [(views[0], views[1]), (views[1], views[0])][: 2 if form == "symmetric" else 1]
        queries = [method.encoder(query).detach() for query, _ in directions]
        keys = [method.teacher(key) for _, key in directions]

        def gradient(seen: list[Tensor], keys: list[Tensor] = keys, bank: Tensor = bank) -> Tensor:
            """G = -dL/dW at the bank's temperature, by autograd."""
            free = bank.clone().requires_grad_()
            losses = [
                in_batch_info_nce(q, k, free, temperature=BANK_TEMPERATURE)
                for q, k in zip(seen, keys, strict=True)
            ]
            return -torch.autograd.grad(torch.stack(losses).mean(), free)[0]

        method.step(as_views(views), game.players, ring.prepared(game, number))
        velocity = momentum * velocity + gradient(queries) + decay * bank
        # float64, one step: the closed form and autograd sum in another order.
        torch.testing.assert_close(vectors(method), bank - rate * velocity, rtol=1e-9, atol=1e-12)
        after = [method.encoder(query).detach() for query, _ in directions]
        late.append(float((gradient(after) - gradient(queries)).norm() / gradient(queries).norm()))
    # An alternating game, in which the bank answers the moved encoder, would have been found out by
    # far more than the tolerance.
    assert min(late) > 1e-3


def test_the_encoder_answers_the_bank_before_it_moved() -> None:
    game, method = begun()
    views, bank = ring.views(), vectors(method)
    start = ring.parameters(method.encoder)
    wanted = torch.autograd.grad(
        encoder_loss(method, views, bank), list(method.encoder.parameters())
    )
    method.step(as_views(views), game.players, ring.prepared(game))
    rate, decay = (
        game.players["encoder"].learning_rate,
        game.players["encoder"].settings.weight_decay,
    )
    assert not torch.equal(vectors(method), bank)
    for old, new, gradient in zip(start, method.encoder.parameters(), wanted, strict=True):
        torch.testing.assert_close(
            new.detach(), old - rate * (gradient + decay * old), rtol=1e-9, atol=1e-12
        )


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


def test_the_losses_are_those_of_the_two_temperatures() -> None:
    game, method = begun()
    views = ring.views()
    found = method.loss(as_views(views), ring.prepared(game))
    bank = vectors(method)
    torch.testing.assert_close(found.loss, encoder_loss(method, views, bank), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        found.outputs["bank_loss"],
        -encoder_loss(method, views, bank, BANK_TEMPERATURE),
        rtol=1e-12,
        atol=0,
    )


# Duty


def loss_after(method: AdCo, views: list[Tensor], now: Context) -> float:
    return float(method.loss(as_views(views), now).loss.detach())


def bank_step(**settings: Any) -> tuple[AdCo, list[Tensor], Context, Tensor, float]:
    """A game after a step of the bank alone, its vectors before, and the encoder's loss
    before."""
    players = {"encoder": {}, "bank": {"learning_rate": 0.3, "weight_decay": 0.0}}
    game, method = begun(players=players, **settings)
    views, now = ring.views(), ring.prepared(game)
    found = method.loss(as_views(views), now)
    # A saturated softmax would leave the bank no gradient, or all of it; the test would then say
    # nothing.
    assert 0.05 < float(found.metrics["bank/mass"]) < 0.95
    if method.settings.bank.sees_keys:
        assert 0.05 < float(found.metrics["bank/bank_mass"]) < 0.95
    before = vectors(method)
    game.players["bank"].update(found.outputs["bank_loss"])
    return method, views, now, before, float(found.loss.detach())


@pytest.mark.parametrize("form", ["one-way", "symmetric"])
@pytest.mark.parametrize("sees_keys", [True, False])
def test_a_step_of_the_bank_alone_raises_the_encoders_loss_more_than_random_steps(
    form: str, sees_keys: bool
) -> None:
    bank = {"size": 40, "temperature": BANK_TEMPERATURE, "sees_keys": sees_keys}
    method, views, now, before, loss = bank_step(form=form, bank=bank)
    rise = loss_after(method, views, now) - loss
    length = (vectors(method) - before).norm(dim=1, keepdim=True)
    assert length.min() > 0
    random = []
    for seed in range(20):
        # As far as the bank's own step, vector by vector, and like it at right angles to the
        # vector: the same angle.
        noise = ring.spread(40, seed=seed)
        noise = noise - (noise * unit_rows(before)).sum(dim=1, keepdim=True) * unit_rows(before)
        with torch.no_grad():
            method.bank.vectors.copy_(before + length * unit_rows(noise))
        random.append(loss_after(method, views, now) - loss)
    assert rise > 0
    assert rise > 2 * max(random)


def test_a_step_of_the_encoder_alone_lowers_its_loss() -> None:
    game, method = begun(players={"encoder": {"learning_rate": 0.05}, "bank": {}})
    views, now = ring.views(), ring.prepared(game)
    found = method.loss(as_views(views), now)
    game.players["encoder"].update(found.loss)
    assert loss_after(method, views, now) < float(found.loss.detach())


def test_over_several_rounds_the_bank_keeps_the_loss_higher_than_a_bank_that_stands_still() -> None:
    losses = {}
    for rate in (1e-12, 1.0):
        game, method = begun(
            players={"encoder": {"learning_rate": 0.05}, "bank": {"learning_rate": rate}}
        )
        for number in range(6):
            played(game, number)
        losses[rate] = loss_after(method, ring.views(30), ring.prepared(game))
    # Six rounds from the same start; the difference is the bank's doing.
    assert losses[1.0] > losses[1e-12] + 0.02


# Switched off


def far_away(**settings: Any) -> tuple[Game, AdCo]:
    """Game whose bank lies opposite the queries, at temperatures at which it gets no
    probability."""
    bank = {"size": 40, "temperature": 0.02}
    game, method = begun(temperature=0.05, bank=bank, **settings)
    queries = unit_rows(method.encoder(ring.views()[0]).detach())
    with torch.no_grad():
        method.bank.vectors.copy_(-queries.mean(dim=0).expand(40, -1))
    return game, method


def test_without_mass_on_the_bank_the_game_is_in_batch_contrast() -> None:
    game, method = far_away()
    views = ring.views()
    found = method.loss(as_views(views), ring.prepared(game))
    nobody = torch.zeros(0, 16, dtype=torch.float64)
    expected = in_batch_info_nce(
        method.encoder(views[0]), method.teacher(views[1]), nobody, temperature=0.05
    )
    assert float(expected.detach()) > 0.1
    # exp(-2 / 0.05) = 4e-18 of the probability is left for the bank.
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0)
    assert float(found.metrics["bank/mass"]) < 1e-12


def test_a_bank_without_mass_stands_still() -> None:
    game, method = far_away(
        players={"encoder": {}, "bank": {"learning_rate": 1.0, "weight_decay": 0.0}}
    )
    before = vectors(method)
    played(game, 0)
    torch.testing.assert_close(vectors(method), before, rtol=0, atol=1e-12)


def test_without_in_batch_the_bank_holds_the_only_negatives() -> None:
    game, method = begun(in_batch=False)
    views, bank = ring.views(), vectors(method)
    found = method.loss(as_views(views), ring.prepared(game))
    expected = info_nce(
        method.encoder(views[0]), method.teacher(views[1]), bank, temperature=TEMPERATURE
    )
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0)
    game, method = far_away(in_batch=False)
    assert abs(loss_after(method, ring.views(), ring.prepared(game))) < 1e-12


# Forms


def bank_gradient(method: AdCo, bank_loss: Tensor) -> Tensor:
    return torch.autograd.grad(bank_loss, method.bank.vectors)[0]


def test_the_symmetric_game_is_the_mean_of_the_two_one_way_games() -> None:
    game, symmetric = begun(form="symmetric")
    _, one_way = begun(form="one-way")
    first, second = ring.views()
    now = ring.prepared(game)
    both = symmetric.loss(as_views([first, second]), now)
    parts = [one_way.loss(as_views(views), now) for views in ([first, second], [second, first])]
    assert not torch.isclose(parts[0].loss, parts[1].loss, rtol=1e-5)
    torch.testing.assert_close(both.loss, (parts[0].loss + parts[1].loss) / 2, rtol=1e-12, atol=0)
    losses = [part.outputs["bank_loss"] for part in parts]
    torch.testing.assert_close(
        both.outputs["bank_loss"], (losses[0] + losses[1]) / 2, rtol=1e-12, atol=0
    )
    mean = torch.stack([bank_gradient(one_way, loss) for loss in losses]).mean(dim=0)
    torch.testing.assert_close(
        bank_gradient(symmetric, both.outputs["bank_loss"]), mean, rtol=1e-9, atol=1e-14
    )


def crops() -> list[Tensor]:
    """A key crop and three queries of different sizes."""
    return [
        ring.views()[0],
        ring.views()[1],
        ring.views(1)[1][..., :12, :12],
        ring.views(2)[0][..., :8, :8],
    ]


def test_multi_crop_is_the_sum_over_query_crops_with_the_first_as_the_only_key() -> None:
    game, many = begun(form="multi-crop")
    _, one_way = begun(form="one-way")
    key, *queries = crops()
    now = ring.prepared(game)
    whole = many.loss(as_views([key, *queries]), now)
    parts = [one_way.loss(as_views([query, key]), now) for query in queries]
    torch.testing.assert_close(whole.loss, sum(part.loss for part in parts), rtol=1e-12, atol=0)
    losses = [part.outputs["bank_loss"] for part in parts]
    torch.testing.assert_close(whole.outputs["bank_loss"], sum(losses), rtol=1e-12, atol=0)
    total = torch.stack([bank_gradient(one_way, loss) for loss in losses]).sum(dim=0)
    torch.testing.assert_close(
        bank_gradient(many, whole.outputs["bank_loss"]), total, rtol=1e-9, atol=1e-14
    )


def test_multi_crop_encodes_keys_once_from_the_key_crop() -> None:
    game, method = begun(form="multi-crop")
    seen: dict[str, list[int]] = {"teacher": [], "encoder": []}
    for name in seen:
        module = method.get_submodule(name)
        module.register_forward_hook(
            lambda module, inputs, output, name=name: seen[name].append(inputs[0].shape[-1])
        )
    method.loss(as_views(crops()), ring.prepared(game))
    assert seen == {"teacher": [16], "encoder": [16, 12, 8]}


def test_the_published_crops_run_through_filling_and_game(tmp_path: Path) -> None:
    settings = {
        "form": "multi-crop",
        "views": {"preset": "multi-crop-adco"},
        "training": {"max_steps": 4},
    }
    run = games.training("adco", tmp_path, count=32, **settings)
    assert [view.size for view in run.config.method_settings.views.resolve(32)] == [
        32,
        32,
        28,
        24,
        20,
        12,
    ]
    run.run()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert ["bank/mass" in record for record in records] == [False, False, False, True]
    # Five query crops, each a cross-entropy over 56 columns: the sum, not the mean.
    assert records[-1]["loss"] > 5.0


# The bank's norms


def test_vectors_are_never_renormalised() -> None:
    game, method = adco(
        players={"encoder": {"learning_rate": 0.05}, "bank": {"learning_rate": 1.0}}
    )
    for number in range(6):
        played(game, number)
    norms = vectors(method).norm(dim=1)
    assert (norms - 1).abs().max() > 0.01
    assert norms.std() > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_decay_no_norm_ever_shrinks(momentum: float) -> None:
    # The gradient is at right angles to its vector, and what momentum adds points outwards too: w.v
    # only falls from 0.
    players = {
        "encoder": {"learning_rate": 0.1},
        "bank": {"learning_rate": 2.0, "weight_decay": 0.0, "momentum": momentum},
    }
    game, method = begun(players=players)
    norms = [vectors(method).norm(dim=1)]
    for number in range(5):
        played(game, number)
        norms.append(vectors(method).norm(dim=1))
    for before, after in pairwise(norms):
        assert (after - before).min() > -1e-12
    assert (norms[-1] - norms[0]).max() > 0.01


def test_decay_shrinks_what_no_query_likes() -> None:
    players = {"encoder": {}, "bank": {"learning_rate": 1.0, "weight_decay": 0.01, "momentum": 0.0}}
    game, method = far_away(players=players)
    before = vectors(method).norm(dim=1)
    played(game, 0)
    torch.testing.assert_close(vectors(method).norm(dim=1), 0.99 * before, rtol=1e-9, atol=0)


def test_the_bank_without_keys_in_its_view_shares_out_all_its_probability() -> None:
    game, method = begun(bank={"size": 40, "temperature": BANK_TEMPERATURE, "sees_keys": False})
    found = method.loss(as_views(ring.views()), ring.prepared(game))
    assert float(found.metrics["bank/bank_mass"]) == pytest.approx(1.0, rel=1e-12)
    assert float(found.metrics["bank/mass"]) < 0.95  # the encoder's own loss still has its keys


def test_the_defaults_keep_the_published_rate_per_entry() -> None:
    game = ring.game("adco", bank={})
    settings = game.method.settings
    assert isinstance(game.method, AdCo)
    assert (
        settings.temperature,
        settings.bank.temperature,
        settings.players.bank.weight_decay,
    ) == (0.2, 0.04, 1e-4)
    assert settings.players.bank.schedule == "constant"
    published = 3.0 / (65_536 * 0.02)
    default = type(settings)()
    # 0.047 is 0.0469 rounded.
    assert default.players.bank.learning_rate / (
        default.bank.size * default.bank.temperature
    ) == pytest.approx(published, rel=0.02)
