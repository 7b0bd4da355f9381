"""Encoders of a run folder, rebuilt without its method."""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from sparring.errors import CheckpointError, ConfigError, RunError
from sparring.models.backbones import CUSTOM
from sparring.models.encoder import Encoder
from sparring.seeding import derived_seed
from sparring.training.build import build_encoder, copied
from sparring.training.checkpoint import encoder_state
from sparring.training.divergence import non_finite
from sparring.training.encoder_names import START_WEIGHTS, start_name
from sparring.training.given_network import given_again, load_start
from sparring.training.keep_best import evaluated_checkpoint
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig


def load_encoder(
    folder: RunFolder,
    *,
    backbone: nn.Module | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> Encoder:
    """Trained encoder of a run, in evaluation mode and without gradients.

    No class of the method is needed, and no code that the run folder names is imported.

    Args:
        folder: run folder; an unfinished run gives the encoder of its last checkpoint, and one with
            `training.keep_best` that of its best look.
        backbone: your own network with which the run was trained, if any; a copy is used.
        device: device of the encoder.
        report: receives a line if the last checkpoint cannot be read and an earlier one is used,
            and about the best look; None: the first of them is a warning.

    Raises:
        CheckpointError: if there is no checkpoint, it does not fit the configuration, or the
            encoder holds values that are not finite.
    """
    return encoder_and_step(folder, backbone=backbone, device=device, report=report)[0]


def encoder_and_step(
    folder: RunFolder,
    *,
    backbone: nn.Module | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> tuple[Encoder, int]:
    """Trained encoder of a run as `load_encoder` gives it, and the number of steps that it has
    learned."""
    encoder = _built(folder, backbone, device)
    # An attention mask, for instance, may hold infinity from the start.
    allowed = set(non_finite(encoder.state_dict()))
    found = evaluated_checkpoint(folder, report or _warn)
    path, content = found.path, found.content
    if found.chosen_by and report is not None:
        report(f"the encoder of {folder.path}: {found.chosen_by}")
    try:
        encoder.load_state_dict(encoder_state(content))
    except RuntimeError as error:
        # PyTorch names the tensor in the second line.
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise CheckpointError(
            f"the checkpoint {path} does not fit this configuration: {reason}"
        ) from None
    if lost := [name for name in non_finite(encoder.state_dict()) if name not in allowed]:
        raise CheckpointError(
            f"the encoder in {path} is not finite ({lost[0]}): the run had diverged; train anew "
            "with a lower players.encoder.learning_rate"
        )
    return encoder.eval().requires_grad_(False), int(content["step"])


def load_encoders(
    folder: RunFolder,
    *,
    backbone: nn.Module | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> tuple[Encoder, Encoder]:
    """Trained encoder of a run, and the untrained one; see `encoders_and_step`."""
    return encoders_and_step(folder, backbone=backbone, device=device, report=report)[:2]


def encoders_and_step(
    folder: RunFolder,
    *,
    backbone: nn.Module | None = None,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> tuple[Encoder, Encoder, int]:
    """Trained encoder of a run, the untrained one, which is its state before the first step, and
    the number of steps that the trained one has learned.

    The untrained one comes from the seed, or from the initial weights that a run keeps whose seed
    does not give them, whatever weights a given network has now.

    Args:
        folder: run folder; an unfinished run gives the encoder of its last checkpoint.
        backbone: your own network with which the run was trained, if any; a copy is used.
        device: device of both encoders.
        report: receives a line if the run is too old to have kept its initial weights, or if the
            last checkpoint cannot be read and an earlier one is used.

    Raises:
        CheckpointError: if there is no checkpoint, it does not fit the configuration, or the
            encoder holds values that are not finite.
        RunError: if the given network is the trained one, and no initial weights were kept.
    """
    trained, step = encoder_and_step(folder, backbone=backbone, device=device, report=report)
    untrained = _built(folder, backbone, device)
    started_from = folder.read_environment().get("started_from")
    name = start_name(folder.read_config().encoder.weights, started_from)
    is_needed = name == START_WEIGHTS
    load_start(untrained.backbone.network, folder, is_needed=is_needed)
    if backbone is not None and not folder.initial.exists():
        _require_other_weights(trained, untrained, folder)
        if report is not None:
            report(
                f"{folder.path} has not kept the weights from which it started: the untrained "
                "column is the network given as backbone, as it is now"
            )
    return trained, untrained.eval().requires_grad_(False), step


def drawn_anew(start: Encoder, config: RunConfig, *, device: torch.device) -> Encoder:
    """Encoder of a run's network with random weights, as supervised learning from scratch starts
    with, in evaluation mode and without gradients; no layer of it is frozen for good.

    Args:
        start: the encoder from which the run started.
        config: configuration of the run; its seed gives the weights.
        device: device of the encoder.

    Raises:
        ConfigError: for a network of one's own with a layer that has no `reset_parameters`.
    """
    config = config.changed(
        encoder={"frozen_stages": 0}, training={"device": str(device), "sync_batch_norm": False}
    )
    network = None
    if config.encoder.backbone.startswith(CUSTOM):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(config.seed, "weights"))
            network = redrawn(start.backbone.network)
    return build_encoder(config, network).eval().requires_grad_(False)


def redrawn(network: nn.Module) -> nn.Module:
    """A copy of a network whose weights its layers draw anew, all of which learn.

    Raises:
        ConfigError: if parameters belong to a layer that has no `reset_parameters`.
    """
    network = copied(network).requires_grad_(True)
    for name, layer in network.named_modules():
        reset = getattr(layer, "reset_parameters", None)
        if reset is not None:
            reset()
        elif any(True for _ in layer.parameters(recurse=False)):
            raise ConfigError(
                f"this network of your own cannot be drawn anew: its {type(layer).__name__} "
                f"({name or 'itself'}) has no reset_parameters()"
            )
    return network


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=2)


def _built(folder: RunFolder, backbone: nn.Module | None, device: str) -> Encoder:
    config = folder.read_config()
    config = config.changed(training={"device": device, "sync_batch_norm": False})
    return build_encoder(config, given_again(folder, backbone))


def _require_other_weights(trained: Encoder, given: Encoder, folder: RunFolder) -> None:
    ours, theirs = (encoder.backbone.state_dict() for encoder in (trained, given))
    if all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise RunError(
            f"the network given as backbone has the trained weights, and {folder.path} has not "
            "kept those from which it started; give the network as it was before training"
        )
