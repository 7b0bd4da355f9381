"""UEL: the right embeddings reach the objective."""

import ring
import torch

from sparring.methods.uel import UELSettings
from sparring.models.view import as_views
from sparring.objectives.contrastive import invariant_spreading


def test_the_loss_is_of_both_views_as_anchors() -> None:
    game, views = ring.game("uel"), ring.views()
    embeddings = torch.stack([game.method.encoder(view) for view in views])
    wanted = invariant_spreading(embeddings, temperature=0.1)
    torch.testing.assert_close(
        game.method.loss(as_views(views), ring.prepared(game)).loss, wanted, rtol=1e-12, atol=0
    )


def test_the_defaults_are_those_of_the_released_base() -> None:
    settings = UELSettings()
    assert (
        settings.temperature,
        settings.projector.kind,
        settings.projector.dim,
        settings.views.preset,
    ) == (0.1, "linear", 128, "uel")
