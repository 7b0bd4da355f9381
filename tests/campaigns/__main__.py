"""Campaign of kills, malformed files and a soak; `make campaign` is its long form.

Prints a table, writes it with all details as JSON, and ends with 1 if anything went wrong. The
folders of chains and inputs that showed a fault are kept.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tiny import write_photos

from .fuzzing import SHARES, fuzz
from .kills import Chain, Reference, chain_of, reference
from .soak import most_growth, soak
from .toy_runs import Toy, all_toys, import_all, start

PER_CLASS = 16
"""Images of each class of a toy run."""

Row = dict[str, Any]


def kills_of_worker(worker: int, arguments: argparse.Namespace, scratch: Path) -> list[Row]:
    """Chains of every game of a worker's, in turns, until it has made its share of the kills."""
    toys = all_toys()[: arguments.games][worker :: arguments.workers]
    photos = write_photos(scratch / f"photos-{worker}", per_class=PER_CLASS)
    wanted = -(-arguments.kills // arguments.workers)
    found: list[Row] = []
    references: dict[Toy, Reference] = {}
    for number in range(10 * arguments.kills):
        if not toys or sum(len(row["kills"]) for row in found) >= wanted:
            break
        toy = toys[number % len(toys)]
        if toy not in references:
            references[toy] = reference(toy, photos, scratch)
        name = f"{arguments.seed}-{worker}-{number}"
        chain: Chain = chain_of(references[toy], scratch / f"chain-{name}", name)
        found.append({"game": str(toy), "kills": chain.kills, "faults": chain.faults})
        _tell(f"{chain.root.name}: {toy}, {len(chain.kills)} kills", chain.faults)
    return found


def kills(arguments: argparse.Namespace, scratch: Path) -> Row:
    """Row of the kills."""
    parts = _by_workers(arguments, partial(kills_of_worker, arguments=arguments, scratch=scratch))
    chains = [chain for part in parts for chain in part]
    kinds = Counter(kill for chain in chains for kill in chain["kills"])
    return {
        "what": "kills",
        "count": kinds.total(),
        "faults": [fault for chain in chains for fault in chain["faults"]],
        "chains": len(chains),
        "kinds": dict(sorted(kinds.items())),
        "games": dict(sorted(Counter(chain["game"] for chain in chains).items())),
    }


def inputs(arguments: argparse.Namespace, scratch: Path) -> Row:
    """Row of the malformed files."""
    photos = write_photos(scratch / "photos", per_class=PER_CLASS)
    recipe = Toy("adco").write_recipe(scratch / "recipe.toml")
    words = ["train", "--data", str(photos), "--out", str(scratch / "run"), "--recipe", str(recipe)]
    assert start(words, log=scratch / "log", cache=scratch / "cache").wait(300) == [0]

    def share(worker: int) -> Any:
        numbers = range(worker, arguments.inputs, arguments.workers)
        place = scratch / f"inputs-{worker}"
        return fuzz(numbers, run=scratch / "run", scratch=place, seed=arguments.seed)

    parts = _by_workers(arguments, share)
    ends = sum((part.ends for part in parts), Counter())
    faults = [fault for part in parts for fault in part.faults]
    _tell(f"{ends.total()} malformed files", faults)
    return {
        "what": "malformed files",
        "count": arguments.inputs,
        "faults": faults,
        "most_memory_mib": max(part.memory for part in parts),
        "kinds": {
            kind: {end: ends[f"{kind} {end}"] for end in ("used", "told", "fault")}
            for kind in SHARES
        },
    }


def steps(arguments: argparse.Namespace, scratch: Path) -> Row:
    """Row of the soak."""
    (result,) = _in_processes(1, lambda _: soak(arguments.steps, scratch / "soak"))
    slopes, seconds = result
    limits = most_growth(arguments.steps)
    faults = [f"{k} grows by {slopes[k]:.4g}" for k, most in limits.items() if slopes[k] > most]
    return {
        "what": "steps of a soak",
        "count": arguments.steps,
        "faults": faults,
        "growth_per_1000_steps": slopes,
        "seconds_per_step": seconds,
    }


def _by_workers(arguments: argparse.Namespace, work: Callable[[int], Any]) -> list[Any]:
    return _in_processes(arguments.workers, work)


def _in_processes(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Results of a function of the number of each forked process."""
    context = multiprocessing.get_context("fork")
    ends = []
    for number in range(count):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=lambda n=number, end=send: end.send(work(n)))
        process.start()
        send.close()
        ends.append((process, receive))
    found = [receive.recv() for _, receive in ends]
    for process, _ in ends:
        process.join()
    return found


def _tell(line: str, faults: Sequence[str]) -> None:
    sys.stderr.write("".join(f"{each}\n" for each in (line, *(f"  FAULT {f}" for f in faults))))
    sys.stderr.flush()


def main() -> int:
    """Run the parts that have a count; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="campaigns", description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--games", type=int, default=None, help="only so many games are killed")
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("campaign.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    import_all()
    assert len([*Path("/proc/self/task").iterdir()]) == 1, (
        "children are forked from a single thread"
    )
    rows = []
    scratch = Path(tempfile.mkdtemp(prefix="campaign-"))
    for name, part in (("kills", kills), ("inputs", inputs), ("steps", steps)):
        if getattr(arguments, name):
            begun, place = time.monotonic(), scratch / name
            place.mkdir()
            row = part(arguments, place)
            rows.append({**row, "seconds": round(time.monotonic() - begun, 1)})
    machine = f"{os.cpu_count()} cores, {platform.platform()}, torch {torch.__version__}"
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    content = {"date": when, "machine": machine, "seed": arguments.seed, "parts": rows}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    lines = [f"{'what':<20}{'count':>10}{'failures':>10}{'seconds':>10}"]
    lines += [
        f"{row['what']:<20}{row['count']:>10,}{len(row['faults']):>10,}{row['seconds']:>10,.0f}"
        for row in rows
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
