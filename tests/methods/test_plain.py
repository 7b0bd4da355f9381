"""Plain: which view is classified among which."""

import ring
import torch

from sparring.methods.plain import PlainSettings
from sparring.models.view import as_views
from sparring.objectives.contrastive import in_batch_info_nce


def test_the_first_view_is_classified_among_the_second_ones() -> None:
    game, views = ring.game("plain"), ring.views()
    query, key = (game.method.encoder(view) for view in views)
    wanted = in_batch_info_nce(query, key, key[:0], temperature=0.1)
    torch.testing.assert_close(
        game.method.loss(as_views(views), ring.prepared(game)).loss, wanted, rtol=1e-12, atol=0
    )


def test_both_views_are_moved() -> None:
    game = ring.game("plain")
    views = [view.requires_grad_() for view in ring.views()]
    gradients = torch.autograd.grad(
        game.method.loss(as_views(views), ring.prepared(game)).loss, views
    )
    assert all(bool(gradient.any()) for gradient in gradients)


def test_the_defaults_are_the_released_ones() -> None:
    settings = PlainSettings()
    assert (settings.temperature, settings.projector.kind, settings.projector.dim) == (
        0.1,
        "linear",
        128,
    )
    first, second = settings.views.resolve(32)
    assert first == second
    assert (first.jitter, first.hue, first.greyscale, first.crop_scale, first.blur) == (
        1.0,
        0.4,
        0.2,
        (0.2, 1.0),
        0.0,
    )
