"""lightly's SimCLR as its documentation trains it in plain PyTorch, one epoch per turn.

    python lightly_loop.py WIDTH WORKERS BATCHES BATCH THREADS

Its transform with the documented settings for small images, its projection head and loss, SGD; each
view goes through the network by itself, as in the example, so each has batch-norm statistics of its
own. The backbone is ours, so that both sides train the same one.
"""

import sys

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from entrants.pictures import small
from side_by_side import memory_peak, serve
from sparring.models.backbones import EncoderSettings, make_backbone


class Pictures(Dataset):
    """Small pictures in memory, given as PIL images, as torchvision's CIFAR10 does."""

    def __init__(self, number: int) -> None:
        self.pictures = small(number)
        self.transform = SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[list[torch.Tensor], int]:
        """Two views and a label."""
        return self.transform(Image.fromarray(self.pictures[index])), 0


class SimCLR(nn.Module):
    """Backbone and projection head."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.backbone = make_backbone(
            EncoderSettings(width=width, small_images=True), image_size=32
        )
        channels = self.backbone.num_features
        self.projection_head = SimCLRProjectionHead(channels, channels, 128)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings."""
        return self.projection_head(self.backbone(images))


def main() -> None:
    """Serve."""
    width, (workers, batches, batch, threads) = float(sys.argv[1]), map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    model = SimCLR(width).train()
    loader = DataLoader(
        Pictures(batches * batch),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
    )
    criterion, optimizer = NTXentLoss(), torch.optim.SGD(model.parameters(), lr=0.06)

    def epoch() -> dict[str, float]:
        """One pass."""
        for views, _ in loader:
            loss = criterion(model(views[0]), model(views[1]))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return {"images": batches * batch, "peak": memory_peak()}

    serve(epoch)


if __name__ == "__main__":
    main()
