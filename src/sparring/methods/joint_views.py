"""Embeddings of views of several sets of images, gathered over processes for one contrastive
loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring import distributed
from sparring.models.view import View
from sparring.objectives.contrastive import Anchors


@dataclass(frozen=True, kw_only=True)
class JointViews:
    """Embeddings of all views: the arguments of `multi_positive_nt_xent`.

    Attributes:
        anchors: embeddings of this process.
        everyone: embeddings of all processes.
        own: row of `everyone` that is each anchor itself.
        weights: weight of each anchor.
    """

    anchors: Anchors
    everyone: Anchors
    own: Tensor
    weights: Tensor


def joint_views(views: Sequence[View], embeddings: Sequence[Tensor]) -> JointViews:
    """Number the images of all views and gather the embeddings of all processes.

    Args:
        views: in an order that is the same in all processes.
        embeddings: embeddings of each view in that order, with gradient.
    """
    offsets: dict[str, int] = {}
    mine: list[tuple[Tensor, ...]] = []
    joint: list[tuple[Tensor, ...]] = []
    num_rows, num_images = 0, 0
    for view, embedding in zip(views, embeddings, strict=True):
        rows = distributed.joint_with_gradient(embedding)
        count, own = len(rows.everyone), rows.positions()
        sets = [view.images] if view.apart is None else [view.images, f"{view.images}, apart"]
        for name in sets:
            if name not in offsets:
                offsets[name] = num_images
                num_images += count
        places = torch.arange(count, device=embedding.device)
        numbers = offsets[view.images] + places
        if view.apart is not None:
            others = offsets[sets[-1]] + places
            numbers = torch.where(distributed.gather(view.apart), others, numbers)
        weights = embedding.new_full((len(view),), view.weight)
        mine.append((rows.own, numbers[own], num_rows + own, weights))
        joint.append((rows.everyone, numbers))
        num_rows += count
    anchors, labels, own_rows, all_weights = (torch.cat(parts) for parts in zip(*mine, strict=True))
    everyone, all_labels = (torch.cat(parts) for parts in zip(*joint, strict=True))
    return JointViews(
        anchors=Anchors(embeddings=anchors, images=labels),
        everyone=Anchors(embeddings=everyone, images=all_labels),
        own=own_rows,
        weights=all_weights,
    )
