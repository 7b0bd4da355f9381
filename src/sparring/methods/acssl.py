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
(arXiv:2010.04592). No claim is made about the paper's numbers. `strength` and `disarmed` are ours.

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
from sparring.seeding import generator as named_generator
from sparring.strength.dial import STRENGTH_METRICS, Dial
from sparring.strength.settings import Strength, is_held

RELEASED_EVERY = 4
"""Steps from one measurement of a released miner's excess loss to the next."""


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
    strength: Strength = "released"
    """How strong the miner is, for form=topk_nce: `released`, all negatives are mined; or the loss
    in nats per query that mining adds above random negatives, held by the share of mined ones among
    the negatives (docs/strength.md)."""
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

    @model_validator(mode="after")
    def _strength_has_a_dial(self) -> "ACSSLSettings":
        if is_held(self.strength) and self.disarmed is None and self.form != "topk_nce":
            meets_all = self.form == "hcl"
            raise ValueError(
                f"strength: form={self.form} has no dial, since "
                + ("it meets all negatives" if meets_all else "its loss is not in nats")
                + "; choose form=topk_nce, or strength=released"
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
        held={"form": "topk_nce", "strength": 0.1},
        undialled={"form": "topk_nce", "disarmed": "random"},
        learning={
            # The teacher must follow within a few hundred steps; 53 % after 40 epochs, 65 % after
            # 60.
            "teacher_momentum": 0.9,
            "predictor": {"hidden": 512},
            "training": {"epochs": 60},
        },
    )
    metrics: ClassVar[Mapping[str, Metric]] = {**MINING_METRICS, **STRENGTH_METRICS}
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
        held = is_held(settings.strength)
        self.dial = Dial(settings.strength, every=1 if held else RELEASED_EVERY)

    @property
    def nats(self) -> float | None:
        """The losses of topk_nce and hcl are in nats per query; the other forms are no negative
        log-likelihoods."""
        return 1.0 if self.settings.form in ("topk_nce", "hcl") else None

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The encoder's player: backbone, projector and predictor. The miner has no parameters."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Mean loss over all pairs of a query's view and a different view that the teacher encodes
        (one of the first two)."""
        images = distributed.joint(context.indices)
        draws = named_generator(context.generator.initial_seed(), "mining")
        queries = [context.forward(view, self.encoder, self.predictor) for view in views]
        norm = self.settings.key_norm
        keys = [context.keys(view, self.teacher, norm) for view in views[:2]]
        every = [unit_rows(rows.everyone) for rows in keys]
        pairs = [(query, key) for query in range(len(views)) for key in (0, 1) if query != key]
        found = [
            self._loss_of_pair(
                queries[query], (every[key], every[1 - key]), images, context, draws=draws
            )
            for query, key in pairs
        ]
        stacks = {name: torch.stack([each[name] for _, each in found]) for name in found[0][1]}
        mined = stacks.pop("mining/pairs").flatten(0, 1)
        metrics = {name: values.mean() for name, values in stacks.items()}
        excess = {"excess": metrics.pop("excess")} if "excess" in metrics else {}
        return MethodLoss(
            loss=torch.stack([loss for loss, _ in found]).mean(),
            metrics={**metrics, "mining/pairs": mined},
            outputs={"keys": torch.cat(every), "images": images.everyone.repeat(2), **excess},
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
        if "excess" in found.outputs:
            self.dial.turn(found.outputs["excess"], context.position)
        return {"loss": loss, **found.metrics, **self.dial.metrics(context.position)}

    def negatives(self, position: Position) -> Negatives:
        """The candidates that the miner, or its disarmed twin, chooses for each query. Where
        `strength` holds the miner: its own, and random ones at a strength of 0."""
        s, m = self.settings, self.settings.mining
        meets_all = position.is_before(m.warmup_epochs) or s.form == "hcl" or s.disarmed == "all"
        choice: Choice = "hardest"
        if meets_all:
            choice = "all"
        elif s.disarmed == "random" or s.disarmed == "easiest":
            choice = s.disarmed
        elif self.dial.is_off(position):
            choice = "random"
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
        self,
        query: Tensor,
        keys: tuple[Tensor, Tensor],
        images: JointRows,
        context: Context,
        *,
        draws: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics of one view's queries against the keys of the positive's view, and
        against the other view's keys and the queue if the pool includes them; with the excess loss,
        where it is measured."""
        parts = [(keys[0], images.everyone)]
        if self.settings.mining.pool != "batch":
            parts.append((keys[1], images.everyone))
        if self.queue is not None:
            parts.append(self.queue.filled())
        query, rows = unit_rows(query), images.positions()
        candidates, shown = (torch.cat(each) for each in zip(*parts, strict=True))
        pool = Pool(keys=candidates, images=shown, anchors=images.everyone[rows])
        available = mining.num_available(images.everyone, shown)
        chosen, random = self._chosen(query.detach(), pool, available, context, draws=draws)
        positive = mining.cosines(query, candidates, rows[:, None])[:, 0]
        negative = mining.cosines(query, candidates, chosen)
        loss = self._objective(positive, negative)
        metrics = {
            "mining/hardness": negative.detach().mean(),
            "mining/hardness_of_all": mining.mean_cosine(query.detach(), pool),
            "mining/positive": positive.detach().mean(),
            "mining/pairs": mining.image_pairs(pool.anchors, shown, chosen),
        }
        if random is not None:
            drawn = mining.cosines(query.detach(), candidates, random)
            metrics["excess"] = loss.detach() - self._objective(positive.detach(), drawn)
        return loss, metrics

    def _chosen(
        self,
        query: Tensor,
        pool: Pool,
        available: int,
        context: Context,
        *,
        draws: torch.Generator,
    ) -> tuple[Tensor, Tensor | None]:
        """The miner's choice, as columns of the candidates, and as many random ones where its
        excess loss is measured. The disarmed twins differ only here."""
        m, disarmed, now = self.settings.mining, self.settings.disarmed, context.position
        is_warmup = now.is_before(m.warmup_epochs)
        meets_all = is_warmup or disarmed == "all" or self.settings.form == "hcl"
        count, skip = (available, 0) if meets_all else (m.count, m.skip)
        count = mining.num_chosen(available, count=count, skip=skip)
        # Where all are chosen, the order of a sum tells the miner from its twin.
        is_twin = disarmed is None and meets_all and self.dial.is_off(now)
        if disarmed == "random" or is_twin:
            return mining.at_random(pool, count=count, generator=context.generator), None
        if disarmed == "easiest":
            return mining.easiest(query, pool, count=count), None
        mined = mining.hardest(query, pool, count=count, skip=skip)
        if meets_all or self.settings.form != "topk_nce" or not self.dial.is_due(now):
            return mined, None
        if not self.dial.is_held:
            return mined, mining.at_random(pool, count=count, generator=draws)
        random = mining.at_random(pool, count=count, generator=context.generator)
        return mining.mixed(mined, random, self.dial.share(now), generator=draws), random
