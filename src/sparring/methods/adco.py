"""AdCo: a bank of negatives learned adversarially against the encoder.

Idea. A query must find the teacher's embedding of another view of its image among a bank of
negatives. The negatives are not past keys but free vectors that maximise the same loss, each pulled
towards the queries that confuse it most. Every vector of the bank is updated at every step, so the
negatives become harder as the encoder becomes better.

The game. `encoder` (backbone and projector) minimises L(temperature) at every step. `bank`
maximises L(bank.temperature) at every step, simultaneously: both losses come from the same forward
pass, before either player is updated. The teacher follows the encoder by moving average.

    L(t) = mean_i -log softmax([q_i.k_1 .. q_i.k_B, q_i.n_1 .. q_i.n_K] / t)[own key],
    n_k = w_k / |w_k|

Before the game, the first K / batch steps are momentum contrast with one positive against the
bank's current vectors, and their keys overwrite the bank. When it is full, the encoder's parameters
are copied into the teacher and the game begins (at once, or after `queue_epochs`).

Deviations from the paper (Hu et al. 2021, arXiv:2011.08435). The body of the paper was not
available to us, so this follows the released code: the keys of the other images are negatives too
(`in_batch`).

Deviations from the authors' code (maple-research-lab/AdCo).
- Filling steps count as steps of the run, at the schedule's rate, so that AdCo and its control see
  equally many images; the code runs them beforehand. If the last block of keys is too long, it
  wraps around instead of being cut.
- The row of the own key is offset by the global rank; the code uses the local rank, which is wrong
  on several machines.
- Multi-crop filling takes its keys from the key crop; the code takes them from the smallest query
  crop.
- The teacher is updated after the encoder instead of before the next forward pass of keys, which
  gives the same teacher at every key.
- Keys are shuffled among processes, as in the code; on one process `key_norm.parts` stands for its
  GPUs.
- `strength`, `tau_plus`, `queue_epochs`, `bank.sees_keys`, `bank.key_views` and
  `bank.turn_degrees` are ours, and so are the defaults, for small images; recipes adco-imagenet-*
  are as published.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sparring.data.views.view_settings import ViewsSettings
from sparring.distributed import JointRows
from sparring.measures.metric import Metric
from sparring.methods.about import About, Toy, Twin
from sparring.methods.method import (
    Context,
    EncoderOnly,
    Method,
    MethodLoss,
    MethodSettings,
    Metrics,
    Pictures,
)
from sparring.methods.negatives import Negatives
from sparring.models.encoder import Encoder
from sparring.models.heads import ProjectorSettings
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.models.view import View
from sparring.negatives.bank import (
    LEARNED_BANK_METRICS,
    Bank,
    BankSettings,
    bank_alarm,
)
from sparring.objectives.bank_games import BankGame, adversarial_bank_game, summed
from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position
from sparring.strength.dial import OF_BANKS, STRENGTH_METRICS, Dial
from sparring.strength.settings import Strength


class AdCoPlayers(EncoderOnly):
    """Optimiser of each player: the encoder and the bank."""

    bank: PlayerSettings = PlayerSettings(
        learning_rate=0.047, schedule="constant", weight_decay=1e-4
    )
    """The bank's optimiser, at a constant rate: the released 3.0 at K = 65,536, scaled so that rate
    / (K * bank.temperature) stays 0.0023."""


class AdCoSettings(MethodSettings):
    """Settings of AdCo."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    """Projector; the released code uses mocov2. Without batch norm the embeddings of a short run
    stay in a narrow cone, away from the bank."""
    players: AdCoPlayers = AdCoPlayers()
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of the encoder's loss; 0.12 in the released code."""
    tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false negatives, images of the anchor's class among all others; 0: none.
    Both players' losses are corrected for them (Chuang et al. 2020; docs/methods/hcl.md)."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher; 0.999 on ImageNet. Runs of a few thousand steps need a
    faster teacher."""
    form: Literal["one-way", "symmetric", "multi-crop"] = "symmetric"
    """Assignment of queries and keys to views. `one-way`: view 0 is the query, view 1 the key.
    `symmetric`: each view is the query once, mean of both losses. `multi-crop`: view 0 is the key
    of all others, sum of the losses."""
    in_batch: bool = True
    """Whether keys of the other images are negatives too. Without them accuracy on ImageNet is at
    most 0.5 points lower and training is less stable (the authors' statement)."""
    queue_epochs: float = Field(default=5.0, ge=0)
    """Epochs during which a full bank is a queue of keys and does not learn; 0: it learns as soon
    as it is full, as in the released code. See docs/methods/adco.md."""
    bank: BankSettings = BankSettings()
    key_norm: KeyNormSettings = KeyNormSettings()
    strength: Strength = "released"
    """How strong the bank is: `released`, by the constants above; or the loss in nats per query
    that it adds above a queue of equal size, held by the share of negatives taken from the bank
    (docs/strength.md)."""
    disarmed: Literal["frozen", "queue"] | None = None
    """Control without the opponent. `frozen`: the bank stays fixed from the step where it would
    begin to learn. `queue`: it stays a queue of keys."""

    @model_validator(mode="after")
    def _corrected_banks_see_keys(self) -> "AdCoSettings":
        if self.tau_plus > 0 and not self.bank.sees_keys:
            raise ValueError(
                f"tau_plus={self.tau_plus} corrects by the positive, which a bank with "
                "sees_keys=false does not see: leave out one of the two"
            )
        return self


class AdCo(Method):
    """AdCo. Hu et al. 2021, arXiv:2011.08435."""

    about = About(
        name="adco",
        title="AdCo",
        summary="find the teacher's key among negatives that learn to confuse",
        source="Hu et al. 2021, arXiv:2011.08435",
        opponent="a learned bank of negatives",
        cost=1.29,
        good_for="hard negatives at a fixed memory: whether their learning helps on your images is "
        "for disarmed=queue to say",
        order=9,
        control="mocov2",
        twins=(
            Twin("queue", "the bank goes on as a queue of past keys", primary=True),
            Twin("frozen", "the bank stays fixed from where it would begin to learn"),
        ),
    )
    settings_class = AdCoSettings
    toy = Toy(
        small={"bank": {"size": 40}, "queue_epochs": 0.0},
        held={"strength": 0.05},
        learning={
            # The bank has half as many vectors as there are images, at the published rate / (K *
            # temperature).
            "bank": {"size": 128, "temperature": 0.04},
            "queue_epochs": 5.0,
            "players": {"bank": {"learning_rate": 0.012}},
        },
        processes={
            # Far from a saturated softmax, the bank's step is large enough to compare.
            "bank": {"temperature": 0.1, "size": 40},
            "players": {"bank": {"learning_rate": 3.0}},
        },
    )
    metrics: ClassVar[Mapping[str, Metric]] = {**LEARNED_BANK_METRICS, **STRENGTH_METRICS}
    num_views: ClassVar[int | None] = None

    def __init__(
        self, encoder: Encoder, settings: AdCoSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.teacher = Teacher(encoder)
        self.bank = Bank(settings.bank.size, settings.projector.dim, generator=generator)
        self.dial = Dial("released" if settings.disarmed else settings.strength, pace=OF_BANKS)

    @property
    def nats(self) -> float:
        """The loss on a pair of views is in nats per query."""
        return 1.0

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The two players: the encoder, and the bank that plays against it."""
        return {"encoder": self.encoder, "bank": self.bank}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Losses of both players on the same queries and keys; while the bank fills, the encoder's
        loss only."""
        if not self.bank.is_full:
            return self._loss_while_filling(views, context)
        match self.settings.form:
            case "one-way":
                pairs = [(views[0], self._keys(views[1], context))]
            case "symmetric":
                pairs = [
                    (views[0], self._keys(views[1], context)),
                    (views[1], self._keys(views[0], context)),
                ]
            case "multi-crop":
                keys = self._keys(views[0], context)
                pairs = [(view, keys) for view in views[1:]]
        share = 1.0 if self.settings.form == "multi-crop" else 1.0 / len(pairs)
        games = [(share, self._game(view, keys, context)) for view, keys in pairs]
        loss, bank_loss, metrics = summed(games)
        has_all = self.settings.form == "symmetric" and self.settings.bank.key_views == "all"
        stored = [keys.everyone for _, keys in (pairs if has_all else pairs[:1])]
        outputs = {"bank_loss": bank_loss, "keys": torch.cat(stored)}
        if not self._is_queue(context.position):
            against_queue = [share * self._loss_on_queue(*pair, context) for pair in pairs]
            excess = (loss.detach() - torch.stack(against_queue).sum()) / (share * len(pairs))
            outputs["excess"] = excess
        return MethodLoss(loss=loss, outputs=outputs, metrics=metrics)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the losses; update the encoder, the teacher, then the bank, which ascends."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        self.teacher.ema_update(self.encoder, momentum=self.settings.teacher_momentum)
        metrics = {"loss": loss, **found.metrics}
        if not self.bank.is_full or self._is_queue(context.position):
            if self.bank.fill(found.outputs["keys"]):
                self.teacher.copy_parameters(self.encoder)
            return metrics
        self.bank.remember(found.outputs["keys"])
        self.dial.turn(found.outputs["excess"], context.position)
        metrics |= self.dial.metrics(context.position)
        if self.settings.disarmed == "frozen":
            return metrics
        before, bank_loss = self.bank.watched(), found.outputs["bank_loss"]
        if self.dial.is_held:
            players["bank"].turn(bank_loss, degrees=self.settings.bank.turn_degrees)
        else:
            players["bank"].update(bank_loss)
        return {**metrics, **self.bank.dynamics(before)}

    def advance(self, num_images: int) -> None:
        """Treat the bank as filled by the keys of this many images."""
        self.bank.num_filled = num_images

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """The bank's vectors, as negatives to show in a report."""
        return Pictures(negatives=self.bank.vectors.detach())

    def negatives(self, position: Position) -> Negatives:
        """The bank, or the mixture that the dial makes of it, and the keys of the other images of
        the batch; while the bank fills, the bank alone."""
        is_game = self.bank.is_full and not self._is_queue(position)
        return Negatives(
            temperature=self.settings.temperature,
            stored=self.bank.mixed(self.dial.share(position), position.step),
            views=int(self.settings.in_batch and self.bank.is_full),
            is_played=is_game and self.settings.disarmed is None and not self.dial.is_off(position),
            key=self.teacher.network,
        )

    @classmethod
    def alarm(cls, record: Mapping[str, float | int]) -> str | None:
        """A warning if the bank has drifted away from the images' embeddings."""
        return bank_alarm(record)

    def _is_queue(self, position: Position) -> bool:
        is_early = position.is_before(self.settings.queue_epochs)
        return is_early or self.settings.disarmed == "queue"

    def _keys(self, view: View, context: Context) -> JointRows:
        return context.keys(view, self.teacher, self.settings.key_norm)

    def _game(self, view: View, keys: JointRows, context: Context) -> BankGame:
        query = context.forward(view, self.encoder)
        if not self.dial.is_held:
            return self._game_against(self.bank.vectors, query, keys)
        # The encoder meets the dial's mixture; the bank answers with all of its vectors, and climbs
        # the loss in which its strength is measured.
        now = context.position
        negatives = self.bank.mixed(self.dial.share(now), now.step)
        met = self._game_against(negatives, query, keys)
        temperature = self.settings.temperature
        played = self._game_against(self.bank.vectors, query.detach(), keys, temperature)
        return replace(played, loss=met.loss)

    def _game_against(
        self,
        negatives: Tensor,
        query: Tensor,
        keys: JointRows,
        bank_temperature: float | None = None,
    ) -> BankGame:
        return adversarial_bank_game(
            query,
            keys,
            negatives,
            temperature=self.settings.temperature,
            bank_temperature=bank_temperature or self.settings.bank.temperature,
            in_batch=self.settings.in_batch,
            bank_sees_keys=self.settings.bank.sees_keys,
            tau_plus=self.settings.tau_plus,
        )

    @torch.no_grad()
    def _loss_on_queue(self, view: View, keys: JointRows, context: Context) -> Tensor:
        """The encoder's loss against the queue beside the bank, which the twin would have."""
        query, s, past = context.forward(view, self.encoder), self.settings, self.bank.past
        if s.in_batch:
            return in_batch_info_nce(
                query, keys, past, temperature=s.temperature, tau_plus=s.tau_plus
            )
        return info_nce(query, keys.own, past, temperature=s.temperature, tau_plus=s.tau_plus)

    def _loss_while_filling(self, views: Sequence[View], context: Context) -> MethodLoss:
        query_view, key_view = (1, 0) if self.settings.form == "multi-crop" else (0, 1)
        keys = self._keys(views[key_view], context)
        query, negatives = context.forward(views[query_view], self.encoder), self.bank.vectors
        s = self.settings
        loss = info_nce(
            query, keys.own, negatives.detach(), temperature=s.temperature, tau_plus=s.tau_plus
        )
        return MethodLoss(loss=loss, outputs={"keys": keys.everyone})
