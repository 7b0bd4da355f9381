"""SimCLR: every other image of the batch is a negative.

Idea. Two augmented views of an image should find each other among all views of the batch. Harder
negatives would teach the encoder more, but nothing selects them here, so this is the control
without an opponent.

The game. The encoder (backbone and projector) minimises NT-Xent over the joint batch of all
processes, at every step. Nobody else plays.

Deviations from the paper (Chen et al. 2020, arXiv:2002.05709). Optimiser and schedule are those of
the recipe (by default SGD with a cosine schedule; the paper uses LARS and batches of 4,096). Batch
norm is per process unless training.sync_batch_norm is set. Any number of views is possible; with
more than two, the positives are averaged outside the logarithm. Images that an opponent adds and
images of the batch are negatives of each other.

Deviations from the authors' code (google-research/simclr). Its projector ends in a batch norm; ours
ends in a linear layer.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field

from sparring import distributed
from sparring.data.views.view_settings import ViewsSettings
from sparring.methods.about import About
from sparring.methods.joint_views import joint_views
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
from sparring.models.heads import ProjectorSettings
from sparring.models.view import View
from sparring.objectives.contrastive import multi_positive_nt_xent, nt_xent
from sparring.optim.player import Player
from sparring.optim.schedule import Position


class SimCLRSettings(MethodSettings):
    """Settings of SimCLR."""

    views: ViewsSettings = ViewsSettings(preset="simclr-cifar")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of the loss. The paper uses 0.1 with large batches on ImageNet and 0.5 on CIFAR;
    0.1 is better than 0.2 in short runs on 10,000 images, and simclr-small has it."""
    tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false negatives, images of the anchor's class among all others; 0: none.
    The loss is corrected for them (Chuang et al. 2020; docs/methods/hcl.md)."""


class SimCLR(Method):
    """SimCLR. Chen et al. 2020, arXiv:2002.05709."""

    about = About(
        name="simclr",
        title="SimCLR",
        summary="find the other view among all images of the batch",
        source="Chen et al. 2020, arXiv:2002.05709",
        opponent="none (control)",
        cost=1.0,
        good_for="the first run on any images, and the control of every opponent in image space; "
        "wants many images per step",
        order=1,
    )
    settings_class = SimCLRSettings
    num_views: ClassVar[int | None] = None
    mixes_images = True

    def __init__(
        self, encoder: Encoder, settings: SimCLRSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature, self.tau_plus = settings.temperature, settings.tau_plus

    @property
    def nats(self) -> float:
        """The loss is the mean over queries, the views, in nats."""
        return 1.0

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """NT-Xent among all views; the views of one image are all positives of each other."""
        embeddings = context.forward_together(views, self.encoder)
        if any(view.is_further for view in views):
            found = joint_views(views, embeddings)
            parts = (found.anchors, found.everyone, found.own, found.weights)
            loss = multi_positive_nt_xent(
                *parts, temperature=self.temperature, tau_plus=self.tau_plus
            )
            return MethodLoss(loss=loss)
        joint = distributed.stacked(
            [distributed.joint_with_gradient(rows) for rows in torch.stack(embeddings)]
        )
        loss = nt_xent(joint, temperature=self.temperature, tau_plus=self.tau_plus)
        return MethodLoss(loss=loss)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss on the views, then update the encoder."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        return {"loss": loss, **found.metrics}

    def negatives(self, position: Position) -> Negatives:
        """Both views of the other images of the batch."""
        return Negatives(temperature=self.temperature, views=2)
