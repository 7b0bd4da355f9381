"""The contract of a method: who plays what, in which order.

A method's file holds its settings, its modules, its loss and its step. `loss` computes and moves
nothing. `step` is one round, in order: the loss, the encoder's update, every opponent's update, the
teacher. An opponent in image space wraps any method: it adds terms to what the encoder's player
minimises (`Player.beside`) and calls the wrapped method's `step`.

What networks make of views goes through the context, `context.forward(view, self.encoder)`, so that
a view goes through a network once a step and through the batch norms that the view names.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sparring.config import Settings
from sparring.data.images import Images
from sparring.data.views.view_settings import ViewsSettings
from sparring.data.views.views import Views
from sparring.measures.metric import Metric
from sparring.methods.about import About, Toy
from sparring.methods.learning import OpponentCache
from sparring.models.encoder import Encoder
from sparring.models.heads import ProjectorSettings
from sparring.models.teacher import Teacher
from sparring.models.view import ForwardCache, View
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position

Metrics: TypeAlias = Mapping[str, Tensor | float]
"""Numbers to log, by name."""


class EncoderOnly(Settings):
    """Player sections of a method whose encoder plays alone."""

    encoder: PlayerSettings = PlayerSettings()


class MethodSettings(Settings):
    """Base of a method's settings; its fields stand at the top level of the configuration."""

    views: ViewsSettings = ViewsSettings()
    projector: ProjectorSettings = ProjectorSettings()
    players: Settings = EncoderOnly()
    """One `PlayerSettings` per player, by the player's name."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method may know of the current step besides its views.

    Attributes:
        position: place in the planned run.
        indices: number in the data set of each image of this process, (batch,).
        generator: source of all random draws of this step; the same on every process.
        images: the batch before augmentation, uint8 (batch, 3, size, size); None where views are
            cropped from files.
        augment: augmentation that made the views.
        cache: what networks made of this step's views.
    """

    position: Position
    indices: Tensor
    generator: torch.Generator
    images: UInt8[Tensor, "batch 3 size size"] | None = None
    augment: Views | None = None
    cache: ForwardCache = field(default_factory=ForwardCache)

    def forward(self, view: View, *networks: nn.Module) -> Tensor:
        """Output of one or several networks in a row for a view; see `ForwardCache.forward`.

        Example: `context.forward(view, self.encoder, self.predictor)`.
        """
        return self.cache.forward(view, *networks)

    def forward_together(self, views: Sequence[View], encoder: Encoder) -> list[Tensor]:
        """Embeddings of several views that share the batch's statistics."""
        return self.cache.together(views, encoder)

    def forward_shuffled(self, view: View, teacher: Teacher) -> Tensor:
        """The teacher's keys of a view, with shuffled batch norm across processes."""
        return self.cache.shuffled(view, teacher, generator=self.generator)


@dataclass(frozen=True, kw_only=True)
class MethodLoss:
    """What a method computes on some views; nothing has moved.

    Attributes:
        loss: what the encoder's player minimises, a mean over the rows of this process.
        metrics: numbers to log.
        outputs: what the rest of the step needs, by name: keys, the bank's loss.
    """

    loss: Float[Tensor, ""]
    metrics: Metrics = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What a method's opponent can show of itself in a report; None: nothing of the kind.

    Attributes:
        negatives: vectors in embedding space that play negatives, (vectors, dim).
        changed: views and their changed copies, two tensors (batch, 3, height, width).
        pairs: pairs of made images over the training, uint8 (moments, 2, pairs, 3, size, size).
        num_moments: moments that a whole training shows.
    """

    negatives: Tensor | None = None
    changed: tuple[Tensor, Tensor] | None = None
    pairs: Tensor | None = None
    num_moments: int = 0


class Method(nn.Module, ABC):
    """Modules and rules of one game. Subclasses are final.

    A subclass takes `(encoder, settings, *, generator)`: the encoder that the run's configuration
    describes, the method's settings, and the generator of whatever the method draws for itself.

    Attributes:
        about: introduction; a literal call of `About` in the class's body.
        settings_class: the method's `MethodSettings`.
        metrics: the numbers that the method logs, by name; those of every run are not repeated.
        num_views: views that it wants; None: any number from two.
        needs_images: whether its steps need the images before augmentation.
        mixes_images: whether its loss takes views of several sets of images and sets all of them
            against each other.
        toy: settings for the contract's checks, see `sparring.testing`.
    """

    about: ClassVar[About]
    toy: ClassVar[Toy] = Toy()
    settings_class: ClassVar[type[MethodSettings]] = MethodSettings
    metrics: ClassVar[Mapping[str, Metric]] = {}
    num_views: ClassVar[int | None] = 2
    needs_images: ClassVar[bool] = False
    mixes_images: bool = False
    encoder: Encoder

    @abstractmethod
    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """The encoder's loss on these views, and what the others need of it; no parameter moves."""

    @abstractmethod
    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """One round: the loss, the encoder's update, then everyone else's."""

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """Modules that each player moves, by the player's name; the first is the encoder's."""
        return {"encoder": self.encoder}

    def pretrain_opponent(
        self, images: Images, cache: OpponentCache, *, device: torch.device
    ) -> None:
        """Teach the opponent what it learns from the images before the first step.

        Not called when a run is resumed: its checkpoint holds everything.

        Args:
            images: training images, without labels.
            cache: keeps what is learned for later runs on these images.
            device: where to compute.
        """

    def advance(self, num_images: int) -> None:
        """Put the opponents where they are after so many images, before a late step is timed."""

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """What the opponents have to show, given some views of the run's images."""
        return Pictures()

    @classmethod
    def alarm(cls, record: Mapping[str, float | int]) -> str | None:
        """A sentence if a record of metrics shows that the opponent goes astray."""
        return None
