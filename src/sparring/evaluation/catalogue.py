"""The evaluation protocols by name. Importing this file does not import torch, so that help and reports cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sparring.config import Tree, merged
from sparring.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from sparring.config import Settings
    from sparring.evaluation.material import Contestant, Material
    from sparring.evaluation.protocol import Result

    Function = Callable[[Contestant, Material, Any], Result]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a protocol is found and introduced.

    Attributes:
        module: file below `sparring.evaluation`; loaded when asked for.
        function: its function there.
        settings: its settings there.
        title: name in tables and reports.
        question: what its number answers.
        labels: what the images must carry: `none`, `classes`, `boxes`, `outlines`, `masks` or `domains`.
        headline: key of the number that tables quote, in [0, 1]; empty if there is none.
        measure: what that number is, in words.
        source: authors, year and arXiv id.
        variants: settings by name, for `--protocol NAME:VARIANT`.
        is_frozen: the encoder does not learn.
        is_joint: looks at both encoders itself, so it runs once.
    """

    module: str
    function: str
    settings: str
    title: str
    question: str
    labels: str
    source: str
    headline: str = "accuracy"
    measure: str = "accuracy"
    variants: Mapping[str, Tree] = field(default_factory=dict)
    is_frozen: bool = True
    is_joint: bool = False


# Wang et al. 2022 (CaCo), released code: LARS, 0.025 per 256 images at a batch of 4,096, to zero.
_CACO_PROBE: Tree = {"optimizer": "lars", "learning_rate": 0.025, "final_learning_rate": 0.0, "reference_batch": 256, "batch_size": 4096}
# Ho & Vasconcelos 2020 (CLAE), released code: Adam at a constant rate on features computed once.
_CLAE_PROBE: Tree = {"optimizer": "adam", "learning_rate": 3e-4, "final_learning_rate": 3e-4, "epochs": 1000, "crop_scale": None}

# Caron et al. 2020 (SwAV), released code: 20 epochs of batch 256 on ImageNet's 1 % (1,000 steps) or 10 %, drops at 12 and 16.
_SWAV_TUNING: Tree = {"batch_size": 256, "schedule": "steps", "crop_scale": [0.08, 1.0]}

PROTOCOLS: dict[str, Entry] = {
    "knn": Entry(
        module="neighbours",
        function="knn",
        settings="KnnSettings",
        title="Nearest neighbours (kNN)",
        question="do images of one class lie together?",
        labels="classes",
        source="Wu et al. 2018, arXiv:1805.01978",
    ),
    "linear": Entry(
        module="linear",
        function="linear",
        settings="LinearSettings",
        title="Linear probe",
        question="can a straight cut tell the classes apart?",
        labels="classes",
        source="logistic regression, after Kornblith et al. 2019, arXiv:1805.08974; the variants as in the papers of their names",
        variants={
            "adco": {"recipe": {}},
            "adco-best": {"recipe": {"report": "best"}},
            "caco": {"recipe": _CACO_PROBE},
            "clae": {"recipe": _CLAE_PROBE},
            "clae-best": {"recipe": {**_CLAE_PROBE, "report": "best"}},
            "clae-uel": {"recipe": {**_CLAE_PROBE, "batch_size": 128, "input": "embeddings"}},
        },
    ),
    "robustness": Entry(
        module="robustness",
        function="robustness",
        settings="RobustnessSettings",
        title="Robustness of a linear probe",
        question="how much is lost under damage and under attack?",
        labels="classes",
        headline="corruption_accuracy",
        measure="accuracy under common corruptions, mean over kinds and severities",
        source="Hendrycks & Dietterich 2019, arXiv:1903.12261; Croce & Hein 2020, arXiv:2003.01690",
        variants={"corruptions": {"attacks": ()}},
    ),
    "semi-supervised": Entry(
        module="semi_supervised",
        function="semi_supervised",
        settings="SemiSupervisedSettings",
        title="Semi-supervised",
        question="how well does it learn from a few labels?",
        labels="classes",
        measure="accuracy at the smallest share of the labels, mean over draws",
        source="Zhai et al. 2019, arXiv:1905.03670 (1 % and 10 %); rates and length after Caron et al. 2020 (SwAV), arXiv:2006.09882",
        variants={
            "swav-1": {
                "fractions": [0.01],
                "tuning": {**_SWAV_TUNING, "steps": 1000, "backbone_learning_rate": 0.02, "head_learning_rate": 5.0},
            },
            "swav-10": {
                "fractions": [0.1],
                "tuning": {**_SWAV_TUNING, "steps": 10000, "backbone_learning_rate": 0.01, "head_learning_rate": 0.2},
            },
        },
        is_frozen=False,
    ),
    "finetune": Entry(
        module="finetune",
        function="finetune",
        settings="FinetuneSettings",
        title="Fine-tuning",
        question="what does the whole network reach with all labels?",
        labels="classes",
        source="Kornblith et al. 2019, arXiv:1805.08974; the variant after Ericsson et al. 2021, arXiv:2011.13377",
        variants={
            "ssl-transfer": {
                "tuning": {"steps": 5000, "nesterov": True},
                "learning_rates": [1e-4, 1e-3, 1e-2, 1e-1],
                "weight_decays": [0.0, 1e-6, 1e-5, 1e-4, 1e-3],
            }
        },
        is_frozen=False,
    ),
    "geometry": Entry(
        module="shape",
        function="geometry",
        settings="GeometrySettings",
        title="Geometry of the features",
        question="are the features spread out, or have they collapsed?",
        labels="none",
        headline="",
        measure="",
        source="Wang & Isola 2020, arXiv:2005.10242; Roy & Vetterli 2007",
    ),
}


@dataclass(frozen=True)
class Chosen:
    """A protocol as asked for: its name, perhaps with a variant, and its settings."""

    name: str
    entry: Entry
    settings: Settings

    def __call__(self, contestant: Contestant, material: Material) -> Result:
        """Its result on a contestant."""
        return function_of(self.entry)(contestant, material, self.settings)


def choose(names: Sequence[str], overrides: Mapping[str, Any] | None = None) -> list[Chosen]:
    """The protocols asked for, each once, with their settings: defaults, then the variant's, then the overrides.

    Args:
        names: such as `knn` or `linear:adco`.
        overrides: settings by protocol, for all its variants: {"linear": {"epochs": 10}}.

    Raises:
        ConfigError: for an unknown protocol, variant or setting, or an override of a protocol not asked for.
    """
    overrides = overrides or {}
    chosen = {name: _chosen(name, overrides) for name in names}
    if not chosen:
        raise ConfigError(f"no protocol given; choose from {', '.join(PROTOCOLS)}")
    asked = {name.partition(":")[0] for name in chosen}
    for key, value in overrides.items():
        if key not in PROTOCOLS or not isinstance(value, Mapping):
            raise ConfigError(unknown_name("setting", key, [f"{name}.{part}" for name in sorted(asked) for part in _fields(name)]))
        if key not in asked:
            raise ConfigError(f"setting '{key}.{next(iter(value), '')}': that protocol was not asked for; add it to --protocol")
    return list(chosen.values())


def entry_of(name: str) -> Entry | None:
    """The protocol behind a name of scores.json, which may have a variant; None for an unknown one."""
    return PROTOCOLS.get(name.partition(":")[0])


def title_of(name: str) -> str:
    """Title of a protocol, with its variant.

    Example:
        >>> title_of("knn"), title_of("mine")
        ('Nearest neighbours (kNN)', 'mine')
    """
    entry, variant = entry_of(name), name.partition(":")[2]
    return name if entry is None else f"{entry.title}, {variant}" if variant else entry.title


def headline_of(name: str, result: Mapping[str, Any]) -> float | None:
    """The number that tables quote, in [0, 1], if the result has one."""
    entry = entry_of(name)
    value = result.get(entry.headline if entry is not None else "accuracy")
    return float(value) if isinstance(value, int | float) else None


def function_of(entry: Entry) -> Function:
    """The protocol itself; its file is loaded now."""
    return cast("Function", getattr(_module(entry), entry.function))


def settings_class(entry: Entry) -> type[Settings]:
    """Its settings; its file is loaded now."""
    return cast("type[Settings]", getattr(_module(entry), entry.settings))


def _module(entry: Entry) -> Any:
    return import_module(f"sparring.evaluation.{entry.module}")


def _fields(name: str) -> list[str]:
    return list(settings_class(PROTOCOLS[name]).model_fields)


def _chosen(name: str, overrides: Mapping[str, Any]) -> Chosen:
    base, colon, variant = name.partition(":")
    if base not in PROTOCOLS:
        raise ConfigError(unknown_name("protocol", base, PROTOCOLS))
    entry = PROTOCOLS[base]
    if colon and variant not in entry.variants:
        if not entry.variants:
            raise ConfigError(f"protocol '{base}' has no variants, got '{name}'; ask for '{base}'")
        raise ConfigError(unknown_name(f"variant of {base}", variant, entry.variants))
    given = overrides.get(base, {})
    values = merged(entry.variants.get(variant, {}), given if isinstance(given, Mapping) else {})
    return Chosen(name, entry, settings_class(entry).build(values, where=base))
