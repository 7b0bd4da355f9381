"""Random splits of labelled rows in which every class keeps its share."""

import torch
from jaxtyping import Int
from torch import Tensor

from sparring.errors import DataError
from sparring.seeding import generator


def split(
    labels: Int[Tensor, "rows"], *, share: float, seed: int
) -> tuple[Int[Tensor, "kept"], Int[Tensor, "held_out"]]:
    """Row indices to keep and to hold out, each in rising order.

    Every class of at least two rows gives one row or more to both sides; a class of one row is
    kept.

    Args:
        labels: class of each row; any integers.
        share: part of each class to hold out, in (0, 1).
        seed: same seed, same rows.

    Raises:
        DataError: if no class has two rows, so that nothing can be held out.
    """
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=generator(seed, "split"))
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        rows = order[labels[order] == label]
        if len(rows) > 1:
            count = min(max(1, round(share * len(rows))), len(rows) - 1)
            held_out[rows[:count]] = True
    if not held_out.any():
        raise DataError(
            f"cannot hold out images of {len(labels)} labelled ones: some class needs at "
            "least two images"
        )
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def labelled_rows(labels: Int[Tensor, "rows"], *, share: float, seed: int) -> Int[Tensor, "drawn"]:
    """Indices of the rows whose labels may be used, in rising order: a share of each class, at
    least one row of each.

    With the same seed a smaller share is part of a larger one.

    Args:
        labels: class of each row; any integers.
        share: in (0, 1].
        seed: same seed, same rows.
    """
    labels = labels.cpu()
    order = torch.randperm(len(labels), generator=generator(seed, "labelled rows"))
    drawn = []
    for label in torch.unique(labels):
        rows = order[labels[order] == label]
        drawn.append(rows[: max(1, round(share * len(rows)))])
    return torch.cat(drawn).sort().values
