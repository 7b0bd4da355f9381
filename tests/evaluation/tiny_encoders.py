"""What the tests of protocols share: tiny encoders, and images that they can tell
apart."""

import hashlib

import numpy as np
import numpy.typing as npt
import torch

from sparring.evaluation.data import EvaluatedEncoder
from sparring.models.backbones import EncoderSettings, make_backbone
from sparring.models.encoder import Encoder


def encoder(
    *, image_size: int = 16, width: float = 0.0625, seed: int = 0, small_images: bool | None = None
) -> Encoder:
    """Frozen untrained ResNet-18, at image size 16 with 32 channels at its end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = EncoderSettings(width=width, small_images=small_images)
        backbone = make_backbone(settings, image_size=image_size)
    return (
        Encoder(backbone, torch.nn.Identity(), mean=settings.mean, std=settings.std)
        .eval()
        .requires_grad_(False)
    )


def evaluated_encoder(
    *, image_size: int = 16, width: float = 0.0625, seed: int = 0, name: str = "trained"
) -> EvaluatedEncoder:
    """That encoder, ready to be evaluated."""
    return EvaluatedEncoder(name, encoder(image_size=image_size, width=width, seed=seed))


def coloured(
    per_class: int, *, classes: int = 3, size: int = 16, seed: int = 0, noise: float = 30
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noisy images (N, size, size, 3), the classes shuffled, whose mean colour tells their class;
    and the classes."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(classes), per_class))
    colours = np.array(
        [[200 if (label + 1) >> bit & 1 else 50 for bit in range(3)] for label in range(classes)]
    )
    noisy = colours[labels][:, None, None] + draw.normal(0, noise, (len(labels), size, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def state_digest(module: torch.nn.Module) -> str:
    """Digest of every parameter and buffer: equal before and after, if a protocol left the encoder
    alone."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
