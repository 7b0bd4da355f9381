"""Settings of views, and the presets of the literature.

Holds numbers only; `view_parameters` draws, `image_operations` computes pixels.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from sparring.config import Settings
from sparring.errors import unknown_name


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError("expected (low, high) with 0 < low <= high")
    return pair


def _area(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[1] > 1:
        raise ValueError(
            "a crop covers at most the whole image: expected (low, high) with high <= 1"
        )
    return _rising(pair)


Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=4)]
HueStrength = Annotated[float, Field(ge=0, le=0.5)]
Range = Annotated[tuple[float, float], AfterValidator(_rising)]
AreaRange = Annotated[tuple[float, float], AfterValidator(_area)]


class ViewSettings(Settings):
    """Recipe of one view; the defaults are MoCo v2 without blur, which suits small images.

    The operations run in the order of the fields; flipping commutes with the others and runs with
    the crop.

    Source: Chen et al. 2020 (MoCo v2), arXiv:2003.04297, section 3 and released code, unless a
    field says otherwise.
    """

    size: Annotated[int, Field(ge=8)] | None = None
    """Side of the view in pixels; None: the run's image size."""
    crop_scale: AreaRange = (0.2, 1.0)
    """Range of the crop's area as a share of the image."""
    crop_ratio: Range = (3 / 4, 4 / 3)
    """Range of the crop's width / height; torchvision's default, used by all these papers."""
    flip: Probability = 0.5
    jitter: Probability = 0.8
    """Probability of colour jitter; its four operations run in random order, as in torchvision."""
    brightness: Strength = 0.4
    contrast: Strength = 0.4
    saturation: Strength = 0.4
    hue: HueStrength = 0.1
    greyscale: Probability = 0.2
    blur: Probability = 0.0
    """Probability of Gaussian blur; `image_operations.blur_kernel_size` gives the kernel."""
    blur_sigma: Range = (0.1, 2.0)
    """Range of the standard deviation of the blur, in pixels of the view."""
    solarise: Probability = 0.0
    solarise_threshold: Annotated[float, Field(ge=0, le=1)] = 128 / 255
    """Value, in [0, 1], from which on values are inverted; 128 of 255 is the default of PIL and of
    the BYOL re-implementations."""

    def without_colour(self) -> "ViewSettings":
        """Recipe for images of other than three channels."""
        return self.model_copy(update={"saturation": 0.0, "hue": 0.0, "greyscale": 0.0})


_MOCO_V2_SMALL = ViewSettings()
_MOCO_V2 = ViewSettings(blur=0.5)
# Chen et al. 2020 (SimCLR), arXiv:2002.05709, appendices A and B.9: strength s scales (0.8, 0.8,
# 0.8, 0.2); on CIFAR s is 0.5 and there is no blur.
_SIMCLR_CIFAR = ViewSettings(crop_scale=(0.08, 1.0))
_SIMCLR_IMAGENET = ViewSettings(
    crop_scale=(0.08, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5
)
# Grill et al. 2020 (BYOL), arXiv:2006.07733, appendix B, table 6.
_BYOL_A = ViewSettings(crop_scale=(0.08, 1.0), saturation=0.2, blur=1.0)
_BYOL_B = ViewSettings(crop_scale=(0.08, 1.0), saturation=0.2, blur=0.1, solarise=0.2)
# Chen et al. 2021 (MoCo v3), arXiv:2104.02057, released code; CaCo uses the same pair.
_MOCO_V3_A = _BYOL_A.model_copy(update={"crop_scale": (0.2, 1.0)})
_MOCO_V3_B = _BYOL_B.model_copy(update={"crop_scale": (0.2, 1.0)})

# Ho & Vasconcelos 2020 (CLAE), released code of its bases plain and uel.
_UEL = ViewSettings(jitter=1.0, hue=0.4)

# Hu et al. 2021 (AdCo), released code: (side at 224 px, area range); the first crop is the key's,
# the rest are queries.
_ADCO_CROPS = (
    (224, (0.2, 1.0)),
    (224, (0.2, 1.0)),
    (192, (0.172, 0.86)),
    (160, (0.143, 0.715)),
    (128, (0.114, 0.571)),
    (96, (0.086, 0.429)),
)
_SIZE_MULTIPLE = 4
"""Sizes of smaller crops are rounded to this multiple, so that they can be halved twice; all
published sizes are multiples."""


def small_crop_size(image_size: int, side: int, *, multiple: int = _SIZE_MULTIPLE) -> int:
    """Side in pixels of a crop that has `side` pixels of images of 224, rounded to a multiple."""
    return max(math.ceil(8 / multiple), round(image_size * side / 224 / multiple)) * multiple


def _multi_crop_adco(image_size: int, multiple: int = _SIZE_MULTIPLE) -> tuple[ViewSettings, ...]:
    """Key crop and five query crops with the published shares of the image size."""
    sizes = [small_crop_size(image_size, side, multiple=multiple) for side, _ in _ADCO_CROPS]
    return tuple(
        _MOCO_V2.model_copy(
            update={"size": image_size if side == 224 else size, "crop_scale": scale}
        )
        for size, (side, scale) in zip(sizes, _ADCO_CROPS, strict=True)
    )


# Wang et al. 2022 (CaCo), released code: every crop with the same distortion, neither solarised nor
# asymmetric.
_CACO_LARGE = ViewSettings(crop_scale=(0.14, 1.0), blur=0.5)
_CACO_SMALL = ViewSettings(crop_scale=(0.05, 0.14), blur=0.5)


def _multi_crop_caco(image_size: int, multiple: int = _SIZE_MULTIPLE) -> tuple[ViewSettings, ...]:
    """Two large crops, which give the keys, and six small ones of 96 / 224 of the image size."""
    small = small_crop_size(image_size, 96, multiple=multiple)
    return (_CACO_LARGE,) * 2 + (_CACO_SMALL.model_copy(update={"size": small}),) * 6


# Caron et al. 2021 (DINO), arXiv:2104.14294, released code: BYOL's distortions for the two large
# crops, blur of half the small ones. The second set of areas is that of its longest run.
def _multi_crop_dino(
    image_size: int,
    multiple: int = _SIZE_MULTIPLE,
    *,
    border: float = 0.4,
    num_small: int = 8,
) -> tuple[ViewSettings, ...]:
    """Two large crops, which the teacher sees, and small ones of 96 / 224 of the image size.

    Args:
        image_size: side of the large crops in pixels.
        multiple: of the side of the small crops.
        border: share of the image that no small crop exceeds and no large one falls below.
        num_small: number of small crops.
    """
    side = small_crop_size(image_size, 96, multiple=multiple)
    large = {"crop_scale": (border, 1.0)}
    small = {"crop_scale": (0.05, border), "size": side, "blur": 0.5}
    return (
        _BYOL_A.model_copy(update=large),
        _BYOL_B.model_copy(update=large),
        *(_BYOL_A.model_copy(update=small) for _ in range(num_small)),
    )


def _multi_crop_dino_small(
    image_size: int, multiple: int = _SIZE_MULTIPLE
) -> tuple[ViewSettings, ...]:
    """Two large crops and four of half their side, without blur, for small images."""
    side = small_crop_size(image_size, 112, multiple=multiple)
    small = {"crop_scale": (0.1, 0.4), "size": side}
    return (_MOCO_V2_SMALL,) * 2 + (_MOCO_V2_SMALL.model_copy(update=small),) * 4


PRESETS: Mapping[str, Callable[..., tuple[ViewSettings, ...]]] = {
    "simclr-cifar": lambda *_: (_SIMCLR_CIFAR, _SIMCLR_CIFAR),
    "simclr-imagenet": lambda *_: (_SIMCLR_IMAGENET, _SIMCLR_IMAGENET),
    "mocov2": lambda *_: (_MOCO_V2, _MOCO_V2),
    "mocov2-small": lambda *_: (_MOCO_V2_SMALL, _MOCO_V2_SMALL),
    "mocov3": lambda *_: (_MOCO_V3_A, _MOCO_V3_B),
    "byol": lambda *_: (_BYOL_A, _BYOL_B),
    "uel": lambda *_: (_UEL, _UEL),
    "multi-crop-adco": _multi_crop_adco,
    "multi-crop-caco": _multi_crop_caco,
    "multi-crop-dino": _multi_crop_dino,
    "multi-crop-dino-resnet": lambda *size: _multi_crop_dino(*size, border=0.14),
    "multi-crop-dino-800": lambda *size: _multi_crop_dino(*size, border=0.25, num_small=10),
    "multi-crop-dino-small": _multi_crop_dino_small,
}
"""Functions by preset name, from the image size, and the multiple to which sizes of smaller crops
are rounded, to one recipe per view. In `multi-crop-adco` the
first view is the key's."""


def _known(preset: str) -> str:
    if preset not in PRESETS:
        raise ValueError(unknown_name("preset of views", preset, PRESETS))
    return preset


class ViewsSettings(Settings):
    """A preset, and changes to all of its views (None keeps the preset's value)."""

    preset: Annotated[str, AfterValidator(_known)] = "mocov2-small"
    """Name of a set of views, such as mocov2, byol or multi-crop-adco; a wrong name is answered
    with all. The default is MoCo v2's for small images, as in this project's pilot on CIFAR-10."""
    crop_scale: AreaRange | None = None
    crop_ratio: Range | None = None
    flip: Probability | None = None
    jitter: Probability | None = None
    brightness: Strength | None = None
    contrast: Strength | None = None
    saturation: Strength | None = None
    hue: HueStrength | None = None
    greyscale: Probability | None = None
    blur: Probability | None = None
    blur_sigma: Range | None = None
    solarise: Probability | None = None
    solarise_threshold: Annotated[float, Field(ge=0, le=1)] | None = None

    def resolve(
        self, image_size: int, *, patch_size: int | None = None
    ) -> tuple[ViewSettings, ...]:
        """One complete recipe per view, with its size.

        Args:
            image_size: side of the run's images in pixels.
            patch_size: side of a vision transformer's patches, which have to divide all sizes.

        Example:
            >>> [view.size for view in ViewsSettings(preset="multi-crop-adco").resolve(32)]
            [32, 32, 28, 24, 20, 12]
        """
        changes = self.model_dump(exclude={"preset"}, exclude_none=True)
        recipes = PRESETS[self.preset](image_size, patch_size or _SIZE_MULTIPLE)
        return tuple(
            view.model_copy(update={"size": view.size or image_size, **changes}) for view in recipes
        )
