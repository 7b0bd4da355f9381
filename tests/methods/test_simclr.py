"""SimCLR: the right embeddings reach the objective, whatever the number and size of the views."""

import math

import pytest
import ring
import torch
from torch import Tensor

from sparring.methods.simclr import SimCLRSettings
from sparring.objectives.contrastive import nt_xent


def looked(views: list[Tensor], **settings: object) -> Tensor:
    contest = ring.game("simclr", **settings)
    return contest.method.look(views, ring.prepared(contest)).loss


def embedded(views: list[Tensor]) -> Tensor:
    encoder = ring.game("simclr").method.encoder
    return torch.stack([encoder(view) for view in views])


def test_the_loss_is_nt_xent_of_both_views() -> None:
    views = ring.views()
    # One forward pass of both views or two: sums in float64.
    torch.testing.assert_close(
        looked(views), nt_xent(embedded(views), temperature=0.2), rtol=1e-10, atol=0
    )


def test_the_temperature_is_the_settings() -> None:
    views = ring.views()
    torch.testing.assert_close(
        looked(views, temperature=0.5),
        nt_xent(embedded(views), temperature=0.5),
        rtol=1e-10,
        atol=0,
    )


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_any_number_of_views_takes_part(num_views: int) -> None:
    views = [ring.views(number)[0] for number in range(num_views)]
    torch.testing.assert_close(
        looked(views), nt_xent(embedded(views), temperature=0.2), rtol=1e-10, atol=0
    )


def test_views_of_different_sizes_are_encoded_one_by_one() -> None:
    views = [ring.views()[0], ring.views(1)[1][..., :12, :12], ring.views(2)[0][..., :8, :8]]
    torch.testing.assert_close(
        looked(views), nt_xent(embedded(views), temperature=0.2), rtol=1e-10, atol=0
    )


def test_views_of_one_size_share_their_batch_norm() -> None:
    first, second = ring.views()
    together = ring.game("simclr", ring.Normed)
    together.method.look([first, 0.5 * second], ring.prepared(together))
    apart = ring.game("simclr", ring.Normed)
    apart.method.look([first, 0.5 * second[..., :12, :12]], ring.prepared(apart))
    counts = [
        int(contest.method.state_dict()["encoder.backbone.network.layers.1.num_batches_tracked"])
        for contest in (together, apart)
    ]
    # Measuring the features ran in evaluation mode and is not counted.
    assert counts == [1, 2]


def test_identical_embeddings_give_the_loss_of_chance() -> None:
    contest = ring.game("simclr")
    with torch.no_grad():
        for parameter in contest.method.encoder.parameters():
            parameter.zero_()
        list(contest.method.encoder.parameters())[-1].fill_(1.0)  # the projector's last bias
    loss = float(contest.method.look(ring.views(), ring.prepared(contest)).loss.detach())
    assert loss == pytest.approx(math.log(2 * ring.BATCH - 1), rel=1e-12)


def test_an_update_lowers_the_loss_on_the_same_views() -> None:
    contest, views = ring.game("simclr", players={"encoder": {"learning_rate": 0.05}}), ring.views()
    now = ring.prepared(contest)
    before = contest.method.look(views, now).loss
    contest.players["encoder"].update(before)
    assert contest.method.look(views, now).loss < before


def test_the_defaults_are_the_papers_projector_and_views() -> None:
    settings = SimCLRSettings()
    assert (settings.projector.kind, settings.views.preset) == ("simclr", "simclr-cifar")
