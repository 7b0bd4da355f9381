"""The start of a run that its seed does not give again, with a network of one's own or pretrained
weights: kept in the run folder, and given again."""

import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sparring.errors import CheckpointError
from sparring.models.backbones import Backbone
from sparring.regular_files import require_regular
from sparring.training.build import copied
from sparring.training.checkpoint import save_backbone
from sparring.training.run_folder import RunFolder


def keep_start(backbone: Backbone, folder: RunFolder, *, name: str) -> None:
    """Keep the weights from which a run starts, and which are frozen, if its seed does not give
    them again.

    They have a file of their own, because a checkpoint is written anew every few minutes.

    Args:
        backbone: backbone before the first step.
        folder: run folder.
        name: `encoder.backbone` of the run.
    """
    metadata = {"backbone": name, "steps": "0", "frozen": json.dumps(sorted(backbone.frozen))}
    save_backbone(folder.initial, backbone.network, metadata=metadata)


def load_start(network: nn.Module, folder: RunFolder, *, is_needed: bool = False) -> None:
    """Give a network the weights and frozen parameters that the run folder keeps, if any.

    Args:
        network: network of the run's configuration.
        folder: run folder.
        is_needed: whether the run has a start that its seed does not give.

    Raises:
        CheckpointError: if the kept weights are damaged, of another network, or needed and missing.
    """
    if not folder.initial.exists():
        if is_needed:
            raise lost_start(folder.path)
        return
    weights, frozen = _read(folder)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise CheckpointError(
            f"{folder.initial} does not fit this configuration: {reason}"
        ) from None
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)


def lost_start(where: str | Path) -> CheckpointError:
    """Error for a run without the pretrained weights from which it started."""
    return CheckpointError(
        f"{where} does not keep the weights from which it started (initial.safetensors); restore "
        "that file from a copy"
    )


def kept_start(folder: RunFolder) -> dict[str, Tensor] | None:
    """Weights from which a run started, if its folder keeps them.

    Raises:
        CheckpointError: if they are damaged.
    """
    return _read(folder)[0] if folder.initial.exists() else None


def given_again(folder: RunFolder, network: nn.Module | None) -> nn.Module | None:
    """A copy of the network as the run started from it, whatever weights it has now.

    A run that has not kept its start gives the weights as they are, all of which learn.

    Args:
        folder: run folder.
        network: network of your own, given again; None stays None.

    Raises:
        CheckpointError: if the kept weights are damaged, or of another network.
    """
    if network is None:
        return None
    network = copied(network).requires_grad_(True)
    load_start(network, folder)
    return network


def _read(folder: RunFolder) -> tuple[dict[str, Tensor], set[str]]:
    try:
        require_regular(folder.initial)
        with safe_open(folder.initial, "pt") as file:
            metadata = json.loads(file.metadata()["sparring"])
        return safetensors.torch.load_file(folder.initial), set(json.loads(metadata["frozen"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"the initial weights {folder.initial} are damaged; restore them from a copy"
        ) from None
