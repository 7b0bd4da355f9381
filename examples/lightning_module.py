"""AdCo's learned bank as a LightningModule: two players, two optimisers, manual optimisation.

    python examples/lightning_module.py --data photos/ --epochs 1

Lightning has the loop, the devices, the loggers and the checkpoints; this library has the game. The
two losses are of one forward pass, and each moves one player, which is what manual optimisation is
for. It was written for one device: on several, the bank sees the queries of its own alone.
"""

import argparse
import copy
from pathlib import Path

import lightning
import timm
import torch
from torch import Tensor, nn
from two_views import TwoViews, whole_batches

from sparring.objectives.bank_games import adversarial_bank_game


class LearnedBank(lightning.LightningModule):
    """An encoder against a bank of learned negatives. Hu et al. 2021, arXiv:2011.08435.

    Args:
        backbone: name of a network of timm.
        bank_size: number of learned negatives.
        dim: dimension of the embeddings.
    """

    def __init__(
        self, backbone: str = "resnet18", *, bank_size: int = 4096, dim: int = 128
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        network = timm.create_model(backbone, num_classes=0)
        self.encoder = nn.Sequential(network, nn.Linear(network.num_features, dim))
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.bank = nn.Parameter(torch.randn(bank_size, dim))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimiser per player."""
        return [
            torch.optim.SGD(self.encoder.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4),
            torch.optim.SGD([self.bank], lr=3.0, momentum=0.9),
        ]

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        """The encoder descends, the bank ascends, the teacher follows."""
        first, second, _ = batch
        with torch.no_grad():
            keys = self.teacher(second)
        game = adversarial_bank_game(
            self.encoder(first), keys, self.bank, temperature=0.12, bank_temperature=0.02
        )
        for optimizer, loss in zip(self.optimizers(), (game.loss, game.bank_loss), strict=True):
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(
                self.teacher.parameters(), self.encoder.parameters(), strict=True
            ):
                mine.lerp_(theirs, 0.01)
        self.log_dict({"loss": game.loss.detach(), "hardest_cosine": game.hardest_cosine})


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of images, or parquet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--bank-size", type=int, default=4096)
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels")
    parser.add_argument("--limit", type=int, help="number of images; default: all")
    parser.add_argument("--workers", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Train by Lightning's own Trainer, which writes its logs and checkpoints."""
    options = read_options()
    images = TwoViews(options.data, size=options.size, limit=options.limit)
    loader = whole_batches(images, options.batch_size, workers=options.workers)
    trainer = lightning.Trainer(max_epochs=options.epochs, log_every_n_steps=1)
    trainer.fit(LearnedBank(bank_size=options.bank_size), loader)
    print({name: round(float(value), 4) for name, value in trainer.callback_metrics.items()})


if __name__ == "__main__":
    main()
