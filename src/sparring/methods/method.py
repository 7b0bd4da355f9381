"""What a method is: who plays what, in which order.

A method's file holds its settings, its modules, and two verbs. `look` computes and moves nothing;
`respond` lets everyone but the encoder make their move. So an opponent in image space can wrap any
method: it looks through the wrapped one as often as it likes and passes `respond` on. For that, a
method hands views to its networks as it got them: `encoder(view)`, `teacher(view)`,
`encoder.together(views)`.

Wrappers use three verbs more, which a method need not know. `look_at` is a whole round's look: the
batch, and the images that wrappers set beside it. `challenge` holds moves that come before the
encoder's. `rehearse` is what is learned from the images before the first step.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.data.views.views import Views, ViewsSettings
from sparring.methods.groups import Group
from sparring.methods.stage import Stage
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
        images: the batch before augmentation, uint8 of shape (batch, 3, size, size); None where
            views are cropped from files.
        augment: what made the views.
    """

    progress: Progress
    indices: Tensor
    generator: torch.Generator
    images: UInt8[Tensor, "batch 3 size size"] | None = None
    augment: Views | None = None


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
    needs_images: ClassVar[bool] = False
    """Whether its steps need the images before augmentation."""
    encoder: Encoder

    @abstractmethod
    def teams(self) -> Mapping[str, nn.Module]:
        """The modules that each player moves, by the player's name; the first is the encoder's."""

    @abstractmethod
    def look(self, views: Sequence[Float[Tensor, "batch 3 _ _"]], step: Step) -> Turn:
        """The encoder's loss on these views, and what the others will answer; no parameter
        moves."""

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """Everyone else's move, after the encoder's."""
        return {}

    def step(self, views: Sequence[Tensor], players: Mapping[str, Player], step: Step) -> Metrics:
        """One round of the game: challenges, the look, the encoder moves, the others respond."""
        challenges = self.challenge(players, step)
        turn = self.look_at([Group(views=views)], step)
        players["encoder"].update(turn.loss)
        return {
            "loss": turn.loss.detach(),
            **challenges,
            **turn.metrics,
            **self.respond(turn, players, step),
        }

    def look_at(self, groups: Sequence[Group], step: Step) -> Turn:
        """The loss on several groups of views, as a mean over all views.

        The first group is the batch, to which the others respond. Of a further group it is the mean
        over its pairs of views; a method that can set all groups against each other at once does
        better.
        """
        first, *others = groups
        turn = self.look(first.views, step)
        if not others:
            return turn
        shares = [group.share for group in groups]
        losses = [turn.loss, *(self._look_at_pairs(group.views, step) for group in others)]
        return replace(
            turn,
            loss=sum(
                (s * loss for s, loss in zip(shares, losses, strict=True)), start=0 * turn.loss
            )
            / sum(shares),
        )

    def _look_at_pairs(self, views: Sequence[Tensor], step: Step) -> Tensor:
        numbers = distributed.rank() * len(views[0]) + torch.arange(len(views[0]))
        apart = replace(
            step, indices=numbers
        )  # they are none of the data set's images, but different ones
        return torch.stack([self.look(pair, apart).loss for pair in combinations(views, 2)]).mean()

    def challenge(self, players: Mapping[str, Player], step: Step) -> Metrics:
        """Moves that come before the encoder's: of those who look for what is hard for it as it is
        now."""
        return {}

    def rehearse(self, stage: Stage) -> None:
        """What is learned from the images before the first step of a run; not called when a run is
        resumed."""

    def warning(self, record: Mapping[str, float | int]) -> str | None:
        """A sentence if a record of metrics shows that something goes astray."""
        return None


class Wrapper(Method):
    """An opponent in image space around a method: whatever it does not change is the method's
    own."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        object.__setattr__(
            self, "encoder", method.encoder
        )  # its weights belong to the method and are listed there only

    def teams(self) -> Mapping[str, nn.Module]:
        """Those of the method; an opponent with parameters adds its own."""
        return self.method.teams()

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """The method's, without the opponent, which joins in `look_at`: so that others can look
        through this one."""
        return self.method.look(views, step)

    def look_at(self, groups: Sequence[Group], step: Step) -> Turn:
        """The method's."""
        return self.method.look_at(groups, step)

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The method's."""
        return self.method.respond(turn, players, step)

    def challenge(self, players: Mapping[str, Player], step: Step) -> Metrics:
        """The method's; an opponent adds its own."""
        return self.method.challenge(players, step)

    def rehearse(self, stage: Stage) -> None:
        """The method's; an opponent adds its own."""
        self.method.rehearse(stage)

    def warning(self, record: Mapping[str, float | int]) -> str | None:
        """The method's; an opponent adds its own."""
        return self.method.warning(record)


def innermost(method: Method) -> Method:
    """The method inside all wrappers."""
    return innermost(method.method) if isinstance(method, Wrapper) else method


def make_encoder(
    backbone: Backbone, eyes: EncoderSettings, projector: ProjectorSettings
) -> Encoder:
    """Encoder around a backbone; the projector's input size is the backbone's output."""
    head = make_projector(projector, backbone.num_features)
    return Encoder(backbone, head, mean=eyes.mean, std=eyes.std)
