"""Batch norm with two sets of statistics and weights, one for clean images and one for attacked
ones; everything else is shared.

Attacked images have other statistics than clean ones. With one set they would shift the statistics
under which the encoder is used afterwards; with two, the clean set never sees them.

Source: Xie et al. 2020, arXiv:1911.09665 (AdvProp); Ho & Vasconcelos 2020, arXiv:2010.12050,
released code.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SplitNorm(nn.Module):
    """A batch norm and its twin for attacked images; which one works is chosen by
    `adversarial_norms`, the clean one by default.

    Args:
        norm: becomes the clean set; the twin begins as its copy.
        momentum: of the twin's running statistics; 0.01 as released.
    """

    def __init__(self, norm: _BatchNorm, *, momentum: float) -> None:
        super().__init__()
        self.clean = norm
        self.adversarial = copy.deepcopy(norm)
        self.adversarial.momentum = momentum
        self.is_adversarial = False

    def forward(self, activations: Tensor) -> Tensor:
        """Normalise with the chosen set."""
        output: Tensor = (self.adversarial if self.is_adversarial else self.clean)(activations)
        return output


def split_norms(module: nn.Module, *, momentum: float) -> None:
    """Give every batch norm below a module its twin, in place."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SplitNorm(child, momentum=momentum))
        elif not isinstance(child, SplitNorm):
            split_norms(child, momentum=momentum)


def join_norms(module: nn.Module) -> None:
    """Leave the clean batch norms alone in their places, in place: the module is then as it was
    before `split_norms`."""
    for name, child in module.named_children():
        if isinstance(child, SplitNorm):
            setattr(module, name, child.clean)
        else:
            join_norms(child)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any layer normalises over the batch."""
    return any(isinstance(child, _BatchNorm) for child in module.modules())


@contextmanager
def adversarial_norms(module: nn.Module) -> Iterator[None]:
    """Let the twins work below a module for the duration."""
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
    """Keep all running statistics below a module as they are for the duration, in training mode
    too."""
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
