"""ACSSL-style mining: every step uses the hardest negatives of the batch. Our reconstruction, not
verified.

Idea. A query must be closer to the teacher's embedding of another view of its image than to those
of other images. Only the most similar of those are negatives: they are mined at every step, and a
triplet-like loss uses the positive pair and the mined pairs. The adversary is the choice of
negatives.

The game. The encoder's player (backbone, projector and predictor) minimises, at every step, against
a miner that chooses first:

    min_theta mean_i max_{S_i in C_i, |S_i| = K} loss(q_i.k_i+, {q_i.k_c : c in S_i})

Sorting solves the miner's problem exactly, because no form that mines decreases when a negative
comes closer. The miner leaves out the r hardest candidates, which are mostly of the query's own
class. It has no parameters and no gradient. The teacher follows by moving average, and its momentum
rises to 1.

Deviations from the paper (Zhu et al. 2022, arXiv:2202.13072). Only its abstract was available to
us. It says: hard negative pairs are mined online, during training; a student-teacher network makes
the views; a triplet-like loss uses the positive and the mined pairs; the experiments are on
ILSVRC-2012. Everything else is a reconstruction, not verified, from related published work: loss
and ranks from the truncated triplet (Wang et al. 2021, arXiv:2104.08760), teacher and predictor
from BYOL (arXiv:2006.07733) and MoCo v3 (arXiv:2104.02057), `hcl` from Robinson et al. 2021
(arXiv:2010.04592). No claim is made about the paper's numbers. `disarmed` is ours.

Deviations from the authors' code. None is known to exist.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sparring import distributed
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
)
from sparring.methods.negatives import Choice, Negatives
from sparring.models.encoder import Encoder
from sparring.models.heads import PredictorSettings, ProjectorSettings, make_predictor
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.models.view import View
from sparring.negatives import mining
from sparring.negatives.mining import MINING_METRICS, MiningSettings, Pool
from sparring.negatives.queue import NumberedQueue
from sparring.objectives.similarity import unit_rows
from sparring.objectives.triplet import (
    Form,
    TripletSettings,
    triplet_objective,
    weights_temperature,
)
from sparring.optim.player import Player
from sparring.optim.schedule import Position, ScheduleName, teacher_momentum


class ACSSLSettings(MethodSettings):
    """Settings of ACSSL. All are reconstructed, not verified."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr", hidden=1024)
    predictor: PredictorSettings = PredictorSettings(hidden=1024)
    """Predictor after the student's projector; the teacher has none. Without it the projections of
    a toy run collapsed in part."""
    players: EncoderOnly = EncoderOnly()
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher at the start. 0.99 is BYOL's and MoCo v3's value for 100
    to 300 epochs."""
    teacher_schedule: ScheduleName = "cosine"
    """Schedule of the teacher's momentum: `cosine` rises to 1, `constant` keeps the start value."""
    form: Form = "linear"
    """Triplet-like loss: linear (truncated triplet), hinge, soft, topk_nce, byol_plus, or hcl (uses
    all negatives and gives hard ones more weight)."""
    triplet: TripletSettings = TripletSettings()
    mining: MiningSettings = MiningSettings()
    key_norm: KeyNormSettings = KeyNormSettings(shuffled=False)
    disarmed: Literal["all", "random", "easiest"] | None = None
    """Control without the opponent: `all` uses every candidate, `random` as many at random,
    `easiest` the easiest ones. None: the hardest."""

    @model_validator(mode="after")
    def _hcl_has_all_negatives(self) -> "ACSSLSettings":
        if self.form == "hcl" and self.disarmed is not None:
            raise ValueError(
                f"form=hcl meets all negatives: leave out disarmed={self.disarmed}; "
                "triplet.beta=0 is its plain twin"
            )
        return self


class ACSSL(Method):
    """ACSSL-style mining, our reconstruction. After Zhu et al. 2022, arXiv:2202.13072."""

    about = About(
        name="acssl",
        title="ACSSL",
        summary="be closer to the teacher's key than to the most similar other images "
        "(our reconstruction)",
        source="after Zhu et al. 2022, arXiv:2202.13072",
        opponent="hard negative pairs, mined online",
        cost=1.27,
        good_for="finding out whether the hardest images of a batch teach more than random ones; "
        "compare with disarmed=random and byol",
        order=11,
        control="byol",
        twins=(
            Twin("random", "as many negatives are drawn at random", primary=True),
            Twin("all", "every candidate is a negative"),
            Twin("easiest", "the easiest candidates are the negatives"),
        ),
    )
    settings_class = ACSSLSettings
    toy = Toy(
        small={"predictor": {"hidden": 32}},
        learning={
            # The teacher must follow within a few hundred steps; 53 % after 40 epochs, 65 % after
            # 60.
            "teacher_momentum": 0.9,
            "predictor": {"hidden": 512},
            "training": {"epochs": 60},
        },
    )
    metrics: ClassVar[Mapping[str, Metric]] = MINING_METRICS
    num_views: ClassVar[int | None] = None

    def __init__(
        self, encoder: Encoder, settings: ACSSLSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.predictor = make_predictor(settings.predictor, settings.projector.dim)
        self.teacher = Teacher(encoder)
        size, dim = settings.mining.num_kept, settings.projector.dim
        self.queue = NumberedQueue(size, dim, generator=generator) if size else None
        self._objective = triplet_objective(settings.form, settings.triplet)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The encoder's player: backbone, projector and predictor. The miner has no parameters."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Mean loss over all pairs of a query's view and a different view that the teacher encodes
        (one of the first two)."""
        images = distributed.joint(context.indices)
        queries = [context.forward(view, self.encoder, self.predictor) for view in views]
        norm = self.settings.key_norm
        keys = [context.keys(view, self.teacher, norm) for view in views[:2]]
        every = [unit_rows(rows.everyone) for rows in keys]
        pairs = [(query, key) for query in range(len(views)) for key in (0, 1) if query != key]
        found = [
            self._loss_of_pair(queries[query], (every[key], every[1 - key]), images, context)
            for query, key in pairs
        ]
        metrics = {name: torch.stack([each[name] for _, each in found]) for name in found[0][1]}
        mined = metrics.pop("mining/pairs").flatten(0, 1)
        return MethodLoss(
            loss=torch.stack([loss for loss, _ in found]).mean(),
            metrics={**{n: values.mean() for n, values in metrics.items()}, "mining/pairs": mined},
            outputs={"keys": torch.cat(every), "images": images.everyone.repeat(2)},
        )

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss with mined negatives; update the encoder, then the teacher and the
        queue."""
        s, found = self.settings, self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        momentum = teacher_momentum(
            s.teacher_momentum, context.position, schedule=s.teacher_schedule
        )
        self.teacher.ema_update(self.encoder, momentum=momentum)
        if self.queue is not None:
            self.queue.enqueue(found.outputs["keys"], found.outputs["images"])
        return {"loss": loss, **found.metrics}

    def negatives(self, position: Position) -> Negatives:
        """The candidates that the miner, or its disarmed twin, chooses for each query."""
        s, m = self.settings, self.settings.mining
        meets_all = position.is_before(m.warmup_epochs) or s.form == "hcl" or s.disarmed == "all"
        choice: Choice = "hardest"
        if meets_all:
            choice = "all"
        elif s.disarmed == "random" or s.disarmed == "easiest":
            choice = s.disarmed
        return Negatives(
            temperature=weights_temperature(s.form, s.triplet),
            stored=None if self.queue is None else self.queue.filled()[0],
            views=1 if m.pool == "batch" else 2,
            is_played=choice == "hardest",
            choice=choice,
            count=m.count,
            skip=m.skip,
            query=self.predictor,
            key=self.teacher.network,
        )

    def _loss_of_pair(
        self, query: Tensor, keys: tuple[Tensor, Tensor], images: JointRows, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of one view's queries against the keys of the positive's view, and
        against the other view's keys and the queue if the pool includes them."""
        parts = [(keys[0], images.everyone)]
        if self.settings.mining.pool != "batch":
            parts.append((keys[1], images.everyone))
        if self.queue is not None:
            parts.append(self.queue.filled())
        query, rows = unit_rows(query), images.positions()
        candidates, shown = (torch.cat(each) for each in zip(*parts, strict=True))
        pool = Pool(keys=candidates, images=shown, anchors=images.everyone[rows])
        available = mining.num_available(images.everyone, shown)
        chosen = self._chosen(query.detach(), pool, available, context)
        positive = mining.cosines(query, candidates, rows[:, None])[:, 0]
        negative = mining.cosines(query, candidates, chosen)
        return self._objective(positive, negative), {
            "mining/hardness": negative.detach().mean(),
            "mining/hardness_of_all": mining.mean_cosine(query.detach(), pool),
            "mining/positive": positive.detach().mean(),
            "mining/pairs": mining.image_pairs(pool.anchors, shown, chosen),
        }

    def _chosen(self, query: Tensor, pool: Pool, available: int, context: Context) -> Tensor:
        """The miner's choice, as columns of the candidates. The disarmed twins differ only here."""
        m, disarmed = self.settings.mining, self.settings.disarmed
        is_warmup = context.position.is_before(m.warmup_epochs)
        meets_all = is_warmup or disarmed == "all" or self.settings.form == "hcl"
        count, skip = (available, 0) if meets_all else (m.count, m.skip)
        count = mining.num_chosen(available, count=count, skip=skip)
        match disarmed:
            case "random":
                return mining.at_random(pool, count=count, generator=context.generator)
            case "easiest":
                return mining.easiest(query, pool, count=count)
            case _:
                return mining.hardest(query, pool, count=count, skip=skip)
