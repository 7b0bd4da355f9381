"""The base of an opponent in image space: a method around a method."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn

from sparring.config import Settings
from sparring.data.images import Images
from sparring.methods.learning import OpponentCache
from sparring.methods.method import Context, Method, MethodLoss, Pictures
from sparring.models.view import View


class Opponent(Method):
    """An opponent in image space around any method. Subclasses are final.

    A subclass takes `(method, settings)`, calls the method's `step` in its own, and adds terms to
    what the encoder's player minimises with `Player.beside`. Whatever it does not change is the
    method's own.

    Args:
        method: the method that it plays around; another opponent may be in between.

    Attributes:
        settings_class: the opponent's settings; in a configuration they stand in the section named
            after the opponent.
    """

    settings_class: ClassVar[type[Settings]]  # type: ignore[assignment]

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.mixes_images = method.mixes_images
        # The encoder's weights belong to the method and are listed there only.
        object.__setattr__(self, "encoder", method.encoder)

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """The method's loss, without the opponent, which joins in `step`."""
        return self.method.loss(views, context)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The method's players; an opponent with parameters adds its own."""
        return self.method.modules_by_player()

    def pretrain_opponent(
        self, images: Images, cache: OpponentCache, *, device: torch.device
    ) -> None:
        """What the method's opponents learn; an opponent that learns adds its own."""
        self.method.pretrain_opponent(images, cache, device=device)

    def advance(self, num_images: int) -> None:
        """Put the method's opponents where they are after so many images."""
        self.method.advance(num_images)

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """The method's pictures; an opponent with something to show adds its own."""
        return self.method.pictures(views, context)


def chain(method: Method) -> Iterator[Method]:
    """Opponents around a method, the outermost first, then the method itself."""
    yield method
    if isinstance(method, Opponent):
        yield from chain(method.method)


def innermost(method: Method) -> Method:
    """The method inside all opponents."""
    *_, last = chain(method)
    return last
