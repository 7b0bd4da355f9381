"""Key of a run: equal keys mean equal runs, in whatever study and wherever the images lie."""

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparring.config import Tree, leaves
from sparring.evaluation.catalogue import choose
from sparring.methods import registry
from sparring.methods.plugins import is_reference
from sparring.studies.contents import Contents
from sparring.studies.plan import Study
from sparring.training.run_folder import NOT_INSTALLED, RunFolder
from sparring.training.settings import RunConfig

WITHOUT_EFFECT = {
    "data.path",
    "data.cache",
    "data.workers",
    "data.max_bad_share",
    "training.checkpoint_minutes",
    "training.compare_steps",
    "training.keep_checkpoints",
}
"""Settings that change no result. Intervals of records and looks do count: they are part of what is
kept of a run."""
VERSIONS = ("sparring", "torch")
"""Packages whose versions decide the bits."""


def run_key(
    study: Study,
    config: RunConfig,
    contents: Contents,
    *,
    versions: Mapping[str, str] | None = None,
) -> str:
    """Hash of everything that decides a run's result and its scores.

    The configuration, images and labels by content, protocols with their settings, threads, and the
    versions of the library and of PyTorch. Not the number of a device, and not whether `auto` finds
    a CUDA device: results then differ by rounding, and the run's environment tells it.

    Args:
        study: plan of the study.
        config: configuration of the run, before its images are opened.
        contents: images of the study.
        versions: of the library and of PyTorch; None: the installed ones.
    """
    content = contents.training(config.data)
    decisive = {
        "settings": _settings(config, content.count),
        "images": content.fingerprint,
        "labels": contents.own_labels(config.data),
        "tests": {one.name: contents.test(one) for one in study.tests},
        "protocols": _protocols(study),
        "threads": study.threads,
        "versions": dict(installed_versions() if versions is None else versions),
    }
    text = json.dumps(decisive, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def installed_versions() -> dict[str, str]:
    """Versions here that a key holds; empty for what is not installed as a package."""
    return {name: _version(name) for name in VERSIONS}


def versions_in(environment: Tree) -> dict[str, str]:
    """Versions that a key held where a run was made.

    Args:
        environment: of the run.
    """
    found = {name: str(environment.get(name, "")) for name in VERSIONS}
    return {name: "" if text == NOT_INSTALLED else text for name, text in found.items()}


def _settings(config: RunConfig, count: int | None) -> Tree:
    """Settings that change results, by their dotted names."""
    found = {name: value for name, value in leaves(config.tree()) if name not in WITHOUT_EFFECT}
    found["training.device"] = config.training.device.partition(":")[0]
    found["method"] = _class("method", config.method)
    found["opponent"] = [_class("opponent", name) for name in config.opponent]
    if config.encoder.weights is not None:
        found["encoder.weights"] = _weights(config.encoder.weights)
    if config.data.limit is not None and config.data.limit_seed is None:
        found["data.limit_seed"] = config.seed
    if count is not None:
        found |= _length(config, count)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _length(config: RunConfig, count: int) -> Mapping[str, object]:
    """Total number of steps in place of epochs: both ways to give a length are the same run."""
    images = min(count, config.data.limit or count)
    per_epoch = images // config.training.batch_size
    if not per_epoch:
        return {}
    steps = config.training.total_steps(per_epoch)
    return {"training.epochs": None, "training.num_steps": steps}


def _class(kind: registry.Kind, name: str) -> str:
    """Name of a method or opponent; of a given class its own name and the hash of its file, of
    another package's class the hash of its file too."""
    if is_reference(name):
        return f"{name.rpartition(':')[2]} {registry.source_hash(kind, name)}"
    if name in registry.installed(kind):
        look = registry.method_class if kind == "method" else registry.opponent_class
        return f"{name} {_code_hash(look(name).__module__)}"
    return name


def _weights(place: str) -> str:
    """Weights by content, if they are in a file or in the folder of a run."""
    path = Path(place).expanduser()
    run = RunFolder(path)
    found = [one for one in (path, run.best, run.backbone) if one.is_file()]
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if found else place


def _protocols(study: Study) -> Mapping[str, Any]:
    """Every protocol with all its settings, and the hash of its file if it is not the library's."""
    found: dict[str, Any] = {}
    for one in choose(study.protocols, study.protocol_settings):
        found[one.name] = one.settings.model_dump(mode="json")
        if not one.protocol.is_of_the_library:
            found[f"code of {one.name}"] = _code_hash(one.protocol.module)
    return found


def _code_hash(module: str) -> str | None:
    """Hash of the file of a module that is imported; None for one without a file."""
    place = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(place).read_bytes()).hexdigest() if place else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
