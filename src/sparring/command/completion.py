"""Completion of values in the shell: names, recipes, settings.

Nothing here imports torch, and nothing fails: a shell shows whatever goes wrong in the
middle of the line that its user types.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import typer

COMPLETING = "_SPARRING_COMPLETE"
"""Environment variable by which a shell asks for completions."""
LONGEST_HELP = 80
"""Characters of a setting's explanation that a shell is given."""
EXPORT_FORMATS = ("timm", "torchvision", "safetensors", "onnx", "torch-export", "hub")
EXPORT_PRECISIONS = ("float32", "float16", "int8")
SEARCHES = ("auto", "exact", "faiss")
PRECISIONS = ("auto", "float32", "bfloat16")
ENGINES = ("local", "dask", "slurm")
LOGS = ("tensorboard", "wandb", "mlflow")
DEVICES = ("auto", "cpu", "cuda", "mps")

Items: TypeAlias = list[tuple[str, str]]
"""Values, each with a short explanation, which zsh and fish show."""


def is_completing() -> bool:
    """Whether a shell asks for completions, so that nothing else may be printed."""
    return COMPLETING in os.environ


def methods(incomplete: str) -> Items:
    """Methods, variants and pairings, also after commas."""
    from sparring.methods import registry

    found = {name: registry.about("method", name).summary for name in registry.shipped("method")}
    found |= {name: variant.summary for name, (_, variant) in registry.variants().items()}
    found |= {name: " + ".join(pair) for name, pair in registry.pairings().items()}
    return _listed({**found, **_installed("method")}, incomplete)


def opponents(incomplete: str) -> Items:
    """Opponents in image space."""
    from sparring.methods import registry

    names = registry.shipped("opponent")
    found = {name: registry.about("opponent", name).summary for name in names}
    return _listed({**found, **_installed("opponent")}, incomplete)


def anything(incomplete: str) -> Items:
    """Methods, variants, pairings and opponents."""
    return [*methods(incomplete), *opponents(incomplete)]


def recipes(incomplete: str) -> Items:
    """Shipped recipes, and the TOML files of this folder; others by the shell's own completion."""
    folder = Path(__file__).parents[1] / "recipes"
    found = {path.stem: "" for path in sorted(folder.glob("*.toml"))}
    found |= {path.name: "" for path in sorted(Path().glob("*.toml"))}
    return _chosen(found, incomplete)


def protocols(incomplete: str) -> Items:
    """Evaluation protocols, also after commas."""
    from sparring.evaluation.catalogue import PROTOCOLS, installed

    found = {name: protocol.question for name, protocol in PROTOCOLS.items()}
    return _listed({**found, **dict.fromkeys(installed(), "")}, incomplete)


def export_formats(incomplete: str) -> Items:
    """Formats of exported weights."""
    return _chosen(dict.fromkeys(EXPORT_FORMATS, ""), incomplete)


def export_precisions(incomplete: str) -> Items:
    """Precisions of an ONNX model."""
    return _chosen(dict.fromkeys(EXPORT_PRECISIONS, ""), incomplete)


def searches(incomplete: str) -> Items:
    """Ways to search an index."""
    return _chosen(dict.fromkeys(SEARCHES, ""), incomplete)


def precisions(incomplete: str) -> Items:
    """Precisions of the encoder's forward pass."""
    return _chosen(dict.fromkeys(PRECISIONS, ""), incomplete)


def devices(incomplete: str) -> Items:
    """Kinds of device."""
    return _chosen(dict.fromkeys(DEVICES, ""), incomplete)


def engines(incomplete: str) -> Items:
    """What makes the runs of a study."""
    return _chosen(dict.fromkeys(ENGINES, ""), incomplete)


def logs(incomplete: str) -> Items:
    """Where curves are shown besides."""
    return _chosen(dict.fromkeys(LOGS, ""), incomplete)


def strengths(incomplete: str) -> Items:
    """The one strength that is a word."""
    return _chosen({"released": "as strong as the paper's constants make it"}, incomplete)


def setting_keys(ctx: typer.Context, incomplete: str) -> Items:
    """Settings as `--set` takes them: of the method and opponents on the line, or of all."""
    if "=" in incomplete:
        return []
    from sparring.command.declared_settings import method_settings, opponent_settings, run_settings
    from sparring.methods import registry

    known = run_settings()
    methods = _given(ctx, "method", "methods")
    opponents = _given(ctx, "opponent")
    if not methods:
        opponents = opponents or list(registry.shipped("opponent"))
    for name in methods or registry.shipped("method"):
        own, *around = name.split("+")
        known = known | method_settings(own)
        opponents = [*opponents, *around]
    for name in opponents:
        known = known | opponent_settings(name)
    return [(f"{key}=", doc) for key, doc in _chosen(known, incomplete)]


def general_keys(incomplete: str) -> Items:
    """Settings of any run, without their values, and `images`."""
    from sparring.command.declared_settings import run_settings

    return _chosen({"images": "", **run_settings()}, incomplete)


def protocol_keys(ctx: typer.Context, incomplete: str) -> Items:
    """Beginnings of protocols' settings, those of the protocols on the line first of all."""
    from sparring.evaluation.catalogue import PROTOCOLS

    named = [name.partition(":")[0] for name in _given(ctx, "protocol")]
    known = [name for name in named if name in PROTOCOLS] or list(PROTOCOLS)
    return [] if "." in incomplete else _chosen({f"{name}.": "" for name in known}, incomplete)


def _given(ctx: typer.Context, *options: str) -> list[str]:
    """Values of options on the line so far, comma-separated ones apart."""
    values = [ctx.params.get(option) for option in options]
    texts = [
        text for value in values for text in ([value] if isinstance(value, str) else value or ())
    ]
    return [name.strip() for text in texts for name in str(text).split(",") if name.strip()]


def _installed(kind: Any) -> dict[str, str]:
    """Names that installed packages add, which are not imported to explain them."""
    from sparring.methods import registry

    return dict.fromkeys(registry.installed(kind), "")


def _listed(found: Mapping[str, str], incomplete: str) -> Items:
    """Names that may come last in a list with commas, with what is before them."""
    before, comma, last = incomplete.rpartition(",")
    return [(before + comma + name, help) for name, help in _chosen(found, last)]


def _chosen(found: Mapping[str, str], incomplete: str) -> Items:
    """Names that begin as the word on the line does."""
    items: Iterable[tuple[str, str]] = found.items()
    return [(name, _short(help)) for name, help in items if name.startswith(incomplete)]


def _short(text: str) -> str:
    """The beginning of an explanation, to a whole word."""
    first = text.partition(". ")[0].partition("; ")[0].rstrip(".")
    if len(first) <= LONGEST_HELP:
        return first
    return first[: LONGEST_HELP - 3].rpartition(" ")[0].rstrip(",:") + "..."
