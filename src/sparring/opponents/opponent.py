"""The base of an opponent in image space: a method around a method."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn

from sparring.config import Settings
from sparring.data.images import Images
from sparring.methods.learning import OpponentCache
from sparring.methods.method import Context, Method, MethodLoss, Pictures
from sparring.methods.negatives import Negatives
from sparring.models.view import View
from sparring.optim.schedule import Position


class Opponent(Method):
    """Base of an opponent in image space, which wraps any method. Subclasses are final.

    A subclass takes `(method, settings)`, calls the method's `step` in its own, and adds terms to
    the loss of the encoder's player with `Player.beside`. It inherits everything else from the
    method.

    Args:
        method: the wrapped method, or another opponent that wraps a method.

    Attributes:
        settings_class: the opponent's settings; in a configuration they stand in the section named
            after the opponent.
        is_for_colours: whether the images must have three channels.
    """

    settings_class: ClassVar[type[Settings]]  # type: ignore[assignment]
    is_for_colours: ClassVar[bool] = False

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.mixes_images = method.mixes_images
        # The encoder's weights belong to the method and are listed there only.
        object.__setattr__(self, "encoder", method.encoder)

    @property
    def nats(self) -> float | None:
        """Factor from the wrapped method's loss to nats per query; None: it has none."""
        return self.method.nats

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """The method's loss without the opponent's terms, which `step` adds."""
        return self.method.loss(views, context)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """Modules of the method's players; an opponent with parameters adds its own."""
        return self.method.modules_by_player()

    def pretrain_opponent(
        self, images: Images, cache: OpponentCache, *, device: torch.device
    ) -> None:
        """Let the wrapped method's opponents learn from the images; an opponent that learns adds
        its own part."""
        self.method.pretrain_opponent(images, cache, device=device)

    def advance(self, num_images: int) -> None:
        """Put the wrapped method's opponents into the state they have after this many images."""
        self.method.advance(num_images)

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """Pictures of the wrapped method; an opponent adds its own, if any."""
        return self.method.pictures(views, context)

    def negatives(self, position: Position) -> Negatives | None:
        """The wrapped method's negatives."""
        return self.method.negatives(position)


def chain(method: Method) -> Iterator[Method]:
    """All opponents around a method, the outermost first, then the method itself."""
    yield method
    if isinstance(method, Opponent):
        yield from chain(method.method)


def innermost(method: Method) -> Method:
    """The method inside all opponents."""
    *_, last = chain(method)
    return last
