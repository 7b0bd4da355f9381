"""The command line on several processes: started with or without torchrun, and disturbed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from sparring.contract.toy import images
from sparring.training.checkpoint import read_checkpoint
from sparring.training.metrics import read_metrics

SECONDS = 200
SIZES = ["--image-size", "16", "--batch-size", "16"]
TINY = (
    "encoder.width=0.0625",
    "bank.size=32",
    "projector.dim=16",
    "training.log_steps=1",
    "training.monitor_images=16",
    "training.monitor_epochs=1",
)
SETTINGS = [part for setting in TINY for part in ("--set", setting)]


def write_images(folder: Path, count: int = 64) -> Path:
    """Images without labels, so that a run ends without a probe."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images(count)):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@dataclass(frozen=True)
class End:
    """How one process, or torchrun, ended."""

    code: int
    text: str

    @property
    def errors(self) -> list[str]:
        """Lines about errors that the library has printed."""
        lines = self.text.splitlines()
        return [line for line in lines if line.startswith("error: ")]


def start(arguments: list[str], **variables: str) -> subprocess.Popen[str]:
    """A Python process of one thread."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )


def train(photos: Path, run: Path, *more: str) -> list[str]:
    """Arguments of Python that train a tiny AdCo."""
    return ["-m", "sparring", "train", "--data", str(photos), "--out", str(run), *SIZES, *SETTINGS,
            *more]  # fmt: skip


def two_processes(photos: Path, run: Path, *more: str) -> list[subprocess.Popen[str]]:
    """Two processes that train, without torchrun, as SLURM starts them."""
    return pair(train(photos, run, *more))


def pair(arguments: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes of one group with equal arguments of Python."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    return [start(arguments, RANK=str(rank), LOCAL_RANK=str(rank), **meeting) for rank in range(2)]


def by_torchrun(photos: Path, run: Path, *more: str, options: tuple[str, ...] = ()) -> list[str]:
    """Arguments of Python by which torchrun trains on two processes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    return [*launch, *train(photos, run, *more)]


def wait_for_step(run: Path, step: int) -> None:
    """Wait until a run has recorded a step."""
    end = time.monotonic() + SECONDS
    file = run / "metrics.jsonl"
    while time.monotonic() < end:
        if file.exists() and file.read_text().count("\n") > step:
            return
        time.sleep(0.02)
    raise AssertionError(f"no step {step} within {SECONDS} s")


def ends(processes: list[subprocess.Popen[str]]) -> list[End]:
    """Wait for processes to end by themselves."""
    try:
        texts = [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [End(process.returncode, text) for process, text in zip(processes, texts, strict=True)]


def worker(run: Path, rank: int) -> int:
    """Number of the process of a rank that trains in a folder."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = _variables(folder)
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(run).encode() in arguments and variables.get(b"RANK") == str(rank).encode():
                return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


def _variables(folder: Path) -> Mapping[bytes, bytes]:
    lines = (folder / "environ").read_bytes().split(b"\0")
    return {name: value for name, _, value in (line.partition(b"=") for line in lines)}


def recorded_steps(run: Path) -> list[int]:
    """Steps in the records of a run."""
    return [int(record["step"]) for record in read_metrics(run / "metrics.jsonl")]


def states_of(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the method and its players in a run's checkpoint."""
    found: dict[str, torch.Tensor] = {}

    def collect(place: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            found[place] = value
        elif isinstance(value, dict):
            for name, part in value.items():
                collect(f"{place}/{name}", part)

    content = read_checkpoint(run / "checkpoint" / "last.pt")
    collect("", {name: content[name] for name in ("method", "players")})
    return found


def kill(process: int) -> None:
    """End a process at once."""
    os.kill(process, signal.SIGKILL)
