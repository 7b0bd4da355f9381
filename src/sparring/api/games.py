"""Games for a training loop of one's own: any method and its opponents, one step per call."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sparring.data.views.views import Views
from sparring.errors import ConfigError
from sparring.methods.method import Context, Method
from sparring.models.encoder import Encoder
from sparring.models.split_norm import join_norms
from sparring.models.view import as_views
from sparring.opponents.opponent import innermost
from sparring.optim.player import Player
from sparring.optim.schedule import Position
from sparring.seeding import derived_seed, generator
from sparring.training.build import Game, build
from sparring.training.configure import configure
from sparring.training.divergence import Divergence
from sparring.training.metrics import plain, scored
from sparring.training.required_views import learns_before
from sparring.training.settings import RunConfig
from sparring.training.start_weights import with_start_weights


class PlayableGame:
    """A method with its opponents and players, which a loop of your own calls step by step.

    Args:
        game: method and players at their first step.
        config: resolved configuration.
        steps_per_epoch: steps of one pass over the images.

    Attributes:
        method: the method with its opponents around it, a `torch.nn.Module`.
        players: by name, what `step` updates, each with its optimiser.
        device: where all of them are.
        num_made: steps made so far.
        num_steps: steps of the whole plan, on which the schedules are based.
    """

    def __init__(self, game: Game, config: RunConfig, *, steps_per_epoch: int) -> None:
        self.method: Method = game.method
        self.players: Mapping[str, Player] = game.players
        self.device: torch.device = game.device
        self.num_made = 0
        self.num_steps = config.training.total_steps(steps_per_epoch)
        self._config, self._steps_per_epoch = config, steps_per_epoch
        self._divergence = Divergence(game)
        recipes = config.method_settings.views.resolve(
            config.image_size, patch_size=game.encoder.backbone.patch_size
        )
        self._views = Views(recipes, image_size=config.image_size)

    @property
    def encoder(self) -> Encoder:
        """The encoder that learns, in training mode; `trained_encoder` is what to use and keep."""
        return self.method.encoder

    def trained_encoder(self) -> Encoder:
        """A copy of the encoder as it is now, in evaluation mode and without gradients.

        Its norms are the clean ones, so `backbone.network.state_dict()` has the network's plain
        names whatever opponent has played: those of timm for a network of timm.
        """
        found = copy.deepcopy(self.encoder)
        join_norms(found)
        return found.eval().requires_grad_(False)

    def views(
        self, images: UInt8[Tensor, "batch bands _ _"]
    ) -> list[Float[Tensor, "batch bands _ _"]]:
        """Random views of a batch for the next step, as the method's recipe augments it, in [0, 1].

        Args:
            images: uint8 (batch, channels, height, width), on the game's device for its speed.
        """
        draws = generator(self._config.seed, "views", self.num_made)
        return self._views(images, generator=draws)

    def step(
        self, views: Sequence[Float[Tensor, "batch bands _ _"]], indices: Tensor | None = None
    ) -> dict[str, float]:
        """Make one step of every player on the views of one batch; returns the metrics by name.

        Args:
            views: one tensor per view, float in [0, 1], (batch, channels, height, width); from
                `views`, or by transforms of your own. The encoder normalises them.
            indices: number in the data set of each image, (batch,), by which methods that tell
                images apart know them; None: counted from 0.

        Raises:
            ConfigError: for another number of views, or after the last step of the plan.
            DivergedError: if a loss or a gradient is not finite; that step has changed nothing.
        """
        self._require_step(views)
        position = Position(
            step=self.num_made, num_steps=self.num_steps, steps_per_epoch=self._steps_per_epoch
        )
        seed = self._config.seed
        for player in self.players.values():
            player.prepare(position)
        self._divergence.begin(self.num_made)
        self.method.train()
        context = Context(
            position=position,
            indices=torch.arange(len(views[0])) if indices is None else indices.cpu(),
            generator=generator(seed, "step", self.num_made),
            augment=self._views,
        )
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # dropout inside backbones
            torch.manual_seed(derived_seed(seed, "network", self.num_made))
            batch = as_views([view.to(self.device) for view in views])
            metrics = self.method.step(batch, self.players, context)
        if (error := self._divergence.failed()) is not None:
            raise error
        self.num_made += 1
        return plain(scored(metrics, lambda _: None))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, but the images: for a checkpoint of your
        own."""
        return {
            "num_made": self.num_made,
            "method": self.method.state_dict(),
            "players": {name: player.state_dict() for name, player in self.players.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the value of `state_dict`, of a game that was made with equal arguments."""
        self.method.load_state_dict(state["method"])
        for name, player in self.players.items():
            player.load_state_dict(state["players"][name])
        self.num_made = state["num_made"]

    def _require_step(self, views: Sequence[Tensor]) -> None:
        wanted, given = innermost(self.method).num_views, len(views)
        if given < 2 or (wanted is not None and given != wanted):
            raise ConfigError(
                f"{given} views; {self._config.method} needs {wanted or 'at least 2'}: one tensor "
                "per view, each of the whole batch"
            )
        if self.num_made >= self.num_steps:
            raise ConfigError(
                f"the game has made its {self.num_steps:,} steps, over which its schedules run; "
                "make it with more num_steps"
            )


def make_game(
    method: str | type[Method] | None = None,
    *,
    image_size: int,
    num_steps: int,
    steps_per_epoch: int,
    opponent: str | type[Method] | Sequence[str | type[Method]] | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    backbone: nn.Module | None = None,
    seed: int = 0,
    device: str = "auto",
) -> PlayableGame:
    """A game for a loop of your own: encoder, method, opponents, players, no data and no files.

    Args:
        method: as in `sparring.train`.
        image_size: side of the views in pixels.
        num_steps: steps of the whole plan, on which the schedules of learning rates are based.
        steps_per_epoch: steps of one pass over your images.
        opponent: opponents in image space around the method, the innermost first.
        recipe: shipped recipe by name, or a TOML file.
        settings: further settings as a nested dictionary; `training.batch_size` has no effect.
        backbone: a network of your own, of which a copy is trained.
        seed: of all random draws.
        device: auto, cpu, cuda or mps.

    Raises:
        ConfigError: for wrong settings, or an opponent that learns from the images before the
            first step.

    Example:
        >>> game = make_game("simclr", image_size=16, num_steps=2, steps_per_epoch=2, device="cpu",
        ...                  settings={"encoder": {"width": 0.0625}})
        >>> "loss" in game.step([torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)])
        True
    """
    config = configure(
        [],
        method=method,
        opponent=opponent,
        recipe=recipe,
        settings=settings,
        backbone=backbone,
        image_size=image_size,
        num_steps=num_steps,
        seed=seed,
        device=device,
    )
    config, start = with_start_weights(config, backbone, asked=config.encoder.model_fields_set)
    game = build(config, backbone, start)
    if learns_before(game.method):
        raise ConfigError(
            f"opponent {', '.join(config.opponent)} learns from the images before the first step; "
            "train it with sparring.train"
        )
    return PlayableGame(game, config, steps_per_epoch=steps_per_epoch)
