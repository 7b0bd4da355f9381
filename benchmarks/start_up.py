"""How long a user waits: `sparring --help`, and the first training step on a store of 50,000 images that exists.

    python benchmarks/start_up.py [--json start_up.json] [--rounds 5] [--images 50000]

--help: CPU time of the process. First step: seconds of the clock from the moment at which torch is imported, in a process of its own, for a
folder of PNG files of 32 x 32 pixels; SimCLR, ResNet-18 at width 0.125, batch 256, 2 threads. The store is made before, outside the figure.
Imports: of `sparring.api` after torch, with the garbage collector left out as the command line does, and with it, in turns.
"""

import json
import resource
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from contest import HERE, OURS, arguments, in_words, ratio, spread, take_turns, write_json
from folder_loop import write_pictures


def help_seconds() -> float:
    """CPU time of one `sparring --help`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([OURS.parent / "sparring", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def import_seconds(*, is_quick: bool) -> float:
    """Seconds of the clock in which a new process that has torch imports `sparring.api`."""
    how = "with quick_imports():\n    from sparring import api" if is_quick else "from sparring import api"
    before = "import time, torch\nfrom sparring.starting import quick_imports\nstart = time.perf_counter()"
    program = f"{before}\n{how}\nprint(time.perf_counter() - start)"
    return float(subprocess.run([OURS, "-c", program], check=True, capture_output=True, text=True).stdout)


def first_step(folder: Path, cache: Path) -> dict[str, float]:
    """What one process says of its start."""
    script = HERE / "contestants" / "first_step.py"
    done = subprocess.run([OURS, script, folder, cache], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    options = parser.parse_args()
    found = {"help, CPU seconds": spread([help_seconds() for _ in range(options.rounds + 1)][1:])}
    ways = {"with the collector": partial(import_seconds, is_quick=False), "without it": partial(import_seconds, is_quick=True)}
    imports = take_turns(ways, rounds=options.rounds)
    found |= {f"imports {name}": spread(figures) for name, figures in imports.items()}
    found["imports, ratio"] = ratio(imports, "without it", "with the collector")
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place, "images"), Path(place, "cache")
        folder.mkdir()
        write_pictures(folder, options.images)
        turns = [first_step(folder, cache) for _ in range(options.rounds + 1)][1:]  # the first one makes the store
    found |= {f"{name}, seconds": spread([turn[name] for turn in turns]) for name in turns[0]}
    for name, row in found.items():
        print(f"{name:26} {in_words(row)}")
    write_json(options.json, found)


if __name__ == "__main__":
    main()
