"""Cost of one look at AdCo's bank: the fused closed form against autograd, both sides' losses and gradients.

    python benchmarks/bank_step.py [--json bank_step.json] [--repetitions 5]

One torch thread, CPU time of the process, batch 256, 128 dimensions. The two take turns; ratios are pair by pair, the median with the
smallest and largest beside it. Before timing, the gradients are compared.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from sparring.objectives.closed_form import adversarial_bank_game
from sparring.objectives.contrastive import in_batch_info_nce

BATCH, DIM = 256, 128
SIZES = (4_096, 65_536)
ENCODER, BANK = 0.12, 0.02


def material(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, their keys, and a bank of unit vectors near them."""
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(BATCH, DIM, generator=draw)
    key = query + 0.5 * torch.randn(BATCH, DIM, generator=draw)
    bank = query[torch.randint(0, BATCH, (size,), generator=draw)] + torch.randn(size, DIM, generator=draw)
    return query.requires_grad_(), key, torch.nn.functional.normalize(bank, dim=1).requires_grad_()


def fused(query: Tensor, key: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of query and bank by the closed form."""
    game = adversarial_bank_game(query, key, bank, temperature=ENCODER, bank_temperature=BANK)
    return torch.autograd.grad(game.loss, query)[0], torch.autograd.grad(game.bank_loss, bank)[0]


def by_autograd(query: Tensor, key: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The same by two plain losses."""
    loss = in_batch_info_nce(query, key, bank.detach(), temperature=ENCODER)
    bank_loss = -in_batch_info_nce(query.detach(), key, bank, temperature=BANK)
    return torch.autograd.grad(loss, query)[0], torch.autograd.grad(bank_loss, bank)[0]


def measure(size: int, repetitions: int) -> dict[str, float]:
    """Median seconds of both, and the ratio with its spread."""
    tensors = material(size)
    difference = max(float((a - b).abs().max()) for a, b in zip(fused(*tensors), by_autograd(*tensors), strict=True))
    pairs = []
    for _ in range(repetitions):
        seconds = []
        for contestant in (fused, by_autograd):
            start = time.process_time()
            contestant(*tensors)
            seconds.append(time.process_time() - start)
        pairs.append(seconds)
    ratios = [plain / ours for ours, plain in pairs]
    return {
        "fused_seconds": statistics.median(ours for ours, _ in pairs),
        "autograd_seconds": statistics.median(plain for _, plain in pairs),
        "ratio": statistics.median(ratios),
        "smallest_ratio": min(ratios),
        "largest_ratio": max(ratios),
        "largest_gradient_difference": difference,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {f"bank of {size:,}": measure(size, arguments.repetitions) for size in SIZES}
    for name, row in found.items():
        print(
            f"{name:15} fused {row['fused_seconds']:.3f} s  autograd {row['autograd_seconds']:.3f} s  "
            f"ratio {row['ratio']:.2f} ({row['smallest_ratio']:.2f} to {row['largest_ratio']:.2f})  "
            f"gradients within {row['largest_gradient_difference']:.1e}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
