"""BYOL: predict what a slowly moving teacher makes of the other view; no negatives.

Idea. The student predicts, through a predictor of its own, the teacher's embedding of the other
view of its image. Nothing pushes images apart: a constant embedding would be a perfect answer, and
only the predictor together with the slow teacher keeps training away from it. So this is the
control that asks whether negatives, hard or not, are needed at all.

The game. The encoder (backbone, projector, predictor) minimises the squared distance of unit
predictions from unit targets at every step:

    L = mean_i |p(a_i) - t(b_i)|^2 + |p(b_i) - t(a_i)|^2,   p = predictor after encoder, t = teacher, a and b the two views

The teacher follows backbone and projector by moving average, more slowly as the run goes on:
m(k) = 1 - (1 - teacher_momentum) (1 + cos(pi k / K)) / 2. Nobody plays against the encoder.

Deviations from the paper (Grill et al. 2020, arXiv:2006.07733). None in the recipes
byol-imagenet-*, but for the biases named below; views, heads and optimiser of the defaults are for
small images and those of its siblings here, so that a comparison differs in the method only. Batch
norm is per process unless training.sync_batch_norm is set.

Deviations from the authors' code (deepmind-research/byol).
- Its teacher starts from weights of its own; ours is a copy, which its authors report to make no
  significant difference.
- Its heads have a bias in the first linear layer (batch norm removes it again) and none in the
  last; ours have it the other way round.
- It trains a linear classifier on labels beside, behind a stopped gradient; here scores come from
  `sparring evaluate` and the monitor.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

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
from sparring.objectives.alignment import normalised_regression
from sparring.optim.player import Player
from sparring.optim.schedule import ScheduleName, teacher_momentum


class BYOLSettings(MethodSettings):
    """Settings of BYOL."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    """The published shape, with 4096 hidden and 256 outputs there."""
    predictor: PredictorSettings = PredictorSettings()
    players: EncoderOnly = EncoderOnly()
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """At the first step; 0.996 in runs of 1,000 epochs."""
    teacher_schedule: ScheduleName = "cosine"
    """Cosine, as published: teacher_momentum rises to 1. Constant: it stays."""


class BYOL(Method):
    """Grill et al. 2020, arXiv:2006.07733."""

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: BYOLSettings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(backbone, eyes, settings.projector)
        self.predictor = make_predictor(settings.predictor, settings.projector.dim)
        self.teacher = Teacher(self.encoder)

    def teams(self) -> Mapping[str, nn.Module]:
        """The encoder plays alone; its predictor has no teacher."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """Distances of the predictions from the teacher's embeddings, summed over both
        directions."""
        losses = []
        for student_view, teacher_view in ((0, 1), (1, 0)):
            prediction = self.predictor(self.encoder(views[student_view]))
            target = self.teacher(views[teacher_view])
            losses.append(normalised_regression(prediction, target))
        return Turn(loss=torch.stack(losses).sum())

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The teacher follows the encoder."""
        s = self.settings
        momentum = teacher_momentum(s.teacher_momentum, step.progress, schedule=s.teacher_schedule)
        self.teacher.ema_update(self.encoder, momentum=momentum)
        return {}
