"""ACSSL-style: the hardest negatives are picked out of the batch at every step. Our reconstruction,
not verified.

Idea. A query must be closer to the teacher's embedding of another view of its image than to those
of other images. It does not meet all of them: the most similar ones are mined at every step, and a
triplet-like loss uses the positive pair and the mined pairs. The adversary is the choice of
negatives.

The game. The encoder's player (backbone, projector and predictor) minimises, at every step, against
a miner who chooses first:

    min_theta mean_i max_{S_i in C_i, |S_i| = K} loss(q_i.k_i+, {q_i.k_c : c in S_i})

The miner is solved exactly by sorting, as every form that mines never falls when a negative comes
closer; it leaves out the r hardest, which are mostly of the query's own class. It has no parameters
and no gradient. The teacher follows by moving average, its momentum rising to 1.

Deviations from the paper (Zhu et al. 2022, arXiv:2202.13072). Only its abstract was available to
us. It says: hard negative pairs are mined online, within training; a student-teacher network makes
the views; a triplet-like loss uses the positive and the mined pairs; the experiments are on
ILSVRC-2012. All else is a reconstruction, not verified, from published relatives: loss and ranks
from the truncated triplet (Wang et al. 2021, arXiv:2104.08760), teacher and predictor from BYOL
(arXiv:2006.07733) and MoCo v3 (arXiv:2104.02057), `hcl` from Robinson et al. 2021
(arXiv:2010.04592). No claim is made about the paper's numbers. `disarmed` is ours.

Deviations from the authors' code. None is known to exist.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sparring import distributed
from sparring.data.views.views import ViewsSettings
from sparring.methods.method import (
    EncoderOnly,
    Method,
    MethodSettings,
    Metrics,
    Step,
    Turn,
    make_encoder,
)
from sparring.models.backbones import Backbone, EncoderSettings
from sparring.models.heads import PredictorSettings, ProjectorSettings, make_predictor
from sparring.models.teacher import Teacher
from sparring.negatives import mining
from sparring.negatives.mining import MiningSettings, Pool
from sparring.negatives.queue import NumberedQueue
from sparring.objectives.similarity import unit_rows
from sparring.objectives.triplet import Form, TripletSettings, triplet_objective
from sparring.optim.player import Player
from sparring.optim.schedule import ScheduleName, teacher_momentum


class ACSSLSettings(MethodSettings):
    """Settings of ACSSL. All are reconstructed, not verified."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr", hidden=1024)
    predictor: PredictorSettings = PredictorSettings(hidden=1024)
    """After the projector, in the student only; without it a toy run's projections collapsed in
    part."""
    players: EncoderOnly = EncoderOnly()
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """At the start; BYOL's and MoCo v3's for 100 to 300 epochs."""
    teacher_schedule: ScheduleName = "cosine"
    """cosine: the momentum rises to 1; constant: it stays."""
    form: Form = "linear"
    """Triplet-like loss: linear (truncated triplet), hinge, soft, topk_nce, byol_plus, or hcl (all
    negatives, the hard ones weigh more)."""
    triplet: TripletSettings = TripletSettings()
    mining: MiningSettings = MiningSettings()
    disarmed: Literal["all", "random", "easiest"] | None = None
    """Twins without the opponent: every candidate, as many at random, or the easiest; None: the
    hardest."""

    @model_validator(mode="after")
    def _hcl_has_all_negatives(self) -> "ACSSLSettings":
        if self.form == "hcl" and self.disarmed is not None:
            raise ValueError(
                f"form=hcl meets all negatives: leave out disarmed={self.disarmed}; "
                "triplet.beta=0 is its plain twin"
            )
        return self


class ACSSL(Method):
    """After Zhu et al. 2022, arXiv:2202.13072; a reconstruction, not verified."""

    num_views: ClassVar[int | None] = None

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: ACSSLSettings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(backbone, eyes, settings.projector)
        self.predictor = make_predictor(settings.predictor, settings.projector.dim)
        self.teacher = Teacher(self.encoder)
        size = settings.mining.num_kept
        self.queue = (
            NumberedQueue(size, settings.projector.dim, generator=generator) if size else None
        )
        self._objective = triplet_objective(settings.form, settings.triplet)

    def teams(self) -> Mapping[str, nn.Module]:
        """The student plays against the miner, who has no parameters."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """Mean loss over all pairs of a query's view and another view that the teacher sees: the
        first two."""
        images = distributed.gather(step.indices.to(views[0].device))
        queries = [self.predictor(self.encoder(view)) for view in views]
        keys = [distributed.gather(self.teacher(view)) for view in views[:2]]
        pairs = [(query, key) for query in range(len(views)) for key in (0, 1) if query != key]
        duels = [
            self._duel(queries[query], (keys[key], keys[1 - key]), images, step)
            for query, key in pairs
        ]
        found = {name: torch.stack([metrics[name] for _, metrics in duels]) for name in duels[0][1]}
        mined = found.pop("mining/pairs").flatten(0, 1)
        return Turn(
            loss=torch.stack([loss for loss, _ in duels]).mean(),
            metrics={
                **{name: values.mean() for name, values in found.items()},
                "mining/pairs": mined,
            },
            replies={"keys": unit_rows(torch.cat(keys)), "images": images.repeat(2)},
        )

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The teacher follows the encoder; the queue, if any, takes in the new keys with their
        images."""
        s = self.settings
        self.teacher.ema_update(
            self.encoder,
            momentum=teacher_momentum(
                s.teacher_momentum, step.progress, schedule=s.teacher_schedule
            ),
        )
        if self.queue is not None:
            self.queue.enqueue(turn.replies["keys"], turn.replies["images"])
        return {}

    def _duel(
        self, query: Tensor, keys: tuple[Tensor, Tensor], images: Tensor, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of one view's queries against the joint keys of the positive's view, and
        of the other one if mined."""
        parts = [(unit_rows(keys[0]), images)]
        if self.settings.mining.pool != "batch":
            parts.append((unit_rows(keys[1]), images))
        if self.queue is not None:
            parts.append(self.queue.filled())
        query = unit_rows(query)
        candidates, shown = (
            torch.cat([part for part, _ in parts]),
            torch.cat([part for _, part in parts]),
        )
        rows = distributed.rank() * len(query) + torch.arange(len(query), device=query.device)
        pool = Pool(keys=candidates, images=shown, anchors=images[rows])
        chosen = self._chosen(query.detach(), pool, mining.num_available(images, shown), step)
        positive, negative = (
            mining.cosines(query, candidates, rows[:, None])[:, 0],
            mining.cosines(query, candidates, chosen),
        )
        return self._objective(positive, negative), {
            "mining/hardness": negative.detach().mean(),
            "mining/hardness_of_all": mining.mean_cosine(query.detach(), pool),
            "mining/positive": positive.detach().mean(),
            "mining/pairs": mining.image_pairs(pool.anchors, shown, chosen),
        }

    def _chosen(self, query: Tensor, pool: Pool, available: int, step: Step) -> Tensor:
        """The miner's move, as columns of the candidates; the twins differ here only."""
        m, disarmed = self.settings.mining, self.settings.disarmed
        is_warmup = step.progress.is_before(m.warmup_epochs)
        meets_all = is_warmup or disarmed == "all" or self.settings.form == "hcl"
        count, skip = (available, 0) if meets_all else (m.count, m.skip)
        count = mining.num_chosen(available, count=count, skip=skip)
        match disarmed:
            case "random":
                return mining.at_random(pool, count=count, generator=step.generator)
            case "easiest":
                return mining.easiest(query, pool, count=count)
            case _:
                return mining.hardest(query, pool, count=count, skip=skip)
