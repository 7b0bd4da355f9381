"""SimSiam: predict the other view's embedding, without gradient; no negatives, no teacher.

Idea. A predictor maps the embedding of one view to that of the other view, through which no
gradient flows. There are no negatives and no slower teacher: only the stopped gradient and the
predictor keep the embeddings from collapsing to a point. So this is the simplest of the controls;
watch `embedding_std` for collapse.

The game. The encoder (backbone, projector, predictor) minimises the negative cosine at every step:

    L = D(p_1, z_2) / 2 + D(p_2, z_1) / 2,   D(p, z) = -mean_i cos(p_i, z_i),
    z_v = encoder(view v), detached in D;   p_v = predictor(z_v)

The predictor keeps its rate while that of backbone and projector decays (`players.encoder.steady`).
Nobody plays against the encoder.

Deviations from the paper (Chen & He 2020, arXiv:2011.10566). On small images the defaults use the
projector of two layers that the paper uses on CIFAR, 128 outputs instead of 2,048, and the
optimiser of the other methods here, so that a comparison differs in the method only. Batch norm is
per process unless training.sync_batch_norm is set.

Deviations from the authors' code (facebookresearch/simsiam). It starts the last batch norm of every
residual block at zero; ours starts at one, as all methods here do. Its projector's last linear
layer has a bias that never moves and that batch norm removes; ours has none.
"""

from collections.abc import Mapping, Sequence

import torch
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
from sparring.models.view import View
from sparring.objectives.alignment import negative_cosine
from sparring.optim.player import Player, PlayerSettings


class SimSiamSettings(MethodSettings):
    """Settings of SimSiam."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="mocov3")
    """Projector of the paper on CIFAR (appendix D); on ImageNet it is simsiam. Both end in batch
    norm without parameters."""
    predictor: PredictorSettings = PredictorSettings(hidden=32)
    """Predictor with a bottleneck of a quarter of the embedding size, as published (512 of
    2048)."""
    players: EncoderOnly = EncoderOnly(encoder=PlayerSettings(steady=("predictor",)))


class SimSiam(Method):
    """SimSiam. Chen & He 2020, arXiv:2011.10566."""

    about = About(
        name="simsiam",
        title="SimSiam",
        summary="predict the other view's embedding, a constant; no negatives, no teacher",
        source="Chen & He 2020, arXiv:2011.10566",
        opponent="none (control): no negatives either",
        cost=0.99,
        good_for="the smallest game that works: no teacher, no negatives, no large batch",
        order=4,
    )
    settings_class = SimSiamSettings
    toy = Toy(
        learning={
            # Without negatives learning is slower: 43 % after 40 epochs, 63 % after 160.
            "projector": {"dim": 64, "hidden": 128},
            "predictor": {"hidden": 16},
            "training": {"epochs": 160},
        },
    )

    def __init__(
        self, encoder: Encoder, settings: SimSiamSettings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.predictor = make_predictor(settings.predictor, settings.projector.dim)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """The encoder's player, the only one: backbone, projector and predictor."""
        return {"encoder": nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})}

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """Negative cosine of each prediction with the other view's embedding, mean of both
        directions."""
        targets = [context.forward(view, self.encoder).detach() for view in views]
        predictions = [context.forward(view, self.encoder, self.predictor) for view in views]
        losses = [
            negative_cosine(predictions[0], targets[1]),
            negative_cosine(predictions[1], targets[0]),
        ]
        return MethodLoss(loss=torch.stack(losses).mean())

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss on the views, then update the encoder."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        return {"loss": loss, **found.metrics}
