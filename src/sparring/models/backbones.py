"""Backbones: any timm model by name, with ResNets adapted to small images or another width, or your
own module."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import timm
import torch
from pydantic import Field
from torch import Tensor, nn

from sparring.config import Settings
from sparring.errors import ConfigError, unknown_name
from sparring.models.frozen import frozen_norms, frozen_parameters, hold_norms
from sparring.models.layers import freeze_stages
from sparring.models.resnets import is_resnet, resnet
from sparring.models.vision_transformers import (
    OWN_PATCH,
    TransformerForm,
    chosen_patch_size,
    is_vision_transformer,
    patch_side,
    vision_transformer,
)

SMALL_IMAGE_PIXELS = 64
"""Largest side in pixels at which the small-image stem is the default: the usual stem's stride of 4
would leave maps of at most 16 x 16."""


CUSTOM = "custom:"
"""Prefix of `encoder.backbone` for a module that was given instead of a name; its class follows."""


class EncoderSettings(Settings):
    """Settings of the backbone, and normalisation of its input."""

    backbone: str = "resnet18"
    """Name of the backbone: any model of `timm.list_models()`."""
    width: float = Field(default=1.0, gt=0, le=4)
    """Factor on the number of channels of a ResNet, or on the dimension of a vision transformer's
    tokens, which its heads share."""
    small_images: bool | None = None
    """Whether a ResNet has the 3x3 stem with stride 1 and no max-pooling (He et al. 2016, section
    4.2; the CIFAR form of SimCLR and MoCo); None: for images up to 64 px."""
    weights: str | None = None
    """Pretrained weights from which the backbone starts: `timm` (timm's own), a file of weights,
    a run folder, or `hf:OWNER/MODEL`; None: drawn by the seed. What fits is in docs/weights.md."""
    partial_weights: bool = False
    """Whether weights may lack some of the backbone's tensors, or have them in other shapes; these
    stay as they are drawn, and are told."""
    weights_sha256: str | None = None
    """SHA-256 of the tensors of `weights`, found when a run starts; if you give it, other weights
    are refused."""
    patch_size: int | None = Field(default=None, ge=0)
    """Side in pixels of a vision transformer's patches (vit_* and deit* of timm), which must divide
    the images; 0: as the name says; None: an eighth of images up to 64 px, such as 4 pixels at
    32, as the name says above."""
    depth: int | None = Field(default=None, ge=1)
    """Number of a vision transformer's blocks; None: as the name says."""
    heads: int | None = Field(default=None, ge=1)
    """Number of a vision transformer's attention heads; None: as the name says. MoCo v3's small one
    has 12."""
    frozen_patch_projection: bool = False
    """Whether a vision transformer's projection of patches keeps its random first weights, which
    makes training stable (Chen et al. 2021, arXiv:2104.02057, section 4.2)."""
    fixed_positions: bool = False
    """Whether a vision transformer's position embeddings are fixed sines and cosines in two
    dimensions, as in MoCo v3, instead of learned."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Mean per channel that is subtracted from images in [0, 1]; ImageNet's, as in every recipe
    here, or its mean over the colours for other channels than three."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Standard deviation per channel by which images are then divided; ImageNet's too."""
    frozen_stages: int = Field(default=0, ge=0)
    """Number of first stages that stay as they are, with the stem and their batch norms; 0: all
    learns. A ResNet or ConvNeXt has 4 stages, an EfficientNet 7, and each block of a vision
    transformer is one; one at least must learn."""

    def resolved(self, image_size: int) -> "EncoderSettings":
        """Settings of a new run, in which the size of a vision transformer's patches is said."""
        is_said = self.patch_size is not None or self.weights is not None  # which have patches
        if is_said or not is_vision_transformer(self.backbone):
            return self
        return self.model_copy(update={"patch_size": chosen_patch_size(image_size)})

    def transformer_form(self) -> TransformerForm:
        """What differs from timm's vision transformer of the name."""
        names = TransformerForm.__dataclass_fields__
        return TransformerForm(**{name: getattr(self, name) for name in names})

    def normalisation(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each of so many channels.

        Raises:
            ConfigError: if other values than the defaults are given for another number of channels.
        """
        found = []
        for name in ("mean", "std"):
            values, default = getattr(self, name), type(self).model_fields[name].default
            if len(values) != channels and values == default:
                values = (sum(default) / len(default),) * channels
            if len(values) != channels:
                raise ConfigError(
                    f"encoder.{name} has {len(values)} values and data.channels is {channels}; "
                    "give one value per channel, or leave it out"
                )
            found.append(values)
        return found[0], found[1]


def with_own_patches(stored: Any) -> Any:
    """Section of a stored run, in which a run of an older version says the size of its patches."""
    if not isinstance(stored, Mapping) or "patch_size" in stored:
        return stored
    is_older = is_vision_transformer(str(stored.get("backbone", "")))
    return {**stored, "patch_size": OWN_PATCH} if is_older else stored


class Backbone(nn.Module):
    """Network whose output is one feature vector per image; feature maps are averaged over space.

    Parameters that require no gradient now are frozen for good, and so are the statistics of batch
    norms in parts that are wholly frozen.

    Args:
        network: module that takes (batch, channels, height, width).
        image_size: side in pixels of the run's images; `num_features` is measured with one image of
            this size.
        channels: channels of the images.

    Attributes:
        frozen: names of the network's frozen parameters.
        patch_size: side in pixels of a vision transformer's patches, which has to divide the side
            of every image; None for other networks.
    """

    def __init__(self, network: nn.Module, *, image_size: int, channels: int = 3) -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size
        self.patch_size = patch_side(network)
        self.frozen, self._still = frozen_parameters(network), frozen_norms(network)
        self.num_features = _measured_features(self, image_size, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features, (batch, channels)."""
        features = self.network(images)
        if not isinstance(features, Tensor) or features.ndim not in (2, 3, 4):
            raise ConfigError(
                "backbone: its output must be a tensor (batch, channels[, height, width]) or "
                "(batch, tokens, channels)"
            )
        match features.ndim:
            case 4:
                return features.mean(dim=(2, 3))
            case 3:
                return features.mean(dim=1)
            case _:
                return features

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode of all layers, but keep frozen batch norms in evaluation mode."""
        super().train(mode)
        hold_norms(self.network, self._still)
        return self

    def unfreeze(self) -> None:
        """Turn gradients on, except those of the parameters that are frozen for good."""
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in self.frozen)


def _measured_features(backbone: Backbone, image_size: int, channels: int) -> int:
    was_training = backbone.training
    with torch.no_grad():
        width = int(backbone.eval()(torch.zeros(1, channels, image_size, image_size)).shape[1])
    backbone.train(was_training)
    return width


def make_backbone(settings: EncoderSettings, *, image_size: int, channels: int = 3) -> Backbone:
    """Untrained backbone from its settings; its weights are drawn from PyTorch's global generator.

    Args:
        settings: name, width and stem.
        image_size: side of the images in pixels; decides the stem where the settings leave it open.
        channels: channels of the images.

    Raises:
        ConfigError: for an unknown name, or a width or stem that this network cannot take.
    """
    name = settings.backbone
    if name.startswith(CUSTOM):
        raise ConfigError(
            f"this run was trained with a network of your own ({name.removeprefix(CUSTOM)}); "
            "hand it over as backbone=..."
        )
    require_backbone(name)
    is_transformer = is_vision_transformer(name)
    small = (
        settings.small_images
        if settings.small_images is not None
        else is_resnet(name) and image_size <= SMALL_IMAGE_PIXELS
    )
    _refuse_what_others_take(settings)
    try:
        network = (
            resnet(name, width=settings.width, small_images=small, channels=channels)
            if is_resnet(name)
            else vision_transformer(
                name, settings.transformer_form(), image_size=image_size, channels=channels
            )
            if is_transformer
            else _any_timm(name, image_size, channels)
        )
        freeze_stages(network, settings.frozen_stages, name=name)
        return Backbone(network, image_size=image_size, channels=channels)
    except ConfigError:
        raise
    except (
        AssertionError,
        RuntimeError,
        ValueError,
    ) as error:  # timm's own refusals, such as a side that its patches do not divide
        raise ConfigError(
            f"encoder.backbone={name} cannot be built for {image_size} px images: {error}"
        ) from None


def _refuse_what_others_take(settings: EncoderSettings) -> None:
    """Refuse settings that say nothing to a network."""
    name, given = settings.backbone, list(settings.transformer_form().settings_given())
    is_transformer = is_vision_transformer(name)
    if given and not is_transformer:
        raise ConfigError(
            f"encoder.{given[0]} is for vision transformers (vit_* and deit* of timm); '{name}' is "
            "none, leave it out"
        )
    if settings.width != 1.0 and not (is_resnet(name) or is_transformer):
        raise ConfigError(
            "encoder.width is for ResNets and vision transformers (vit_* and deit* of timm); "
            f"'{name}' is neither, leave it out"
        )
    if settings.small_images and not is_resnet(name):
        raise ConfigError(
            f"encoder.small_images is for ResNets; '{name}' is none, leave it out"
            + ("; encoder.patch_size says the size of its patches" if is_transformer else "")
        )


def require_backbone(name: str) -> None:
    """Refuse a name that neither timm knows nor a network of one's own has.

    Raises:
        ConfigError: with the nearest names.
    """
    if not name.startswith(CUSTOM) and name not in timm.list_models():
        raise ConfigError(unknown_name("backbone", name, nearest_backbones(name)))


def nearest_backbones(name: str) -> list[str]:
    """Names nearest to an unknown one; all names would fill the screen."""
    return get_close_matches(name, timm.list_models(), n=5) or [
        "resnet18",
        "any other of timm.list_models()",
    ]


def takes_image_size(name: str, image_size: int) -> bool:
    """Whether timm builds this network for a fixed image size, like most transformers."""
    with torch.random.fork_rng(devices=[]):
        try:
            timm.create_model(name, num_classes=0, img_size=image_size)
        except TypeError:
            return False
    return True


def _any_timm(name: str, image_size: int, channels: int) -> nn.Module:
    # Only networks for other channels are asked for them: not all of timm's take the argument.
    given: dict[str, Any] = {} if channels == 3 else {"in_chans": channels}
    try:
        network: nn.Module = timm.create_model(name, num_classes=0, img_size=image_size, **given)
    except TypeError:  # only transformers take img_size
        network = timm.create_model(name, num_classes=0, **given)
    except (AssertionError, ValueError) as error:
        raise ConfigError(
            f"encoder.backbone={name} cannot be built for {image_size} px images: {error}"
        ) from None
    return network
