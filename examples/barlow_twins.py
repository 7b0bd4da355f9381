"""A method of your own in one file, outside the library: Barlow Twins.

    sparring train --data photos/ --method examples/barlow_twins.py:BarlowTwins --out runs/barlow
    sparring evaluate runs/barlow --data test-photos/            # needs no class
    sparring resume runs/barlow --method examples/barlow_twins.py:BarlowTwins

Idea. Two views of an image should have equal embeddings, and the numbers of an embedding should not
repeat each other: the cross-correlation matrix of the two views, over the batch, should be the
identity. No negatives, no teacher.

    L = sum_i (1 - C_ii)^2 + weight sum_i sum_{j != i} C_ij^2

with C the correlation of embedding dimension i of view 0 and dimension j of view 1.

Source: Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2.
"""

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field

import sparring


class BarlowTwinsSettings(sparring.MethodSettings):
    """Settings of Barlow Twins."""

    views: sparring.ViewsSettings = sparring.ViewsSettings(preset="mocov2-small")
    projector: sparring.ProjectorSettings = sparring.ProjectorSettings(kind="three-layer")
    """As published, with 8192 hidden and 8192 outputs there."""
    players: sparring.EncoderOnly = sparring.EncoderOnly()
    weight: float = Field(default=0.005, gt=0)
    """Weight of the redundancy term; as published."""


class BarlowTwins(sparring.Method):
    """Barlow Twins. Zbontar et al. 2021, arXiv:2103.03230."""

    about = sparring.About(
        name="barlow-twins",
        title="Barlow Twins",
        summary="make the two views' embeddings equal, and their dimensions independent",
        source="Zbontar et al. 2021, arXiv:2103.03230",
        opponent="none (control): no negatives",
        good_for="an example of a method in one file",
    )
    settings_class = BarlowTwinsSettings
    metrics: Mapping[str, sparring.Metric] = {
        "barlow/on_diagonal": sparring.Metric("sum of (1 - C_ii)^2; 0: the views agree"),
        "barlow/off_diagonal": sparring.Metric("sum of C_ij^2, i != j; 0: nothing is redundant"),
    }
    toy = sparring.Toy(  # how the contract's checks can see it learn, within a minute
        learning={
            "projector": {"dim": 64, "hidden": 128},
            "weight": 0.02,
            "training": {"epochs": 80, "batch_size": 64},
        }
    )

    def __init__(
        self,
        encoder: sparring.Encoder,
        settings: BarlowTwinsSettings,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.weight = settings.weight

    def loss(
        self, views: Sequence[sparring.View], context: sparring.Context
    ) -> sparring.MethodLoss:
        """How far the cross-correlation of the two views is from the identity."""
        first, second = (
            sparring.joint_with_gradient(context.forward(view, self.encoder)).everyone
            for view in views
        )
        correlation = _standardised(first).T @ _standardised(second) / len(first)
        diagonal = correlation.diagonal()
        agreement = (1 - diagonal).square().sum()
        redundancy = correlation.square().sum() - diagonal.square().sum()
        return sparring.MethodLoss(
            loss=agreement + self.weight * redundancy,
            metrics={
                "barlow/on_diagonal": agreement.detach(),
                "barlow/off_diagonal": redundancy.detach(),
            },
        )

    def step(
        self,
        views: Sequence[sparring.View],
        players: Mapping[str, sparring.Player],
        context: sparring.Context,
    ) -> sparring.Metrics:
        """The loss on the views, then the encoder's update."""
        found = self.loss(views, context)
        loss = players["encoder"].update(found.loss)
        return {"loss": loss, **found.metrics}


def _standardised(rows: torch.Tensor) -> torch.Tensor:
    """Columns of mean 0 and standard deviation 1 over the batch."""
    centred = rows - rows.mean(dim=0)
    return centred / (centred.square().mean(dim=0) + 1e-5).sqrt()
