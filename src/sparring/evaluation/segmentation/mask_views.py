"""Random crops of images together with their masks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class MaskViews:
    """Random square crops of an image and its mask, resized and mirrored with probability 1/2.

    Where the square reaches beyond the image, the image continues with one colour and the mask with
    the ignored id.
    """

    crop: int
    """Side of the views in pixels."""
    scale: tuple[float, float]
    """Range of the factor by which the image is enlarged; drawn uniformly."""
    fill: Float[Tensor, "3"]
    """Colour of pixels beyond the image, in [0, 1]."""
    ignore_index: int

    def __call__(
        self,
        image: Float[Tensor, "3 height width"],
        mask: Int[Tensor, "height width"],
        *,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "3 crop crop"], Int[Tensor, "crop crop"]]:
        """A random view of an image in [0, 1], and the ids of its pixels."""
        low, high = self.scale
        across, down, size, mirror = torch.rand(4, generator=generator).tolist()
        side = max(1, round(self.crop / (low + size * (high - low))))
        top, left = _start(mask.shape[0] - side, down), _start(mask.shape[1] - side, across)
        view, ids = self._cut(image, mask, top=top, left=left, side=side)
        shape = (self.crop, self.crop)
        view = F.interpolate(
            view[None], size=shape, mode="bilinear", antialias=True, align_corners=False
        )[0].clamp(0, 1)
        ids = resized_mask(ids, shape)
        return (view.flip(-1), ids.flip(-1)) if mirror < 0.5 else (view, ids)

    def _cut(
        self, image: Tensor, mask: Tensor, *, top: int, left: int, side: int
    ) -> tuple[Tensor, Tensor]:
        """A square of an image and of its mask, padded where it reaches beyond them."""
        view = self.fill[:, None, None].expand(3, side, side).clone()
        ids = torch.full((side, side), self.ignore_index, dtype=mask.dtype)
        rows, columns = (slice(max(start, 0), start + side) for start in (top, left))
        inside = mask[rows, columns]
        place = (
            ...,
            slice(max(-top, 0), max(-top, 0) + inside.shape[0]),
            slice(max(-left, 0), max(-left, 0) + inside.shape[1]),
        )
        ids[place], view[place] = inside, image[:, rows, columns]
        return view, ids


def resized_mask(mask: Int[Tensor, "_ _"], size: tuple[int, ...]) -> Int[Tensor, "height width"]:
    """A mask at another size: every pixel gets the id at its centre, so it stays aligned with its
    image."""
    return F.interpolate(mask[None, None].double(), size=tuple(size), mode="nearest-exact")[
        0, 0
    ].to(mask.dtype)


def _start(room: int, share: float) -> int:
    """First pixel of the square for a share in [0, 1) of the places; negative where the image is
    the smaller one."""
    return min(room, 0) + int(share * (abs(room) + 1))
