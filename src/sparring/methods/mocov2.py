"""MoCo v2: past keys of a teacher are the negatives.

Idea. A query must find the teacher's embedding of another view of its image among a queue of past
keys. The queue decouples the number of negatives from the batch; the slowly moving teacher keeps
old and new keys comparable.

The game. The encoder minimises InfoNCE at every step. The teacher follows it by moving average and
the queue takes in the new keys; neither plays against it. This is the control of AdCo and CaCo: the
same network, views and teacher, with a queue instead of the learned bank.

Deviations from the paper (Chen et al. 2020, arXiv:2003.04297). `symmetric` (both views are query
and key), `in_batch` (keys of other images are negatives too) and a projector with batch norm are
the defaults for small images, so that a comparison with AdCo differs in the opponent only; the
ImageNet recipes switch them off. The teacher is updated after the encoder instead of before the
next forward pass of keys, which gives the same teacher at every key.

Deviations from the authors' code (facebookresearch/moco). None known of the published form: keys of
several processes are encoded with shuffled batch norm. `key_norm.parts` does so within a process,
as the authors' notebook; that splits the queries' batch norm too, and keeps running means over its
parts, where ours follow one part after the other.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field

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
from sparring.models.heads import ProjectorSettings
from sparring.models.teacher import KeyNormSettings, Teacher
from sparring.models.view import View
from sparring.negatives.queue import Queue, QueueSettings
from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.objectives.similarity import unit_rows
from sparring.optim.player import Player
from sparring.optim.schedule import Position


class MoCoV2Settings(MethodSettings):
    """Settings of MoCo v2."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    """Projector; the paper uses mocov2. Without batch norm the embeddings of a short run stay in a
    narrow cone."""
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.2, gt=0)
    """Temperature of the loss; 0.2 is MoCo v2's."""
    tau_plus: float = Field(default=0.0, ge=0, lt=1)
    """Assumed share of false negatives, images of the anchor's class among all others; 0: none.
    The loss is corrected for them (Chuang et al. 2020; docs/methods/hcl.md)."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """Averaging coefficient of the teacher; 0.999 on ImageNet. Runs of a few thousand steps need a
    faster teacher."""
    symmetric: bool = True
    """Whether each view is the query once, with the mean of both losses; the published recipe uses
    one direction."""
    in_batch: bool = True
    """Whether keys of the other images of the batch are negatives too, as in AdCo; off in the
    published recipe."""
    queue: QueueSettings = QueueSettings()
    key_norm: KeyNormSettings = KeyNormSettings()


class MoCoV2(Method):
    """MoCo v2. Chen et al. 2020, arXiv:2003.04297."""

    about = About(
        name="mocov2",
        title="MoCo v2",
        summary="find the teacher's key among a queue of past keys",
        source="Chen et al. 2020, arXiv:2003.04297",
        opponent="none (control): a queue",
        cost=1.36,
        good_for="small batches and many negatives; the control of the learned banks: a queue in "
        "their place",
        order=2,
    )
    settings_class = MoCoV2Settings
    toy = Toy(
        small={"queue": {"size": 40}},
        learning={"queue": {"size": 128}},
    )

    def __init__(
        self, encoder: Encoder, settings: MoCoV2Settings, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.teacher = Teacher(encoder)
        self.queue = Queue(settings.queue.size, settings.projector.dim, generator=generator)

    @property
    def nats(self) -> float:
        """The loss is the mean over queries in nats, whether one view asks or both."""
        return 1.0

    def loss(self, views: Sequence[View], context: Context) -> MethodLoss:
        """InfoNCE of each query against its key and the queue."""
        s = self.settings
        pairs = [(0, 1), (1, 0)] if s.symmetric else [(0, 1)]
        losses, new_keys = [], []
        for query_view, key_view in pairs:
            query = context.forward(views[query_view], self.encoder)
            keys = context.keys(views[key_view], self.teacher, s.key_norm)
            negatives, temperature, tau_plus = self.queue.keys, s.temperature, s.tau_plus
            losses.append(
                in_batch_info_nce(
                    query, keys, negatives, temperature=temperature, tau_plus=tau_plus
                )
                if s.in_batch
                else info_nce(
                    query, keys.own, negatives, temperature=temperature, tau_plus=tau_plus
                )
            )
            new_keys.append(unit_rows(keys.everyone))
        stored = new_keys if s.queue.key_views == "all" else new_keys[:1]
        return MethodLoss(loss=torch.stack(losses).mean(), outputs={"keys": torch.cat(stored)})

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Compute the loss on the views; update the encoder, then the teacher and the queue."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        self.teacher.ema_update(self.encoder, momentum=self.settings.teacher_momentum)
        self.queue.enqueue(found.outputs["keys"])
        return {"loss": loss, **found.metrics}

    def negatives(self, position: Position) -> Negatives:
        """The queue of past keys, and the keys of the other images of the batch."""
        return Negatives(
            temperature=self.settings.temperature,
            stored=self.queue.keys,
            views=int(self.settings.in_batch),
            key=self.teacher.network,
        )
