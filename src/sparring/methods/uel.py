"""UEL: classify a view as its own image, and as none of the other images of the batch.

Idea. Each image of the batch is a class. A view should be classified as its own image, which makes
features invariant, and not as any other image, which spreads features out; each other image
contributes a term of its own. CLAE was published on this method, among others.

The game. The encoder minimises, at every step, over the joint batch of all processes,

    L = -(1/2B) sum_r [ log P(r, pos(r)) + sum_{c not in {r, pos(r)}} log(1 - P(r, c)) ],
    P = softmax of z_r.sg(z_c) / temperature

with r over both views of all images, sg the stopped gradient, and P(r, r) = 0. Nobody plays against
it.

Deviations from the paper (Ye et al. 2019, arXiv:1904.03436). It compares a view with the image
itself; here, as in CLAE's released code, two views are compared. Optimiser and schedule are those
of the recipe; CLAE's code lowers the rate in three steps over 301 epochs.

Deviations from the authors' code (chihhuiho/CLAE). Probabilities are at most 1 - 1e-6, so that 1 -
P has a logarithm.
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
from sparring.objectives.contrastive import invariant_spreading
from sparring.optim.player import Player
from sparring.optim.schedule import Position


class UELSettings(MethodSettings):
    """Settings of UEL."""

    views: ViewsSettings = ViewsSettings(preset="uel")
    projector: ProjectorSettings = ProjectorSettings(kind="linear")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.1, gt=0)
    """Temperature of the loss; 0.1 in the released code."""


class UEL(Method):
    """Invariant and spreading instance features. Ye et al. 2019, arXiv:1904.03436."""

    about = About(
        name="uel",
        title="UEL",
        summary="recognise the own image among the batch, and be recognised as no other",
        source="Ye et al. 2019, arXiv:1904.03436",
        opponent="none (control): a base of clae",
        cost=1.05,
        good_for="small batches: every other image is told apart separately; a base on which clae "
        "was published",
        order=7,
    )
    settings_class = UELSettings

    def __init__(
        self, encoder: Encoder, settings: UELSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = settings.temperature

    @property
    def nats(self) -> float:
        """The loss is in nats per query: the negative log-likelihood that a view is recognised as
        its own image, and as none of the others."""
        return 1.0

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Invariant and spreading loss of every view among the joint batch."""
        embeddings = [context.forward(view, self.encoder) for view in views]
        joint = distributed.stacked([distributed.joint_with_gradient(rows) for rows in embeddings])
        return MethodLoss(loss=invariant_spreading(joint, temperature=self.temperature))

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
