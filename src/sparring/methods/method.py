"""What a method is: who plays what, in which order.

A method's file holds its settings, its modules, and two verbs. `look` computes and moves nothing; `respond` lets everyone but the encoder
make their move. So an opponent in image space can wrap any method: it looks through the wrapped one as often as it likes and passes
`respond` on. For that, a method hands views to its networks as it got them: `encoder(view)`, `teacher(view)`, `encoder.together(views)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparring.config import Settings
from sparring.data.views import ViewsSettings
from sparring.models.backbones import Backbone, EncoderSettings
from sparring.models.encoder import Encoder
from sparring.models.heads import ProjectorSettings, make_projector
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Progress

Metrics: TypeAlias = Mapping[str, Tensor | float]


class MethodSettings(Settings):
    """Base of a method's settings; its fields stand at the top level of the configuration."""

    views: ViewsSettings
    projector: ProjectorSettings
    players: Settings
    """One `PlayerSettings` per player, by the player's name."""


class EncoderOnly(Settings):
    """Player sections of a method whose encoder plays alone."""

    encoder: PlayerSettings = PlayerSettings()


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a method may know of the current step besides the views.

    Attributes:
        progress: position in the planned run.
        indices: which images these are, as numbers of the data set.
        generator: source of all random draws of this step; the same on every process.
    """

    progress: Progress
    indices: Tensor
    generator: torch.Generator


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a look has seen.

    Attributes:
        loss: what the encoder minimises, a mean over the rows of this process.
        metrics: to be logged.
        replies: what `respond` needs, by name: keys, the bank's loss.
    """

    loss: Float[Tensor, ""]
    metrics: Metrics = field(default_factory=dict)
    replies: Mapping[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """Modules and the rules of one game. Subclasses are final."""

    num_views: ClassVar[int | None] = 2
    """Views that it wants; None: any number from two."""
    encoder: Encoder

    @abstractmethod
    def teams(self) -> Mapping[str, nn.Module]:
        """The modules that each player moves, by the player's name; the first is the encoder's."""

    @abstractmethod
    def look(self, views: Sequence[Float[Tensor, "batch 3 _ _"]], step: Step) -> Turn:
        """The encoder's loss on these views, and what the others will answer; no parameter moves."""

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """Everyone else's move, after the encoder's."""
        return {}

    def step(self, views: Sequence[Tensor], players: Mapping[str, Player], step: Step) -> Metrics:
        """One round of the game: look, the encoder moves, the others respond."""
        turn = self.look(views, step)
        players["encoder"].update(turn.loss)
        return {"loss": turn.loss.detach(), **turn.metrics, **self.respond(turn, players, step)}


class Wrapper(Method):
    """An opponent in image space around a method: everything but the look is the method's own."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        object.__setattr__(self, "encoder", method.encoder)  # its weights belong to the method and are listed there only

    def teams(self) -> Mapping[str, nn.Module]:
        """Those of the method; an opponent with parameters adds its own."""
        return self.method.teams()

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The method's."""
        return self.method.respond(turn, players, step)


def innermost(method: Method) -> Method:
    """The method inside all wrappers."""
    return innermost(method.method) if isinstance(method, Wrapper) else method


def make_encoder(backbone: Backbone, eyes: EncoderSettings, projector: ProjectorSettings) -> Encoder:
    """Encoder around a backbone; the projector's input size is the backbone's output."""
    head = make_projector(projector, backbone.num_features)
    return Encoder(backbone, head, mean=eyes.mean, std=eyes.std)
