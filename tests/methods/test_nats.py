"""The factor from a method's loss to nats per query: where all embeddings are equal, a query finds
its positive among n columns by chance, which costs log n."""

import math
from typing import Any

import pytest
import ring
import torch
from torch import Tensor, nn

from sparring.methods.dino import DINO
from sparring.methods.method import Method
from sparring.methods.mocov2 import MoCoV2
from sparring.models.view import as_views
from sparring.objectives.similarity import unit_rows
from sparring.opponents.perturbation import Perturbation
from sparring.opponents.pixel_attack import PerturbationSettings

BATCH = ring.BATCH
OTHERS = 2 * BATCH - 1
"""Views of the batch other than the query."""
SPREAD = math.log(OTHERS) - (OTHERS - 1) * math.log(1 - 1 / OTHERS)
"""The view is its image with probability 1 / n, and none of the n - 1 others."""
QUEUE, PROTOTYPES = 24, 40


class Constant(nn.Module):
    """Network that sees no image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.linspace(0.1, 1.0, 16))

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        return self.features[None, :, None, None].expand(len(images), -1, 1, 1)


def everything_alike(method: str, **settings: Any) -> tuple[Method, Tensor]:
    """A method under which all embeddings, keys and prototypes are equal, and its loss."""
    game, views = ring.game(method, Constant, **settings), ring.views()
    with torch.no_grad():
        if isinstance(game.method, MoCoV2):
            game.method.queue.keys.copy_(unit_rows(game.encoder(views[0]))[:1])
        if isinstance(game.method, DINO):
            for prototypes in (game.method.prototypes, game.method.teacher_prototypes):
                for weight in prototypes.parameters():
                    weight.copy_(weight[:1].expand_as(weight))
        return game.method, game.method.loss(as_views(views), ring.prepared(game)).loss


PREDICTED = {"predictor": {"kind": "plain", "hidden": 24}}
CASES: list[tuple[str, dict[str, Any], float]] = [
    ("simclr", {}, math.log(OTHERS)),
    ("simclr", {"temperature": 0.7}, math.log(OTHERS)),
    ("plain", {}, math.log(BATCH)),
    ("uel", {}, SPREAD),
    ("hcl", {}, math.log(OTHERS)),
    ("hcl", {"beta": 0.0, "tau_plus": 0.0}, math.log(OTHERS)),
    ("mocov2", {"queue": {"size": QUEUE}}, math.log(BATCH + QUEUE)),
    ("mocov2", {"queue": {"size": QUEUE}, "in_batch": False}, math.log(1 + QUEUE)),
    ("mocov2", {"queue": {"size": QUEUE}, "symmetric": False}, math.log(BATCH + QUEUE)),
    ("mocov3", PREDICTED, math.log(BATCH)),
    ("mocov3", {"temperature": 1.0, **PREDICTED}, math.log(BATCH)),
    ("dino", {"num_prototypes": PROTOTYPES}, math.log(PROTOTYPES)),
]


@pytest.mark.parametrize(("method", "settings", "expected"), CASES)
def test_among_equal_columns_a_query_costs_the_logarithm_of_their_number(
    method: str, settings: dict[str, Any], expected: float
) -> None:
    made, loss = everything_alike(method, **settings)
    assert made.nats is not None
    # Equal rows differ by rounding of float64; at temperature 0.1 that is a few 1e-15.
    assert made.nats * float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", ["byol", "simsiam", "vicreg"])
def test_a_loss_that_is_no_likelihood_has_no_factor(method: str) -> None:
    assert ring.game(method).method.nats is None


@pytest.mark.parametrize("method", ["mocov3", "byol"])
def test_an_opponent_has_the_factor_of_the_method_that_it_wraps(method: str) -> None:
    made = ring.game(method).method
    assert Perturbation(made, PerturbationSettings()).nats == made.nats
