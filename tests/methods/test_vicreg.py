"""VICReg: the weights reach their terms, and each term does its duty."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparring import distributed
from sparring.distributed import JointRows
from sparring.methods.method import Context, MethodLoss
from sparring.methods.vicreg import VICRegSettings
from sparring.models.view import View, as_views
from sparring.objectives.vicreg import covariance, invariance, variance_hinge
from sparring.optim.schedule import Position
from sparring.training.build import Game, build
from sparring.training.settings import RunConfig

BATCH, SIZE = 16, 8
POSITION = Position(step=3, num_steps=100, steps_per_epoch=10)


def game(**settings: Any) -> Game:
    """Untrained, in double precision, with a network and an expander without batch norm."""
    tree = {
        "method": "vicreg",
        "projector": {"kind": "mocov2", "dim": 12, "hidden": 32},
        "players": {"encoder": {"learning_rate": 0.02}},
        "training": {"image_size": SIZE, "device": "cpu"},
        **settings,
    }
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
    torch.manual_seed(3)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    made = build(RunConfig.from_tree(tree), network)
    made.method.double()
    made.players["encoder"].prepare(POSITION)
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


@torch.no_grad()
def embedded(made: Game) -> list[Tensor]:
    return [made.method.encoder(view.pixels) for view in views()]


def after(num_steps: int, **settings: Any) -> Game:
    made = game(**settings)
    for _ in range(num_steps):
        made.method.step(views(), made.players, context())
    return made


def test_the_loss_is_the_weighted_sum_of_the_terms() -> None:
    made = game(invariance_weight=3.0, variance_weight=5.0, covariance_weight=7.0)
    first, second = embedded(made)
    expected = (
        3 * invariance(first, second)
        + 5 * (variance_hinge(first) + variance_hinge(second)) / 2
        + 7 * (covariance(first) + covariance(second))
    )
    torch.testing.assert_close(found(made).loss, expected, rtol=1e-10, atol=0)


def test_the_metrics_are_the_terms_without_their_weights() -> None:
    made = game()
    metrics, (first, second) = found(made).metrics, embedded(made)
    assert float(metrics["vicreg/invariance"]) == pytest.approx(float(invariance(first, second)))
    shortfall = (variance_hinge(first) + variance_hinge(second)) / 2
    assert float(metrics["vicreg/variance"]) == pytest.approx(float(shortfall))
    spread = covariance(first) + covariance(second)
    assert float(metrics["vicreg/covariance"]) == pytest.approx(float(spread))
    assert set(metrics) == set(type(made.method).metrics)


def test_spread_is_taken_over_the_joint_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made = game()
    first, second = embedded(made)
    others = [rows.detach().flip(1) + 1 for rows in (first, second)]
    waiting = iter(others)

    def joint(rows: Tensor) -> JointRows:
        return JointRows(rows, torch.cat([rows, next(waiting)]))

    monkeypatch.setattr(distributed, "joint_with_gradient", joint)
    metrics = found(made).metrics
    wide = [torch.cat([own, other]) for own, other in zip((first, second), others, strict=True)]
    expected = covariance(wide[0]) + covariance(wide[1])
    assert float(metrics["vicreg/covariance"]) == pytest.approx(float(expected))
    assert float(metrics["vicreg/invariance"]) == pytest.approx(float(invariance(first, second)))


def test_a_step_lowers_the_loss_on_the_same_views() -> None:
    made = game()
    before = float(found(made).loss.detach())
    metrics = made.method.step(views(), made.players, context())
    assert float(metrics["loss"]) == pytest.approx(before)
    assert found(made).loss < before


def deviation(made: Game) -> float:
    """Mean standard deviation of the embeddings' dimensions over the batch."""
    return float(embedded(made)[0].std(dim=0).mean())


def test_variance_keeps_embeddings_apart_and_without_it_they_collapse() -> None:
    armed, collapsed = after(150), after(150, variance_weight=0.0)
    assert deviation(armed) > 0.5
    assert deviation(collapsed) < 0.1


def correlation(made: Game) -> float:
    """Mean absolute correlation of different dimensions."""
    matrix = torch.corrcoef(embedded(made)[0].T)
    return float((matrix.abs().sum() - len(matrix)) / (len(matrix) * (len(matrix) - 1)))


def test_covariance_keeps_dimensions_from_repeating_each_other() -> None:
    assert correlation(after(150)) < 0.8 * correlation(after(150, covariance_weight=0.0))


def test_the_defaults_are_the_papers_weights_and_the_codes_expander() -> None:
    s = VICRegSettings()
    assert (s.invariance_weight, s.variance_weight, s.covariance_weight) == (25.0, 25.0, 1.0)
    assert s.projector.kind == "three-layer"
