"""What a resumed run shares with the run before: its images, its settings, and its machine.

Other images or settings make another experiment, and are refused unless they are meant. Another
machine makes other bits, and is told.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import torch

from sparring import distributed
from sparring.config import leaves, toml_text
from sparring.data.dataset import Dataset
from sparring.errors import CheckpointError, ConfigError, RunError, unknown_name
from sparring.models.backbones import CUSTOM
from sparring.training.build import build_encoder
from sparring.training.checkpoint import newest_checkpoint
from sparring.training.given_network import keep_start
from sparring.training.run_folder import RunFolder, machine
from sparring.training.settings import RunConfig

IMAGES = "images"
"""Name by which changed images are meant on purpose, beside the names of settings."""

FREE = {
    "data.path",
    "data.cache",
    "data.workers",
    "data.max_bad_share",
    "encoder.weights",
    "training.max_steps",
    "training.device",
    "training.checkpoint_activations",
    "training.log_steps",
    "training.monitor_epochs",
    "training.monitor_images",
    "training.checkpoint_minutes",
    "training.compare_steps",
    "training.keep_checkpoints",
    "training.stop_after_looks",
}
"""Settings that are no part of the experiment. Where images and start weights lie and which device
computes is checked by what is found there."""
ROUNDING = {
    "training.acceleration",
    "training.channels_last",
    "training.compile",
    "training.deterministic",
}
"""Settings that change results by rounding only."""
SAME_SQUARES = {"always", "disk", "memory", "device"}
"""Values of `data.store` that give the same images, which only lie elsewhere."""
FIXED = ("encoder.", "method", "opponent")
"""Beginnings of the settings that a checkpoint cannot take over, so that they cannot be changed
within a run."""
_SHOWN = 60

Difference = tuple[object, object]
"""Value before and value now."""


def conditions(dataset: Dataset, device: torch.device) -> dict[str, str | int]:
    """What a run computes with, as its checkpoint stores it: images, machine and versions.

    Args:
        dataset: training images.
        device: device of the run.
    """
    return {IMAGES: len(dataset), "content": dataset.content_fingerprint, **machine(device)}


def require_same(
    folder: RunFolder,
    config: RunConfig,
    now: Mapping[str, str | int],
    *,
    on_purpose: Iterable[str],
    report: Callable[[str], None],
) -> dict[str, Difference]:
    """Check that a run goes on as the experiment that it was.

    Args:
        folder: run folder with a checkpoint.
        config: configuration with which it is to go on.
        now: see `conditions`.
        on_purpose: names of settings, or `images`, that may be others than before.
        report: receives one line each about changed bits, and about what cannot be checked.

    Returns:
        What has changed and was meant, by name.

    Raises:
        ConfigError: for an unknown name.
        CheckpointError: if the checkpoint cannot take over a change.
        RunError: if anything else that belongs to the experiment has changed.
    """
    (path, content), names = newest_checkpoint(folder.checkpoint, report), set(on_purpose)
    before = {**folder.read_environment(), **content.get("conditions", {})}
    settings = _changed_settings(content["config"], config, report)
    _refuse_unknown(names, config)
    rounded = {name: settings.pop(name) for name in ROUNDING & settings.keys()}
    for name, (old, new) in settings.items():
        if name.startswith(FIXED):
            raise CheckpointError(
                f"the checkpoint {path} does not fit this configuration: {name} was "
                f"{_shown(old)} and is {_shown(new)}; put it back, or train anew"
            )
    changed = {**settings, **_changed_images(before, now)}
    if unmeant := {name: changed[name] for name in changed if name not in names}:
        option = ",".join(unmeant)
        raise RunError(
            f"{folder.path} would go on as another experiment: {_sentence(unmeant)}; put it back, "
            f"or go on with --changed-on-purpose {option} (changed_on_purpose= in Python)"
        )
    if changed:
        report(f"changed on purpose at step {content['step']:,}: {_sentence(changed)}")
    _tell_bits(folder, before, now, rounded, report)
    _tell_order(config, now, report)
    if "seed" in changed and distributed.is_main():
        _keep_start(content["config"], folder)
    return changed


def require_same_run(
    folder: RunFolder,
    config: RunConfig,
    now: Mapping[str, str | int],
    *,
    report: Callable[[str], None],
) -> None:
    """Check that a folder holds the run that a configuration gives, so that it can be continued, or
    begun anew if it has no checkpoint.

    Args:
        folder: run folder with or without a checkpoint.
        config: resolved configuration of the command that is to train.
        now: see `conditions`.
        report: receives one line each about changed bits, and about what cannot be checked.

    Raises:
        RunError: if a setting, or an image, is another one.
    """
    has_checkpoint = folder.has_checkpoint()
    content: Mapping[str, Any] = {"config": toml_text(folder.read_config().tree())}
    if has_checkpoint:
        _, content = newest_checkpoint(folder.checkpoint, report)
    before = {**folder.read_environment(), **content.get("conditions", {})}
    settings = _changed_settings(content["config"], config, report)
    rounded = {name: settings.pop(name) for name in ROUNDING & settings.keys()}
    different = {**settings, **(_changed_images(before, now) if has_checkpoint else {})}
    if different:
        raise RunError(
            f"{folder.path} holds a run of another configuration: {_sentence(different)}; give it "
            "the same, or choose another --out"
        )
    if has_checkpoint:
        _tell_bits(folder, before, now, rounded, report)


def changes(changed: Mapping[str, Difference], *, step: int) -> list[str]:
    """Changes on purpose, as the run folder records them."""
    return [f"step {step}: {_sentence({name: pair})}" for name, pair in changed.items()]


def _changed_settings(
    stored: str, config: RunConfig, report: Callable[[str], None]
) -> dict[str, Difference]:
    """Settings of the checkpoint that are others now, without those that are free."""
    try:
        before = dict(leaves(_read(stored).tree()))
    except (ValueError, TypeError, AttributeError, RecursionError):
        report("the settings stored in the checkpoint cannot be read, so they were not compared")
        return {}
    now = dict(leaves(config.tree()))
    return {
        name: (before.get(name), now.get(name))
        for name in {**before, **now}
        if name not in FREE
        and before.get(name) != now.get(name)
        and not (name == "data.store" and {before.get(name), now.get(name)} <= SAME_SQUARES)
    }


def _changed_images(
    before: Mapping[str, Any], now: Mapping[str, str | int]
) -> dict[str, Difference]:
    if "content" not in before or before["content"] == now["content"]:
        return {}
    if before[IMAGES] != now[IMAGES]:
        return {IMAGES: (before[IMAGES], now[IMAGES])}
    return {IMAGES: (before[IMAGES], f"{now[IMAGES]} others")}


def _tell_bits(
    folder: RunFolder,
    before: Mapping[str, Any],
    now: Mapping[str, str | int],
    rounded: Mapping[str, Difference],
    report: Callable[[str], None],
) -> None:
    parts = [name for name in now if name not in (IMAGES, "content")]
    differences = {
        name: (before[name], now[name])
        for name in parts
        if name in before and before[name] != now[name]
    }
    if differences or rounded:
        report(
            "this run goes on, but not to the bit as if it had never stopped: "
            f"{_sentence({**differences, **rounded})}"
        )
    unknown = [name for name in (IMAGES, *parts) if name not in before]
    if unknown:
        report(
            f"{folder.path} does not say with which {', '.join(unknown)} it was trained, so "
            "whether they are the same was not checked"
        )


def _tell_order(
    config: RunConfig, now: Mapping[str, str | int], report: Callable[[str], None]
) -> None:
    """Tell that sums on other devices than the CPU have no fixed order."""
    if now.get("device", "cpu") != "cpu" and not config.training.deterministic:
        report(
            f"on {now['device']} this run goes on within rounding, not to the bit; "
            "training.deterministic=true makes runs on CUDA repeat every bit, and slower"
        )


def _keep_start(stored: str, folder: RunFolder) -> None:
    """Keep the weights of the first seed, which another seed does not give again."""
    config = _read(stored)
    if not folder.initial.exists() and not config.encoder.backbone.startswith(CUSTOM):
        keep_start(build_encoder(config).backbone, folder, name=config.encoder.backbone)


def _read(stored: str) -> RunConfig:
    return RunConfig.from_tree(tomllib.loads(stored), is_stored=True)


def _refuse_unknown(names: set[str], config: RunConfig) -> None:
    known = [IMAGES, *dict(leaves(config.tree()))]
    for name in names - set(known):
        near = get_close_matches(name, known, n=5) or [IMAGES, "training.batch_size", "seed"]
        raise ConfigError(unknown_name("setting in changed_on_purpose", name, near))


def _sentence(differences: Mapping[str, Difference]) -> str:
    return ", ".join(
        f"{name} {_shown(old)} before and {_shown(new)} now"
        for name, (old, new) in differences.items()
    )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
