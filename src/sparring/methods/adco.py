"""AdCo: a bank of negatives learned adversarially against the encoder.

Idea. A query must find the teacher's embedding of another view of its image among a bank of
negatives. The negatives are not past keys but free vectors that climb the same loss, each pulled
towards the queries that confuse it most. So the opponent stays as hard as the encoder is good, with
every vector of the bank moving at every step.

The game. `encoder` (backbone and projector) minimises L(temperature) at every step. `bank`
maximises L(bank.temperature) at every step, simultaneously: both answer the same look, taken before
either moved. The teacher follows the encoder by moving average.

    L(t) = mean_i -log softmax([q_i.k_1 .. q_i.k_B, q_i.n_1 .. q_i.n_K] / t)[own key],   n_k = w_k / |w_k|

Before that, the first K / batch steps are momentum contrast with one positive against the bank as
it stands, and their keys overwrite it; when it is full the encoder's parameters are copied into the
teacher and the game begins (at once, or after `queue_epochs`).

Deviations from the paper (Hu et al. 2021, arXiv:2011.08435; its body was not available to us, so
this follows the released code): the keys of the other images are negatives too, as in that code
(`in_batch`).

Deviations from the authors' code (maple-research-lab/AdCo).
- Filling steps count as steps of the run, at the schedule's rate, so that AdCo and its control see
  equally many images; the code runs them beforehand. A last block of keys that is too long wraps
  around instead of being cut.
- The own key's row is offset by the global rank; the code's local one is wrong on several machines.
- Multi-crop filling takes its keys from the key crop; the code takes the smallest query crop.
- The teacher moves after the encoder instead of before the next key forward: the same teacher at
  every key.
- `queue_epochs` and `bank.sees_keys` are ours, and so are the defaults, for small images; recipes
  adco-imagenet-* are as published.
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
from sparring.negatives.bank import Bank, BankSettings
from sparring.objectives.closed_form import BankGame, adversarial_bank_game, summed
from sparring.objectives.contrastive import info_nce
from sparring.optim.player import Player, PlayerSettings


class AdCoPlayers(Settings):
    """How each side moves."""

    encoder: PlayerSettings = PlayerSettings()
    bank: PlayerSettings = PlayerSettings(
        learning_rate=0.047, schedule="constant", weight_decay=1e-4
    )
    """Constant rate; the released 3.0 at K = 65,536, scaled so that rate / (K * bank.temperature)
    stays 0.0023."""


class AdCoSettings(MethodSettings):
    """Settings of AdCo."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    """Released: mocov2. Without batch norm a short run's embeddings stay in a narrow cone and leave
    the bank behind."""
    players: AdCoPlayers = AdCoPlayers()
    temperature: float = Field(default=0.2, gt=0)
    """The encoder's; 0.12 as released."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """0.999 on ImageNet; runs of a few thousand steps need a faster teacher."""
    form: Literal["one-way", "symmetric", "multi-crop"] = "symmetric"
    """One-way: view 0 asks, view 1 is the key. Symmetric: both ask, mean of two. Multi-crop: view 0
    is the key of all others, sum."""
    in_batch: bool = True
    """Keys of the other images are negatives too; off costs at most 0.5 points on ImageNet and is
    less stable (authors)."""
    queue_epochs: float = Field(default=5.0, ge=0)
    """Until then a full bank is a queue of keys and does not learn; 0: it learns at once, as
    released. See docs/methods/adco.md."""
    bank: BankSettings = BankSettings()
    disarmed: Literal["frozen", "queue"] | None = None
    """A control: the bank stands still where it would begin to learn, or goes on as a queue of
    keys."""


class AdCo(Method):
    """Hu et al. 2021, arXiv:2011.08435."""

    num_views: ClassVar[int | None] = None

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: AdCoSettings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(backbone, eyes, settings.projector)
        self.teacher = Teacher(self.encoder)
        self.bank = Bank(settings.bank.size, settings.projector.dim, generator=generator)

    def teams(self) -> Mapping[str, nn.Module]:
        """The encoder against the bank."""
        return {"encoder": self.encoder, "bank": self.bank}

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """Both sides' losses on the same queries and keys; while the bank fills, the encoder's
        alone."""
        if not self.bank.is_full:
            return self._look_while_filling(views, step)
        match self.settings.form:
            case "one-way":
                pairs = [(views[0], self._keys(views[1], step))]
            case "symmetric":
                pairs = [
                    (views[0], self._keys(views[1], step)),
                    (views[1], self._keys(views[0], step)),
                ]
            case "multi-crop":
                keys = self._keys(views[0], step)
                pairs = [(view, keys) for view in views[1:]]
        share = 1.0 if self.settings.form == "multi-crop" else 1.0 / len(pairs)
        loss, bank_loss, metrics = summed(
            [(share, self._game(query_view, keys)) for query_view, keys in pairs]
        )
        return Turn(
            loss=loss, replies={"bank_loss": bank_loss, "keys": pairs[0][1]}, metrics=metrics
        )

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The bank takes in the keys, or ascends; the teacher follows the encoder."""
        self.teacher.ema_update(self.encoder, momentum=self.settings.teacher_momentum)
        if not self.bank.is_full or self._is_queue(step):
            if self.bank.fill(turn.replies["keys"]):
                self.teacher.copy_parameters(self.encoder)
            return {}
        if self.settings.disarmed == "frozen":
            return {}
        before = self.bank.watched()
        players["bank"].update(turn.replies["bank_loss"])
        return self.bank.dynamics(before)

    def _is_queue(self, step: Step) -> bool:
        return (
            step.progress.is_before(self.settings.queue_epochs) or self.settings.disarmed == "queue"
        )

    def _keys(self, view: Tensor, step: Step) -> Tensor:
        return distributed.gather(self.teacher.shuffled(view, generator=step.generator))

    def _game(self, view: Tensor, keys: Tensor) -> BankGame:
        return adversarial_bank_game(
            self.encoder(view),
            keys,
            self.bank.vectors,
            temperature=self.settings.temperature,
            bank_temperature=self.settings.bank.temperature,
            first_row=distributed.rank() * len(view),
            in_batch=self.settings.in_batch,
            bank_sees_keys=self.settings.bank.sees_keys,
        )

    def _look_while_filling(self, views: Sequence[Tensor], step: Step) -> Turn:
        query_view, key_view = (1, 0) if self.settings.form == "multi-crop" else (0, 1)
        keys = self._keys(views[key_view], step)
        own = keys[distributed.rank() * len(views[0]) :][: len(views[0])]
        query = self.encoder(views[query_view])
        loss = info_nce(
            query, own, self.bank.vectors.detach(), temperature=self.settings.temperature
        )
        return Turn(loss=loss, replies={"keys": keys})
