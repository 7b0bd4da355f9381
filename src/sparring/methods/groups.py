"""Groups of views: what a round shows at once, when an opponent sets further images beside the
batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring import distributed
from sparring.objectives.contrastive import Anchors


@dataclass(frozen=True, kw_only=True)
class Group:
    """Views of the same images, all positives of each other.

    Attributes:
        views: at least two, each of shape (batch, 3, height, width).
        weight: of one of these views beside one of the batch's.
        images: which images; groups of one name show the same ones, row by row.
    """

    views: Sequence[Tensor]
    weight: float = 1.0
    images: str = "batch"

    @property
    def share(self) -> float:
        """What the group counts in a mean over all views."""
        return self.weight * sum(len(view) for view in self.views)


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Embeddings of all views of all groups, as `multi_positive_nt_xent` takes them.

    Attributes:
        anchors: this process's.
        everyone: those of all processes.
        own: row of `everyone` that is each anchor itself.
        weights: of each anchor.
    """

    anchors: Anchors
    everyone: Anchors
    own: Tensor
    weights: Tensor


def gathered(groups: Sequence[Group], embeddings: Sequence[Tensor]) -> Gathered:
    """Number the images of all groups and gather their embeddings.

    Args:
        groups: in an order that is the same in all processes.
        embeddings: of each view of each group in order, with gradient.
    """
    rank, processes, device = distributed.rank(), distributed.num_processes(), embeddings[0].device
    offsets: dict[str, int] = {}
    mine: list[tuple[Tensor, ...]] = []
    joint: list[tuple[Tensor, ...]] = []
    rows, images, remaining = 0, 0, iter(embeddings)
    for group in groups:
        batch = len(group.views[0])
        if group.images not in offsets:
            offsets[group.images] = images
            images += batch * processes
        numbers = offsets[group.images] + torch.arange(batch * processes, device=device)
        own = slice(rank * batch, (rank + 1) * batch)
        for _ in group.views:
            embedding = next(remaining)
            places = rows + torch.arange(batch * processes, device=device)
            mine.append(
                (embedding, numbers[own], places[own], embedding.new_full((batch,), group.weight))
            )
            joint.append((distributed.gather_with_gradient(embedding), numbers))
            rows += batch * processes
    anchors, labels, own_rows, weights = (torch.cat(parts) for parts in zip(*mine, strict=True))
    everyone, all_labels = (torch.cat(parts) for parts in zip(*joint, strict=True))
    return Gathered(
        anchors=Anchors(embeddings=anchors, images=labels),
        everyone=Anchors(embeddings=everyone, images=all_labels),
        own=own_rows,
        weights=weights,
    )
