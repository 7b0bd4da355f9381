"""Plain: find the other view of an image among the other views of the batch, in one direction.

Idea. The simplest contrastive game: each image of the batch is a class, its second view is the
class's weight vector, and the first view is to be classified. Attacking a second view moves a
weight vector that every image is compared with, which is the case that CLAE was thought out on.

The game. The encoder minimises InfoNCE over the views 1 of all processes, gradient through both
sides, at every step:

    L = mean_i -log softmax_j(x_i.y_j / temperature)[i],   unit rows x (view 0) and y (view 1)

Nobody plays against it.

Deviations from the paper (base of Ho & Vasconcelos 2020, arXiv:2010.12050; its body was not
available to us, so this follows the released code): optimiser and schedule are those of the recipe;
the code lowers the rate in three steps of 301 epochs.

Deviations from the authors' code (chihhuiho/CLAE). Logarithms of softmax where the code takes
exponentials first: the same value.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.data.views.views import ViewsSettings
from sparring.methods.method import EncoderOnly, Method, MethodSettings, Step, Turn, make_encoder
from sparring.models.backbones import Backbone, EncoderSettings
from sparring.models.heads import ProjectorSettings
from sparring.objectives.contrastive import in_batch_info_nce


class PlainSettings(MethodSettings):
    """Settings of Plain."""

    views: ViewsSettings = ViewsSettings(preset="uel")
    projector: ProjectorSettings = ProjectorSettings(kind="linear")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.1, gt=0)
    """As released."""


class Plain(Method):
    """Base of Ho & Vasconcelos 2020, arXiv:2010.12050."""

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: PlainSettings,
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
        """InfoNCE of view 0 among the views 1 of the joint batch."""
        query, key = (
            self.encoder(views[0]),
            distributed.gather_with_gradient(self.encoder(views[1])),
        )
        first_row = distributed.rank() * len(query)
        return Turn(
            loss=in_batch_info_nce(
                query, key, key[:0], temperature=self.temperature, first_row=first_row
            )
        )
