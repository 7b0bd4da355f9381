"""Games in double precision with a network without batch norm, so that steps written by hand can be
held to them tightly."""

from typing import Any

import torch
from torch import Tensor, nn

import games
from sparring.methods.method import Context
from sparring.training.build import Game, build

BATCH = 16
Plain = games.Plain


class Normed(nn.Module):
    """As `Plain`, with a batch norm that keeps statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        return self.layers(images)  # type: ignore[no-any-return]


def game(
    method: str, network: type[nn.Module] = Plain, *, weights_seed: int = 3, **settings: Any
) -> Game:
    """Untrained game in float64; `weights_seed` is that of the backbone."""
    torch.manual_seed(weights_seed)
    # The preset of two equal views whatever the method's default, and a projector without batch
    # norm.
    plain = {"projector": {"kind": "mocov2", "dim": 16, "hidden": 32}}
    made = build(games.config(method, **{**plain, **settings}), network())
    made.method.double()
    return made


def views(number: int = 0, *, method: str = "mocov2", batch: int = BATCH) -> list[Tensor]:
    """Pixels of the views of the blobs of one step."""
    return [pixels.double() for pixels in games.pixels(method, step=number, count=batch)]


def prepared(game: Game, number: int = 0, *, batch: int = BATCH) -> Context:
    """Context of the step of that number, for which every player has its learning rate."""
    now = games.context(number, count=batch)
    for player in game.players.values():
        player.prepare(now.position)
    return now


def parameters(module: nn.Module) -> list[Tensor]:
    """Copies."""
    return [parameter.detach().clone() for parameter in module.parameters()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    """Whether two lists of tensors agree in every bit."""
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def spread(count: int, dim: int = 16, *, seed: int = 5) -> Tensor:
    """Random directions."""
    return torch.randn(
        count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
