"""HCL and DCL: the right embeddings reach the objective, and the twins are what they say."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparring.methods import registry
from sparring.methods.hcl import HCLSettings
from sparring.methods.method import Context, MethodLoss
from sparring.methods.simclr import SimCLRSettings
from sparring.models.view import View, as_views
from sparring.objectives.contrastive import nt_xent
from sparring.objectives.debiased import hcl, pairs_of_views
from sparring.optim.schedule import Position
from sparring.training.build import Game, build
from sparring.training.settings import RunConfig

BATCH, SIZE = 8, 8
POSITION = Position(step=3, num_steps=100, steps_per_epoch=10)


def game(method: str = "hcl", **settings: Any) -> Game:
    """Untrained, in double precision, with a network without batch norm."""
    tree = {
        "method": method,
        "projector": {"kind": "mocov2", "dim": 16, "hidden": 32},
        "training": {"image_size": SIZE, "device": "cpu"},
        **settings,
    }
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
    torch.manual_seed(3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    made = build(RunConfig.from_tree(tree), network)
    made.method.double()
    return made


def context() -> Context:
    return Context(
        position=POSITION, indices=torch.arange(BATCH), generator=torch.Generator().manual_seed(0)
    )


def views() -> list[View]:
    draws = torch.Generator().manual_seed(5)
    images = torch.rand(BATCH, 3, SIZE, SIZE, dtype=torch.float64, generator=draws)
    noise = torch.rand(2, *images.shape, dtype=torch.float64, generator=draws)
    return as_views([0.7 * images + 0.3 * part for part in noise])


def found(made: Game) -> MethodLoss:
    return made.method.loss(views(), context())


def embedded(made: Game) -> Tensor:
    return torch.stack([made.method.encoder(view.pixels) for view in views()])


def test_the_loss_is_that_of_both_views_at_the_settings() -> None:
    made = game(beta=0.7, tau_plus=0.05, temperature=0.3)
    expected = hcl(*pairs_of_views(embedded(made)), beta=0.7, tau_plus=0.05, temperature=0.3)
    # One forward pass of both views or two: sums in float64.
    torch.testing.assert_close(found(made).loss, expected, rtol=1e-10, atol=0)


def test_without_hardness_and_correction_it_plays_simclr() -> None:
    made, simclr = game(beta=0.0, tau_plus=0.0), game("simclr")
    torch.testing.assert_close(found(made).loss, found(simclr).loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        found(made).loss, nt_xent(embedded(made), temperature=0.2), rtol=1e-10, atol=0
    )


def test_simclr_with_the_correction_is_dcl() -> None:
    # Sums in another order, in float64.
    torch.testing.assert_close(
        found(game("dcl")).loss, found(game("simclr", tau_plus=0.1)).loss, rtol=1e-10, atol=0
    )


def test_dcl_is_hcl_without_hardness() -> None:
    assert torch.equal(found(game("dcl")).loss, found(game(beta=0.0)).loss)
    assert not torch.isclose(found(game("dcl")).loss, found(game()).loss)


@pytest.mark.parametrize("twin", registry.about("method", "hcl").twins, ids=lambda twin: twin.name)
def test_a_twin_has_another_loss_from_the_same_start(twin: Any) -> None:
    ours, twins = game(), game(**twin.tree())
    assert torch.equal(embedded(ours), embedded(twins))
    assert not torch.isclose(found(ours).loss, found(twins).loss)


def test_the_unweighted_twin_comes_first() -> None:
    primary = [twin.name for twin in registry.about("method", "hcl").twins if twin.primary]
    assert primary == ["unweighted"]


def test_equal_weights_use_every_negative_and_hardness_uses_fewer() -> None:
    alike, hard = found(game(beta=0.0)).metrics, found(game(beta=2.0)).metrics
    assert float(alike["negatives/effective"]) == pytest.approx(1.0)
    assert 0 < float(hard["negatives/effective"]) < 0.99


def test_where_the_bound_holds_the_metric_says_so() -> None:
    uncorrected, corrected = (
        found(game(beta=0.0, tau_plus=tau_plus)).metrics["negatives/bounded"]
        for tau_plus in (0.0, 0.999)
    )
    assert float(uncorrected) == 0.0
    assert 0 < float(corrected) <= 1


def test_a_step_lowers_the_loss_on_the_same_views() -> None:
    made = game(players={"encoder": {"learning_rate": 0.05}})
    made.players["encoder"].prepare(POSITION)
    before = float(found(made).loss.detach())
    metrics = made.method.step(views(), made.players, context())
    assert float(metrics["loss"]) == pytest.approx(before)
    assert found(made).loss < before
    assert {"loss", *type(made.method).metrics} == set(metrics)


def test_all_settings_but_hardness_and_correction_are_simclrs() -> None:
    ours, simclrs = HCLSettings().model_dump(), SimCLRSettings().model_dump()
    assert ours.pop("beta") == 1.0
    assert ours == {**simclrs, "tau_plus": 0.1}
