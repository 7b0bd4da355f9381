"""lightly's SimCLR on a folder of images, in plain PyTorch as its README trains it.

    python folder_lightly.py FOLDER OUT [EPOCHS]

Settings are those of `try_peers.py`: ResNet-18, 64 px, batches of 64.
"""

import sys

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform


def main() -> None:
    """Train, and write the backbone's weights."""
    folder, out = sys.argv[1:3]
    epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    dataset = LightlyDataset(input_dir=folder, transform=SimCLRTransform(input_size=64))
    loader = torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True)
    backbone = torchvision.models.resnet18()
    backbone.fc = torch.nn.Identity()
    head = SimCLRProjectionHead(512, 512, 128)
    model = torch.nn.Sequential(backbone, head)
    criterion = NTXentLoss(temperature=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-6)
    for epoch in range(epochs):
        for (first, second), _, _ in loader:
            loss = criterion(model(first), model(second))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        print(f"epoch {epoch} loss {loss.item():.4f}", flush=True)
    torch.save(backbone.state_dict(), out)


if __name__ == "__main__":
    main()
