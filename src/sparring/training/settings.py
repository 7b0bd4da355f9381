"""The configuration of a run: general sections, and the method's own settings at the top level."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from sparring.config import Settings, Tree, merged, setting_names
from sparring.data.dataset import DataSettings
from sparring.errors import ConfigError, unknown_name
from sparring.methods import registry
from sparring.methods.about import assignments
from sparring.methods.method import MethodSettings
from sparring.models.backbones import EncoderSettings, with_own_patches
from sparring.training.unknown_settings import refuse_unknown

LABELLED_SCORE = "knn_accuracy"
"""Score of a look that compares labels."""
KEPT_SCORES = ("effective_rank", LABELLED_SCORE)
"""Measures of the monitor by which a look may be the best; the larger the better."""


def _known_score(name: str) -> str:
    if name not in KEPT_SCORES:
        raise ValueError(unknown_name("score", name, KEPT_SCORES))
    return name


class TrainingSettings(Settings):
    """Length, batch size, device and records of training."""

    epochs: int = Field(default=100, ge=1)
    """Number of passes over the images."""
    num_steps: int | None = Field(default=None, ge=1)
    """Number of steps of the whole run, at whose end schedules end, in place of `epochs`, such as
    for runs of equal time; the last epoch may then be incomplete. Warm-ups and the like stay in
    epochs. None: as many as the epochs have."""
    max_steps: int | None = Field(default=None, ge=1)
    """Number of steps after which the run stops, with the schedules of the whole run, as a trial;
    None: all steps."""
    batch_size: int = Field(default=256, ge=2)
    """Number of images per step, over all processes."""
    image_size: int | None = Field(default=None, ge=8)
    """Side of the views in pixels; None: 32, 64, 96 or 224, whichever is nearest to the images'
    own."""
    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's forward pass; auto: bfloat16 autocast on CUDA devices that support
    it, else float32."""
    channels_last: bool = True
    """Whether images are stored channels last: convolutions of narrow networks are up to 2.8 times
    faster on CPUs, and faster on tensor cores."""
    checkpoint_activations: bool = False
    """Whether the backbone's blocks compute their activations again in the backward pass instead of
    keeping them (gradient checkpointing): the same numbers with less memory, in more time.
    Networks are then not compiled."""
    sync_batch_norm: bool = False
    """Whether batch norm uses the joint batch of all processes (CUDA only)."""
    deterministic: bool = False
    """Whether a run on CUDA, and its resumption, repeat every bit: only PyTorch's deterministic
    algorithms are used, which cost time. On a CPU every run does so anyway."""
    acceleration: bool = True
    """Whether to use fast paths; otherwise the slow twin of each computes the same up to
    rounding."""
    compile: Literal["auto", "on", "off", "reduce-overhead"] = "auto"
    """Whether `torch.compile` makes one graph of each network and pass, with the same results up to
    rounding; auto: on CUDA devices, if the planned run is long enough to pay for it. The first step
    compiles, which takes a minute or so, and a line says how long it took. `reduce-overhead` also
    captures CUDA graphs, for narrow networks; it has not been run on a device yet."""
    log_steps: int = Field(default=10, ge=1)
    """Number of steps between records of metrics.jsonl."""
    monitor_epochs: int | None = Field(default=None, ge=1)
    """Number of epochs between measurements of the monitor (label-free measures and online kNN);
    None: ten measurements per run."""
    monitor_images: int = Field(default=2000, ge=8)
    """Number of images that the monitor measures on."""
    keep_best: (
        Annotated[
            str, AfterValidator(_known_score), Field(json_schema_extra={"enum": [*KEPT_SCORES]})
        ]
        | None
    ) = None
    """Measure by which the monitor's best look is kept, and is then what the run stands for: it is
    evaluated, embedded with and exported in place of the last step. `effective_rank` looks at no
    labels (RankMe; Garrido et al. 2023, arXiv:2210.02885), `knn_accuracy` looks at those of the
    monitor's images. None: the last step."""
    stop_after_looks: int | None = Field(default=None, ge=1)
    """Number of the monitor's looks in a row without a better one, after which the run ends.
    Schedules are those of the whole run, so that learning rates have not come to their end. Needs
    `keep_best`; None: all steps."""
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    """Minutes between checkpoints; 0: after every step. A checkpoint is always written at the end
    and on interruption."""
    compare_steps: int = Field(default=1000, ge=1)
    """Number of steps between comparisons of what several processes hold (parameters, teachers,
    banks, queues), which must be equal to the bit; they are also compared at the end."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of checkpoints that are kept: the last one, and those before it as `step-N.pt`, which
    are used if the last one is damaged."""

    def total_steps(self, steps_per_epoch: int) -> int:
        """Number of steps of the whole planned run, on which schedules are based."""
        return self.num_steps or self.epochs * steps_per_epoch

    def total_epochs(self, steps_per_epoch: int) -> int:
        """Number of epochs of the whole planned run; the last one may be incomplete."""
        return -(-self.total_steps(steps_per_epoch) // steps_per_epoch)

    def look_epochs(self, steps_per_epoch: int) -> int:
        """Number of epochs between two looks of the monitor."""
        return self.monitor_epochs or max(1, self.total_epochs(steps_per_epoch) // 10)

    def length(self) -> str:
        """Length of the planned run in words.

        Example:
            >>> TrainingSettings(epochs=1).length(), TrainingSettings(num_steps=1200).length()
            ('1 epoch', '1,200 steps')
        """
        number, what = (self.num_steps, "step") if self.num_steps else (self.epochs, "epoch")
        return f"{number:,} {what}{'s' * (number != 1)}"

    @model_validator(mode="after")
    def _require_kept_score(self) -> Self:
        if self.stop_after_looks is not None and self.keep_best is None:
            raise ValueError(
                f"stop_after_looks={self.stop_after_looks} needs training.keep_best, the score "
                f"that has to improve: {' or '.join(KEPT_SCORES)}"
            )
        return self


class StoredSettings(MethodSettings):
    """Settings of a method whose class is not available, as a run folder stores them.

    They suffice to rebuild the encoder, and nothing else.
    """

    model_config = ConfigDict(extra="allow")
    players: Any = None


class RunConfig(Settings):
    """Complete configuration of a run."""

    method: str
    """Method: a name of `sparring methods`, or FILE.py:CLASS or package.module:CLASS."""
    opponent: tuple[str, ...] = ()
    """Opponents in image space around the method, the innermost first: names of `sparring
    methods`, or FILE.py:CLASS or package.module:CLASS."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random draws; equal seeds give equal bits on one device, thread count, processor
    and version, on CUDA with `training.deterministic=true` only."""
    data: DataSettings = DataSettings()
    encoder: EncoderSettings = EncoderSettings()
    training: TrainingSettings = TrainingSettings()
    method_settings: MethodSettings
    """The method's own settings; in files and `--set` they stand at the top level."""
    opponent_settings: Mapping[str, Settings] = Field(default_factory=dict)
    """Settings of each opponent, by its name; in files and `--set` a section at the top level."""

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], *, is_stored: bool = False) -> Self:
        """Configuration from a nested dictionary, such as the content of a TOML file.

        Args:
            tree: values by key.
            is_stored: whether the tree comes from a run folder; a class that is not available is
                then an error only when it is needed.

        Raises:
            ConfigError: for an unknown method, key or value.
        """
        if "method" not in tree:
            accepted = [*registry.names("method"), *registry.further_names()]
            raise ConfigError(f"no method given; choose one of {', '.join(accepted)}")
        tree = _without_pairing(_without_variant(tree))
        method, opponents = tree["method"], tree["opponent"]
        if len(set(opponents)) < len(opponents):
            raise ConfigError(
                f"opponent {', '.join(opponents)}: each may play once; leave the second one out"
            )
        is_open = is_stored and not all(
            [
                registry.is_known("method", method),
                *(registry.is_known("opponent", name) for name in opponents),
            ]
        )
        own = StoredSettings if is_open else registry.method_class(method).settings_class
        classes = {} if is_open else {name: registry.opponent_class(name) for name in opponents}
        sections = {registry.section_of(name): name for name in classes}
        own_keys = ("method_settings", "opponent_settings")
        general_keys = [key for key in cls.model_fields if key not in own_keys]
        general = {key: value for key, value in tree.items() if key in general_keys}
        if is_stored:
            general["encoder"] = with_own_patches(general.get("encoder", {}))
            general["data"] = _with_own_draw(general.get("data", {}))
        rest = {key: value for key, value in tree.items() if key not in general}
        if not is_open:
            names = [name for key in general_keys for name in _names(cls, key)]
            names += setting_names(own)
            for key, name in sections.items():
                names += setting_names(classes[name].settings_class, key)
            refuse_unknown(tree, names, method=method)
        given = {key: value for key, value in rest.items() if key not in sections}
        return cls.build(
            {
                **general,
                "method_settings": own.build(given if is_open else _on_defaults(own, given)),
                "opponent_settings": {
                    name: _section(classes[name].settings_class, rest.get(key, {}), key)
                    for key, name in sections.items()
                },
            }
        )

    def tree(self) -> Tree:
        """The resolved configuration as a nested dictionary; `from_tree` rebuilds it."""
        general = self.model_dump(mode="json", exclude={"method_settings", "opponent_settings"})
        opponents = {
            registry.section_of(name): settings.model_dump(mode="json")
            for name, settings in self.opponent_settings.items()
        }
        return {**general, **self.method_settings.model_dump(mode="json"), **opponents}

    def changed(self, **sections: Any) -> Self:
        """Copy of this configuration with other values.

        Args:
            sections: values by key; the values of a section as a dictionary, such as
                `training={"epochs": 10}`.

        Raises:
            ConfigError: for an unknown key or value.
        """
        is_stored = isinstance(self.method_settings, StoredSettings)
        return self.from_tree(merged(self.tree(), sections), is_stored=is_stored)

    @property
    def image_size(self) -> int:
        """Side of the views in pixels, known once the data are opened."""
        assert self.training.image_size is not None
        return self.training.image_size

    def require_classes(self) -> None:
        """Refuse a configuration whose method or opponents are not available.

        Raises:
            ConfigError: if a class must be given again; the message names it.
        """
        registry.method_class(self.method)
        for name in self.opponent:
            registry.opponent_class(name)


def _names(model: type[Settings], key: str) -> list[str]:
    """Full names of the settings of one field, those of its section included."""
    return [name for name in setting_names(model) if name == key or name.startswith(f"{key}.")]


def _with_own_draw(stored: Mapping[str, Any]) -> Tree:
    """Section `data` of a stored run that says how its images were drawn. Older versions did not
    store it: they drew with seed 0, whatever the run's."""
    is_drawn = stored.get("limit") is not None and not stored.get("streaming")
    return {"limit_seed": 0, **stored} if is_drawn else dict(stored)


def _section(settings: type[Settings], given: Any, key: str) -> Settings:
    """Settings of an opponent from its section.

    Raises:
        ConfigError: if it is no section, or for an unknown key or value.
    """
    if not isinstance(given, Mapping):
        some = ", ".join(f"{key}.{name}" for name in settings.model_fields)
        raise ConfigError(f"{key} is a section, got {given!r}; set one of {some}")
    return settings.build(_on_defaults(settings, given), where=key)


def _on_defaults(settings: type[Settings], given: Mapping[str, Any]) -> Tree:
    return merged(settings.model_validate({}).model_dump(), given)


def _without_variant(tree: Mapping[str, Any]) -> Tree:
    """The tree with a variant, such as dcl, spelt out as its method and fixed settings.

    Raises:
        ConfigError: if the tree sets what the variant fixes to another value.
    """
    name = str(tree["method"])
    if name not in registry.variants():
        return dict(tree)
    method, variant = registry.variants()[name]
    if merged(tree, variant.settings) != merged(variant.settings, tree):
        raise ConfigError(
            f"method '{name}' is {method} with {', '.join(assignments(variant.settings))} and "
            f"cannot have another value; leave it out, or use --method {method}"
        )
    return {**merged(tree, variant.settings), "method": method}


def _without_pairing(tree: Mapping[str, Any]) -> Tree:
    """Tree in which a published pairing, such as clae, is replaced by its method and opponent."""
    name, given = str(tree["method"]), tree.get("opponent", ())
    if not isinstance(given, str | list | tuple):
        raise ConfigError(f"opponent: should be a name or a list of names, got {given!r}")
    given = [given] if isinstance(given, str) else [str(opponent) for opponent in given]
    if name not in registry.pairings():
        return {**tree, "method": name, "opponent": given}
    method, opponent = registry.pairings()[name]
    return {**tree, "method": method, "opponent": [*({opponent} - {*given}), *given]}
