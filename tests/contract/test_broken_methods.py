"""The contract tells of every promise that a method breaks: each class below breaks one."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring
from sparring.methods import registry
from sparring.objectives.alignment import negative_cosine
from sparring.testing import check_method, check_opponent, method_checks


class OneFieldSettings(sparring.MethodSettings):
    """Settings with one field of their own."""

    weight: float = 1.0
    """Factor of the loss."""


class Sound(sparring.Method):
    """A method that breaks nothing; those below are this one, changed."""

    about = sparring.About(name="sound", summary="align two views")
    settings_class = OneFieldSettings

    def __init__(
        self, encoder: sparring.Encoder, settings: OneFieldSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder, self.settings = encoder, settings
        self.register_buffer("count", torch.zeros(()))
        self.extra = nn.Parameter(torch.ones(3))

    def loss(
        self, views: Sequence[sparring.View], context: sparring.Context
    ) -> sparring.MethodLoss:
        """Distance of two views."""
        first, second = (self.embed(view, context) for view in views)
        return sparring.MethodLoss(loss=self.settings.weight * negative_cosine(first, second))

    def embed(self, view: sparring.View, context: sparring.Context) -> Tensor:
        """Embeddings of a view."""
        return context.forward(view, self.encoder)

    def step(
        self,
        views: Sequence[sparring.View],
        players: Mapping[str, sparring.Player],
        context: sparring.Context,
    ) -> dict[str, Any]:
        """The loss, then the encoder's update."""
        return {"loss": players["encoder"].update(self.loss(views, context).loss)}


class MovesInItsLoss(Sound):
    """Counts its losses in a buffer."""

    def loss(self, views: Any, context: Any) -> sparring.MethodLoss:
        """Distance of two views, and a count."""
        self.count += 1
        return super().loss(views, context)


class MovesAnothers(Sound):
    """Moves a parameter that no player has, with the player's update."""

    def step(self, views: Any, players: Any, context: Any) -> dict[str, Any]:
        """An update that drags another tensor along."""
        player, method = players["encoder"], self

        class Dragging:
            """Lets the player update, and moves more."""

            def __call__(self) -> Tensor:
                """A term that is computed within the update."""
                with torch.no_grad():
                    method.extra.add_(1)
                return torch.zeros(())

        own = player.beside(sparring.Added(1.0, Dragging()))
        return {"loss": own.update(self.loss(views, context).loss)}


class DrawsAnywhere(Sound):
    """Draws from no named generator."""

    def loss(self, views: Any, context: Any) -> sparring.MethodLoss:
        """Distance of two views, times a number that nobody can repeat."""
        found = super().loss(views, context)
        return sparring.MethodLoss(loss=found.loss * (1 + os.urandom(1)[0] / 255))


class Forgets(Sound):
    """Keeps a number that no checkpoint holds."""

    seen = 0

    def step(self, views: Any, players: Any, context: Any) -> dict[str, Any]:
        """The loss grows with the steps of this process."""
        self.seen += 1
        loss = self.loss(views, context).loss * self.seen
        return {"loss": players["encoder"].update(loss)}


class LogsUnknown(Sound):
    """Logs a number without a meaning."""

    def step(self, views: Any, players: Any, context: Any) -> dict[str, Any]:
        """The loss, and a number."""
        return {**super().step(views, players, context), "sound/mystery": 1.0}


class IgnoresSettings(Sound):
    """Reads no setting."""

    def loss(self, views: Any, context: Any) -> sparring.MethodLoss:
        """Distance of two views."""
        first, second = (self.embed(view, context) for view in views)
        return sparring.MethodLoss(loss=negative_cosine(first, second))


class LooksAtOrder(Sound):
    """Weighs the first image of a batch more."""

    def loss(self, views: Any, context: Any) -> sparring.MethodLoss:
        """Distance of two views, and that of their first images."""
        first, second = (self.embed(view, context) for view in views)
        own = negative_cosine(first[:1], second[:1])
        return sparring.MethodLoss(loss=self.settings.weight * negative_cosine(first, second) + own)


class CountsItself(Sound):
    """Sees the rows of its own process only, in a loss that wants all of them."""

    def loss(self, views: Any, context: Any) -> sparring.MethodLoss:
        """Cross-entropy of finding the other view among the local batch."""
        first, second = (self.embed(view, context) for view in views)
        logits = nn.functional.normalize(first) @ nn.functional.normalize(second).T / 0.2
        target = torch.arange(len(first))
        loss = nn.functional.cross_entropy(logits, target)
        return sparring.MethodLoss(loss=self.settings.weight * loss)


class ReadsTheDevice(Sound):
    """Looks at its loss before it moves, for which the host waits."""

    def step(self, views: Any, players: Any, context: Any) -> dict[str, Any]:
        """An update if the loss is not very large."""
        found = self.loss(views, context)
        if found.loss < 1e9:
            players["encoder"].update(found.loss)
        return {"loss": found.loss.detach()}


class ReplacesItsBuffer(Sound):
    """Keeps a new tensor at every step, where others write in place."""

    def step(self, views: Any, players: Any, context: Any) -> dict[str, Any]:
        """An update, and a count that is a new tensor."""
        found = super().step(views, players, context)
        self.count = self.count + 1
        return found


class HandsOverPixels(Sound):
    """Gives pixels to its network itself, so that attacked views go through the wrong norms."""

    def embed(self, view: sparring.View, context: sparring.Context) -> Tensor:
        """Embeddings of the pixels."""
        return self.encoder(view.pixels)  # type: ignore[no-any-return]


BROKEN: list[tuple[type[sparring.Method], str]] = [
    (MovesInItsLoss, "computing a loss moves nothing"),
    (MovesAnothers, "only the named player moves"),
    (ReadsTheDevice, "a step reads nothing from the device"),
    (ReplacesItsBuffer, "after a divergence nothing changes"),
    (DrawsAnywhere, "the same seed gives the same bits"),
    (Forgets, "a resumed run repeats every bit"),
    (LogsUnknown, "every metric is documented"),
    (IgnoresSettings, "a run reads every setting"),
    (LooksAtOrder, "the order of images does not change the loss"),
    (CountsItself, "two processes play as one"),
]


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test gives is unknown to the others."""
    monkeypatch.setattr(registry, "_given", {"method": {}, "opponent": {}})


@pytest.mark.slow
@pytest.mark.parametrize(("method", "promise"), BROKEN)
def test_a_broken_promise_is_told(method: type[sparring.Method], promise: str) -> None:
    (check,) = [check for check in method_checks(method) if check.name.startswith(promise)]
    with pytest.raises(AssertionError):
        check.run()


@pytest.mark.slow
@pytest.mark.parametrize("promise", [promise for _, promise in BROKEN])
def test_the_sound_method_keeps_each_of_these_promises(promise: str) -> None:
    (check,) = [check for check in method_checks(Sound) if check.name.startswith(promise)]
    check.run()


@pytest.mark.slow
def test_a_read_of_the_device_is_told_with_its_line() -> None:
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), start=1)
        if "if found.loss < 1e9" in text
    )
    (check,) = [check for check in method_checks(ReadsTheDevice) if "reads nothing" in check.name]
    place = rf"contract/test_broken_methods\.py:{line} \(is_nonzero|_local_scalar_dense"
    with pytest.raises(AssertionError, match=f"the step reads the device at {place}"):
        check.run()


@pytest.mark.slow
def test_all_broken_promises_are_told_at_once_in_a_line_each() -> None:
    with pytest.raises(
        AssertionError, match=r"(?s)IgnoresSettings breaks 1 of \d+ promises.*weight"
    ):
        check_method(IgnoresSettings, is_quick=True)


@pytest.mark.slow
def test_a_method_that_hands_over_pixels_cannot_be_attacked() -> None:
    with pytest.raises(AssertionError, match="given the attacked view"):
        check_opponent("perturbation", around=[HandsOverPixels])
