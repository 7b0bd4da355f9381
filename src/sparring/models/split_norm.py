"""Batch norm with two sets of statistics and weights: one for clean images, one for attacked
images.

Attacked images have different statistics from clean ones. With one set they would shift the
statistics with which the encoder is used after training; with two sets the clean set never sees
them. All other layers are shared.

Source: Xie et al. 2020, arXiv:1911.09665 (AdvProp); Ho & Vasconcelos 2020, arXiv:2010.12050,
released code.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SplitNorm(nn.Module):
    """A clean batch norm and a second one for attacked images; the clean one is used except within
    `adversarial_norms`.

    Args:
        norm: batch norm that becomes the clean set; the second set starts as its copy.
        momentum: momentum of the second set's running statistics; 0.01 in the released code.
    """

    def __init__(self, norm: _BatchNorm, *, momentum: float) -> None:
        super().__init__()
        self.clean = norm
        self.adversarial = copy.deepcopy(norm)
        self.adversarial.momentum = momentum
        self.is_adversarial = False

    def forward(self, activations: Tensor) -> Tensor:
        """Normalise images with the chosen set."""
        output: Tensor = (self.adversarial if self.is_adversarial else self.clean)(activations)
        return output


def split_norms(module: nn.Module, *, momentum: float) -> None:
    """Replace every batch norm of a module by a `SplitNorm`, in place."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SplitNorm(child, momentum=momentum))
        elif not isinstance(child, SplitNorm):
            split_norms(child, momentum=momentum)


def join_norms(module: nn.Module) -> None:
    """Undo `split_norms`, in place: keep the clean batch norms only."""
    for name, child in module.named_children():
        if isinstance(child, SplitNorm):
            setattr(module, name, child.clean)
        else:
            join_norms(child)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether a module has a layer that normalises over the batch."""
    return any(isinstance(child, _BatchNorm) for child in module.modules())


@contextmanager
def adversarial_norms(module: nn.Module) -> Iterator[None]:
    """Use the second set of every `SplitNorm` of a module within the context."""
    twins = [child for child in module.modules() if isinstance(child, SplitNorm)]
    for twin in twins:
        twin.is_adversarial = True
    try:
        yield
    finally:
        for twin in twins:
            twin.is_adversarial = False


@contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """Keep all running statistics of a module unchanged within the context, even in training
    mode."""
    norms = [(child, child.momentum) for child in module.modules() if isinstance(child, _BatchNorm)]
    counters = [
        norm.num_batches_tracked for norm, _ in norms if norm.num_batches_tracked is not None
    ]
    counts = [counter.clone() for counter in counters]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
        for counter, count in zip(counters, counts, strict=True):
            counter.copy_(count)
