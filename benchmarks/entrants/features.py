"""Made features whose classes overlap, the same in every environment with the same PyTorch."""

import torch
from torch import Tensor

TRAIN, TEST, CLASSES = 50_000, 10_000, 10


def features(dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train features and labels, test features and labels: Gaussian classes behind a covariance
    that falls a hundredfold in deviation.

    The spectra of real features fall as far or further.
    """
    generator = torch.Generator().manual_seed(0)
    rotations = [torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0] for _ in range(2)]
    mixing = rotations[0] * torch.logspace(0, -2, dim)[:, None] @ rotations[1]
    centres = 0.08 * torch.randn(CLASSES, dim, generator=generator)
    labels = torch.randint(0, CLASSES, (TRAIN + TEST,), generator=generator)
    rows = (centres[labels] + torch.randn(TRAIN + TEST, dim, generator=generator)) @ mixing
    return rows[:TRAIN], labels[:TRAIN], rows[TRAIN:], labels[TRAIN:]
