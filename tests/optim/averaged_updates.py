"""Updates of a small network on several processes, and the same by PyTorch's own calls."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparring import distributed
from sparring.distributed import joint_with_gradient
from sparring.optim import averaging
from sparring.optim.averaging import averaged_gradients
from sparring.optim.player import Player, PlayerSettings
from sparring.optim.schedule import Position

SMALL_BUCKET = 64
"""Bytes; most parameters of the network fill a bucket of their own."""


class Network(nn.Module):
    """Two layers of which one is used twice, and one that is used by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(4, 6), nn.Linear(6, 6)
        self.unused, self.last = nn.Linear(3, 3), nn.Linear(6, 2)

    def forward(self, rows: Tensor) -> Tensor:
        """Embeddings."""
        return self.last(self.again(self.again(self.first(rows)).tanh()))  # type: ignore[no-any-return]


def network() -> Network:
    torch.manual_seed(0)
    return Network()


def loss_of(module: nn.Module, step: int) -> Tensor:
    """Loss of two forward passes with an exchange within the graph."""
    draws = torch.Generator().manual_seed(10 * step + distributed.rank())
    left, right = (module(torch.randn(5, 4, generator=draws)) for _ in range(2))
    everyone = joint_with_gradient(right).everyone
    return (left @ everyone.T).logsumexp(dim=1).mean() + left.square().mean()


def gradients_both_ways(_: Path) -> dict[str, Any]:
    """Averaged gradients and loss, as they are and by autograd.grad with one exchange at the end;
    and what is left at the parameters."""
    averaging.BUCKET_BYTES = SMALL_BUCKET
    ours = network()
    other = nn.Linear(2, 1)
    other.weight.grad = torch.full_like(other.weight, 7.0)
    parameters = list(ours.parameters())
    loss = other(loss_of(ours, 0).expand(2)).sum()
    found, mean = averaged_gradients(loss, parameters)
    plain = network()
    expected = list(
        torch.autograd.grad(
            other(loss_of(plain, 0).expand(2)).sum(),
            list(plain.parameters()),
            allow_unused=True,
            materialize_grads=True,
        )
    )
    wanted = loss.detach().clone()
    distributed.average([*expected, wanted])
    return {
        "found": [*found, mean],
        "expected": [*expected, wanted],
        "left": [parameter.grad for parameter in parameters],
        "other": [other.weight.grad, other.bias.grad],
    }


def updated(folder: Path) -> dict[str, Any]:
    """Parameters and momentum after six updates at once, and with a break after three."""
    averaging.BUCKET_BYTES = SMALL_BUCKET
    whole, _ = _play(network(), range(6), None)
    half, state = _play(network(), range(3), None)
    torch.save((half, state), folder / f"break{distributed.rank()}.pt")
    half, state = torch.load(folder / f"break{distributed.rank()}.pt", weights_only=False)
    module = network()
    module.load_state_dict(half)
    broken, _ = _play(module, range(3, 6), state)
    return {"whole": whole, "broken": broken}


def _play(
    module: nn.Module, steps: range, state: dict[str, Any] | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    settings = PlayerSettings(learning_rate=0.1, schedule="constant")
    player = Player("encoder", dict(module.named_parameters()), settings)
    if state is not None:
        player.load_state_dict(state)
    for step in steps:
        player.prepare(Position(step=step, num_steps=10, steps_per_epoch=10))
        player.update(loss_of(module, step))
    return module.state_dict(), player.state_dict()
