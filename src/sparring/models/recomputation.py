"""Activation checkpointing: parts of a network whose activations are not kept for the backward
pass, which computes them again.

A recomputed part gives the numbers of the part that keeps its activations, to the bit: it runs in
the modes, the batch norms and the random state of its first pass, and updates no running
statistics.

Source: Chen et al. 2016, arXiv:1604.06174; `torch.utils.checkpoint`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sparring.models.split_norm import SplitNorm

Modes = list[tuple[nn.Module, str, bool]]
"""Modules, the name of a switch, and its value."""


class _Recomputed(nn.Module):
    """First base of a recomputed layer's class; the second is the layer's own class."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the layer's output, and its activations again in the backward pass."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs, **options)
        return checkpoint(
            super().forward,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _as_before(self, _modes(self))),
            **options,
        )


def recompute_activations(network: nn.Module) -> int:
    """Let a network compute the activations of its blocks again in the backward pass; returns the
    number of blocks.

    Blocks are the parts of the outermost sequences of layers, such as a ResNet's residual blocks
    and a transformer's layers. Each is exchanged in its place for one of a subclass of its own
    class, so names, parameters and buffers stay the same, and copies of the network do as it does.

    Args:
        network: network, changed in place.
    """
    blocks = list(_blocks(network))
    for block in blocks:
        kind = type(block)
        block.__class__ = type(f"Recomputed{kind.__name__}", (_Recomputed, kind), {})
    return len(blocks)


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    if isinstance(network, nn.Sequential | nn.ModuleList):
        yield from (part for part in network if any(part.children()))
        return
    for child in network.children():
        yield from _blocks(child)


def _modes(module: nn.Module) -> Modes:
    """Training mode of every layer, and which set of norms is in use."""
    modes: Modes = []
    for part in module.modules():
        modes.append((part, "training", part.training))
        if isinstance(part, SplitNorm):
            modes.append((part, "is_adversarial", part.is_adversarial))
    return modes


@contextmanager
def _as_before(module: nn.Module, modes: Modes) -> Iterator[None]:
    """The modes of the first pass, and running statistics that are copies of the module's own."""
    now = [(part, name, getattr(part, name)) for part, name, _ in modes]
    for part, name, value in modes:
        setattr(part, name, value)
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    buffers = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        for name, buffer in norm._buffers.items():
            norm._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for norm, kept in zip(norms, buffers, strict=True):
            norm._buffers.update(kept)
        for part, name, value in now:
            setattr(part, name, value)
