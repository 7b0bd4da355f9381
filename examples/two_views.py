"""Images of a folder or a parquet file as two random views each, for the examples beside it."""

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class TwoViews(Dataset):
    """Two views of each image, floats in [0, 1], (3, size, size), and the image's number.

    Args:
        data: folder of images, or a parquet file with a column `image`, as the Hub writes it.
        size: side of the views in pixels.
        limit: number of images to use; None: all.
    """

    def __init__(self, data: Path, *, size: int, limit: int | None = None) -> None:
        if data.is_dir():
            found = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
            self._files = [path.read_bytes() for path in found[:limit]]
        else:
            import pyarrow.parquet

            column = pyarrow.parquet.read_table(data, columns=["image"])["image"]
            self._files = [one["bytes"] for one in column.slice(0, limit).to_pylist()]
        self._augment = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        image = Image.open(BytesIO(self._files[index])).convert("RGB")
        return self._augment(image), self._augment(image), index


def whole_batches(images: TwoViews, batch_size: int, *, workers: int = 0) -> DataLoader:
    """Shuffled batches of equal size; says how many before the first, which may take a while."""
    if len(images) < batch_size:
        raise SystemExit(f"{len(images):,} images make no batch: --batch-size is {batch_size:,}")
    loader = DataLoader(images, batch_size, shuffle=True, drop_last=True, num_workers=workers)
    print(f"{len(images):,} images, {len(loader):,} steps per epoch", flush=True)
    return loader
