"""The contract of a method: which players there are, and the order in which a step updates them.

A method's file holds its settings, its modules, its loss and its step. `loss` changes no
parameters. `step` is one round, in order: the loss, the encoder's update, every opponent's update,
the teacher. An opponent in image space wraps any method: it adds terms to the loss of the encoder's
player (`Player.beside`) and calls the wrapped method's `step`.

Networks are applied to views through the context, `context.forward(view, self.encoder)`, so that a
view goes through a network once per step, and through the batch norms that the view names.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.data.images import Images
from sparring.data.views.view_settings import ViewsSettings
from sparring.data.views.views import Views
from sparring.distributed import JointRows
from sparring.measures.metric import Metric
from sparring.methods.about import About, Toy
from sparring.methods.learning import OpponentCache
from sparring.methods.negatives import Negatives, Strength
from sparring.models.encoder import Encoder
from sparring.models.heads import ProjectorSettings
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.models.view import ForwardCache, View
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position
from sparring.seeding import generator

Metrics: TypeAlias = Mapping[str, Tensor | float]
"""Numbers to log, by name."""


class EncoderOnly(Settings):
    """Player sections of a method without a learned opponent. A method with more players extends
    it."""

    encoder: PlayerSettings = PlayerSettings()


class MethodSettings(Settings):
    """Base of a method's settings; its fields stand at the top level of the configuration."""

    views: ViewsSettings = ViewsSettings()
    projector: ProjectorSettings = ProjectorSettings()
    players: EncoderOnly = EncoderOnly()
    """One `PlayerSettings` per player, by the player's name."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything about the current step, besides the views, that a method may use.

    Attributes:
        position: place in the planned run.
        indices: number in the data set of each image of this process, (batch,).
        generator: source of all random draws of this step; the same on every process.
        images: the batch before augmentation, uint8 (batch, 3, size, size); None where views are
            cropped from files.
        augment: augmentation that made the views.
        cache: outputs of networks for this step's views.
    """

    position: Position
    indices: Tensor
    generator: torch.Generator
    images: UInt8[Tensor, "batch bands size size"] | None = None
    augment: Views | None = None
    cache: ForwardCache = field(default_factory=ForwardCache)

    def forward(self, view: View, *networks: nn.Module) -> Tensor:
        """Output for a view of one network, or of several in sequence; see `ForwardCache.forward`.

        Example: `context.forward(view, self.encoder, self.predictor)`.
        """
        return self.cache.forward(view, *networks)

    def forward_together(self, views: Sequence[View], encoder: Encoder) -> list[Tensor]:
        """Embeddings of several views that share batch-norm statistics."""
        return self.cache.together(views, encoder)

    def keys(self, view: View, teacher: Teacher, norm: KeyNormSettings) -> JointRows:
        """The teacher's keys of a view, of this process and of all; see `Teacher.keys`."""
        draws = generator(self.generator.initial_seed(), "key norm")
        return distributed.joint(self.cache.keys(view, teacher, norm, generator=draws))


@dataclass(frozen=True, kw_only=True)
class MethodLoss:
    """Result of a method's `loss` on some views; computing it changes no parameters.

    Attributes:
        loss: loss that the encoder's player minimises, a mean over the rows of this process.
        metrics: numbers to log.
        outputs: values that the rest of the step needs, by name, such as keys or the bank's loss.
    """

    loss: Float[Tensor, ""]
    metrics: Metrics = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures of a method's opponent for a report; None: nothing of that kind.

    Attributes:
        negatives: vectors in embedding space that serve as negatives, (vectors, dim).
        changed: views and their changed copies, two tensors (batch, 3, height, width).
        pairs: pairs of generated images over the training, uint8 (moments, 2, pairs, 3, size,
            size).
        num_moments: number of moments that a complete training shows.
    """

    negatives: Tensor | None = None
    changed: tuple[Tensor, Tensor] | None = None
    pairs: Tensor | None = None
    num_moments: int = 0


class Method(nn.Module, ABC):
    """Modules and rules of one game. Subclasses are final.

    A subclass takes `(encoder, settings, *, generator)`: the encoder that the run's configuration
    describes, the method's settings, and the generator for the method's own random draws.

    Attributes:
        about: introduction; a call of `About` with literal arguments in the class's body.
        settings_class: the method's `MethodSettings`.
        metrics: the numbers that the method logs, by name; those of every run are not repeated.
        strengths: metrics that say how strong an opponent in image space is.
        num_views: number of views that it takes; None: two or more.
        needs_images: whether its steps need the images before augmentation.
        mixes_images: whether its loss takes views of several sets of images and contrasts all of
            them with each other.
        toy: settings for the contract's checks, see `sparring.testing`.
    """

    about: ClassVar[About]
    toy: ClassVar[Toy] = Toy()
    settings_class: ClassVar[type[MethodSettings]] = MethodSettings
    metrics: ClassVar[Mapping[str, Metric]] = {}
    strengths: ClassVar[Sequence[Strength]] = ()
    num_views: ClassVar[int | None] = 2
    needs_images: ClassVar[bool] = False
    mixes_images: bool = False
    encoder: Encoder

    @property
    def nats(self) -> float | None:
        """Factor from the loss on a pair of views to nats per query; None: the loss is no negative
        log-likelihood, and an opponent has no strength in nats against it."""
        return None

    @abstractmethod
    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """The encoder's loss on these views, and values for the other players; changes no
        parameters."""

    @abstractmethod
    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Play one round: compute the loss, update the encoder, then everything else."""

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """Modules that each player updates, by the player's name; the first is the encoder's."""
        return {"encoder": self.encoder}

    def pretrain_opponent(
        self, images: Images, cache: OpponentCache, *, device: torch.device
    ) -> None:
        """Let the opponent learn from the images before the first step.

        Not called when a run is resumed: its checkpoint holds everything.

        Args:
            images: training images, without labels.
            cache: stores the result for later runs on these images.
            device: where to compute.
        """

    def advance(self, num_images: int) -> None:
        """Put the opponents into the state they have after this many images, to time a late
        step."""

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """Pictures of the opponents for a report, given some views of the run's images."""
        return Pictures()

    def negatives(self, position: Position) -> Negatives | None:
        """What anchors are pushed away from at this position, for measuring; None: nothing, or not
        declared.

        The main process alone calls it, at each look of the monitor.
        """
        return None

    @classmethod
    def alarm(cls, record: Mapping[str, float | int]) -> str | None:
        """A warning if a record of metrics shows that the opponent fails; None otherwise."""
        return None
