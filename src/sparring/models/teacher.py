"""The teacher: a copy of a network that follows it by moving average, and the batch norm of its
keys."""

import copy

import torch
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.errors import ConfigError
from sparring.transfers import sent


class KeyNormSettings(Settings):
    """Images that share batch-norm statistics when the teacher encodes keys."""

    parts: int = Field(default=1, ge=1)
    """Parts of the joint batch, each with statistics of its own, as on so many GPUs; MoCo and AdCo
    were published with 8. Every process encodes equally many, at least one. Not with
    training.sync_batch_norm."""
    shuffled: bool = True
    """Whether the parts are drawn anew at every step, so that a query and its key share no
    statistics, which would reveal the positive; otherwise images stay in their order. Nothing is
    drawn for a single part."""

    def per_process(self, rows: int) -> int:
        """Number of parts that each process encodes.

        Args:
            rows: images of this process.

        Raises:
            ConfigError: if the processes cannot share the parts evenly, or a part would have a
                single image.
        """
        processes = distributed.num_processes()
        if self.parts > processes and self.parts % processes:
            raise ConfigError(
                f"key_norm.parts={self.parts}: {processes} processes cannot share them evenly; use "
                f"a multiple of {processes}"
            )
        own = max(1, self.parts // processes)
        if own > 1 and rows < 2 * own:
            raise ConfigError(
                f"key_norm.parts={self.parts}: batch norm needs 2 images a part, and "
                f"{processes * rows} images give at most {max(1, rows // 2) * processes} parts; "
                "lower it or raise training.batch_size"
            )
        return own


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
    def keys(self, images: Tensor, norm: KeyNormSettings, *, generator: torch.Generator) -> Tensor:
        """Output with batch-norm statistics of parts of the joint batch, in the order of the
        images.

        Args:
            images: this process's share of the joint batch.
            norm: number of parts, and whether they are random.
            generator: CPU generator of the random parts, equal in all processes.

        Raises:
            ConfigError: see `KeyNormSettings.per_process`.

        Source: He et al. 2020, arXiv:1911.05722, section 3.3; parts within a process as in the
        notebook of MoCo's authors.
        """
        processes = distributed.num_processes()
        parts = norm.per_process(len(images))
        if not norm.shuffled or processes * parts == 1:
            return self._by_parts(images, parts)
        everyone = distributed.gather(images)
        order = sent(torch.randperm(len(everyone), generator=generator), images.device)
        mine = order.view(processes, -1)[distributed.rank()]
        embeddings = distributed.gather(self._by_parts(everyone[mine], parts))
        first = distributed.rank() * len(images)
        return embeddings[torch.argsort(order)][first : first + len(images)]

    def _by_parts(self, images: Tensor, parts: int) -> Tensor:
        made = [self(part) for part in images.tensor_split(parts)]
        return made[0] if parts == 1 else torch.cat(made)

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
