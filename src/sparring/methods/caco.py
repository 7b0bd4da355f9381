"""CaCo: one shared bank; the entry nearest to an anchor is its positive, all other entries are its
negatives.

Idea. Every anchor's positive is the bank's entry nearest to the teacher's embedding of the other
view of its image. All other entries are its negatives. So positives are learned together with the
encoder and negatives against it, in one set of vectors.

The game. `encoder` (backbone and projector) minimises L(temperature) at every step. `bank` plays
two roles at every step, simultaneously: an entry minimises L(bank.temperature) where it is a
positive and maximises it where it is a negative; either way it moves towards the anchor. The
teacher chooses the positives and follows the encoder by moving average.

    L(t) = sum over both views of mean_i [ -q_i.n_pi(i) / t + log sum_k exp(q_i.n_k / t) ],
    pi(i) = argmax_k key_i.n_k
    n_k = w_k / |w_k|,  key_i: teacher's embedding of the other view of image i

Before the game, K / batch steps of momentum contrast fill the bank with their keys; then the
encoder's parameters are copied into the teacher and the game begins (at once, or after
`queue_epochs`).

Deviations from the paper (Wang et al. 2022, arXiv:2203.14370). The body of the paper was not
available to us, so this follows the released code.

Deviations from the authors' code (maple-research-lab/CaCo).
- Filling steps are steps of the run, at its rate and teacher momentum; the code runs them before,
  at the full rate and 0.999.
- The bank's rate is for batches of 1,024 and more; `scale_bank_rate` keeps the step per positive
  the same in smaller ones.
- The teacher is updated after the encoder instead of before the next forward pass of keys, which
  gives the same teacher at every key.
- `strength`, `reduction`, `key_norm`, `bank.key_views`, `bank.turn_degrees`, `queue_epochs` and the
  defaults are ours, for small images; recipes caco-imagenet-* are as published.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
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
    SHARED_BANK_METRICS,
    Bank,
    SharedBankSettings,
    Usage,
    bank_alarm,
)
from sparring.negatives.shared_bank import (
    Asked,
    games_on_choices,
    games_on_keys,
    keys_of_views,
    strengths,
)
from sparring.objectives.bank_games import (
    summed,
)
from sparring.objectives.contrastive import info_nce
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position, ScheduleName, teacher_momentum
from sparring.strength.dial import OF_BANKS, STRENGTH_METRICS, Dial
from sparring.strength.settings import Strength

FILL_TEMPERATURE = 0.2
"""Temperature of the encoder's loss while the bank fills; as in the released code."""
PUBLISHED = 1024 * 0.08
"""Product of batch size and bank temperature for which the published rate holds: a positive moves
by rate / (batch * temperature)."""


class CaCoPlayers(EncoderOnly):
    """Optimiser of each player: the encoder and the bank."""

    bank: PlayerSettings = PlayerSettings(
        learning_rate=0.375, schedule="constant", weight_decay=0.0
    )
    """The bank's optimiser. The released rate for a bank of 65,536 is 3.0, with 10 epochs of
    warm-up. See `scale_bank_rate`, and docs/methods/caco.md on small banks."""


class CaCoSettings(MethodSettings):
    """Settings of CaCo."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    players: CaCoPlayers = CaCoPlayers()
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of the encoder's loss; 0.08 in the published recipes."""
    tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false negatives, images of the anchor's class among all others; 0: none.
    Both players' losses are corrected for them (Chuang et al. 2020; docs/methods/hcl.md)."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher at the start; it changes once per epoch, as in the
    released code."""
    teacher_schedule: ScheduleName = "constant"
    """Schedule of the teacher's momentum: `cosine`, as published, rises to 1 over the run;
    `constant` keeps the start value."""
    scale_bank_rate: bool = True
    """Multiply the bank's loss by min(1, batch * bank.temperature / 82), so that a positive moves
    as in the published run."""
    queue_epochs: float = Field(default=7.5, ge=0)
    """Epochs during which training is MoCo v2 with in-batch keys and a full bank is its queue; 0:
    the game begins as soon as the bank is full, as in the released code."""
    reduction: Literal["sum", "mean"] = "sum"
    """How the encoder's losses of the two views are joined: their `sum`, as published with LARS,
    which makes the scale harmless, or their `mean`, as in MoCo v2 and AdCo, for optimisers without
    a trust ratio."""
    bank: SharedBankSettings = SharedBankSettings()
    key_norm: KeyNormSettings = KeyNormSettings(shuffled=False)
    strength: Strength = "released"
    """How strong the bank's negatives are: `released`, by the constants above; or the loss in nats
    per query that they add above a queue of equal size beside the same positives, held by the share
    of negatives taken from the bank (docs/strength.md)."""
    disarmed: (
        Literal["frozen", "positives-only", "negatives-only", "own-choice", "instance-key"] | None
    ) = None
    """Control without the opponent. `frozen`: the bank stays fixed. `positives-only`,
    `negatives-only`: it plays one role. `own-choice`: the anchor chooses its positive.
    `instance-key`: the key is the positive, all of the bank are negatives."""


class CaCo(Method):
    """CaCo. Wang et al. 2022, arXiv:2203.14370."""

    about = About(
        name="caco",
        title="CaCo",
        summary="find the nearest entry of a bank that learns to be positive and negative",
        source="Wang et al. 2022, arXiv:2203.14370",
        opponent="a shared bank: positives learned with the encoder, negatives against it",
        cost=1.29,
        good_for="long runs on many images; short ones begin with momentum contrast "
        "(queue_epochs); compare with disarmed=instance-key",
        order=10,
        control="mocov2",
        twins=(
            Twin("instance-key", "the key is the positive, the bank all negatives", primary=True),
            Twin("frozen", "the bank stays fixed"),
            Twin("positives-only", "only the entries that are positives move"),
            Twin("negatives-only", "only the entries that are negatives move"),
            Twin("own-choice", "the query chooses its positive, not the teacher"),
            Twin("queue-negatives", "the negatives are past keys", settings={"strength": 0.0}),
        ),
    )
    settings_class = CaCoSettings
    toy = Toy(
        small={"bank": {"size": 40}, "queue_epochs": 0.0},
        held={"strength": 0.05},
        undialled={"strength": 0.0},
        learning={
            # It chooses well once embeddings have spread; the first epochs are momentum contrast.
            "bank": {"size": 128},
            "queue_epochs": 5.0,
            "teacher_momentum": 0.95,
            "training": {"epochs": 80},
        },
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        **LEARNED_BANK_METRICS,
        **SHARED_BANK_METRICS,
        **STRENGTH_METRICS,
    }
    num_views: ClassVar[int | None] = None

    def __init__(
        self, encoder: Encoder, settings: CaCoSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.teacher = Teacher(encoder)
        self.bank = Bank(settings.bank.size, settings.projector.dim, generator=generator)
        self.usage = Usage(settings.bank.size)
        # A disarmed bank is not held, whatever the strength.
        self.dial = Dial("released" if settings.disarmed else settings.strength, pace=OF_BANKS)

    @property
    def nats(self) -> float:
        """Half of the sum over both views is nats per query; a view asks while the bank fills."""
        return 0.5 if self.bank.is_full and self.settings.reduction == "sum" else 1.0

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The two players: the encoder, and the bank that plays both with it and against it."""
        return {"encoder": self.encoder, "bank": self.bank}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Losses of both players on the same queries; while the bank fills, the encoder's loss
        only."""
        if not self.bank.is_full:
            query, negatives = context.forward(views[0], self.encoder), self.bank.vectors.detach()
            keys = context.keys(views[1], self.teacher, self.settings.key_norm)
            tau_plus, t = self.settings.tau_plus, FILL_TEMPERATURE
            loss = info_nce(query, keys.own, negatives, temperature=t, tau_plus=tau_plus)
            return MethodLoss(loss=loss, outputs={"keys": self._stored([keys])})
        queries = [context.forward(view, self.encoder) for view in views]
        norm = self.settings.key_norm
        joint = [context.keys(view, self.teacher, norm) for view in views[:2]]
        is_queue = context.position.is_before(self.settings.queue_epochs)
        if is_queue or self.settings.disarmed == "instance-key":
            return self._loss_on_keys(queries, joint, in_batch=is_queue)
        return self._loss_on_choices(queries, joint, context.position)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the losses; update the encoder, the teacher, then the bank in both roles."""
        s, now, found = self.settings, context.position, self.loss(views, context)
        metrics = {"loss": players["encoder"].update(found.loss), **found.metrics}
        momentum = teacher_momentum(
            s.teacher_momentum, now, schedule=s.teacher_schedule, per_epoch=True
        )
        self.teacher.ema_update(self.encoder, momentum=momentum)
        if not self.bank.is_full or now.is_before(s.queue_epochs):
            if self.bank.fill(found.outputs["keys"]):
                self.teacher.copy_parameters(self.encoder)
            return metrics
        if "chosen" in found.outputs:
            metrics |= self.usage.note(found.outputs["chosen"], now.steps_per_epoch)
        self.bank.remember(found.outputs["keys"])
        self.dial.turn(found.outputs["excess"], now)
        metrics |= self.dial.metrics(now)
        if s.disarmed == "frozen":
            return metrics
        before, bank_loss = self.bank.watched(), found.outputs["bank_loss"]
        if self.dial.is_held:
            players["bank"].turn(bank_loss, degrees=s.bank.turn_degrees)
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
        """All entries of the bank but the anchor's positive; before the game, and with
        `instance-key`, the whole bank."""
        s = self.settings
        is_early = position.is_before(s.queue_epochs)
        is_game = self.bank.is_full and not is_early
        is_still = s.disarmed in ("frozen", "positives-only") or self.dial.is_off(position)
        chooser: Literal["key", "anchor"] = "anchor" if s.disarmed == "own-choice" else "key"
        return Negatives(
            temperature=s.temperature if self.bank.is_full else FILL_TEMPERATURE,
            stored=self.bank.mixed(self.dial.share(position), position.step),
            views=int(self.bank.is_full and is_early),
            is_played=is_game and not is_still,
            positive_by=chooser if is_game and s.disarmed != "instance-key" else None,
            key=self.teacher.network,
        )

    @classmethod
    def alarm(cls, record: Mapping[str, float | int]) -> str | None:
        """A warning if the bank has drifted away from the images' embeddings."""
        return bank_alarm(record)

    def _loss_on_keys(
        self, queries: Sequence[Tensor], joint: Sequence[JointRows], *, in_batch: bool
    ) -> MethodLoss:
        s = self.settings
        games = partial(
            games_on_keys,
            queries,
            joint,
            temperature=s.temperature,
            bank_temperature=s.bank.temperature,
            in_batch=in_batch,
            tau_plus=s.tau_plus,
        )
        loss, bank_loss, metrics = summed(games(self.bank.vectors))
        keys = self._stored([joint[1], joint[0]])
        outputs = {"bank_loss": self._pace(joint[0]) * bank_loss, "keys": keys}
        if not in_batch:
            with torch.no_grad():
                against_queue, *_ = summed(games(self.bank.past))
            outputs["excess"] = (loss.detach() - against_queue) / 2
        return MethodLoss(loss=self._reduced(loss), outputs=outputs, metrics=metrics)

    def _loss_on_choices(
        self, queries: Sequence[Tensor], joint: Sequence[JointRows], now: Position
    ) -> MethodLoss:
        s, is_own = self.settings, self.settings.disarmed == "own-choice"
        choosing = queries if is_own else [keys.own for keys in joint]
        chosen = torch.stack([self.bank.nearest(rows) for rows in choosing])
        asked = [
            Asked(
                share,
                queries[number],
                torch.stack([chosen[each] for each in ([number] if is_own else keys)]),
                torch.stack([joint[key].own for key in keys]),
            )
            for number, (share, keys) in enumerate(keys_of_views(len(queries)))
        ]
        met = self.bank.mixed(self.dial.share(now), now.step) if self.dial.is_held else None
        settings = {"temperature": s.temperature, "tau_plus": s.tau_plus}
        games = games_on_choices(
            asked,
            self.bank.vectors,
            met,
            **settings,
            bank_temperature=s.temperature if self.dial.is_held else s.bank.temperature,
            cooperative=s.disarmed != "negatives-only",
            adversarial=s.disarmed != "positives-only",
        )
        loss, bank_loss, metrics = summed(games)
        excess, gain = strengths(asked, self.bank, loss, met=met, **settings)
        metrics["bank/agreement"] = (chosen[0] == chosen[1]).float().mean()
        metrics["opponent/positive_gain"] = gain
        bank_loss, keys = self._pace(joint[0]) * bank_loss, self._stored([joint[1], joint[0]])
        outputs = {"bank_loss": bank_loss, "chosen": chosen, "excess": excess, "keys": keys}
        return MethodLoss(loss=self._reduced(loss), outputs=outputs, metrics=metrics)

    def _stored(self, keys: Sequence[JointRows]) -> Tensor:
        """Keys that the bank takes in: those of the first set, or of all."""
        has_all = self.settings.bank.key_views == "all"
        return torch.cat([rows.everyone for rows in (keys if has_all else keys[:1])])

    def _reduced(self, total: Tensor) -> Tensor:
        """The encoder's loss; the weights of all views add up to 2, see `keys_of_views`."""
        return total if self.settings.reduction == "sum" else total / 2

    def _pace(self, keys: JointRows) -> float:
        """Factor of the bank's loss that keeps a positive's step as in the published run."""
        product = len(keys.everyone) * self.settings.bank.temperature
        return min(1.0, product / PUBLISHED) if self.settings.scale_bank_rate else 1.0
