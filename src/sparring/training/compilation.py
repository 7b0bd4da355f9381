"""Which networks of a run are compiled: decided once, when the run begins, and kept."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from sparring import acceleration
from sparring.acceleration.compiled import Compiler
from sparring.methods.method import Method
from sparring.models.encoder import Encoder
from sparring.models.teacher import Teacher
from sparring.opponents.opponent import chain
from sparring.training.settings import TrainingSettings

SECONDS = 17.0
"""Time in which one encoder was compiled: ResNet-18 of width 1.0 at 32 px on an H200."""
SAVED_PER_STEP = 0.006
"""Time in seconds that it saved then in a step of 512 images."""


def decision(
    settings: TrainingSettings,
    device: torch.device,
    *,
    num_steps: int,
    environment: Mapping[str, object],
) -> Literal["on", "off"]:
    """Whether the networks of a run are compiled, as its folder stores it.

    With `auto`, a run that goes on keeps the decision with which it began. A new one is decided by
    its planned steps: they must save more time than the first encoder costs.

    Args:
        settings: settings of the run.
        device: its device.
        num_steps: planned steps of the whole run.
        environment: what the run folder says; empty for a new run.
    """
    if settings.compile != "auto":
        return "off" if settings.compile == "off" else "on"
    if environment:
        return "on" if environment.get("compiled") == "on" else "off"
    pays = num_steps * SAVED_PER_STEP > SECONDS
    return "on" if device.type == "cuda" and pays else "off"


def compile_networks(
    method: Method, compiler: Compiler, settings: TrainingSettings, device: torch.device
) -> bool:
    """Compile the networks of a method in place, or report why not; whether it did.

    Args:
        method: method on its device.
        compiler: what compiles.
        settings: settings of a run whose networks are to be compiled.
        device: device of the method.
    """
    if not acceleration.is_on() or (settings.compile == "auto" and device.type != "cuda"):
        return False
    if settings.sync_batch_norm:
        _tell_plain(compiler, "training.sync_batch_norm=true talks to other processes within them")
    elif settings.checkpoint_activations:
        _tell_plain(compiler, "training.checkpoint_activations=true computes parts of them again")
    elif device.type == "cuda" and compiler.backend == "inductor" and not find_spec("triton"):
        _tell_plain(compiler, "Triton is not installed")
    else:
        compiler.has_cuda_graphs = settings.compile == "reduce-overhead"
        for name, network in networks(method).items():
            compiler.compile_network(network, name=name)
        return True
    return False


def networks(method: Method) -> dict[str, nn.Module]:
    """Networks that a method applies to views, by name: encoder, teachers, and heads beside
    them."""
    found: dict[str, nn.Module] = {}
    for part in chain(method):
        for name, child in part.named_children():
            if isinstance(child, Teacher):
                found[name] = child.network
            elif isinstance(child, Encoder | nn.Sequential):
                found[name] = child
    return found


def _tell_plain(compiler: Compiler, reason: str) -> None:
    if compiler.report is not None:
        compiler.report(f"networks are not compiled: {reason}")
