"""Any method and any opponent of this library in a loop of your own.

    python examples/own_loop.py --data photos/ --method mocov2 --opponent perturbation --epochs 1

`sparring.make_game` gives the encoder, the method, its opponents and their optimisers; one call of
`step` is one step of all players. Data, views, records and checkpoints are yours.
"""

import argparse
from pathlib import Path

import torch
from two_views import TwoViews, whole_batches

import sparring


def train(options: argparse.Namespace) -> sparring.PlayableGame:
    """Train, and save the encoder's backbone under the names of timm."""
    torch.manual_seed(options.seed)
    images = TwoViews(options.data, size=options.size, limit=options.limit)
    loader = whole_batches(images, options.batch_size)
    game = sparring.make_game(
        options.method,
        opponent=options.opponent,
        image_size=options.size,
        num_steps=options.epochs * len(loader),
        steps_per_epoch=len(loader),
        settings={"encoder": {"width": options.width}},
        seed=options.seed,
    )
    for epoch in range(options.epochs):
        for first, second, indices in loader:
            metrics = game.step([first, second], indices)
        print(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
    torch.save(game.trained_encoder().backbone.network.state_dict(), options.out)
    return game


def read_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of images, or parquet")
    parser.add_argument("--method", default="adco")
    parser.add_argument("--opponent", action="append", help="such as perturbation; repeatable")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=32, help="side of the views in pixels")
    parser.add_argument("--limit", type=int, help="number of images; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("backbone.pt"))
    return parser.parse_args()


if __name__ == "__main__":
    train(read_options())
