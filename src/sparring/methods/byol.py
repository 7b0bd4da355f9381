"""BYOL: predict a slowly moving teacher's embedding of the other view; no negatives.

Idea. The student predicts, through a predictor of its own, the teacher's embedding of the other
view of its image. Nothing pushes images apart: a constant embedding would minimise the loss, and
only the predictor together with the slow teacher prevents that collapse. This control shows whether
negatives, hard or not, are needed at all.

The game. The encoder (backbone, projector, predictor) minimises the squared distance of unit
predictions from unit targets at every step:

    L = mean_i |p(a_i) - t(b_i)|^2 + |p(b_i) - t(a_i)|^2,
    p = predictor after encoder, t = teacher, a and b the two views

The teacher follows backbone and projector by moving average, more slowly as the run goes on:
m(k) = 1 - (1 - teacher_momentum) (1 + cos(pi k / K)) / 2. Nobody plays against the encoder.

Deviations from the paper (Grill et al. 2020, arXiv:2006.07733). None in the recipes
byol-imagenet-*, except for the biases named below. The defaults use views, heads and an optimiser
for small images, the same as the other methods here, so that a comparison differs in the method
only. Batch norm is per process unless training.sync_batch_norm is set.

Deviations from the authors' code (deepmind-research/byol).
- Its teacher starts from its own random weights; ours starts as a copy. Its authors report no
  significant difference.
- Its heads have a bias in the first linear layer (batch norm removes it again) and none in the
  last; in ours it is the other way round.
- It also trains a linear classifier on labels, behind a stopped gradient; here scores come from
  `sparring evaluate` and the monitor.
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
from sparring.models.encoder import Encoder
from sparring.models.heads import PredictorSettings, ProjectorSettings, make_predictor
from sparring.models.teacher import Teacher
from sparring.models.view import View
from sparring.objectives.alignment import normalised_regression
from sparring.optim.player import Player
from sparring.optim.schedule import ScheduleName, teacher_momentum


class BYOLSettings(MethodSettings):
    """Settings of BYOL."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    """Projector of the published shape; the paper uses 4096 hidden units and 256 outputs."""
    predictor: PredictorSettings = PredictorSettings()
    players: EncoderOnly = EncoderOnly()
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher at the first step; 0.996 in runs of 1,000 epochs."""
    teacher_schedule: ScheduleName = "cosine"
    """Schedule of the teacher's momentum: `cosine`, as published, rises to 1; `constant` keeps the
    start value."""


class BYOL(Method):
    """BYOL. Grill et al. 2020, arXiv:2006.07733."""

    about = About(
        name="byol",
        title="BYOL",
        summary="predict the teacher's embedding of the other view; no negatives",
        source="Grill et al. 2020, arXiv:2006.07733",
        opponent="none (control): no negatives either",
        cost=1.33,
        good_for="images of which many are alike, since nothing is pushed apart; the control of "
        "mined negatives",
        order=3,
    )
    settings_class = BYOLSettings
    toy = Toy(
        learning={
            # Without negatives learning is slower: 49 % after 40 epochs, 60 % after 80.
            "projector": {"kind": "mocov3", "dim": 64, "hidden": 128},
            "teacher_momentum": 0.95,
            "training": {"epochs": 80},
        },
    )

    def __init__(
        self, encoder: Encoder, settings: BYOLSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.predictor = make_predictor(settings.predictor, settings.projector.dim)
        self.teacher = Teacher(encoder)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The encoder's player, the only one: backbone, projector and predictor."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Squared distances of predictions from the teacher's embeddings, summed over both
        directions."""
        losses = []
        for student_view, teacher_view in ((0, 1), (1, 0)):
            prediction = context.forward(views[student_view], self.encoder, self.predictor)
            target = context.forward(views[teacher_view], self.teacher)
            losses.append(normalised_regression(prediction, target))
        return MethodLoss(loss=torch.stack(losses).sum())

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
