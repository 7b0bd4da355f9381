"""The setting `tau_plus` reaches the loss of every method that has it, and its opponent's."""

from typing import Any

import pytest
import ring
import torch
from torch import Tensor

from sparring.errors import ConfigError
from sparring.methods.adco import AdCo, AdCoSettings
from sparring.methods.method import MethodLoss
from sparring.models.view import as_views
from sparring.objectives.contrastive import in_batch_info_nce, info_nce, nt_xent
from sparring.objectives.similarity import unit_rows
from sparring.training.build import Game

SMALL: dict[str, dict[str, Any]] = {
    "simclr": {},
    "plain": {},
    "mocov2": {"queue": {"size": 40}, "symmetric": False},
    "mocov3": {},
    "adco": {"bank": {"size": 40, "temperature": 0.1}, "queue_epochs": 0.0, "form": "one-way"},
    "caco": {"bank": {"size": 40, "temperature": 0.1}, "queue_epochs": 0.0},
}
TAU = 0.02


def game(name: str, **settings: Any) -> Game:
    """Untrained game at a mild temperature; a bank is full of directions near the queries."""
    made = ring.game(name, **{"temperature": 0.3, **SMALL[name], **settings})
    if "bank" in SMALL[name]:
        queries = torch.cat([made.method.encoder(ring.views(n)[0]).detach() for n in (20, 21, 22)])
        bank = made.method.bank
        assert hasattr(bank, "fill")
        bank.fill(unit_rows(queries)[:40] + 0.3 * unit_rows(ring.spread(40)))
    return made


def found(made: Game) -> MethodLoss:
    return made.method.loss(as_views(ring.views()), ring.prepared(made))


@pytest.mark.parametrize("name", SMALL)
def test_the_assumed_share_changes_the_loss_and_no_share_does_not(name: str) -> None:
    plain, none, some = (
        found(game(name, **settings)).loss
        for settings in ({}, {"tau_plus": 0.0}, {"tau_plus": TAU})
    )
    assert torch.equal(plain, none)
    assert abs(some - plain) > 1e-6


@pytest.mark.parametrize("name", ["adco", "caco"])
def test_the_bank_ascends_the_corrected_loss(name: str) -> None:
    made, corrected = game(name), game(name, tau_plus=TAU)
    gradients = [
        torch.autograd.grad(found(one).outputs["bank_loss"], one.method.bank.vectors)[0]
        for one in (made, corrected)
    ]
    assert gradients[1].abs().max() > 0
    assert (gradients[1] - gradients[0]).norm() > 1e-3 * gradients[0].norm()


def expected_loss(name: str, made: Game) -> Tensor:
    """The objective of each method, from its embeddings."""
    first, second = ring.views()
    method, options = made.method, {"temperature": 0.3, "tau_plus": TAU}
    if name == "simclr":
        return nt_xent(torch.stack([method.encoder(first), method.encoder(second)]), **options)
    if name == "plain":
        return in_batch_info_nce(method.encoder(first), method.encoder(second), **options)
    query, keys = method.encoder(first), method.teacher(second)
    if name == "mocov2":
        return in_batch_info_nce(query, keys, method.queue.keys, **options)
    assert isinstance(method, AdCo)
    return in_batch_info_nce(query, keys, method.bank.vectors.detach(), **options)


@pytest.mark.parametrize("name", ["simclr", "plain", "mocov2", "adco"])
def test_the_loss_is_the_corrected_objective(name: str) -> None:
    made = game(name, tau_plus=TAU)
    torch.testing.assert_close(found(made).loss, expected_loss(name, made), rtol=1e-9, atol=0)


def test_a_queue_alone_is_corrected_too() -> None:
    made = game("mocov2", tau_plus=TAU, in_batch=False)
    first, second = ring.views()
    expected = info_nce(
        made.method.encoder(first),
        made.method.teacher(second),
        made.method.queue.keys,
        temperature=0.3,
        tau_plus=TAU,
    )
    torch.testing.assert_close(found(made).loss, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("in_batch", [True, False])
def test_the_excess_of_a_bank_compares_corrected_losses(in_batch: bool) -> None:
    made = game("adco", tau_plus=TAU, in_batch=in_batch)
    assert isinstance(made.method, AdCo)
    bank = made.method.bank
    assert abs(found(made).outputs["excess"]) < 1e-12  # the queue holds what the bank holds
    with torch.no_grad():
        bank.vectors.add_(0.3 * ring.spread(40, seed=6))
    first, second = ring.views()
    query, keys = made.method.encoder(first), made.method.teacher(second)
    options = {"temperature": 0.3, "tau_plus": TAU}
    objective = in_batch_info_nce if in_batch else info_nce
    against = [objective(query, keys, rows, **options) for rows in (bank.vectors, bank.past)]
    torch.testing.assert_close(
        found(made).outputs["excess"], (against[0] - against[1]).detach(), rtol=1e-9, atol=1e-12
    )


def test_a_bank_that_sees_no_keys_cannot_be_corrected() -> None:
    with pytest.raises(ConfigError, match="leave out one of the two"):
        AdCoSettings.build({"tau_plus": 0.1, "bank": {"sees_keys": False}})


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_of_its_range_is_refused(name: str, share: float) -> None:
    with pytest.raises(ConfigError, match="tau_plus"):
        ring.game(name, tau_plus=share)
