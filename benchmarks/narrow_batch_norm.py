"""Batch norm of few channels on a CPU, forward and backward: ours against PyTorch's.

    python benchmarks/narrow_batch_norm.py [--json narrow_batch_norm.json] [--rounds 9]

Two threads, wall time, channels-last memory; 8 channels are the first stage of a ResNet of width
0.125, 16 that of width 0.25, where ours leaves the work to PyTorch. Both are compared with
PyTorch's in double precision too: the largest difference of the images' gradients, over the largest
gradient.
"""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from side_by_side import alternate, arguments, compared, in_words, write_json
from sparring.acceleration.allocator import keep_freed_memory
from sparring.acceleration.narrow_batch_norm import with_narrow_batch_norms

SHAPES = ((256, 4, 32), (256, 8, 32), (512, 8, 32), (32, 8, 32), (256, 12, 32), (256, 16, 32))
"""Batch, channels and side."""


def trained(norm: nn.Module, images: Tensor, grad: Tensor) -> Callable[[], Tensor]:
    """One pass forward and backward; gives the images' gradient."""

    def run() -> Tensor:
        """A pass."""
        given = images.detach().requires_grad_()
        norm(given).backward(grad)
        assert given.grad is not None
        return given.grad

    return run


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=9).parse_args()
    torch.set_num_threads(2)
    keep_freed_memory()
    found = {}
    for batch, channels, side in SHAPES:
        draw = torch.Generator().manual_seed(0)
        images, grad = (
            torch.randn(batch, channels, side, side, generator=draw).contiguous(
                memory_format=torch.channels_last
            )
            for _ in range(2)
        )
        norm = nn.BatchNorm2d(channels)
        ours = nn.Sequential(copy.deepcopy(norm))
        with_narrow_batch_norms(ours)
        ways = {"ours": trained(ours, images, grad), "PyTorch": trained(norm, images, grad)}
        truth = trained(copy.deepcopy(norm).double(), images.double(), grad.double())()
        off = {
            name: float((way() - truth).abs().max() / truth.abs().max())
            for name, way in ways.items()
        }
        row = compared(alternate(ways, rounds=options.rounds, clock=time.perf_counter), "ours")
        found[f"{batch} x {channels} x {side} x {side}"] = row | {"off": off}
        print(
            f"batch {batch}, {channels:2} channels, {side} px: ours "
            f"{in_words(row['ours'], '.4f')} s, PyTorch's over it "
            f"{in_words(row['PyTorch']['ratio'])}; off by {off['ours']:.0e}, PyTorch's "
            f"{off['PyTorch']:.0e}",
            flush=True,
        )
    write_json(options.json, found)


if __name__ == "__main__":
    main()
