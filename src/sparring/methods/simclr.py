"""SimCLR: every other image of the batch is a negative.

Idea. Two augmented views of an image should find each other among all views of the batch. The
harder the other images, the more the encoder learns; nobody chooses them, so this is the control
without an opponent.

The game. The encoder (backbone and projector) minimises NT-Xent over the joint batch of all
processes, at every step. Nobody else plays.

Deviations from the paper (Chen et al. 2020, arXiv:2002.05709). Optimiser and schedule are those of
the recipe (SGD with a cosine by default, where the paper uses LARS and batches of 4,096). Batch
norm is per process unless training.sync_batch_norm is set. Any number of views; with more than two,
the positives are averaged outside the logarithm. Images that an opponent sets beside the batch are
negatives of the batch's, and the other way round.

Deviations from the authors' code (google-research/simclr). Its projector ends in a batch norm; ours
ends in a linear layer.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.data.views.views import ViewsSettings
from sparring.methods.groups import Group, gathered
from sparring.methods.method import EncoderOnly, Method, MethodSettings, Step, Turn, make_encoder
from sparring.models.backbones import Backbone, EncoderSettings
from sparring.models.heads import ProjectorSettings
from sparring.objectives.contrastive import multi_positive_nt_xent, nt_xent


class SimCLRSettings(MethodSettings):
    """Settings of SimCLR."""

    views: ViewsSettings = ViewsSettings(preset="simclr-cifar")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.2, gt=0)
    """0.1 with ImageNet's large batches, 0.5 on CIFAR in the paper; 0.2 was the best of a short
    trial on 10,000 images."""


class SimCLR(Method):
    """Chen et al. 2020, arXiv:2002.05709."""

    num_views: ClassVar[int | None] = None

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: SimCLRSettings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(backbone, eyes, settings.projector)
        self.temperature = settings.temperature

    def teams(self) -> Mapping[str, nn.Module]:
        """The encoder plays alone."""
        return {"encoder": self.encoder}

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """NT-Xent of the views among the joint batch."""
        embeddings = torch.stack(self.encoder.together(views))
        everyone = torch.stack([distributed.gather_with_gradient(view) for view in embeddings])
        first_row = distributed.rank() * embeddings.shape[1]
        return Turn(
            loss=nt_xent(embeddings, everyone, temperature=self.temperature, first_row=first_row)
        )

    def look_at(self, groups: Sequence[Group], step: Step) -> Turn:
        """NT-Xent among all views of all groups; the views of one image are all positives of each
        other."""
        if len(groups) == 1:
            return self.look(groups[0].views, step)
        embeddings = self.encoder.together([view for group in groups for view in group.views])
        found = gathered(groups, embeddings)
        return Turn(
            loss=multi_positive_nt_xent(
                found.anchors,
                found.everyone,
                found.own,
                found.weights,
                temperature=self.temperature,
            )
        )
