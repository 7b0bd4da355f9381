"""Toy runs of every method and opponent, as commands in forked children, and what they leave.

The parent has imported torch once; a child is ready within milliseconds. It must be forked while
the parent has a single thread.
"""

import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sparring
from sparring.command import commands as cli
from sparring.config import merged, toml_text
from sparring.contract.toy import Subject
from sparring.methods import registry
from sparring.training import loop
from sparring.training.checkpoint import read_checkpoint
from sparring.training.metrics import read_metrics

from .crash_points import Disk

TIMING = {"seconds", "images_per_second"}
"""Metrics that differ between equal runs."""
SETTINGS = {
    "training": {
        "epochs": 2,
        "checkpoint_minutes": 0,
        "monitor_images": 16,
        "monitor_epochs": 1,
        "keep_best": "effective_rank",
    },
    "generator_pair": {"pretraining": {"steps": 2}},
}


NOT_IMPORTED = ("__main__", "._views", ".api.transformer")
"""Ends of the names of a command, of the C kernel, and of what imports scikit-learn, which starts a
thread and plays in no run."""


def import_all() -> None:
    """Import every module that a run may need, so that no child has to."""
    for module in pkgutil.walk_packages(sparring.__path__, "sparring."):
        if not module.name.endswith(NOT_IMPORTED):
            importlib.import_module(module.name)


@dataclass(frozen=True)
class Toy:
    """A toy run: a method, opponents around it, and a number of processes."""

    method: str
    opponents: tuple[str, ...] = ()
    processes: int = 1

    def __str__(self) -> str:
        many = f" x{self.processes}" if self.processes > 1 else ""
        return "+".join((self.method, *self.opponents)) + many

    def write_recipe(self, path: Path) -> Path:
        """Write the recipe of the run."""
        tree = Subject(self.method, self.opponents).config().tree()
        own = {name: value for name, value in SETTINGS.items() if name in tree}
        path.write_text(toml_text(merged(tree, own)))
        return path


def all_toys() -> list[Toy]:
    """Every method, every opponent around one of them, and some on two processes; those that differ
    most come first."""
    opponents = tuple(registry.shipped("opponent"))
    kinds = [
        Toy("adco"),
        Toy("simclr", ("generator-pair",), processes=2),
        *(Toy("mocov2", (name,)) for name in opponents),
        Toy("adco", processes=2),
        Toy("simclr", opponents),
    ]
    return [*kinds, *(Toy(name) for name in registry.shipped("method") if name != "adco")]


@dataclass(frozen=True)
class Child:
    """A command that runs in forked processes, one per rank."""

    numbers: tuple[int, ...]

    def wait(self, seconds: float) -> list[int | None]:
        """Exit code of each process, negative for a signal; None for one that had to be ended
        after so many seconds."""
        end, codes = time.monotonic() + seconds, []
        for number in self.numbers:
            found, status = os.waitpid(number, os.WNOHANG)
            while not found and time.monotonic() < end:
                time.sleep(0.005)
                found, status = os.waitpid(number, os.WNOHANG)
            if not found:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
            codes.append(os.waitstatus_to_exitcode(status) if found else None)
        return codes

    def strike(self, number: signal.Signals, rank: int) -> None:
        """Send a signal to one process; nothing if it has ended."""
        if os.waitid(os.P_PID, self.numbers[rank], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.kill(self.numbers[rank], number)


def start(
    arguments: Sequence[str],
    *,
    log: Path,
    cache: Path,
    processes: int = 1,
    disk: Callable[[], Disk] | None = None,
) -> Child:
    """Start `sparring ARGUMENTS...`.

    Args:
        arguments: words behind `sparring`.
        log: file that receives standard output and standard error.
        cache: folder of decoded images and pretrained opponents.
        processes: number of processes that train together.
        disk: makes the disk that the first process writes to.
    """
    port = _free_port() if processes > 1 else 0
    numbers = []
    for rank in range(processes):
        if (number := os.fork()) == 0:
            group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            further = {**group, **meeting} if processes > 1 else {}
            os.environ.update({name: str(value) for name, value in further.items()})
            os.environ["SPARRING_CACHE"] = str(cache)
            _become(arguments, log, disk() if disk is not None and rank == 0 else None)
        numbers.append(number)
    return Child(tuple(numbers))


def _become(arguments: Sequence[str], log: Path, disk: Disk | None) -> None:
    """Run the command in this process and leave; nothing of the parent's goes on."""
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.argv = ["sparring", *arguments]
        if disk is not None:
            disk.install()
            _note_saved_steps(disk)
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _note_saved_steps(disk: Disk) -> None:
    """Put down each step whose checkpoint was reported as saved."""
    save = loop.save_checkpoint

    def noted(*arguments: Any, step: int, **named: Any) -> None:
        save(*arguments, step=step, **named)
        disk.note("saved", step)

    loop.save_checkpoint = noted


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def outcome(run: Path) -> dict[str, Any]:
    """What must be equal to the bit in equal runs, by file; tensors as their bytes."""
    content = read_checkpoint(run / "checkpoint" / "last.pt")
    best = read_checkpoint(run / "checkpoint" / "best.pt")
    kept = ("step", "best", "method", "players")
    records = read_metrics(run / "metrics.jsonl")
    return {
        "checkpoint": _plain({name: content[name] for name in kept}),
        "best": _plain({name: best[name] for name in kept}),
        "backbone": (run / "backbone.safetensors").read_bytes(),
        "metrics": [{k: v for k, v in each.items() if k not in TIMING} for each in records],
        "scores": _without_seconds(json.loads((run / "scores.json").read_text())),
    }


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Names of what differs between two outcomes."""
    return [name for name in first if first[name] != second[name]]


def unreadable(run: Path) -> list[str]:
    """What cannot be read in a run folder at any moment of its life."""
    found = []
    last = run / "checkpoint" / "last.pt"
    readers: dict[Path, Callable[[Path], Any]] = {
        last: read_checkpoint,
        last.with_name("best.pt"): read_checkpoint,
        run / "scores.json": lambda path: json.loads(path.read_text()),
        run / "environment.json": lambda path: json.loads(path.read_text()),
        run / "config.toml": lambda path: cli_config(path.parent),
    }
    for path, read in readers.items():
        try:
            if path.exists():
                read(path)
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def cli_config(run: Path) -> Any:
    """Configuration of a run folder, as commands read it."""
    from sparring.training.run_folder import RunFolder

    return RunFolder(run).read_config()


def _plain(value: Any) -> Any:
    if hasattr(value, "detach"):
        return (str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes())
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seconds(v) for k, v in value.items() if k not in ("seconds", "time")}
    return [_without_seconds(each) for each in value] if isinstance(value, list) else value
