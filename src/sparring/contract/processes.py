"""Comparison of games on two processes of one machine with games on one process with the joint
batch."""

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sparring.config import Tree, merged
from sparring.contract.toy import Subject, extra_state, state
from sparring.methods import registry
from sparring.training.build import build

STEPS = 6
SECONDS = 300
PLAIN: Tree = {
    "projector": {"kind": "mocov2"},
    "players": {"encoder": {"learning_rate": 0.1, "clip_norm": 1.0}},
}
"""Settings without batch norm, so that half a batch is encoded as in the whole. At a rate of 0.5 a
stiff loss, such as Barlow Twins', amplifies rounding to more than the tolerance."""


class PlainNetwork(nn.Module):
    """Small network of two convolutions without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the map of features."""
        return self.layers(images)  # type: ignore[no-any-return]


def outcome(subject: Subject) -> dict[str, Any]:
    """Mean loss of every step, and the final state, of a game on this process's share of the
    batch."""
    own = subject.method_class
    settings = merged(PLAIN, dict(own.toy.processes))
    if "predictor" in own.settings_class.model_fields:
        settings = merged(settings, {"predictor": {"kind": "plain"}})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = PlainNetwork()
    game = build(subject.config(**settings), network)
    losses = [subject.play_share(game, number)["loss"] for number in range(STEPS)]
    return {"losses": losses, "extra": extra_state(game.method), "state": state(game.method)}


def by_two_processes(subjects: list[Subject]) -> list[list[dict[str, Any]]]:
    """Outcomes of all games, by rank, on two processes.

    Args:
        subjects: methods, with opponents around them; their classes must be importable by name or
            from their files.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sparring.contract.processes"])
    names = {name for subject in subjects for name in (subject.method, *subject.opponents)}
    given = registry.given(names)
    with tempfile.TemporaryDirectory() as folder:
        arguments = [(rank, folder, subjects, given) for rank in range(2)]
        workers = [context.Process(target=_work, args=each) for each in arguments]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(SECONDS)
        failed = [worker for worker in workers if worker.exitcode != 0]
        for worker in failed:
            worker.kill()
        assert not failed, "a process failed; its message is on standard error"
        return [torch.load(Path(folder) / f"rank{rank}.pt") for rank in range(2)]


def _work(
    rank: int,
    folder: str,
    subjects: list[Subject],
    given: tuple[tuple[registry.Kind, str, str], ...],
) -> None:
    torch.set_num_threads(1)
    for kind, name, reference in given:
        registry.give(kind, reference, name=name)
    where = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    try:
        found = [outcome(subject) for subject in subjects]
        torch.save(found, Path(folder) / f"rank{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def require_equal(subject: Subject, ranks: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    """Raise an error if ranks differ, or differ from one process by more than rounding.

    Args:
        subject: name of the game, for messages.
        ranks: outcome of each process.
        alone: outcome of one process on the joint batch.
    """
    first, second = (rank["state"] for rank in ranks)
    unequal = [name for name in first if not torch.equal(first[name], second[name])]
    assert not unequal, f"{subject}: the processes hold different {', '.join(unequal[:3])}"
    # Sums over two halves and over the whole differ by float32 rounding, which six steps
    # amplify. An attack takes signs of gradients, which may flip within rounding of zero, and
    # generated pixels are rounded to whole values, like real ones.
    near = 1e-3 if subject.opponents else 1e-4
    torch.testing.assert_close(ranks[0]["losses"], alone["losses"], rtol=near, atol=near / 10)
    atol = 2e-4 if subject.opponents else 1e-5
    torch.testing.assert_close(first, alone["state"], rtol=1e-3, atol=atol)
    assert ranks[0]["extra"] == alone["extra"], f"{subject}: other counters in two processes"
