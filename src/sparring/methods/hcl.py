"""HCL: SimCLR whose negatives are corrected for false ones and weighted by their hardness.

Idea. Among the other images of a batch some show what the anchor shows; pushing them away is wrong.
The loss takes an assumed share tau_plus of them back out of the denominator, and weighs what is
left the more, the more similar it is to the anchor. Nothing is learned for it: this is the control
that any learned hardness must beat.

The game. The encoder (backbone and projector) minimises, at every step, over all 2N embeddings of
the joint batch of all processes:

    L = mean_i -log( p_i / (p_i + G_i) ),   p_i = exp(s_i+ / t),   n_ik = exp(s_ik / t)
    G_i = (2N - 2) max( (sum_k w_ik n_ik - tau_plus p_i) / (1 - tau_plus), exp(-1 / t) )
    w_ik = n_ik^beta / sum_l n_il^beta

Nobody else plays. With beta = 0 this is DCL, `--method dcl`; with tau_plus = 0 too, SimCLR.

Deviations from the papers (Robinson et al. 2021, arXiv:2010.04592; Chuang et al. 2020,
arXiv:2007.00224). Views, projector, optimiser and temperature are those of SimCLR here, so that a
comparison differs in the loss only; the released code of both has a temperature of 0.5 and Adam.
One positive per anchor: Chuang et al.'s estimate from several is left out.

Deviations from the authors' code (joshr17/HCL, chingyaoc/DCL). The same loss, computed from
logarithms so that small temperatures do not overflow. HCL's annealing of beta is left out. The
denominator runs over the joint batch of all processes; theirs know one process.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field

from sparring import distributed
from sparring.data.views.view_settings import ViewsSettings
from sparring.measures.metric import Metric
from sparring.methods.about import About, Twin, Variant
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
from sparring.objectives.debiased import (
    estimated_negatives,
    hcl,
    importance_weights,
    pairs_of_views,
)
from sparring.optim.player import Player
from sparring.optim.schedule import Position


class HCLSettings(MethodSettings):
    """Settings of HCL; all but beta and tau_plus are SimCLR's."""

    views: ViewsSettings = ViewsSettings(preset="simclr-cifar")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.2, gt=0)
    """0.5 in the released code of both papers; 0.2 as SimCLR here."""
    beta: float = Field(default=1.0, ge=0)
    """How much more hard negatives weigh; 0: all alike, which is DCL. 1 is the best of 0, 0.5, 1, 2
    and 6 on STL-10 in the released code's table."""
    tau_plus: float = Field(default=0.1, ge=0, lt=1)
    """Assumed share of false negatives; 0: none. 0.1 in the released code of both papers."""


class HCL(Method):
    """HCL. Robinson et al. 2021, arXiv:2010.04592."""

    about = About(
        name="hcl",
        title="HCL",
        summary="SimCLR with negatives weighted by hardness and corrected for false ones",
        source="Robinson et al. 2021, arXiv:2010.04592",
        opponent="none (control): the batch's negatives, weighted by a formula",
        good_for="the control of every learned or mined hardness: what a weight that costs nothing "
        "achieves",
        cost=1.01,
        order=8,
        control="simclr",
        twins=(
            Twin("unweighted", "all negatives weigh alike", primary=True, settings={"beta": 0.0}),
            Twin("uncorrected", "no negative counts as false", settings={"tau_plus": 0.0}),
        ),
        variants=(
            Variant(
                "dcl",
                title="DCL",
                summary="SimCLR with negatives corrected for false ones",
                source="Chuang et al. 2020, arXiv:2007.00224",
                settings={"beta": 0.0},
            ),
        ),
    )
    settings_class = HCLSettings
    metrics: ClassVar[Mapping[str, Metric]] = {
        "negatives/effective": Metric(
            "effective number of negatives of an anchor, 1 / (sum of squared weights), as a share "
            "of all; 1: all weigh alike"
        ),
        "negatives/bounded": Metric(
            "share of anchors whose corrected negatives fell below the bound; their negatives have "
            "no gradient"
        ),
    }

    def __init__(
        self, encoder: Encoder, settings: HCLSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder

    @property
    def nats(self) -> float:
        """The loss is in nats per query, with the denominator as it is weighted and corrected."""
        return 1.0

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """The weighted and corrected loss of all embeddings of both views."""
        embeddings = context.forward_together(views, self.encoder)
        joint = distributed.stacked([distributed.joint_with_gradient(rows) for rows in embeddings])
        pairs, s = pairs_of_views(joint), self.settings
        with torch.no_grad():
            weights = importance_weights(pairs.negative, beta=s.beta, temperature=s.temperature)
            estimate, bound = estimated_negatives(
                *pairs, beta=s.beta, tau_plus=s.tau_plus, temperature=s.temperature
            )
            metrics = {
                "negatives/effective": (1 / weights.square().sum(dim=1)).mean() / weights.shape[1],
                "negatives/bounded": (estimate < bound).float().mean(),
            }
        loss = hcl(*pairs, beta=s.beta, tau_plus=s.tau_plus, temperature=s.temperature)
        return MethodLoss(loss=loss, metrics=metrics)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """The loss on the views, then the encoder's update."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        return {"loss": loss, **found.metrics}

    def negatives(self, position: Position) -> Negatives:
        """Both views of the other images of the batch; beta sharpens their weights."""
        s = self.settings
        return Negatives(temperature=s.temperature / (1 + s.beta), views=2)
