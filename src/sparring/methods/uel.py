"""UEL: recognise the own image among all views of the batch, and be recognised as none of the
others.

Idea. Each image of the batch is a class. A view should be classified as its own image, which makes
features invariant; and every other image should not be, which is asked of each of them separately
and spreads features out. One of the bases on which CLAE was published.

The game. The encoder minimises, at every step, over the joint batch of all processes,

    L = -(1/2B) sum_r [ log P(r, pos(r)) + sum_{c not in {r, pos(r)}} log(1 - P(r, c)) ],   P = softmax of z_r.sg(z_c) / temperature

with r over both views of all images, and no gradient through the image that is compared with.
Nobody plays against it.

Deviations from the paper (Ye et al. 2019, arXiv:1904.03436). It compares a view with the image
itself; here, as in CLAE's released code, two views take both places. Optimiser and schedule are
those of the recipe; CLAE's code lowers the rate in three steps of 301 epochs.

Deviations from the authors' code (chihhuiho/CLAE). Probabilities within a millionth of 1 count as
that, so that 1 - P has a logarithm.
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
from sparring.objectives.contrastive import invariant_spreading


class UELSettings(MethodSettings):
    """Settings of UEL."""

    views: ViewsSettings = ViewsSettings(preset="uel")
    projector: ProjectorSettings = ProjectorSettings(kind="linear")
    players: EncoderOnly = EncoderOnly()
    temperature: float = Field(default=0.1, gt=0)
    """As released."""


class UEL(Method):
    """Ye et al. 2019, arXiv:1904.03436."""

    def __init__(
        self,
        backbone: Backbone,
        eyes: EncoderSettings,
        settings: UELSettings,
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
        """Recognition of every view among the joint batch."""
        embeddings = torch.stack([self.encoder(view) for view in views])
        everyone = torch.stack([distributed.gather(view) for view in embeddings])
        first_row = distributed.rank() * embeddings.shape[1]
        return Turn(
            loss=invariant_spreading(
                embeddings, everyone, temperature=self.temperature, first_row=first_row
            )
        )
