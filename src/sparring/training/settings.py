"""The configuration of a run: general sections, and the method's own settings beside them at the top level."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field

from sparring.config import Settings, Tree, merged
from sparring.data.dataset import DataSettings
from sparring.errors import ConfigError, unknown_name
from sparring.methods.method import MethodSettings
from sparring.methods.registry import METHODS, settings_class
from sparring.models.backbones import EncoderSettings


class TrainingSettings(Settings):
    """How long, how large, on what."""

    epochs: int = Field(default=100, ge=1)
    """Passes over the images."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many steps, with the schedules of the whole run: a trial."""
    batch_size: int = Field(default=256, ge=2)
    """Images per step over all processes."""
    image_size: int | None = Field(default=None, ge=8)
    """Side of the views in pixels; None: 32, 64, 96 or 224, the nearest to the images."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 autocast on CUDA devices that have it, else float32."""
    channels_last: bool = True
    """Memory order of images; up to 2.8 times faster convolutions for narrow networks on CPUs, faster on tensor cores."""
    sync_batch_norm: bool = False
    """Batch norm over the joint batch of all processes (CUDA only)."""
    log_steps: int = Field(default=10, ge=1)
    """Steps between records of metrics.jsonl."""
    monitor_epochs: int | None = Field(default=None, ge=1)
    """Epochs between looks at the label-free panel and the online kNN; None: ten looks per run."""
    monitor_images: int = Field(default=2000, ge=8)
    """Images that the monitor looks at."""
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    """Time between checkpoints; 0: after every step. One is always written at the end and on interruption."""


class RunConfig(Settings):
    """Everything that defines a run."""

    method: str
    """One of `sparring methods`."""
    opponent: tuple[str, ...] = ()
    """Opponents in image space, around the method; none in this version."""
    seed: int = Field(default=0, ge=0)
    """Of every random draw; the same seed gives the same bits on one device."""
    data: DataSettings = DataSettings()
    encoder: EncoderSettings = EncoderSettings()
    training: TrainingSettings = TrainingSettings()
    game: MethodSettings
    """The method's own settings; in files and `--set` they stand at the top level."""

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """Configuration from a nested dictionary as TOML gives it.

        Raises:
            ConfigError: for an unknown method, key or value.
        """
        if "method" not in tree:
            raise ConfigError(f"no method given; choose one of {', '.join(METHODS)}")
        name = str(tree["method"])
        own = settings_class(name)
        general = {key: value for key, value in tree.items() if key in cls.model_fields and key != "game"}
        rest = {key: value for key, value in tree.items() if key not in general}
        known = [key for key in cls.model_fields if key != "game"] + list(own.model_fields)
        for key in rest:
            if key not in own.model_fields:
                raise ConfigError(unknown_name("setting", key, known))
        if general.get("opponent"):
            raise ConfigError(f"opponent {list(general['opponent'])}: there are no image-space opponents in this version; leave it out")
        defaults = own.model_validate({}).model_dump()
        game = own.build(merged(defaults, rest))
        return cls.build({**general, "game": game})

    def tree(self) -> Tree:
        """The resolved configuration as a nested dictionary; `from_tree` rebuilds it."""
        general = self.model_dump(mode="json", exclude={"game"})
        return {**general, **self.game.model_dump(mode="json")}
