"""From a configuration to the method and its players."""

from dataclasses import dataclass

import torch

from sparring import distributed
from sparring.acceleration.allocator import keep_freed_memory
from sparring.acceleration.narrow_batch_norm import quicken_narrow_norms
from sparring.errors import ConfigError
from sparring.methods.method import Method
from sparring.methods.registry import method_class, wrapper_class
from sparring.models.backbones import Backbone, make_backbone
from sparring.models.encoder import Encoder
from sparring.optim.player import Player, PlayerSettings
from sparring.seeding import derived_seed, generator
from sparring.training.devices import choose_autocast, choose_device, convert_batch_norm
from sparring.training.settings import RunConfig


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A method with the players that move its modules, on its device."""

    method: Method
    players: dict[str, Player]
    device: torch.device

    @property
    def encoder(self) -> Encoder:
        """The online encoder: what is evaluated and exported."""
        return self.method.encoder


def make_contest(config: RunConfig, backbone: Backbone | None = None) -> Contest:
    """Untrained contest; the same configuration gives the same bits.

    Args:
        config: with a resolved training.image_size.
        backbone: a network of your own instead of `encoder.backbone`.
    """
    device = choose_device(config.training.device)
    if device.type == "cpu":
        keep_freed_memory()
    method = _make_method(config, backbone)
    for module in method.modules():
        if isinstance(module, Encoder):
            module.autocast_dtype = choose_autocast(config.training.precision, device)
    if config.training.sync_batch_norm:
        method = convert_batch_norm(method, device)  # type: ignore[assignment]
    quicken_narrow_norms(method)
    method.to(device)
    method.to(
        memory_format=torch.channels_last
        if config.training.channels_last
        else torch.contiguous_format
    )
    method.train()
    distributed.broadcast([*method.parameters(), *method.buffers()])
    return Contest(method=method, players=_make_players(config, method), device=device)


def _make_method(config: RunConfig, backbone: Backbone | None) -> Method:
    size = config.training.image_size
    assert size is not None
    with torch.random.fork_rng(
        devices=[]
    ):  # layers initialise themselves from PyTorch's global generator
        torch.manual_seed(derived_seed(config.seed, "weights"))
        network = (
            backbone if backbone is not None else make_backbone(config.encoder, image_size=size)
        )
        kind = method_class(config.method)
        draws = generator(config.seed, "method")
        method = kind(network, config.encoder, config.game, generator=draws)
        for name in config.opponent:
            method = wrapper_class(name)(method, config.around[name])
        return method


def _make_players(config: RunConfig, method: Method) -> dict[str, Player]:
    players = {}
    sections = [
        config.game.players,
        *(getattr(settings, "players", None) for settings in config.around.values()),
    ]
    for name, module in method.teams().items():
        found = [
            part
            for section in sections
            if isinstance(part := getattr(section, name, None), PlayerSettings)
        ]
        if not found:
            raise ConfigError(
                f"players.{name}: neither the method nor an opponent has such a section"
            )
        players[name] = Player(name, dict(module.named_parameters()), found[0])
    return players
