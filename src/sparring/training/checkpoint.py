"""Checkpoints: written atomically, and read without running any code that they contain."""

import contextlib
import copy
import errno
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.errors import CheckpointError, StorageError
from sparring.models.split_norm import join_norms
from sparring.regular_files import require_regular
from sparring.training.build import Game

FORMAT = 1
"""Format version of checkpoints; increased when older ones can no longer be read."""


class DamagedError(Exception):
    """A file differs from what was written; callers catch this error."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old or the new content, never a part.

    Raises:
        StorageError: if the disk is full or read-only; the old file stays unchanged.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise not_written(path, error) from None


def not_written(path: Path, error: OSError) -> StorageError:
    """Error for a file that could not be written, with advice."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = (
        "the disk is full; free some space and use `sparring resume`"
        if full
        else (error.strerror or str(error))
    )
    return StorageError(f"cannot write {path}: {why}")


def save_checkpoint(
    path: Path,
    game: Game,
    *,
    step: int,
    config: str,
    conditions: Mapping[str, str | int] | None = None,
) -> None:
    """Save every module, player and opponent after `step` steps.

    Args:
        path: file to write; an existing one is replaced.
        game: game to save.
        step: number of steps made; together with the seed it determines orders, views and draws.
        config: configuration of the run as TOML, by which a checkpoint is matched to its run.
        conditions: images, machine and versions with which the run computes.
    """
    content = {
        "format": FORMAT,
        "step": step,
        "config": config,
        "conditions": dict(conditions or {}),
        "method": game.method.state_dict(),
        "players": {name: player.state_dict() for name, player in game.players.items()},
    }
    write_state(path, content)


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values atomically."""
    file = io.BytesIO()
    torch.save(dict(content), file)
    write_atomically(path, file.getvalue())


def read_state(path: Path) -> Any:
    """Content of a file of `write_state`, on the CPU; only tensors and plain values are accepted.

    Raises:
        FileNotFoundError: if there is no file.
        DamagedError: if the file is damaged, even in one bit, or holds anything else.
    """
    try:
        require_regular(path)
        _check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise DamagedError(str(path)) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint; only tensors and plain values are accepted.

    Raises:
        CheckpointError: if the file is missing, damaged, holds anything else, or is of another
            format.
    """
    try:
        content = read_state(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"no checkpoint at {path}; the run was stopped before its first one, train it anew"
        ) from None
    except DamagedError:
        raise CheckpointError(
            f"the checkpoint {path} is damaged or holds more than tensors; restore it from a copy"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} is not one of this version of sparring (format {FORMAT})"
        )
    missing = {"step", "config", "method", "players"} - content.keys()
    if missing:
        raise CheckpointError(
            f"the checkpoint {path} lacks {', '.join(sorted(missing))}; restore it from a copy"
        )
    return content


def _check_sums(path: Path) -> None:
    """Compare an archive with its checksums. PyTorch does not, and would continue training with
    flipped bits."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(damaged)


def load_checkpoint(path: Path, game: Game, *, own_settings: bool = False) -> int:
    """Restore a game from a checkpoint.

    Args:
        path: file of `save_checkpoint`.
        game: game of the same configuration.
        own_settings: whether the game's optimisers keep their settings where the checkpoint has
            others; otherwise such a checkpoint is refused.

    Returns:
        Number of steps made.

    Raises:
        CheckpointError: if the checkpoint cannot be read, or belongs to another configuration.
    """
    content = read_checkpoint(path)
    try:
        game.method.load_state_dict(content["method"])
        for name, player in game.players.items():
            player.load_state_dict(content["players"][name], own_settings=own_settings)
        return int(content["step"])
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(
            line.strip() for line in str(error).splitlines()[:2]
        )  # PyTorch names the tensor in the second line
        raise CheckpointError(
            f"the checkpoint {path} does not fit this configuration: {reason}"
        ) from None


def encoder_state(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors of the encoder in a checkpoint, without the batch norms of attacked images.

    The method's class is not needed: an opponent stores its method under the name `method`, and a
    method its encoder under `encoder`.

    Args:
        content: content of a checkpoint.
    """
    state = content["method"]
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        *_, name = re.split(r"^(?:method\.)*", key)
        if name.startswith("encoder.") and isinstance(value, Tensor):
            found[name.removeprefix("encoder.")] = value
    split = {name.partition(".adversarial.")[0] for name in found if ".adversarial." in name}
    plain = {}
    for name, value in found.items():
        norm, side, rest = name.partition(".clean.")
        if side and norm in split:
            plain[f"{norm}.{rest}"] = value
        elif name.partition(".adversarial.")[0] not in split:
            plain[name] = value
    return plain


def save_backbone(path: Path, backbone: nn.Module, *, metadata: Mapping[str, str]) -> None:
    """Save a network's weights as safetensors under their plain names; the metadata is JSON under
    the key `sparring`."""
    backbone = copy.deepcopy(backbone)
    join_norms(backbone)
    weights = {
        # Layers may share a weight, which safetensors refuses.
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in backbone.state_dict().items()
    }
    # A single key, because safetensors writes several in an order that varies from file to file,
    # and equal runs should give equal files.
    write_atomically(
        path, safetensors.torch.save(weights, metadata={"sparring": json.dumps(dict(metadata))})
    )
