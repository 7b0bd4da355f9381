"""SimCLR: the right embeddings reach the objective, whatever the number and size of the views."""

import math

import pytest
import ring
import torch
from torch import Tensor

from sparring.methods.simclr import SimCLRSettings
from sparring.models.view import as_views
from sparring.objectives.contrastive import nt_xent


def loss_of(views: list[Tensor], **settings: object) -> Tensor:
    game = ring.game("simclr", **settings)
    return game.method.loss(as_views(views), ring.prepared(game)).loss


def embedded(views: list[Tensor]) -> Tensor:
    encoder = ring.game("simclr").method.encoder
    return torch.stack([encoder(view) for view in views])


def test_the_loss_is_nt_xent_of_both_views() -> None:
    views = ring.views()
    # One forward pass of both views or two: sums in float64.
    torch.testing.assert_close(
        loss_of(views), nt_xent(embedded(views), temperature=0.2), rtol=1e-10, atol=0
    )


def test_the_temperature_is_the_settings() -> None:
    views = ring.views()
    torch.testing.assert_close(
        loss_of(views, temperature=0.5),
        nt_xent(embedded(views), temperature=0.5),
        rtol=1e-10,
        atol=0,
    )


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_any_number_of_views_takes_part(num_views: int) -> None:
    views = [ring.views(number)[0] for number in range(num_views)]
    torch.testing.assert_close(
        loss_of(views), nt_xent(embedded(views), temperature=0.2), rtol=1e-10, atol=0
    )


def test_views_of_different_sizes_are_encoded_one_by_one() -> None:
    views = [ring.views()[0], ring.views(1)[1][..., :12, :12], ring.views(2)[0][..., :8, :8]]
    torch.testing.assert_close(
        loss_of(views), nt_xent(embedded(views), temperature=0.2), rtol=1e-10, atol=0
    )


def test_views_of_one_size_share_their_batch_norm() -> None:
    first, second = ring.views()
    together = ring.game("simclr", ring.Normed)
    together.method.loss(as_views([first, 0.5 * second]), ring.prepared(together))
    apart = ring.game("simclr", ring.Normed)
    apart.method.loss(as_views([first, 0.5 * second[..., :12, :12]]), ring.prepared(apart))
    counts = [
        int(game.method.state_dict()["encoder.backbone.network.layers.1.num_batches_tracked"])
        for game in (together, apart)
    ]
    # Measuring the features ran in evaluation mode and is not counted.
    assert counts == [1, 2]


def test_identical_embeddings_give_the_loss_of_chance() -> None:
    game = ring.game("simclr")
    with torch.no_grad():
        for parameter in game.method.encoder.parameters():
            parameter.zero_()
        list(game.method.encoder.parameters())[-1].fill_(1.0)  # the projector's last bias
    loss = float(game.method.loss(as_views(ring.views()), ring.prepared(game)).loss.detach())
    assert loss == pytest.approx(math.log(2 * ring.BATCH - 1), rel=1e-12)


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    game, views = ring.game("simclr", players={"encoder": {"learning_rate": 0.05}}), ring.views()
    now = ring.prepared(game)
    before = game.method.loss(as_views(views), now).loss
    game.players["encoder"].update(before)
    assert game.method.loss(as_views(views), now).loss < before


def test_the_defaults_are_the_papers_projector_and_views() -> None:
    settings = SimCLRSettings()
    assert (settings.projector.kind, settings.views.preset) == ("simclr", "simclr-cifar")
