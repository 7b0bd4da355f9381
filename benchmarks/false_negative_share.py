"""Estimates of the share of false negatives from a run's embeddings, beside the true share.

    python benchmarks/false_negative_share.py --run RUN --data SET.parquet [--untrained]

The first 512 images, two views each in batches of 128, go through the run's encoder in training
mode: what a step has. Cosines are those of view 0 with view 1.

- `above`: share of pairs of different images whose cosine exceeds the 10 % (25 %) quantile of the
  positives' cosines;
- `square`: mean squared cosine of all embeddings, 1 / clusters if these are tight and orthogonal;
- `neighbours`: size of two views' neighbour lists, as a share of all images, at which they agree
  most above chance (their correlation); `friends`: the same of the lists of an image and of its
  nearest one.

Run it on images of fewer classes than the encoder was trained on: an estimate of the share must
follow the images, and not the encoder.
"""

import argparse

import torch
from torch import Tensor, nn

import sparring
from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.views.views import Views
from sparring.measures.negatives import same_class_share
from sparring.objectives.similarity import unit_rows
from sparring.training.run_folder import RunFolder

IMAGES, BATCH = 512, 128
SIZES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@torch.no_grad()
def embedded(run: str, images: Tensor, *, is_trained: bool) -> tuple[Tensor, Tensor]:
    """Unit embeddings of both views of each image."""
    encoder = sparring.load(run)
    if not is_trained:
        torch.manual_seed(0)
        for module in encoder.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d):
                module.reset_parameters()
    size = images.shape[-1]
    config = RunFolder(run).read_config()
    views = Views(config.method_settings.views.resolve(size), image_size=size)
    draws, encoder = torch.Generator().manual_seed(0), encoder.train()
    pairs = [
        torch.stack([unit_rows(encoder(view)) for view in views(batch, generator=draws)[:2]])
        for batch in torch.split(images, BATCH)
    ]
    first, second = torch.cat(pairs, dim=1)
    return first, second


def ranks(cosines: Tensor) -> Tensor:
    """Rank of every other image for each one; its own comes last."""
    without_own = cosines.clone().fill_diagonal_(-torch.inf)
    return without_own.argsort(dim=1, descending=True).argsort(dim=1)


def most_agreement(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Size of the lists, as a share, at which they agree most above chance, and the agreement."""
    found = []
    for size in SIZES:
        count = round(size * len(one))
        both = ((one < count) & (other < count)).double().mean()
        found.append((float((both - size**2) / (size * (1 - size))), size))
    agreement, size = max(found)
    return size, agreement


def estimates(first: Tensor, second: Tensor) -> str:
    """All estimates, in words."""
    cosines = first @ second.T
    is_other = ~torch.eye(len(cosines), dtype=torch.bool)
    above = [
        float((cosines[is_other] > torch.quantile(cosines.diagonal(), q)).double().mean())
        for q in (0.1, 0.25)
    ]
    everyone = torch.cat([first, second])
    own, of_view = ranks(first @ first.T), ranks(second @ first.T)
    nearest = (own == 0).int().argmax(dim=1)
    agreeing, friends = most_agreement(own, of_view), most_agreement(own, own[nearest])
    return (
        f"above {above[0]:.3f} ({above[1]:.3f})  "
        f"square {float((everyone @ everyone.T).square().mean()):.3f}  "
        f"neighbours {agreeing[0]} ({agreeing[1]:.2f})  friends {friends[0]} ({friends[1]:.2f})"
    )


def main() -> None:
    """Print the true share and all estimates."""
    parser = argparse.ArgumentParser(description="Estimates of the share of false negatives.")
    parser.add_argument("--run", required=True, help="run folder whose encoder embeds")
    parser.add_argument("--data", required=True, help="images with labels")
    parser.add_argument("--untrained", action="store_true", help="with random weights")
    given = parser.parse_args()
    size = RunFolder(given.run).read_config().image_size
    dataset = open_dataset(given.data, DataSettings(limit=IMAGES), image_size=size)
    share = same_class_share(torch.as_tensor(dataset.labels))
    images = dataset.images(torch.arange(len(dataset)))
    found = estimates(*embedded(given.run, images, is_trained=not given.untrained))
    print(f"true {share:.3f}  {found}")


if __name__ == "__main__":
    main()
