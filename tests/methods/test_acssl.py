"""ACSSL-style: whom each query meets, and what its twins choose instead."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ring
import torch
from torch import Tensor

import games
from sparring.errors import ConfigError
from sparring.methods.acssl import ACSSL
from sparring.methods.method import Context, MethodLoss
from sparring.models.view import as_views
from sparring.objectives.contrastive import in_batch_info_nce
from sparring.objectives.similarity import cosine, unit_rows
from sparring.optim.schedule import Position
from sparring.training.build import Game

QUEUE = {"pool": "queue", "queue_size": 100}
TWINS: list[dict[str, Any]] = [{}, {"disarmed": "random"}, {"disarmed": "easiest"}]
PLAIN = {"predictor": {"kind": "plain", "hidden": 32}}


def started(**settings: Any) -> tuple[Game, ACSSL]:
    """Game after two steps, so that teacher and encoder differ and a queue holds keys."""
    game = ring.game(
        "acssl", **{**PLAIN, "players": {"encoder": {"learning_rate": 0.1}}, **settings}
    )
    for number in (10, 11):
        game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))
    assert isinstance(game.method, ACSSL)
    return game, game.method


def twins(*settings: dict[str, Any]) -> Iterator[ACSSL]:
    """Untouched methods with the same parameters, of which the teacher differs from the encoder."""
    for one in settings:
        method = ring.game("acssl", **{**PLAIN, **one}).method
        assert isinstance(method, ACSSL)
        with torch.no_grad():
            for parameter in method.teacher.parameters():
                parameter.mul_(1.1)
        yield method


def loss_of(
    method: ACSSL, views: list[Tensor], number: int = 0, *, indices: Tensor | None = None
) -> MethodLoss:
    now = games.context(number)
    indices = torch.arange(len(views[0])) if indices is None else indices
    return method.loss(
        as_views(views), Context(position=now.position, indices=indices, generator=now.generator)
    )


def query(method: ACSSL, view: Tensor) -> Tensor:
    return method.predictor(method.encoder(view))  # type: ignore[no-any-return]


def by_hand(positive: Tensor, candidates: list[Tensor], *, count: int = 9, skip: int = 1) -> Tensor:
    """Linear loss with gamma 2, query by query; `candidates` are the cosines that each may meet."""
    terms = []
    for own, others in zip(positive, candidates, strict=True):
        ranked = sorted(others, reverse=True)
        terms.append(-4 * own + 2 * torch.stack(ranked[skip : skip + count]).mean())
    return torch.stack(terms).mean()


def test_the_loss_is_that_of_both_directions_written_out() -> None:
    _, method = started()
    first, second = ring.views()
    directions = []
    for asking, answering in ((first, second), (second, first)):
        similarity = cosine(query(method, asking), method.teacher(answering))
        others = [torch.cat([row[:i], row[i + 1 :]]) for i, row in enumerate(similarity)]
        directions.append(by_hand(similarity.diagonal(), others))
    loss = loss_of(method, [first, second]).loss
    torch.testing.assert_close(loss, (directions[0] + directions[1]) / 2, rtol=1e-12, atol=1e-14)
    assert not torch.isclose(directions[0], directions[1], rtol=1e-4)


def test_batch2_adds_the_other_images_keys_of_the_querys_own_view() -> None:
    _, method = started(mining={"pool": "batch2"})
    first, second = ring.views()
    directions = []
    for asking, answering in ((first, second), (second, first)):
        across, within = (
            cosine(query(method, asking), method.teacher(view)) for view in (answering, asking)
        )
        others = [
            torch.cat([row[:i], row[i + 1 :], own[:i], own[i + 1 :]])
            for i, (row, own) in enumerate(zip(across, within, strict=True))
        ]
        directions.append(by_hand(across.diagonal(), others))
    torch.testing.assert_close(
        loss_of(method, [first, second]).loss,
        torch.stack(directions).mean(),
        rtol=1e-12,
        atol=1e-14,
    )


def test_the_queue_adds_past_keys_of_other_images() -> None:
    _, method = started(mining=QUEUE)
    assert method.queue is not None
    keys, shown = method.queue.keys, method.queue.images
    assert (
        shown >= 0
    ).sum() == 4 * ring.BATCH  # two views, two steps; the other 36 rows are random still
    first, second = ring.views()
    directions = []
    for asking, answering in ((first, second), (second, first)):
        asked = query(method, asking)
        across, within, past = (
            cosine(asked, rows)
            for rows in (method.teacher(answering), method.teacher(asking), keys)
        )
        others = []
        for i in range(ring.BATCH):
            held = past[i][(shown >= 0) & (shown != i)]
            others.append(
                torch.cat(
                    [across[i, :i], across[i, i + 1 :], within[i, :i], within[i, i + 1 :], held]
                )
            )
        directions.append(by_hand(across.diagonal(), others))
    torch.testing.assert_close(
        loss_of(method, [first, second]).loss,
        torch.stack(directions).mean(),
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize("pool", ["batch", "batch2", "queue"])
@pytest.mark.parametrize(
    "disarmed", [{}, {"disarmed": "all"}, {"disarmed": "random"}, {"disarmed": "easiest"}]
)
def test_no_query_ever_meets_its_own_image(pool: str, disarmed: dict[str, str]) -> None:
    _, method = started(mining={"pool": pool, "queue_size": 100}, **disarmed)
    indices = torch.tensor(
        [0, 0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14]
    )  # a broken file's place is taken by another image
    pairs = loss_of(method, ring.views(), indices=indices).metrics["mining/pairs"]
    assert isinstance(pairs, Tensor)
    assert pairs.dtype == torch.int64
    assert len(pairs) >= 2 * ring.BATCH * 9
    assert (pairs >= 0).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert set(pairs[:, 0].tolist()) == set(indices.tolist())


def test_the_loss_reaches_the_student_and_neither_teacher_nor_candidates() -> None:
    _, method = started(mining=QUEUE)
    found = loss_of(method, ring.views())
    assert method.queue is not None
    assert not method.queue.keys.requires_grad
    assert not found.outputs["keys"].requires_grad
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    student = [*method.encoder.parameters(), *method.predictor.parameters()]
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(found.loss, student))


def test_the_gradient_reaches_the_query_through_positive_and_mined_pairs() -> None:
    (method,) = twins({})
    first, second = as_views(ring.views())
    now, keys = games.context(), method.teacher(second.pixels)
    asked = now.forward(first, method.encoder, method.predictor)  # the loss takes the same tensor
    (gradient,) = torch.autograd.grad(method.loss([first, second], now).loss, asked)
    # d cos(q, k) / dq = (k - (q.k) q) / |q| with unit q and k; the hand-made gradient of one query.
    unit, answers = unit_rows(asked.detach()), unit_rows(keys)
    similarity = unit @ answers.T
    similarity.fill_diagonal_(-2.0)
    mined = similarity[0].argsort(descending=True)[1:10]
    pull = -4 * answers[0] + 2 * answers[mined].mean(dim=0)
    expected = (pull - (unit[0] @ pull) * unit[0]) / asked[0].norm().detach() / ring.BATCH
    expected /= 2  # the mean of two directions; in the other one this view is the key
    torch.testing.assert_close(gradient[0], expected, rtol=1e-10, atol=1e-14)


def test_until_the_warm_up_ends_every_candidate_is_met() -> None:
    warm, late, everything = twins({"mining": {"warmup_epochs": 1.5}}, {}, {"disarmed": "all"})
    views = ring.views()
    during, after = (loss_of(warm, views, number) for number in (14, 15))  # epochs of 10 steps
    assert torch.equal(during.loss, loss_of(everything, views, 14).loss)
    assert torch.equal(after.loss, loss_of(late, views, 15).loss)
    assert during.loss != after.loss


def test_the_hardest_pairs_raise_the_loss_more_than_random_and_easiest_ones_of_equal_number() -> (
    None
):
    views = ring.views()
    each = [loss_of(method, views) for method in twins(*TWINS)]
    assert len({len(found.metrics["mining/pairs"]) for found in each}) == 1  # type: ignore[arg-type]
    mined, random, easiest = (float(found.loss.detach()) for found in each)
    # The network is untrained and its cosines are within a few hundredths; half of the gap to the
    # easiest is far beyond rounding.
    assert mined > random > easiest
    assert mined - random > 0.2 * (mined - easiest) > 1e-4


@pytest.mark.parametrize("form", ["hinge", "soft", "topk_nce", "byol_plus"])
def test_mining_does_its_duty_in_every_form(form: str) -> None:
    # A wide margin: on an untrained network, whose cosines are all near 1, the hinge is active
    # everywhere.
    views, settings = ring.views(), {"form": form, "triplet": {"margin": 0.5}}
    mined, random, easiest = (
        loss_of(m, views).loss for m in twins(*({**settings, **twin} for twin in TWINS))
    )
    assert mined > random > easiest


@pytest.mark.parametrize("disarmed", ["all", "random", "easiest"])
def test_a_twin_differs_in_the_choice_only(disarmed: str) -> None:
    armed, twin = twins({}, {"disarmed": disarmed})
    assert armed.state_dict().keys() == twin.state_dict().keys()
    assert not games.changed(games.state(armed), games.state(twin))
    views = ring.views()
    ours, theirs = loss_of(armed, views), loss_of(twin, views)
    for name in ("mining/positive", "mining/hardness_of_all"):
        assert ours.metrics[name] == theirs.metrics[name]
    assert torch.equal(ours.outputs["keys"], theirs.outputs["keys"])
    assert ours.metrics["mining/hardness"] > theirs.metrics["mining/hardness"]  # type: ignore[operator]
    gap = float(ours.metrics["mining/hardness"]) - float(theirs.metrics["mining/hardness"])
    # The loss is linear in what was chosen and in nothing else that could differ.
    assert float((ours.loss - theirs.loss).detach()) == pytest.approx(2 * gap, rel=1e-9)


def test_all_is_to_the_bit_to_mine_everything_and_to_skip_nothing() -> None:
    twin, everything = twins({"disarmed": "all"}, {"mining": {"count": 10**6, "skip": 0}})
    assert torch.equal(loss_of(twin, ring.views()).loss, loss_of(everything, ring.views()).loss)


def test_random_follows_the_steps_generator() -> None:
    (twin,) = twins({"disarmed": "random"})
    views = ring.views()
    assert torch.equal(loss_of(twin, views, 3).loss, loss_of(twin, views, 3).loss)
    assert loss_of(twin, views, 3).loss != loss_of(twin, views, 4).loss


def test_topk_nce_with_all_negatives_is_moco_v3s_cross_entropy() -> None:
    (method,) = twins({"form": "topk_nce", "disarmed": "all"})
    first, second = ring.views()
    ways = [
        in_batch_info_nce(
            query(method, asking),
            method.teacher(answering),
            torch.zeros(0, 16).double(),
            temperature=0.2,
        )
        for asking, answering in ((first, second), (second, first))
    ]
    torch.testing.assert_close(
        loss_of(method, [first, second]).loss, torch.stack(ways).mean(), rtol=1e-12, atol=0
    )


def test_byol_plus_without_weight_is_byol() -> None:
    (method,) = twins({"form": "byol_plus", "triplet": {"weight": 0.0}})
    first, second = ring.views()
    distances = [
        (unit_rows(query(method, asking)) - unit_rows(method.teacher(answering)))
        .square()
        .sum(dim=1)
        .mean()
        for asking, answering in ((first, second), (second, first))
    ]
    torch.testing.assert_close(
        loss_of(method, [first, second]).loss, torch.stack(distances).mean(), rtol=1e-12, atol=0
    )


def test_hcl_meets_all_negatives_whatever_the_count() -> None:
    few, many = twins(
        {"form": "hcl", "mining": {"count": 2}}, {"form": "hcl", "mining": {"count": 15, "skip": 0}}
    )
    found = loss_of(few, ring.views())
    assert torch.equal(found.loss, loss_of(many, ring.views()).loss)
    assert len(found.metrics["mining/pairs"]) == 2 * ring.BATCH * (ring.BATCH - 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("disarmed", ["all", "random", "easiest"])
def test_hcl_has_nothing_to_disarm(disarmed: str) -> None:
    with pytest.raises(
        ConfigError, match=f"form=hcl meets all negatives: leave out disarmed={disarmed}"
    ):
        games.config("acssl", form="hcl", disarmed=disarmed)


@pytest.mark.parametrize("settings", [{}, {"mining": QUEUE}, {"form": "hcl"}])
def test_the_order_of_a_batch_does_not_change_the_loss(settings: dict[str, Any]) -> None:
    _, method = started(**settings)
    views, order = (
        ring.views(),
        torch.randperm(ring.BATCH, generator=torch.Generator().manual_seed(0)),
    )
    moved = loss_of(method, [view[order] for view in views], indices=order)
    torch.testing.assert_close(loss_of(method, views).loss, moved.loss, rtol=1e-12, atol=1e-14)


def test_more_views_ask_the_teachers_two_and_are_no_keys() -> None:
    (method,) = twins({})
    views = [*ring.views(), ring.views(1)[0], ring.views(1)[1]]
    keys = [method.teacher(view) for view in views[:2]]
    losses = []
    for number, view in enumerate(views):
        for key in range(2):
            if number != key:
                similarity = cosine(query(method, view), keys[key])
                others = [torch.cat([row[:i], row[i + 1 :]]) for i, row in enumerate(similarity)]
                losses.append(by_hand(similarity.diagonal(), others))
    found = loss_of(method, views)
    assert len(losses) == 6
    torch.testing.assert_close(found.loss, torch.stack(losses).mean(), rtol=1e-12, atol=1e-14)
    assert len(found.outputs["keys"]) == 2 * ring.BATCH


@pytest.mark.parametrize(("step", "momentum"), [(0, 0.9), (50, 0.95), (100, 1.0)])
def test_the_teachers_momentum_rises_from_its_start_to_one(step: int, momentum: float) -> None:
    game, method = started(teacher_momentum=0.9)
    before = ring.parameters(method.teacher)
    now = Context(
        position=Position(step=step, num_steps=100, steps_per_epoch=10),
        indices=torch.arange(16),
        generator=games.context().generator,
    )
    game.method.step(as_views(ring.views()), game.players, now)
    for old, new, online in zip(
        before, method.teacher.parameters(), method.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(
            new, momentum * old + (1 - momentum) * online.detach(), rtol=1e-12, atol=1e-15
        )


def test_the_queue_takes_in_both_views_unit_keys_after_the_step_with_their_images() -> None:
    game, method = started(mining=QUEUE)
    assert method.queue is not None
    views, indices = ring.views(), torch.arange(100, 116)
    before = method.queue.images.clone()
    loss_of(method, views, indices=indices)
    assert torch.equal(method.queue.images, before)
    expected = torch.cat([unit_rows(method.teacher(view)) for view in views])
    now = replace(ring.prepared(game), indices=indices)
    method.step(as_views(views), game.players, now)
    new = slice(64, 96)  # two steps of twice 16 keys came before
    torch.testing.assert_close(method.queue.keys[new], expected, rtol=1e-12, atol=0)
    assert method.queue.images[new].tolist() == [*range(100, 116), *range(100, 116)]


def test_without_a_queue_there_is_none_to_save() -> None:
    _, method = started(mining={"pool": "batch2"})
    assert method.queue is None
    assert not [name for name in method.state_dict() if "queue" in name]


def test_metrics_are_the_cosines_of_chosen_candidates_and_positives() -> None:
    (method,) = twins({})
    first, second = ring.views()
    found = loss_of(method, [first, second]).metrics
    mined, everyone, positive = [], [], []
    for asking, answering in ((first, second), (second, first)):
        similarity = cosine(query(method, asking), method.teacher(answering)).detach()
        others = similarity[~torch.eye(16, dtype=torch.bool)].view(16, 15)
        mined.append(others.sort(dim=1, descending=True).values[:, 1:10].mean())
        everyone.append(others.mean())
        positive.append(similarity.diagonal().mean())
    for name, values in (
        ("hardness", mined),
        ("hardness_of_all", everyone),
        ("positive", positive),
    ):
        value = found[f"mining/{name}"]
        assert isinstance(value, Tensor)
        assert not value.requires_grad
        assert float(value) == pytest.approx(float(sum(values)) / 2, rel=1e-12)


def test_a_small_batch_gives_what_it_has() -> None:
    (method,) = twins({})
    found = loss_of(method, [view[:4] for view in ring.views()])
    assert len(found.metrics["mining/pairs"]) == 2 * 4 * 2  # type: ignore[arg-type]  # three others, one skipped
    assert found.loss.isfinite()


@pytest.mark.parametrize("batch", [1, 2])
def test_a_joint_batch_with_nobody_to_meet_is_refused(batch: int) -> None:
    (method,) = twins({})
    with pytest.raises(ConfigError, match=r"nothing to mine: .*training\.batch_size"):
        loss_of(method, [view[:batch] for view in ring.views()])


@pytest.mark.parametrize(
    "settings", [{}, {"disarmed": "random", "mining": QUEUE}, {"mining": QUEUE}]
)
def test_each_process_plays_its_rows_of_the_game_of_one(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparring import distributed

    _, method = started(**settings)
    views, joint = ring.views(), []
    gather = distributed.gather

    def recorded(tensor: Tensor) -> Tensor:
        joint.append(gather(tensor))
        return joint[-1]

    monkeypatch.setattr(distributed, "gather", recorded)
    whole = loss_of(method, views)
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    losses = []
    for rank in range(2):
        replayed = iter(joint)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "gather", lambda tensor, replayed=replayed: next(replayed))
        own = slice(8 * rank, 8 * rank + 8)
        losses.append(
            loss_of(method, [view[own] for view in views], indices=torch.arange(16)[own]).loss
        )
    torch.testing.assert_close(torch.stack(losses).mean(), whole.loss, rtol=1e-12, atol=1e-14)
    assert losses[0] != losses[1]


@pytest.mark.slow
def test_a_run_with_a_queue_resumes_to_the_bit(tmp_path: Path) -> None:
    settings = {"mining": {"pool": "queue", "queue_size": 40}}
    whole = games.training("acssl", tmp_path / "whole", training={"max_steps": 7}, **settings)
    whole.run()
    games.training("acssl", tmp_path / "parts", training={"max_steps": 3}, **settings).run()
    second = games.training("acssl", tmp_path / "parts", training={"max_steps": 7}, **settings)
    second.restore()
    second.run()
    assert not games.changed(games.state(whole.game.method), games.state(second.game.method))
    assert (games.state(second.game.method)["queue.images"] >= 0).all()


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    game, method = started(players={"encoder": {"learning_rate": 0.01, "momentum": 0.0}})
    views, now = ring.views(), ring.prepared(game)
    before = method.loss(as_views(views), now).loss
    game.players["encoder"].update(before)
    assert method.loss(as_views(views), now).loss < before
