"""stable-pretraining's SimCLR on a folder of class folders, after the complete example of its
README.

    python folder_stable_pretraining.py FOLDER TEST_FOLDER OUT [EPOCHS]

Settings are those of `try_peers.py`: ResNet-18, 64 px, batches of 64, and kNN while it trains. The
README's `WandbLogger` is left out, since it needs an account.
"""

import os
import sys
from pathlib import Path

import lightning
import stable_pretraining as spt
import torch
import torchmetrics
import torchvision
from stable_pretraining import forward
from stable_pretraining.data import transforms


def loader(folder: str, transform: object, *, is_training: bool) -> torch.utils.data.DataLoader:
    """Batches of a folder of class folders, as dicts."""
    dataset = spt.data.FromTorchDataset(
        torchvision.datasets.ImageFolder(folder), names=["image", "label"], transform=transform
    )
    return torch.utils.data.DataLoader(
        dataset, batch_size=64, shuffle=is_training, drop_last=is_training
    )


def view() -> object:
    """The random view of the README's example at 64 px, normalised as ImageNet."""
    return transforms.Compose(
        transforms.RGB(),
        transforms.RandomResizedCrop((64, 64), scale=(0.2, 1.0)),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.ToImage(**spt.data.static.ImageNet),
    )


def main() -> None:
    """Train with kNN beside it, and write the backbone's weights."""
    folder, test, out = sys.argv[1:4]
    os.chdir(Path(out).parent)  # where Lightning and the Manager leave their logs
    epochs = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    whole = transforms.Compose(
        transforms.RGB(),
        transforms.Resize((64, 64)),
        transforms.ToImage(**spt.data.static.ImageNet),
    )
    both = transforms.MultiViewTransform([view(), view()])
    data = spt.data.DataModule(
        train=loader(folder, both, is_training=True), val=loader(test, whole, is_training=False)
    )
    backbone = torchvision.models.resnet18()
    backbone.fc = torch.nn.Identity()
    module = spt.Module(
        backbone=backbone,
        projector=torch.nn.Sequential(
            torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 128)
        ),
        forward=forward.simclr,
        simclr_loss=spt.losses.NTXEntLoss(temperature=0.5),
        optim={"optimizer": {"type": "SGD", "lr": 0.1}, "scheduler": "CosineAnnealingLR"},
    )
    num_classes = len([entry for entry in Path(folder).iterdir() if entry.is_dir()])
    knn = spt.callbacks.OnlineKNN(
        name="knn",
        input="embedding",
        target="label",
        queue_length=1024,
        metrics={"accuracy": torchmetrics.classification.MulticlassAccuracy(num_classes)},
        input_dim=512,
        k=10,
    )
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[knn], accelerator="cpu", num_sanity_val_steps=0
    )
    spt.Manager(trainer=trainer, module=module, data=data, seed=0)()
    print({name: float(value) for name, value in trainer.callback_metrics.items()}, flush=True)
    torch.save(backbone.state_dict(), out)


if __name__ == "__main__":
    main()
