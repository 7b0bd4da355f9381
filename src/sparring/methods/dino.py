"""DINO: match a slowly moving teacher's distribution over prototypes in the other views; no
negatives.

Idea. The student predicts, from any view, which prototypes the teacher finds in a large view of the
same image. Nothing pushes images apart. Two opposite measures at the teacher's side prevent
collapse: its scores are centred, so that no prototype serves all images, and sharpened by a low
temperature, so that not all prototypes serve alike.

The game. The encoder (backbone, projector) and the prototypes minimise, at every step,

    L = mean over pairs (t, s) of mean_i -sum_k P_t[i, k] log softmax_k(S_s[i] / temperature),
    P_t = softmax_k((T_t[i, k] - centre_k) / teacher temperature)

T_t are the teacher's scores in a large view t, the first or the second, S_s the student's in any
other view s. A score is the cosine of an embedding with a prototype. The teacher follows encoder
and prototypes by moving average, with a coefficient that rises to 1 along half a cosine. After the
update the centre moves towards the mean of T over the joint batch. Nobody plays against the
encoder.

Where the head is. The published head is the projector, whose raw output is the embedding, then
normalisation and the prototypes, which belong to the method. So embeddings keep the projector's
size (256 as published), and the encoder is rebuilt without the prototypes.

Deviations from the paper (Caron et al. 2021, arXiv:2104.14294). Eq. 3 is a sum over pairs, ours
their mean, as in the released code. The paper evaluates the teacher, we the student, as in every
method here. Its transformers drop blocks at random; ours do not. Views, projector, prototypes and
optimiser of the defaults are for small images. Batch norm is per process unless
training.sync_batch_norm is set.

Deviations from the authors' code (facebookresearch/dino; its README and copies of its arguments
were at hand, the rest is not verified).
- It clips the gradient of each parameter on its own, `clip_norm` clips their joint norm.
- In the first epoch it leaves out the prototypes' update; here their gradient is zero, so AdamW
  counts the steps and decays their lengths, which no score depends on.
- Its teacher temperature rises once per epoch, ours at every step.
- Its longest run of ViT-S/16 learns the prototypes' lengths too; ours are always 1.
- Its head's weights begin with a standard deviation of 0.02, ours of 1 / sqrt(inputs), so that
  narrow heads do not begin with tiny embeddings.
- Its teacher's batch norm sees both large views together, ours each view on its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.data.views.view_settings import ViewsSettings
from sparring.measures.metric import Metric
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
from sparring.models.heads import ProjectorSettings, Prototypes
from sparring.models.teacher import Teacher
from sparring.models.view import View
from sparring.objectives.self_distillation import (
    entropy,
    information,
    self_distillation,
    sharpened,
)
from sparring.optim.player import Player
from sparring.optim.schedule import ScheduleName, linear_warmup, teacher_momentum

LARGE = 2
"""Number of large views, which come first; the teacher sees no others."""


class DINOSettings(MethodSettings):
    """Settings of DINO."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="dino", hidden=512, dim=128)
    """Projector of the published shape; the paper has 2048 hidden units and 256 outputs."""
    players: EncoderOnly = EncoderOnly()
    num_prototypes: int = Field(default=1024, ge=2)
    """Number of prototypes; 65,536 in the paper."""
    temperature: float = Field(default=0.1, gt=0)
    """Temperature of the student."""
    teacher_temperature: float = Field(default=0.04, gt=0)
    """Temperature of the teacher after its warm-up; 0.07 in the paper's long runs. A higher one
    brings the collapse in which all prototypes serve alike."""
    teacher_temperature_start: float = Field(default=0.04, gt=0)
    """Temperature of the teacher at the first step, from which it goes in a straight line."""
    teacher_temperature_epochs: float = Field(default=0.0, ge=0)
    """Epochs of that line; 30 in the paper's long runs."""
    centre_momentum: float = Field(default=0.9, ge=0, lt=1)
    """Averaging coefficient of the centre."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher at the first step; 0.996 in the paper."""
    teacher_schedule: ScheduleName = "cosine"
    """Schedule of the teacher's momentum: `cosine`, as published, rises to 1; `constant` keeps the
    start value."""
    frozen_prototype_epochs: float = Field(default=1.0, ge=0)
    """Epochs at the start in which the prototypes stay as they are drawn."""


class DINO(Method):
    """DINO. Caron et al. 2021, arXiv:2104.14294."""

    about = About(
        name="dino",
        title="DINO",
        summary="match the teacher's distribution over prototypes in other views; no negatives",
        source="Caron et al. 2021, arXiv:2104.14294",
        opponent="none (control): no negatives either",
        cost=1.4,
        good_for="vision transformers and many small crops; the control of which the family is "
        "most used elsewhere",
        order=6,
    )
    settings_class = DINOSettings
    toy = Toy(
        small={"num_prototypes": 24, "frozen_prototype_epochs": 0.2},
        learning={
            # Batch norm in the projector; at a higher rate one distribution serves all images.
            "projector": {"kind": "simclr", "dim": 64, "hidden": 128},
            "num_prototypes": 128,
            "teacher_momentum": 0.99,
            "players": {"encoder": {"learning_rate": 0.001}},
            "training": {"epochs": 80},
        },
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        "dino/teacher_entropy": Metric(
            "mean entropy of the teacher's distributions as a share of that of the uniform one; 1: "
            "all prototypes serve alike",
            title="Entropy of the teacher",
        ),
        "dino/teacher_kl": Metric(
            "divergence of the student's distribution from the teacher's in nats, mean over pairs "
            "of views; 0 from a step on: collapse"
        ),
        "dino/teacher_information": Metric(
            "what the teacher's distribution says about the image in nats, within this process's "
            "batch; 0: the same distribution for all images"
        ),
    }
    num_views: ClassVar[int | None] = None
    centre: Tensor

    def __init__(
        self, encoder: Encoder, settings: DINOSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.prototypes = Prototypes(settings.projector.dim, settings.num_prototypes)
        self.teacher = Teacher(encoder)
        self.teacher_prototypes = Teacher(self.prototypes)
        self.register_buffer("centre", torch.zeros(settings.num_prototypes))

    @property
    def nats(self) -> float:
        """The loss is in nats per view of an image: the expected negative log-likelihood, under the
        student, of a prototype drawn from the teacher's distribution."""
        return 1.0

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The encoder's player, the only one: backbone, projector and prototypes."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "prototypes": self.prototypes})}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Mean cross-entropy of the student in each view from the teacher in each other large
        view."""
        s = self.settings
        teacher = torch.stack(
            [context.forward(v, self.teacher, self.teacher_prototypes) for v in views[:LARGE]]
        )
        temperature = linear_warmup(
            s.teacher_temperature_start,
            s.teacher_temperature,
            context.position,
            epochs=s.teacher_temperature_epochs,
        )
        targets = sharpened(teacher, self.centre, temperature=temperature)
        loss = self_distillation(
            self._scores(views, context), list(targets), temperature=s.temperature
        )
        outputs = {"mean_scores": teacher.mean(dim=(0, 1))}
        return MethodLoss(loss=loss, outputs=outputs, metrics=_metrics(targets, loss))

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss on the views; update encoder and prototypes, the centre, then the
        teacher."""
        s, found = self.settings, self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        mean_scores = found.outputs["mean_scores"]
        distributed.average([mean_scores])
        self.centre.lerp_(mean_scores, 1 - s.centre_momentum)
        momentum = teacher_momentum(
            s.teacher_momentum, context.position, schedule=s.teacher_schedule
        )
        self.teacher.ema_update(self.encoder, momentum=momentum)
        self.teacher_prototypes.ema_update(self.prototypes, momentum=momentum)
        return {"loss": loss, **found.metrics}

    @classmethod
    def alarm(cls, record: Mapping[str, float | int]) -> str | None:
        """A warning if the teacher's distribution no longer depends on the image."""
        known = record.get("dino/teacher_information")
        if known is None or known >= COLLAPSED or record.get("epoch", 1) < 1:
            return None
        if record["dino/teacher_entropy"] > 1 / 2:
            return (
                "the teacher finds all prototypes alike in every image. The embeddings are about "
                "to collapse; lower teacher_temperature or centre_momentum"
            )
        return (
            "the teacher finds the same few prototypes in every image. The embeddings are about to "
            "collapse; raise teacher_temperature or lower players.encoder.learning_rate"
        )

    def _scores(self, views: Sequence[View], context: Context) -> list[Tensor]:
        """The student's scores of all views; those of one size go through the encoder together."""
        for side in dict.fromkeys(view.pixels.shape[-1] for view in views):
            context.forward_together([v for v in views if v.pixels.shape[-1] == side], self.encoder)
        is_fixed = context.position.is_before(self.settings.frozen_prototype_epochs)
        return [
            self.prototypes(context.forward(view, self.encoder), is_fixed=is_fixed)
            for view in views
        ]


COLLAPSED = 0.02
"""Information of the teacher's distribution, in nats, below which it counts as collapsed."""


def _metrics(targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """Metrics of the teacher's distributions (large views, batch, prototypes)."""
    mean_entropy = entropy(targets).mean()
    return {
        "dino/teacher_entropy": mean_entropy / math.log(targets.shape[-1]),
        "dino/teacher_kl": loss.detach() - mean_entropy,
        "dino/teacher_information": information(targets[0]),
    }
