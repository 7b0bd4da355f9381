"""Checkpoints: written atomically, and read without running any code that they contain."""

import contextlib
import copy
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.errors import CheckpointError
from sparring.files import AGAIN, write_atomically
from sparring.models.split_norm import join_norms
from sparring.regular_files import require_regular
from sparring.step_parts import step_part
from sparring.training.build import Game

_KINDS = {"step": int, "config": str, "conditions": dict, "method": dict, "players": dict}
MOST_STEPS = 2**53
"""Largest number of steps that a checkpoint may state: what floats still count one by one."""
FORMAT = 1
"""Format version of checkpoints; increased when older ones can no longer be read."""
RESUME = "free some space and use `sparring resume`"
"""What to do about a disk that is full once there is a checkpoint."""
ANEW = "free some space and train again with --resume-if-exists"
"""What to do about a disk that is full before the first checkpoint."""


class DamagedError(Exception):
    """A file differs from what was written; callers catch this error."""


@step_part("records")
def save_checkpoint(
    path: Path,
    game: Game,
    *,
    step: int,
    config: str,
    conditions: Mapping[str, str | int] | None = None,
    best: Mapping[str, Any] | None = None,
) -> None:
    """Save every module, player and opponent after `step` steps.

    Args:
        path: file to write; an existing one is replaced.
        game: game to save.
        step: number of steps made; together with the seed it determines orders, views and draws.
        config: configuration of the run as TOML, by which a checkpoint is matched to its run.
        conditions: images, machine and versions with which the run computes.
        best: the best look so far, see `keep_best`; None for a run that keeps none.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "step": step,
        "config": config,
        "conditions": dict(conditions or {}),
        "method": game.method.state_dict(),
        "players": {name: player.state_dict() for name, player in game.players.items()},
    }
    if best is not None:
        content["best"] = dict(best)
    write_state(path, content, advice=RESUME if path.exists() else ANEW)


def write_state(path: Path, content: Mapping[str, Any], *, advice: str = AGAIN) -> None:
    """Write tensors and plain values atomically; the advice is for a full disk."""
    file = io.BytesIO()
    torch.save(dict(content), file)
    write_atomically(path, file.getvalue(), advice=advice)


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
            f"no checkpoint at {path}; the run was stopped before its first one; begin it "
            "anew with `sparring train` and --resume-if-exists"
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
    wrong = [
        name for name, kind in _KINDS.items() if not isinstance(content.get(name, kind()), kind)
    ]
    if not wrong and not 0 <= content["step"] <= MOST_STEPS:
        wrong = ["step"]
    if not wrong and not all(isinstance(name, str) for name in content["method"]):
        wrong = ["method"]
    if wrong:
        raise CheckpointError(
            f"the checkpoint {path} holds no usable {wrong[0]}; restore it from a copy"
        )
    return content


def newest_checkpoint(
    path: Path, report: Callable[[str], None] | None = None
) -> tuple[Path, dict[str, Any]]:
    """Path and content of the newest checkpoint that can be read: the last one, or, if that is
    missing or damaged, one that was kept before it.

    Args:
        path: the last checkpoint.
        report: receives a line if another one is used.

    Raises:
        CheckpointError: if none can be read; the message is about the last one.
    """
    try:
        return path, read_checkpoint(path)
    except CheckpointError as error:
        for kept in kept_checkpoints(path):
            with contextlib.suppress(CheckpointError):
                content = read_checkpoint(kept)
                if report is not None:
                    why, _, _ = str(error).partition(";")
                    report(f"{why}; {kept.name}, which was kept before it, is used instead")
                return kept, content
        raise


def kept_checkpoints(path: Path) -> list[Path]:
    """Checkpoints that were kept beside the last one, the newest first.

    Args:
        path: the last checkpoint.
    """
    return sorted(
        (kept for kept in path.parent.glob("step-*.pt") if kept.stem[5:].isdecimal()),
        key=_step_of,
        reverse=True,
    )


@contextlib.contextmanager
def keeping_previous(path: Path, *, step: int | None, num_kept: int) -> Iterator[None]:
    """Context in which the last checkpoint is replaced: it stays as `step-N.pt`, and older ones
    are removed once the new one is written.

    Args:
        path: the last checkpoint.
        step: number of steps of the one that is there now; None: it is not kept, since there is
            none or it is damaged.
        num_kept: number of checkpoints that are kept, the new one included.

    Raises:
        StorageError: if the disk is full or read-only; nothing is lost then.
    """
    previous = path.with_name(f"step-{step}.pt")
    if step is not None and num_kept > 1 and path.exists() and not previous.exists():
        try:
            os.link(path, previous)
        except OSError:  # a file system without links
            write_atomically(previous, path.read_bytes())
    yield
    for old in kept_checkpoints(path)[num_kept - 1 :]:
        with contextlib.suppress(OSError):
            old.unlink()


def _step_of(kept: Path) -> int:
    return int(kept.stem[5:])


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
        CheckpointError: if the checkpoint cannot be read, nor one that was kept before it, or if it
            belongs to another configuration.
    """
    return restore_game(game, *newest_checkpoint(path), own_settings=own_settings)


def restore_game(
    game: Game,
    path: Path,
    content: Mapping[str, Any],
    *,
    own_settings: bool = False,
    players: bool = True,
) -> int:
    """Restore a game from a checkpoint that has been read; see `load_checkpoint`.

    Args:
        game: game of the same configuration.
        path: file of the checkpoint, for messages.
        content: content of the checkpoint.
        own_settings: see `load_checkpoint`.
        players: whether the state of the optimisers is restored too.
    """
    try:
        game.method.load_state_dict(content["method"])
        for name, player in game.players.items() if players else ():
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
