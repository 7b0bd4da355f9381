"""Construction of the encoder, the method and its players from a configuration."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sparring import acceleration, distributed
from sparring.acceleration.allocator import keep_freed_memory
from sparring.acceleration.narrow_batch_norm import with_narrow_batch_norms
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.methods.registry import method_class, opponent_class
from sparring.models.backbones import Backbone, make_backbone
from sparring.models.encoder import Encoder
from sparring.models.heads import make_projector
from sparring.models.layers import depths_from_output, freeze_stages
from sparring.models.recomputation import recompute_activations
from sparring.models.teacher import KeyNormSettings
from sparring.optim.finite_check import FiniteCheck
from sparring.optim.player import Player, PlayerSettings
from sparring.seeding import derived_seed, generator
from sparring.training.devices import choose_autocast, choose_device, convert_batch_norm
from sparring.training.settings import RunConfig

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Game:
    """Method with the players that update its modules, on its device."""

    method: Method
    players: dict[str, Player]
    device: torch.device

    @property
    def encoder(self) -> Encoder:
        """Online encoder, which is evaluated and exported."""
        return self.method.encoder

    @property
    def check(self) -> FiniteCheck:
        """Check of losses and gradients that all players share."""
        return next(iter(self.players.values())).check


@dataclass(frozen=True)
class StartWeights:
    """Pretrained weights from which a run starts, by the names of its network.

    Attributes:
        state: tensors of the backbone; what they lack stays as it is drawn.
        lines: what was found, for the listener.
    """

    state: dict[str, Tensor]
    lines: tuple[str, ...] = ()


def build(
    config: RunConfig, backbone: nn.Module | None = None, start: StartWeights | None = None
) -> Game:
    """Game of a configuration at its first step; equal configurations give equal weights.

    Args:
        config: configuration with a resolved image size.
        backbone: your own network, copied and used instead of `encoder.backbone`.
        start: weights of `encoder.weights`; None: the seed's, which a checkpoint then replaces.

    Raises:
        ConfigError: if the method's class is not available, a player has no section, the batch
            cannot be parted as `key_norm` says, your own network cannot be copied, or the network
            has no blocks to recompute.
    """
    acceleration.allow(config.training.acceleration)
    _require_parts(config)
    device = choose_device(config.training.device)
    if device.type == "cpu" and acceleration.is_on():
        keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        encoder = _make_encoder(config, backbone, start)
        draws = generator(config.seed, "method")
        kind = method_class(config.method)
        method = kind(encoder, config.method_settings, generator=draws)
        for name in config.opponent:
            around: Any = opponent_class(name)
            if around.is_for_colours and config.data.channels != 3:
                raise ConfigError(
                    f"opponent {name} makes colour images, and data.channels is "
                    f"{config.data.channels}; leave the opponent out, or use three channels"
                )
            method = around(method, config.opponent_settings[name])
    if config.training.checkpoint_activations:
        _require_blocks(recompute_activations(encoder.backbone.network), config)
    method = _placed(method, config, device)
    method.train()
    distributed.broadcast([*method.parameters(), *method.buffers()])
    players = _make_players(config, method, FiniteCheck(device))
    return Game(method=method, players=players, device=device)


def _require_parts(config: RunConfig) -> None:
    norm = getattr(config.method_settings, "key_norm", None)
    if not isinstance(norm, KeyNormSettings):
        return
    parts = norm.per_process(config.training.batch_size // distributed.num_processes())
    if parts > 1 and config.training.sync_batch_norm:
        raise ConfigError(
            f"key_norm.parts={norm.parts}: with training.sync_batch_norm=true all parts share "
            "their statistics; leave one of the two out"
        )


def _require_blocks(found: int, config: RunConfig) -> None:
    if not found:
        raise ConfigError(
            f"training.checkpoint_activations=true: {config.encoder.backbone} has no sequence of "
            "blocks that could be recomputed; leave it out, or take a smaller batch"
        )


def build_encoder(config: RunConfig, backbone: nn.Module | None = None) -> Encoder:
    """Encoder of a configuration at its first step, equal to that of `build`; needs no method.

    Args:
        config: configuration with a resolved image size.
        backbone: your own network, copied and used instead of `encoder.backbone`.
    """
    acceleration.allow(config.training.acceleration)
    with torch.random.fork_rng(devices=[]):
        encoder = _make_encoder(config, backbone)
    return _placed(encoder, config, choose_device(config.training.device))


def _make_encoder(
    config: RunConfig, backbone: nn.Module | None, start: StartWeights | None = None
) -> Encoder:
    # Layers initialise themselves from PyTorch's global generator.
    torch.manual_seed(derived_seed(config.seed, "weights"))
    size, settings, channels = config.image_size, config.encoder, config.data.channels
    mean, std = settings.normalisation(channels)
    if backbone is None:
        network = make_backbone(settings, image_size=size, channels=channels)
    else:
        backbone = copied(backbone)
        freeze_stages(backbone, settings.frozen_stages, name=type(backbone).__name__)
        network = Backbone(backbone, image_size=size, channels=channels)
    if start is not None:
        network.network.load_state_dict(start.state, strict=False)
    projector = make_projector(config.method_settings.projector, network.num_features)
    return Encoder(network, projector, mean=mean, std=std)


def copied(network: nn.Module) -> nn.Module:
    """Copy of a network that a user gives, which itself is never changed.

    Raises:
        ConfigError: if it cannot be copied.
    """
    try:
        return deepcopy(network)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"backbone: {type(network).__name__} cannot be copied ({error}), and training works on "
            "a copy; give a network that copy.deepcopy takes"
        ) from None


def _placed(module: _Module, config: RunConfig, device: torch.device) -> _Module:
    for part in module.modules():
        if isinstance(part, Encoder):
            part.autocast_dtype = choose_autocast(config.training.precision, device)
    if config.training.sync_batch_norm:
        module = convert_batch_norm(module, device)  # type: ignore[assignment]
    if acceleration.is_on():
        with_narrow_batch_norms(module)
    module.to(device)
    is_last = config.training.channels_last
    module.to(memory_format=torch.channels_last if is_last else torch.contiguous_format)
    return module


def _make_players(config: RunConfig, method: Method, check: FiniteCheck) -> dict[str, Player]:
    players = {}
    sections = {
        "players": config.method_settings.players,
        **{
            f"{registry.section_of(name)}.players": getattr(settings, "players", None)
            for name, settings in config.opponent_settings.items()
        },
    }
    for name, module in method.modules_by_player().items():
        found = [
            (part, f"{key}.{name}")
            for key, section in sections.items()
            if isinstance(part := getattr(section, name, None), PlayerSettings)
        ]
        if not found:
            raise ConfigError(
                f"players.{name}: neither the method nor an opponent has such a section"
            )
        learning = {
            key: parameter
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        settings, section = found[0]
        players[name] = Player(
            *(name, learning, settings),
            check=check,
            section=section,
            depths=_depths(module),
        )
    return players


def _depths(module: nn.Module) -> dict[str, int]:
    """Depth of each parameter of a backbone in this module, by its name there."""
    return {
        f"{name}.network.{inner}".removeprefix("."): depth
        for name, part in module.named_modules()
        if isinstance(part, Backbone)
        for inner, depth in depths_from_output(part.network).items()
    }
