"""The run folder: its files, and the lock for writing."""

import fcntl
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sparring import distributed
from sparring.config import read_toml, toml_text
from sparring.data.names import shown
from sparring.errors import ConfigError, RunError, StorageError
from sparring.files import (
    is_part,
    make_folder,
    not_written,
    open_without_following,
    sync_file,
    write_atomically,
)
from sparring.regular_files import near_path, read_bytes
from sparring.training.checkpoint import ANEW, RESUME, kept_checkpoints
from sparring.training.settings import RunConfig, StoredSettings

PATIENCE_SECONDS = 30.0
"""Time that a restarted run waits for its former process, which may still be about to end, or whose
lock a network file system has not yet given up."""
PACKAGES = ("sparring", "torch", "torchvision", "timm", "numpy", "pillow")
NOT_INSTALLED = "not installed"
"""What stands for the version of a package that is not there."""


class RunFolder:
    """Paths and small files of one run folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoint = self.path / "checkpoint" / "last.pt"
        self.best = self.path / "checkpoint" / "best.pt"
        self.backbone = self.path / "backbone.safetensors"
        self.initial = self.path / "initial.safetensors"
        self.scores = self.path / "scores.json"
        self.predictions = self.path / "predictions"
        self.quarantine = self.path / "quarantine.txt"
        self.environment = self.path / "environment.json"
        self.trace = self.path / "trace.json.gz"
        self._lock_file = self.path / ".lock"
        self._is_locked = False

    def has_checkpoint(self) -> bool:
        """Whether the folder's run can be continued."""
        return self.checkpoint.exists() or bool(kept_checkpoints(self.checkpoint))

    def create(self, *, goes_on: bool = False) -> None:
        """Create the folder.

        Args:
            goes_on: whether the folder may hold a run.

        Raises:
            RunError: if it is not empty; nothing is changed then.
            StorageError: if it cannot be created.
        """
        if self.config.exists():
            if goes_on:
                return
            how = (
                f"continue it with `sparring resume {self.path}`"
                if self.has_checkpoint()
                else "it has no checkpoint; begin it anew with --resume-if-exists"
            )
            raise RunError(f"{self.path} holds a run already; {how} or choose another --out")
        if self.path.exists() and (not self.path.is_dir() or self._holds_anything()):
            raise RunError(f"{self.path} exists and is not an empty folder; choose another --out")
        try:
            make_folder(self.path)
        except OSError as error:
            raise StorageError(f"cannot create {self.path}: {error.strerror or error}") from None

    def _holds_anything(self) -> bool:
        """Whether there is more than what a train leaves that was killed before its first file."""
        return any(
            path.name != self._lock_file.name and not is_part(path) for path in self.path.iterdir()
        )

    def require(self) -> None:
        """Raise an error if the folder holds no run.

        Raises:
            RunError: if there is no config.toml.
        """
        if not self.config.is_file():
            raise RunError(
                f"{self.path} is not a run folder (no config.toml){near_path(self.path)}; "
                "give the --out of a `sparring train`"
            )

    @contextmanager
    def locked(self, *, patience_seconds: float = 0.0) -> Iterator[None]:
        """Lock the folder, made if missing, against training by other processes; a lock within a
        lock of the same object does nothing.

        Args:
            patience_seconds: time to wait for another process that holds the lock.

        Raises:
            RunError: if another process holds the lock.
            StorageError: if the folder cannot be written, or a link is in the lock's place.
        """
        if self._is_locked:
            yield
            return
        try:
            lock = self._lock_within(patience_seconds)
        except OSError as error:
            raise not_written(self._lock_file, error) from None
        self._is_locked = True
        try:
            yield
        finally:
            self._is_locked = False
            os.close(lock)

    @contextmanager
    def claimed(self, *, goes_on: bool = False) -> Iterator[None]:
        """Create and lock the folder of a run, before anything else is done for it.

        If the run ends with an error before it wrote anything, the folder is as it was before.

        Args:
            goes_on: whether the folder may hold a run, whose process may be about to end.

        Raises:
            RunError: if the folder is not empty, or another process has claimed it.
            StorageError: if it cannot be created.
        """
        is_new = not self.path.exists()
        self.create(goes_on=goes_on)
        with self.locked(patience_seconds=PATIENCE_SECONDS if goes_on else 0.0):
            try:
                self.create(
                    goes_on=goes_on
                )  # another process may have finished a run before the lock
                yield
            except BaseException:
                if not self._holds_anything():
                    self._lock_file.unlink(missing_ok=True)
                    with suppress(OSError):
                        if is_new:
                            self.path.rmdir()
                raise

    def _lock_within(self, patience_seconds: float) -> int:
        give_up_at = time.monotonic() + patience_seconds
        while True:
            try:
                return self._lock()
            except RunError:
                if time.monotonic() >= give_up_at:
                    raise
                time.sleep(0.2)

    def _lock(self) -> int:
        """Descriptor that holds the lock until it is closed."""
        while True:
            make_folder(self.path)
            try:
                number = open_without_following(self._lock_file, os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:  # a claim that came to nothing has just removed the folder
                continue
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(number)
                raise RunError(
                    f"{self.path} is in use by another process; wait for it or choose another --out"
                ) from None
            if os.fstat(number).st_nlink:  # else its owner has just removed it
                return number
            os.close(number)

    def write_config(self, config: RunConfig) -> None:
        """Save the resolved configuration, which rebuilds the run."""
        self._write(self.config, toml_text(config.tree()).encode("utf-8", "surrogateescape"))

    def read_config(self) -> RunConfig:
        """Read the configuration of the run.

        Raises:
            RunError: if there is none.
            ConfigError: if it is damaged.
        """
        self.require()
        found = RunConfig.from_tree(read_toml(self.config), is_stored=True)
        is_open = isinstance(found.method_settings, StoredSettings)  # told first, when needed
        if found.training.image_size is None and not is_open:
            raise ConfigError(
                f"{self.config} lacks training.image_size, with which the run was trained; restore "
                "it from a copy"
            )
        return found

    def write_quarantine(self, files: Sequence[tuple[str, str]]) -> None:
        """Write the list of unusable files, one per line with the reason after a tab."""
        lines = [f"{shown(key)}\t{shown(reason)}\n" for key, reason in files]
        self._write(self.quarantine, "".join(lines).encode())

    def write_environment(
        self, device: torch.device, *, further: Mapping[str, object] | None = None
    ) -> None:
        """Save the command, versions and machine.

        Args:
            device: device of the run.
            further: what else to save; empty values are left out.
        """
        more = {name: value for name, value in (further or {}).items() if value}
        self._write(self.environment, _json({**environment(device), **more}))

    def read_environment(self) -> dict[str, Any]:
        """What `write_environment` saved; empty if it is missing or damaged, and without fields of
        another type."""
        try:
            found = _json_object(self.environment)
        except (OSError, ValueError):
            return {}
        kinds = {"classes": dict, "changes": list, "started_from": dict}
        wrong = {name for name, kind in kinds.items() if not isinstance(found.get(name), kind)}
        return {name: value for name, value in found.items() if name not in wrong}

    def read_classes(self) -> dict[str, str]:
        """SHA-256 of the file of each class that was given when the run was last started, by the
        class's name."""
        return dict(self.read_environment().get("classes", {}))

    def read_scores(self) -> dict[str, Any]:
        """Content of scores.json, which `training.scores` reads; empty before the first evaluation.

        Raises:
            RunError: if the file is damaged.
        """
        try:
            return _json_object(self.scores) if self.scores.exists() else {}
        except (OSError, ValueError):
            raise RunError(
                f"{self.scores} is damaged; remove it and use `sparring evaluate`"
            ) from None

    def sync_metrics(self) -> None:
        """Bring the records to the disk, so that a checkpoint never outlasts those before it.

        Raises:
            StorageError: if the disk fails.
        """
        try:
            sync_file(self.metrics)
        except FileNotFoundError:
            return
        except OSError as error:
            raise not_written(self.metrics, error, advice=RESUME) from None

    def write_scores(self, scores: Mapping[str, Any]) -> None:
        """Replace the scores."""
        write_atomically(self.scores, _json(scores))

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file of the training."""
        write_atomically(path, content, advice=RESUME if self.checkpoint.exists() else ANEW)


def environment(device: torch.device) -> dict[str, str | int]:
    """Command, versions and machine, as needed to reproduce a result."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **machine(device),
    }


def machine(device: torch.device) -> dict[str, str | int]:
    """Machine and versions, on which the bits of a run depend."""
    found: dict[str, str | int] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "processes": distributed.num_processes(),
        "processor": _processor(),
    }
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = NOT_INSTALLED
    return found


def _processor() -> str:
    """Model of the processor, and the instructions that PyTorch uses of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(models, platform.processor() or platform.machine())
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def _json_object(path: Path) -> dict[str, Any]:
    """Content of a file of `_json`.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged, nested too deeply, or holds anything but an object.
    """
    try:
        found = json.loads(read_bytes(path))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object")
    return found


def _json(value: Mapping[str, Any]) -> bytes:
    # Names of files may hold bytes that are no text; JSON has an escape for them.
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")
