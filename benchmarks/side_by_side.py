"""What the benchmarks share: entrants take turns, round by round, and are compared round by
round.

A disturbance of the machine then hits both sides of a ratio, and the spread of the ratios says how
much of it is left. A entrant from another environment is a process of its own that makes a turn
whenever it is asked to (`Worker` here, `serve` there); this file needs nothing beyond the standard
library, so that those can import it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Turns = dict[str, list[float]]
"""Figures of each entrant, one per round."""

HERE = Path(__file__).parent
PEERS = HERE / ".peers" / "bin" / "python"
"""Interpreter of the peers' environment, made by `benchmarks/setup`."""
OURS = Path(sys.executable)


def take_turns(
    entrants: Mapping[str, Callable[[], float]], *, rounds: int = 5, warmup: int = 1
) -> Turns:
    """What each entrant's call returned in each round; those of the first `warmup` rounds are
    dropped."""
    found: Turns = {name: [] for name in entrants}
    for _ in range(warmup + rounds):
        for name, turn in entrants.items():
            found[name].append(turn())
    return {name: figures[warmup:] for name, figures in found.items()}


def alternate(
    entrants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> Turns:
    """Seconds of each entrant in each round, by the clock."""
    return take_turns(
        {name: timed(work, clock) for name, work in entrants.items()},
        rounds=rounds,
        warmup=warmup,
    )


def timed(
    work: Callable[[], object], clock: Callable[[], float] = time.process_time
) -> Callable[[], float]:
    """The work as a entrant whose figure is its seconds."""

    def turn() -> float:
        """Seconds of one call."""
        start = clock()
        work()
        return clock() - start

    return turn


def per_cpu_second(work: Callable[[], int]) -> Callable[[], float]:
    """A function that does some number of things and says how many, as a entrant whose figure is
    that number per CPU second."""

    def turn() -> float:
        """Rate of one call."""
        start = time.process_time()
        number = work()
        return number / (time.process_time() - start)

    return turn


def spread(figures: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(figures), "lowest": min(figures), "highest": max(figures)}


def ratio(turns: Turns, over: str, under: str) -> dict[str, float]:
    """Spread of one entrant's figure over another's, round by round."""
    return spread([a / b for a, b in zip(turns[over], turns[under], strict=True)])


def compared(turns: Turns, base: str) -> dict[str, Any]:
    """Each entrant's figures, and their ratio to the base's round by round."""
    return {
        name: {**spread(figures), "ratio": ratio(turns, name, base)}
        for name, figures in turns.items()
    }


def inverse(found: Mapping[str, float]) -> dict[str, float]:
    """The spread of the ratio the other way round."""
    return {
        "median": 1 / found["median"],
        "lowest": 1 / found["highest"],
        "highest": 1 / found["lowest"],
    }


def in_words(found: Mapping[str, float], form: str = ".2f") -> str:
    """A spread for a table: median (lowest to highest)."""
    return f"{found['median']:{form}} ({found['lowest']:{form}} to {found['highest']:{form}})"


def arguments(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Parser with what every benchmark accepts."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"alternations that count; default {rounds}"
    )
    return parser


def write_json(path: Path | None, found: object) -> None:
    """The figures with the machine they are from, if a file is wanted."""
    if path is not None:
        machine = {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        path.write_text(
            json.dumps({"machine": machine, "found": found}, indent=2) + "\n", encoding="utf-8"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


class Worker:
    """A entrant in a process of its own; `last` is what it said of its latest turn.

    Args:
        python: `OURS` or `PEERS`.
        script: file in entrants/.
        options: its command line.
        environment: variables beside those of this process.
    """

    def __init__(
        self, python: Path, script: str, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        if not python.exists():
            raise SystemExit(f"error: {python} is not there; run benchmarks/setup first")
        self.name = " ".join((script, *options))
        self._process = subprocess.Popen(
            [str(python), str(HERE / "entrants" / script), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent / 'src'}",
                **(environment or {}),
            },
            text=True,
        )
        self.last = self._answer()

    def turn(self) -> dict[str, Any]:
        """Let it make one turn; what it says of it."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.last = self._answer()
        return self.last

    def per_cpu_second(self, what: str) -> Callable[[], float]:
        """The worker as a entrant whose figure is how many of these it makes per CPU second."""

        def turn() -> float:
            """Rate of one turn."""
            found = self.turn()
            return float(found[what] / found["cpu"])

        return turn

    def per_second(self, what: str) -> Callable[[], float]:
        """The worker as a entrant whose figure is how many of these it makes per second of the
        clock."""

        def turn() -> float:
            """Rate of one turn."""
            found = self.turn()
            return float(found[what] / found["seconds"])

        return turn

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries may print what they like
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(
            f"error: {self.name} ended with exit code {self._process.wait()}; its message is above"
        )


def memory_peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return _status("VmHWM")


def memory_resident() -> int:
    """Memory of this process now, in bytes."""
    return _status("VmRSS")


def memory_held() -> int:
    """Memory of this process now that no file stands for, in bytes."""
    return _status("RssAnon")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def serve(turn: Callable[[], Mapping[str, Any]]) -> None:
    """In a worker: make a turn whenever the other side asks for one, with its seconds and CPU
    seconds added."""
    print("{}", flush=True)
    for _ in sys.stdin:
        clocks = time.perf_counter(), time.process_time()
        found = turn()
        seconds, cpu = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
        print(json.dumps({"seconds": seconds, "cpu": cpu, **found}), flush=True)
