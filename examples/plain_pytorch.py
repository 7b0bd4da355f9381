"""AdCo's learned bank and adversarial views in a plain PyTorch loop, by this library's functions.

    python examples/plain_pytorch.py --data photos/ --epochs 1
    python examples/plain_pytorch.py --data images.parquet --epochs 1 --attack

Two players, two optimisers of `torch.optim`: the encoder descends an InfoNCE loss whose negatives
are the vectors of a bank, and the bank ascends it. With --attack, a third loss is that on views
whose pixels were moved so that it rises most.

What the library's own loop would add: checkpoints that resume to the bit, metrics, the monitor,
split batch norms for attacked views, several processes. See docs/without_our_loop.md.
"""

import argparse
import copy
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from two_views import TwoViews, whole_batches

from sparring.objectives.bank_games import adversarial_bank_game
from sparring.objectives.contrastive import info_nce
from sparring.opponents.pixel_attack import PerturbationSettings, attack

TEMPERATURE, BANK_TEMPERATURE, TEACHER_MOMENTUM = 0.12, 0.02, 0.99


def make_encoder(dim: int = 128) -> nn.Module:
    """A torchvision ResNet-18 for small images, with a projector in the place of its classifier."""
    network = torchvision.models.resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    network.fc = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, dim))
    return network


def attacked(images: Tensor, keys: Tensor, encoder: nn.Module, bank: Tensor) -> Tensor:
    """Images moved by at most epsilon so that the encoder's loss on them rises."""

    def loss_and_gradient(moved: Tensor, is_start: bool) -> tuple[Tensor, Tensor]:
        moved = moved.detach().requires_grad_()
        loss = info_nce(encoder(moved), keys, bank.detach(), temperature=TEMPERATURE)
        (gradient,) = torch.autograd.grad(loss, moved)
        return loss, gradient

    settings = PerturbationSettings(epsilon=0.015, clip=(0.0, 1.0))
    return attack(images, loss_and_gradient, settings, generator=torch.Generator()).images


def train(options: argparse.Namespace) -> float:
    """Train, and return the last loss of the encoder."""
    torch.manual_seed(options.seed)
    images = TwoViews(options.data, size=options.size, limit=options.limit)
    loader = whole_batches(images, options.batch_size)
    encoder = make_encoder().to(options.device)
    teacher = copy.deepcopy(encoder).requires_grad_(False)
    bank = nn.Parameter(torch.randn(options.bank_size, 128, device=options.device))
    encoder_optimizer = torch.optim.SGD(
        encoder.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4
    )
    bank_optimizer = torch.optim.SGD([bank], lr=3.0, momentum=0.9)
    last = float("nan")
    for epoch in range(options.epochs):
        for first, second, _ in loader:
            first, second = first.to(options.device), second.to(options.device)
            with torch.no_grad():
                keys = teacher(second)
            game = adversarial_bank_game(
                encoder(first),
                keys,
                bank,
                temperature=TEMPERATURE,
                bank_temperature=BANK_TEMPERATURE,
            )
            loss = game.loss  # its gradient reaches the encoder only
            if options.attack:
                moved = attacked(first, keys, encoder, bank)
                loss = loss + info_nce(encoder(moved), keys, bank.detach(), temperature=TEMPERATURE)
            for optimizer, minimised in (
                (encoder_optimizer, loss),
                (bank_optimizer, game.bank_loss),  # and that of this one the bank only
            ):
                optimizer.zero_grad()
                minimised.backward()
                optimizer.step()
            with torch.no_grad():
                for mine, theirs in zip(teacher.parameters(), encoder.parameters(), strict=True):
                    mine.lerp_(theirs, 1 - TEACHER_MOMENTUM)
            last = loss.item()
        print(
            f"epoch {epoch + 1}: loss {last:.3f}, hardest negative {game.hardest_cosine.item():.2f}"
        )
    return last


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of images, or parquet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--bank-size", type=int, default=4096)
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels")
    parser.add_argument("--limit", type=int, help="number of images; default: all")
    parser.add_argument("--attack", action="store_true", help="add adversarial views")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


if __name__ == "__main__":
    train(read_options())
