"""The configuration of a run: general sections, and the method's own settings beside them at the
top level."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field

from sparring.config import Settings, Tree, merged
from sparring.data.dataset import DataSettings
from sparring.errors import ConfigError, unknown_name
from sparring.methods.method import MethodSettings
from sparring.methods.registry import (
    METHODS,
    OPPONENTS,
    PAIRINGS,
    section,
    settings_class,
    wrapper_settings_class,
)
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
    """Memory order of images; up to 2.8 times faster convolutions for narrow networks on CPUs,
    faster on tensor cores."""
    sync_batch_norm: bool = False
    """Batch norm over the joint batch of all processes (CUDA only)."""
    log_steps: int = Field(default=10, ge=1)
    """Steps between records of metrics.jsonl."""
    monitor_epochs: int | None = Field(default=None, ge=1)
    """Epochs between looks at the label-free panel and the online kNN; None: ten looks per run."""
    monitor_images: int = Field(default=2000, ge=8)
    """Images that the monitor looks at."""
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    """Time between checkpoints; 0: after every step. One is always written at the end and on
    interruption."""


class RunConfig(Settings):
    """Everything that defines a run."""

    method: str
    """One of `sparring methods`."""
    opponent: tuple[str, ...] = ()
    """Opponents in image space around the method, the innermost first: some of `sparring
    methods`."""
    seed: int = Field(default=0, ge=0)
    """Of every random draw; the same seed gives the same bits on one device."""
    data: DataSettings = DataSettings()
    encoder: EncoderSettings = EncoderSettings()
    training: TrainingSettings = TrainingSettings()
    game: MethodSettings
    """The method's own settings; in files and `--set` they stand at the top level."""
    around: Mapping[str, Settings] = Field(default_factory=dict)
    """The settings of each opponent by its name; in files and `--set` a section of that name at the
    top level."""

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Self:
        """Configuration from a nested dictionary as TOML gives it.

        Raises:
            ConfigError: for an unknown method, key or value.
        """
        if "method" not in tree:
            raise ConfigError(f"no method given; choose one of {', '.join([*METHODS, *PAIRINGS])}")
        tree = _unpaired(tree)
        own, opponents = settings_class(tree["method"]), tree["opponent"]
        around = {name: wrapper_settings_class(name) for name in opponents}
        if len(around) < len(opponents):
            raise ConfigError(
                f"opponent {', '.join(opponents)}: each may play once; leave the second one out"
            )
        general = {
            key: value
            for key, value in tree.items()
            if key in cls.model_fields and key not in ("game", "around")
        }
        rest = {key: value for key, value in tree.items() if key not in general}
        sections = {section(name): name for name in around}
        _refuse_unknown(
            rest,
            [*own.model_fields, *sections],
            general=[key for key in cls.model_fields if key not in ("game", "around")],
        )
        defaults = own.model_validate({}).model_dump()
        game = own.build(
            merged(defaults, {key: value for key, value in rest.items() if key not in sections})
        )
        wrappers = {
            name: around[name].build(
                merged(around[name].model_validate({}).model_dump(), rest.get(key, {})), where=key
            )
            for key, name in sections.items()
        }
        return cls.build({**general, "game": game, "around": wrappers})

    def tree(self) -> Tree:
        """The resolved configuration as a nested dictionary; `from_tree` rebuilds it."""
        general = self.model_dump(mode="json", exclude={"game", "around"})
        around = {
            section(name): settings.model_dump(mode="json")
            for name, settings in self.around.items()
        }
        return {**general, **self.game.model_dump(mode="json"), **around}


def _unpaired(tree: Mapping[str, Any]) -> Tree:
    """The tree with a game such as clae spelt out as its method and its opponents."""
    name, given = str(tree["method"]), tree.get("opponent", ())
    given = [given] if isinstance(given, str) else [str(opponent) for opponent in given]
    if name not in PAIRINGS:
        return {**tree, "method": name, "opponent": given}
    pairing = PAIRINGS[name]
    return {
        **tree,
        "method": pairing.method,
        "opponent": [*(o for o in pairing.opponents if o not in given), *given],
    }


def _refuse_unknown(
    rest: Mapping[str, Any], known: Sequence[str], *, general: Sequence[str]
) -> None:
    absent = {section(name): name for name in OPPONENTS}
    for key in rest:
        if key not in known:
            if key in absent:
                raise ConfigError(
                    f"setting '{key}': that opponent does not play; add --opponent {absent[key]}"
                )
            raise ConfigError(unknown_name("setting", key, [*general, *known]))
