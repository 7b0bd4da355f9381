"""MoCo v3: a predicted query finds the teacher's key among the keys of the batch.

Idea. MoCo v2 without the queue: in a large batch the keys of the other images are enough negatives.
BYOL supplies a predictor for the student and a teacher that stops moving towards the end. So it
lies between the other controls: BYOL with negatives, or MoCo v2 without memory.

The game. The encoder (backbone, projector, predictor) minimises InfoNCE over the keys of all
processes at every step; each of the two views is the query once:

    L = 2 t (C(q_1, k_2) + C(q_2, k_1)),
    C(q, k) = mean_i -log softmax_j(q_i.k_j / t)[i],   unit rows q, k
    q_v = predictor(encoder(view v)),   k_v = teacher(view v)

The factor 2 t keeps the size of the gradient when the temperature t changes. The teacher follows
backbone and projector by moving average, with a coefficient that rises to 1 along half a cosine.
Nobody plays against the encoder.

Deviations from the paper (Chen et al. 2021, arXiv:2104.02057). A vision transformer is the paper's
with encoder.frozen_patch_projection, which keeps large batches stable, encoder.fixed_positions and
encoder.heads=12 for the small one, except that timm draws its linear layers from a narrow normal
distribution instead of uniformly; by default it is timm's. Optimiser, heads and views of the
defaults are for small images. Batch norm is per process unless training.sync_batch_norm is set.

Deviations from the authors' code (facebookresearch/moco-v3). The teacher is updated after the
encoder instead of before the next forward pass of keys: the same order of updates, with the
coefficient of one step earlier.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import nn

from sparring.data.views.view_settings import ViewsSettings
from sparring.methods.about import About, Toy
from sparring.methods.method import (
    Context,
    EncoderOnly,
    Method,
    MethodLoss,
    MethodSettings,
    Metrics,
)
from sparring.methods.negatives import Negatives
from sparring.models.encoder import Encoder
from sparring.models.heads import PredictorSettings, ProjectorSettings, make_predictor
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.models.view import View
from sparring.objectives.contrastive import in_batch_info_nce
from sparring.optim.player import Player
from sparring.optim.schedule import Position, ScheduleName, teacher_momentum


class MoCoV3Settings(MethodSettings):
    """Settings of MoCo v3."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="mocov3")
    """Projector of the published shape for ResNets (4096 hidden units and 256 outputs in the
    paper); use simsiam for vision transformers."""
    predictor: PredictorSettings = PredictorSettings(kind="normed-unbiased")
    """Predictor of the published shape for ResNets (4096 hidden units in the paper); use
    normed-output for vision transformers."""
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of the loss. The released code uses 1.0 for ResNet-50 with a batch of 4,096 and
    0.2 for vision transformers."""
    tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false negatives, images of the anchor's class among all others; 0: none.
    The loss is corrected for them (Chuang et al. 2020; docs/methods/hcl.md)."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher at the first step; 0.996 in runs of 1,000 epochs."""
    teacher_schedule: ScheduleName = "cosine"
    """Schedule of the teacher's momentum: `cosine`, as published, rises to 1; `constant` keeps the
    start value."""
    key_norm: KeyNormSettings = KeyNormSettings(shuffled=False)


class MoCoV3(Method):
    """MoCo v3. Chen et al. 2021, arXiv:2104.02057."""

    about = About(
        name="mocov3",
        title="MoCo v3",
        summary="find the teacher's key among the keys of the batch, with a predictor",
        source="Chen et al. 2021, arXiv:2104.02057",
        opponent="none (control): the other images of the batch",
        cost=1.31,
        good_for="large batches and vision transformers; the same network as BYOL with negatives, "
        "and CaCo's recipe without its bank",
        order=5,
    )
    settings_class = MoCoV3Settings
    toy = Toy(
        learning={"projector": {"dim": 64, "hidden": 128}, "teacher_momentum": 0.95},
    )

    def __init__(
        self, encoder: Encoder, settings: MoCoV3Settings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.predictor = make_predictor(settings.predictor, settings.projector.dim)
        self.teacher = Teacher(encoder)

    @property
    def nats(self) -> float:
        """The loss is 2 t times the sum of two means over queries in nats."""
        return 1.0 / (4.0 * self.settings.temperature)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The encoder's player, the only one: backbone, projector and predictor."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """InfoNCE of each query among the keys of the other view, times 2 t, summed over both."""
        s, losses = self.settings, []
        for query_view, key_view in ((0, 1), (1, 0)):
            query = context.forward(views[query_view], self.encoder, self.predictor)
            keys = context.keys(views[key_view], self.teacher, s.key_norm)
            losses.append(
                in_batch_info_nce(query, keys, temperature=s.temperature, tau_plus=s.tau_plus)
            )
        return MethodLoss(loss=2 * s.temperature * torch.stack(losses).sum())

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss on the views; update the encoder, then the teacher."""
        s, found = self.settings, self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        momentum = teacher_momentum(
            s.teacher_momentum, context.position, schedule=s.teacher_schedule
        )
        self.teacher.ema_update(self.encoder, momentum=momentum)
        return {"loss": loss, **found.metrics}

    def negatives(self, position: Position) -> Negatives:
        """The teacher's keys of the other images of the batch."""
        return Negatives(
            temperature=self.settings.temperature,
            views=1,
            query=self.predictor,
            key=self.teacher.network,
        )
