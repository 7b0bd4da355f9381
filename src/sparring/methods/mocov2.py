"""MoCo v2: past keys of a teacher are the negatives.

Idea. A query must find the teacher's embedding of another view of its image among a queue of past
keys. The queue decouples the number of negatives from the batch; the slowly moving teacher keeps
old and new keys comparable.

The game. The encoder minimises InfoNCE at every step. The teacher follows it by moving average and
the queue takes in the new keys; neither plays against it. This is the control of AdCo and CaCo: the
same network, views and teacher, with a queue in the place of the learned bank.

Deviations from the paper (Chen et al. 2020, arXiv:2003.04297). `symmetric` (both views are query
and key), `in_batch` (keys of other images are negatives too) and a projector with batch norm are
the defaults for small images, so that a comparison with AdCo differs in the opponent only; the
ImageNet recipes switch them off. The teacher moves after the encoder instead of before the next key
forward, which is the same teacher at every key.

Deviations from the authors' code (facebookresearch/moco). None that we know; keys of several
processes are encoded with shuffled batch norm as there.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
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
from sparring.models.heads import ProjectorSettings
from sparring.models.teacher import Teacher
from sparring.negatives.queue import Queue, QueueSettings
from sparring.objectives.contrastive import in_batch_info_nce, info_nce
from sparring.objectives.similarity import unit_rows
from sparring.optim.player import Player


class MoCoV2Settings(MethodSettings):
    """Settings of MoCo v2."""

    views: ViewsSettings = ViewsSettings(preset="mocov2-small")
    projector: ProjectorSettings = ProjectorSettings(kind="simclr")
    """Published: mocov2. Without batch norm a short run's embeddings stay in a narrow cone."""
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.2, gt=0)
    """MoCo v2's."""
    teacher_momentum: float = Field(default=0.99, ge=0, le=1)
    """0.999 on ImageNet; runs of a few thousand steps need a faster teacher."""
    symmetric: bool = True
    """Both views are query and key, in the loss's mean; the published recipe uses one direction."""
    in_batch: bool = True
    """Keys of the other images of the batch are negatives too, as in AdCo; off in the published
    recipe."""
    queue: QueueSettings = QueueSettings()


class MoCoV2(Method):
    """Chen et al. 2020, arXiv:2003.04297."""

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: MoCoV2Settings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(backbone, eyes, settings.projector)
        self.teacher = Teacher(self.encoder)
        self.queue = Queue(settings.queue.size, settings.projector.dim, generator=generator)

    def teams(self) -> Mapping[str, nn.Module]:
        """The encoder plays alone; teacher and queue follow it."""
        return {"encoder": self.encoder}

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """InfoNCE of each query against its key and the queue."""
        s = self.settings
        pairs = [(0, 1), (1, 0)] if s.symmetric else [(0, 1)]
        first_row = distributed.rank() * len(views[0])
        losses, new_keys = [], []
        for query_view, key_view in pairs:
            query = self.encoder(views[query_view])
            key = self.teacher.shuffled(views[key_view], generator=step.generator)
            keys = distributed.gather(key)
            negatives = self.queue.keys
            losses.append(
                in_batch_info_nce(
                    query, keys, negatives, temperature=s.temperature, first_row=first_row
                )
                if s.in_batch
                else info_nce(query, key, negatives, temperature=s.temperature)
            )
            new_keys.append(unit_rows(keys))
        return Turn(loss=torch.stack(losses).mean(), replies={"keys": torch.cat(new_keys)})

    def respond(self, turn: Turn, players: Mapping[str, Player], step: Step) -> Metrics:
        """The teacher follows the encoder; the queue takes in the new keys."""
        self.teacher.ema_update(self.encoder, momentum=self.settings.teacher_momentum)
        self.queue.enqueue(turn.replies["keys"])
        return {}
