"""Plain: find the other view of an image among the other views of the batch, in one direction.

Idea. The simplest contrastive game: each image of the batch is a class, the embedding of its second
view is the class's weight vector, and its first view is classified. Attacking a second view changes
a weight vector that every image is compared with; CLAE was derived for this case.

The game. The encoder minimises InfoNCE over the views 1 of all processes, with gradient through
both views, at every step:

    L = mean_i -log softmax_j(x_i.y_j / temperature)[i],   unit rows x (view 0) and y (view 1)

Nobody plays against it.

Deviations from the paper (base of Ho & Vasconcelos 2020, arXiv:2010.12050). The body of the paper
was not available to us, so this follows the released code. Optimiser and schedule are those of the
recipe; the code lowers the rate in three steps over 301 epochs.

Deviations from the authors' code (chihhuiho/CLAE). The loss uses log-softmax where the code takes
exponentials first: the same value.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field

from sparring import distributed
from sparring.data.views.view_settings import ViewsSettings
from sparring.methods.about import About
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
from sparring.objectives.contrastive import in_batch_info_nce
from sparring.optim.player import Player
from sparring.optim.schedule import Position


class PlainSettings(MethodSettings):
    """Settings of Plain."""

    views: ViewsSettings = ViewsSettings(preset="uel")
    projector: ProjectorSettings = ProjectorSettings(kind="linear")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.1, gt=0)
    """Temperature of the loss; 0.1 in the released code."""
    tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false negatives, images of the anchor's class among all others; 0: none.
    The loss is corrected for them (Chuang et al. 2020; docs/methods/hcl.md)."""


class Plain(Method):
    """Plain contrastive base of CLAE. Ho & Vasconcelos 2020, arXiv:2010.12050."""

    about = About(
        name="plain",
        title="Plain",
        summary="find the other view among the other views of the batch, in one direction",
        source="Ho & Vasconcelos 2020, arXiv:2010.12050",
        opponent="none (control): a base of clae",
        cost=1.16,
        good_for="the simplest contrastive control; the base on which the perturbation moves what "
        "every image is compared with",
        order=6,
    )
    settings_class = PlainSettings

    def __init__(
        self, encoder: Encoder, settings: PlainSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature, self.tau_plus = settings.temperature, settings.tau_plus

    @property
    def nats(self) -> float:
        """The loss is the mean over queries, the views 0, in nats."""
        return 1.0

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """InfoNCE of view 0 among the views 1 of the joint batch."""
        query, key = (context.forward(view, self.encoder) for view in views)
        keys = distributed.joint_with_gradient(key)
        loss = in_batch_info_nce(query, keys, temperature=self.temperature, tau_plus=self.tau_plus)
        return MethodLoss(loss=loss)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss on the views, then update the encoder."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        return {"loss": loss, **found.metrics}

    def negatives(self, position: Position) -> Negatives:
        """The positives' views of the other images of the batch."""
        return Negatives(temperature=self.temperature, views=1)
