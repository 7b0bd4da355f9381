"""Cost of AdCo's game with its bank: the closed form against autograd, both players' losses and
gradients.

    python benchmarks/bank_step.py [--json bank_step.json] [--rounds 7]

One torch thread, CPU time of the process, batch 256, 128 dimensions. The game by autograd, as
written for reading, the closed form, and its three matrix products alone, into memory that is
there, take turns. Gradients are compared too. Memory is the most that a process of its own takes in
five steps beyond what it had before the first, without the bank's gradient itself (Linux).
"""

import functools
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from side_by_side import alternate, arguments, compared, in_words, inverse, write_json
from sparring import acceleration
from sparring.acceleration.bank_softmax import CHUNK
from sparring.objectives.bank_games import adversarial_bank_game

BATCH, DIM = 256, 128
SIZES = (4_096, 16_384, 65_536, 262_144)
ENCODER, BANK = 0.12, 0.02
MEBIBYTE = 1 << 20
GAMES = 5


def material(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, their keys, and a bank of unit vectors near them."""
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(BATCH, DIM, generator=draw)
    key = query + 0.5 * torch.randn(BATCH, DIM, generator=draw)
    bank = query[torch.randint(0, BATCH, (size,), generator=draw)] + torch.randn(
        size, DIM, generator=draw
    )
    return query.requires_grad_(), key, torch.nn.functional.normalize(bank, dim=1).requires_grad_()


def closed_form(query: Tensor, key: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of query and bank by the closed form."""
    game = adversarial_bank_game(query, key, bank, temperature=ENCODER, bank_temperature=BANK)
    return torch.autograd.grad(game.loss, query)[0], torch.autograd.grad(game.bank_loss, bank)[0]


def autograd(query: Tensor, key: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """The same with fast paths off."""
    acceleration.allow(False)
    try:
        return closed_form(query, key, bank)
    finally:
        acceleration.allow(True)


def products(query: Tensor, key: Tensor, bank: Tensor) -> Callable[[], None]:
    """Cosines, the queries' mean bank vectors and the bank's mean queries, as far as matrix
    products go."""
    q, w, found = query.detach(), bank.detach(), torch.empty_like(bank)
    cosines, picked = torch.empty(CHUNK, BATCH), torch.empty(BATCH, DIM)

    def run() -> None:
        """Chunk by chunk."""
        for start in range(0, len(w), CHUNK):
            part = slice(start, start + CHUNK)
            torch.mm(w[part], q.T, out=cosines)
            torch.mm(cosines.T, w[part], out=picked)
            torch.mm(cosines, q, out=found[part])

    return run


def difference(size: int) -> float:
    """Largest one between gradients of the two ways."""
    tensors = material(size)
    return max(
        float((a - b).abs().max())
        for a, b in zip(closed_form(*tensors), autograd(*tensors), strict=True)
    )


def extra_mebibytes(size: int, game: Callable[[Tensor, Tensor, Tensor], object]) -> float:
    """Memory of a game in a fresh process, beyond the bank's gradient."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_extra, (size, game))


def _extra(size: int, game: Callable[[Tensor, Tensor, Tensor], object]) -> float:
    torch.set_num_threads(1)
    game(*material(CHUNK))  # what libraries allocate once
    tensors = material(size)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    for _ in range(GAMES):  # the worst counts: how the heap lies differs from one to the next
        game(*tensors)
    return (_status("VmHWM") - before - size * DIM * 4) / MEBIBYTE


def _status(name: str) -> int:
    """Bytes of that name in the process's status."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=7).parse_args()
    torch.set_num_threads(1)
    found = {}
    for size in SIZES:
        tensors = material(size)
        ways = {
            "closed form": functools.partial(closed_form, *tensors),
            "autograd": functools.partial(autograd, *tensors),
        }
        turns = alternate(ways | {"products": products(*tensors)}, rounds=options.rounds)
        row = compared(turns, "closed form")
        row["largest gradient difference"] = difference(size)
        row["extra MiB"] = {
            game.__name__: extra_mebibytes(size, game) for game in (closed_form, autograd)
        }
        found[size] = row
        print(
            f"bank of {size:7,}: closed form {in_words(row['closed form'], '.3f')} s, "
            f"{row['closed form']['median'] / size * 1e6:.2f} us per entry\n"
            f"  autograd over it {in_words(row['autograd']['ratio'])}, it over its products "
            f"{in_words(inverse(row['products']['ratio']))}\n"
            f"  gradients within {row['largest gradient difference']:.1e}, "
            f"extra memory {row['extra MiB']['closed_form']:.0f} MiB, autograd's "
            f"{row['extra MiB']['autograd']:.0f} MiB",
            flush=True,
        )
    write_json(options.json, found)


if __name__ == "__main__":
    main()
