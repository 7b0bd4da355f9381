"""The teacher: a copy of a network that follows it by moving average."""

import copy

import torch
from torch import Tensor, nn

from sparring import distributed


class Teacher(nn.Module):
    """Frozen copy of a network whose parameters follow it by moving average; batch-norm statistics
    are its own.

    It runs in training mode like the online network, so its batch-norm buffers come from its own
    forward passes: MoCo, MoCo v3, BYOL's public ports, AdCo and CaCo all average parameters only.
    """

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(online).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Compute the copied network's output, without gradient."""
        output: Tensor = self.network(images)
        return output

    @torch.no_grad()
    def shuffled(self, images: Tensor, *, generator: torch.Generator) -> Tensor:
        """Output with shuffled batch norm: each process encodes a random part of the joint batch.

        With batch norm per process, key and query of an image would otherwise share statistics,
        which reveal the positive.

        Source: He et al. 2020, arXiv:1911.05722, section 3.3.
        """
        if distributed.num_processes() == 1:
            return self(images)  # type: ignore[no-any-return]
        everyone = distributed.gather(images)
        order = torch.randperm(len(everyone), generator=generator).to(images.device)
        mine = order.view(distributed.num_processes(), -1)[distributed.rank()]
        embeddings = distributed.gather(self(everyone[mine]))
        first = distributed.rank() * len(images)
        return embeddings[torch.argsort(order)][first : first + len(images)]

    @torch.no_grad()
    def ema_update(self, online: nn.Module, *, momentum: float) -> None:
        """Move every parameter: teacher <- momentum * teacher + (1 - momentum) * online.

        Args:
            online: network that the teacher is a copy of.
            momentum: teacher momentum in [0, 1]; 0.99 to 0.999 in the literature.
        """
        torch._foreach_lerp_(
            list(self.network.parameters()), list(online.parameters()), 1.0 - momentum
        )

    @torch.no_grad()
    def copy_parameters(self, online: nn.Module) -> None:
        """Copy the online network's parameters, but not its buffers."""
        for mine, theirs in zip(self.network.parameters(), online.parameters(), strict=True):
            mine.copy_(theirs)
