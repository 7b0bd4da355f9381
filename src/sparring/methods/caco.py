"""CaCo: one shared bank, whose nearest entry is an anchor's positive and whose other entries are
its negatives.

Idea. Every anchor's positive is the bank's entry nearest to the teacher's embedding of the other
view of its image. All other entries are its negatives. So positives are learned together with the
encoder and negatives against it, in one set of vectors.

The game. `encoder` (backbone and projector) minimises L(temperature) at every step. `bank` plays
two roles at every step, at once: entries minimise L(bank.temperature) where they are positives and
maximise it where they are negatives; either way they move towards the anchor. The teacher chooses,
and follows the encoder by moving average.

    L(t) = sum over both views of mean_i [ -q_i.n_pi(i) / t + log sum_k exp(q_i.n_k / t) ],  pi(i) = argmax_k key_i.n_k
    n_k = w_k / |w_k|,  key_i: teacher's embedding of the other view of image i

Before that, K / batch steps of momentum contrast fill the bank with their keys; then the encoder's
parameters are copied into the teacher and the game begins (at once, or after `queue_epochs`).

Deviations from the paper (Wang et al. 2022, arXiv:2203.14370): its body was not available to us, so
this follows the released code. Deviations from that code (maple-research-lab/CaCo):
- Filling steps are steps of the run, at its rate and teacher momentum; the code runs them before,
  at the full rate and 0.999.
- The bank's rate is for batches from 1,024 on; `scale_bank_rate` keeps its step per positive in
  smaller ones.
- The teacher moves after the encoder, not before the next key forward: the same teacher at every
  key.
- `queue_epochs` and the defaults are ours, for small images; recipes caco-imagenet-* are as
  published.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.data.views.views import ViewsSettings
from sparring.methods.method import Method, MethodSettings, Metrics, Step, Turn, make_encoder
from sparring.models.backbones import Backbone, EncoderSettings
from sparring.models.heads import ProjectorSettings
from sparring.models.teacher import Teacher
from sparring.negatives.bank import Bank, SharedBankSettings, Usage
from sparring.objectives.closed_form import (
    BankGame,
    SharedBankGame,
    adversarial_bank_game,
    shared_bank_game,
    summed,
)
from sparring.objectives.contrastive import info_nce
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import ScheduleName, teacher_momentum

FILL_TEMPERATURE = 0.2  # the encoder's while the bank fills; as released
PUBLISHED = (
    1024 * 0.08
)  # batch times bank temperature of the published rate: a positive moves by rate / (batch * temperature)


class CaCoPlayers(Settings):
    """How each side moves."""

    encoder: PlayerSettings = PlayerSettings()
    bank: PlayerSettings = PlayerSettings(
        learning_rate=0.375, schedule="constant", weight_decay=0.0
    )
    """Released for a bank of 65,536: 3.0, with 10 epochs of warm-up. See `scale_bank_rate`, and
    docs/methods/caco.md on small banks."""


class CaCoSettings(MethodSettings):
    """Settings of CaCo."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    players: CaCoPlayers = CaCoPlayers()
    temperature: float = Field(default=0.2, gt=0)
    """The encoder's; 0.08 in the published recipes."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """At the start; changes once per epoch, as released."""
    teacher_schedule: ScheduleName = "constant"
    """Cosine, as published: the momentum rises to 1 over the run. Constant: it stays."""
    scale_bank_rate: bool = True
    """Multiply the bank's loss by min(1, batch * bank.temperature / 82), so that a positive moves
    as in the published run."""
    queue_epochs: float = Field(default=7.5, ge=0)
    """Until then MoCo v2 with in-batch keys, a full bank its queue; 0: the game begins with the
    full bank, as released."""
    bank: SharedBankSettings = SharedBankSettings()
    disarmed: (
        Literal["frozen", "positives-only", "negatives-only", "own-choice", "instance-key"] | None
    ) = None
    """A control: the bank stands still; plays one role; the anchor chooses; or the key is the
    positive, the bank all negatives."""


class CaCo(Method):
    """Wang et al. 2022, arXiv:2203.14370."""

    num_views: ClassVar[int | None] = None

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: CaCoSettings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(backbone, eyes, settings.projector)
        self.teacher = Teacher(self.encoder)
        self.bank = Bank(settings.bank.size, settings.projector.dim, generator=generator)
        self.usage = Usage(settings.bank.size)

    def teams(self) -> Mapping[str, nn.Module]:
        """The encoder with, and against, the bank."""
        return {"encoder": self.encoder, "bank": self.bank}

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """Both sides' losses on the same queries and choices; while the bank fills, the encoder's
        alone."""
        if not self.bank.is_full:
            query, key = self.encoder(views[0]), self.teacher(views[1])
            loss = info_nce(query, key, self.bank.vectors.detach(), temperature=FILL_TEMPERATURE)
            return Turn(loss=loss, replies={"keys": distributed.gather(key)})
        queries, keys = (
            [self.encoder(view) for view in views],
            [self.teacher(view) for view in views[:2]],
        )
        asks, batch = _asks(len(views)), len(views[0]) * distributed.num_processes()
        pace = (
            min(1.0, batch * self.settings.bank.temperature / PUBLISHED)
            if self.settings.scale_bank_rate
            else 1.0
        )
        if (
            step.progress.is_before(self.settings.queue_epochs)
            or self.settings.disarmed == "instance-key"
        ):
            keys = [distributed.gather(key) for key in keys]
            games = [
                (share / len(js), self._key_game(queries[i], keys[j], step))
                for i, (share, js) in enumerate(asks)
                for j in js
            ]
            loss, bank_loss, metrics = summed(games)
            return Turn(
                loss=loss, replies={"bank_loss": pace * bank_loss, "keys": keys[1]}, metrics=metrics
            )
        chosen = torch.stack([self.bank.nearest(key) for key in keys])
        if self.settings.disarmed == "own-choice":
            chosen = torch.stack([self.bank.nearest(query) for query in queries])
            asks = [(share, [i]) for i, (share, _) in enumerate(asks)]
        loss, bank_loss, metrics = summed(
            [(share, self._game(queries[i], chosen[js])) for i, (share, js) in enumerate(asks)]
        )
        metrics["bank/agreement"] = (chosen[0] == chosen[1]).float().mean()
        return Turn(
            loss=loss, replies={"bank_loss": pace * bank_loss, "chosen": chosen}, metrics=metrics
        )

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The bank takes in the keys, or moves in both roles; the teacher follows the encoder."""
        s, now = self.settings, step.progress
        momentum = teacher_momentum(
            s.teacher_momentum, now, schedule=s.teacher_schedule, per_epoch=True
        )
        self.teacher.ema_update(self.encoder, momentum=momentum)
        if not self.bank.is_full or now.is_before(s.queue_epochs):
            if self.bank.fill(turn.replies["keys"]):
                self.teacher.copy_parameters(self.encoder)
            return {}
        usage = (
            self.usage.note(turn.replies["chosen"], now.steps_per_epoch)
            if "chosen" in turn.replies
            else {}
        )
        if s.disarmed == "frozen":
            return usage
        before = self.bank.watched()
        players["bank"].update(turn.replies["bank_loss"])
        return {**usage, **self.bank.dynamics(before)}

    def _game(self, query: Tensor, positives: Tensor) -> SharedBankGame:
        s, bank = self.settings, self.bank.vectors
        helps, fights = s.disarmed != "negatives-only", s.disarmed != "positives-only"
        return shared_bank_game(
            query,
            positives,
            bank,
            temperature=s.temperature,
            bank_temperature=s.bank.temperature,
            cooperative=helps,
            adversarial=fights,
        )

    def _key_game(self, query: Tensor, keys: Tensor, step: Step) -> BankGame:
        s, bank, first = self.settings, self.bank.vectors, distributed.rank() * len(query)
        is_early = step.progress.is_before(s.queue_epochs)
        return adversarial_bank_game(
            query,
            keys,
            bank,
            temperature=s.temperature,
            bank_temperature=s.bank.temperature,
            first_row=first,
            in_batch=is_early,
        )


def _asks(num_views: int) -> list[tuple[float, list[int]]]:
    """Each view's weight, and the views whose keys it asks. Two views count 1 each; of crops, large
    and small ones 1 together."""
    small = num_views - 2
    return (
        [(0.5, [1]), (0.5, [0])] + [(1 / small, [0, 1])] * small
        if small
        else [(1.0, [1]), (1.0, [0])]
    )
