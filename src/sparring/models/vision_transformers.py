"""Vision transformers of timm for images of any size: patches, width, depth, and what of them is
frozen."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sparring.errors import ConfigError

SMALL_IMAGE_PIXELS = 64
"""Largest side in pixels at which patches are smaller than the name says: 16 of 32 pixels would
leave four tokens."""
SMALL_GRID = 8
"""Patches per side that are aimed at for small images: 4 pixels of 32, 8 of 64."""
OWN_PATCH = 0
"""Value of `encoder.patch_size` for the patches that the name says."""


@dataclass(frozen=True, kw_only=True)
class TransformerForm:
    """What differs from timm's network of a name; the defaults change nothing.

    Attributes:
        patch_size: side of a patch in pixels; 0: as the name says, None: see `chosen_patch_size`.
        width: factor on the dimension of the tokens.
        depth: number of blocks; None: as the name says.
        heads: number of attention heads; None: as the name says.
        frozen_patch_projection: whether the projection of the patches keeps its first weights.
        fixed_positions: whether position embeddings are sines and cosines that stay as they are.
    """

    patch_size: int | None = OWN_PATCH
    width: float = 1.0
    depth: int | None = None
    heads: int | None = None
    frozen_patch_projection: bool = False
    fixed_positions: bool = False

    def settings_given(self) -> Iterator[str]:
        """Names of the settings that only a vision transformer takes, where they say anything."""
        yield from ("patch_size",) if self.patch_size else ()
        yield from (name for name in ("depth", "heads") if getattr(self, name) is not None)
        frozen = ("frozen_patch_projection", "fixed_positions")
        yield from (name for name in frozen if getattr(self, name))


def is_vision_transformer(name: str) -> bool:
    """Whether a name of timm is a plain vision transformer, such as vit_* and deit*."""
    return timm.models.is_model_in_modules(name, ["vision_transformer", "deit"])


def chosen_patch_size(image_size: int) -> int:
    """Side of a patch in pixels for images of a size, where no setting says it.

    The divisor of a small image's side that is nearest to an eighth of it, with 4 to 16 patches per
    side; 0, which is as the name says, for larger images and those without such a divisor.

    Example:
        >>> [chosen_patch_size(size) for size in (32, 48, 64, 224)]
        [4, 6, 8, 0]
    """
    if image_size > SMALL_IMAGE_PIXELS:
        return OWN_PATCH
    fitting = [
        size
        for size in range(1, image_size + 1)
        if image_size % size == 0 and 4 <= image_size // size <= 2 * SMALL_GRID
    ]
    return min(fitting, key=lambda size: abs(size - image_size / SMALL_GRID), default=OWN_PATCH)


def vision_transformer(
    name: str, form: TransformerForm, *, image_size: int, channels: int
) -> VisionTransformer:
    """Untrained vision transformer; its weights are drawn from PyTorch's global generator.

    Images of other sizes go through it too if patches divide them: position embeddings are
    interpolated then. Its output is the class token where the name has one, else what timm pools.

    Args:
        name: name of timm in which `is_vision_transformer`.
        form: what differs from the network of that name.
        image_size: side of the run's images in pixels, for which there are position embeddings.
        channels: channels of the images.

    Raises:
        ConfigError: for patches that do not divide the images, or heads that do not divide the
            tokens.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        own: Any = timm.create_model(name, num_classes=0)
    patch_size = chosen_patch_size(image_size) if form.patch_size is None else form.patch_size
    _require_fitting_patch(patch_size, image_size, name)
    patch = patch_size or max(own.patch_embed.patch_size)
    given: dict[str, Any] = {"patch_size": patch_size} if patch_size else {}
    given |= {"embed_dim": _width(own, form, name)} if form.width != 1.0 or form.heads else {}
    given |= {} if form.depth is None else {"depth": form.depth}
    given |= {} if form.heads is None else {"num_heads": form.heads}
    given |= {} if channels == 3 else {"in_chans": channels}
    # Runs of older versions may have images whose last pixels no patch covers.
    given |= {} if image_size % patch else {"dynamic_img_size": True}
    network: Any = timm.create_model(name, num_classes=0, img_size=image_size, **given)
    if form.frozen_patch_projection:
        _freeze_patch_projection(network.patch_embed.proj)
    if form.fixed_positions:
        _fix_positions(network, name)
    assert isinstance(network, VisionTransformer)
    return network


def timm_arguments(network: VisionTransformer, form: TransformerForm) -> dict[str, int]:
    """Arguments of `timm.create_model` that rebuild a network made here, beside name and size."""
    given = {"patch_size": patch_side(network) if form.patch_size != OWN_PATCH else None}
    given |= {"embed_dim": network.embed_dim if form.width != 1.0 else None}
    given |= {"depth": form.depth, "num_heads": form.heads}
    return {name: value for name, value in given.items() if value is not None}


def patch_side(network: nn.Module) -> int | None:
    """Side of a transformer's patches in pixels, which has to divide images; None for others."""
    return max(network.patch_embed.patch_size) if isinstance(network, VisionTransformer) else None


def _require_fitting_patch(patch_size: int, image_size: int, name: str) -> None:
    if patch_size and image_size % patch_size:
        fitting = [str(size) for size in range(2, image_size // 2 + 1) if image_size % size == 0]
        sizes = f"take one of {', '.join(fitting)}" if fitting else "no patch of two pixels does"
        near = patch_size * max(1, round(image_size / patch_size))
        raise ConfigError(
            f"encoder.patch_size={patch_size}: {name} cannot divide images of {image_size} px into "
            f"such patches; {sizes}, or set training.image_size={near}"
        )


def _heads(network: nn.Module) -> int:
    found = (getattr(part, "num_heads", None) for part in network.modules())
    return next(heads for heads in found if isinstance(heads, int))


def _width(own: VisionTransformer, form: TransformerForm, name: str) -> int:
    """Dimension of the tokens, which the heads share."""
    heads, dim = form.heads or _heads(own), round(own.embed_dim * form.width)
    if dim % heads or not dim:
        near = heads * max(1, round(dim / heads))
        raise ConfigError(
            f"encoder.width={form.width:g} makes tokens of {dim} numbers of {name}'s "
            f"{own.embed_dim}, which {heads} heads cannot share equally; the nearest that can is "
            f"encoder.width={near / own.embed_dim:g}, or set encoder.heads"
        )
    return dim


def _freeze_patch_projection(projection: nn.Conv2d) -> None:
    # Chen et al. 2021, arXiv:2104.02057, section 4.2; drawn as in their code: uniform, by the
    # number of inputs and outputs.
    inputs, outputs = projection.weight[0].numel(), projection.out_channels
    bound = (6 / (inputs + outputs)) ** 0.5
    nn.init.uniform_(projection.weight, -bound, bound)
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)
    projection.requires_grad_(False)


def _fix_positions(network: VisionTransformer, name: str) -> None:
    # Chen et al. 2021, section 4.1: sines and cosines in two dimensions, none for the class token.
    positions = network.pos_embed
    if positions is None or positions.shape[-1] % 4:
        raise ConfigError(
            f"encoder.fixed_positions: {name} has no position embeddings of a multiple of 4 "
            "numbers; leave it out"
        )
    rows, columns = network.patch_embed.grid_size
    fixed = build_sincos2d_pos_embed([rows, columns], dim=positions.shape[-1])
    with torch.no_grad():
        positions.zero_()
        positions[:, -rows * columns :] = fixed
    positions.requires_grad_(False)
