"""How long a user waits: `sparring --help`, and the first training step on a store of 50,000 images
that exists.

    python benchmarks/start_up.py [--json start_up.json] [--rounds 5] [--images 50000]

--help: CPU time of the process. First step: seconds of the clock from the moment at which torch is
imported, in a process of its own, for a folder of PNG files of 32 x 32 pixels; SimCLR, ResNet-18 at
width 0.125, batch 256, 2 threads. The store is made before, outside the figure. Imports: CPU time
of a process that imports `sparring.api`, PyTorch included, with fast paths and without, in turns,
with the memory of the process afterwards.
"""

import json
import os
import resource
import subprocess
import tempfile
from pathlib import Path

from folder_loop import write_pictures
from side_by_side import HERE, OURS, arguments, in_words, ratio, spread, write_json


def help_seconds() -> float:
    """CPU time of one `sparring --help`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([OURS.parent / "sparring", "--help"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


IMPORTS = {"imports": "on", "imports, collecting": "off"}
"""Whether fast paths are on, of which one pauses the search for garbage."""


def imported(switch: str) -> dict[str, float]:
    """CPU seconds in which a new process imports `sparring.api` as the command line does, and its
    memory then."""
    program = (
        "import time\nfrom side_by_side import memory_resident\nfrom sparring import api\n"
        "print(time.process_time(), memory_resident())"
    )
    environment = {**os.environ, "SPARRING_ACCELERATION": switch}
    done = subprocess.run(
        [OURS, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=HERE,
        env=environment,
    )
    seconds, memory = map(float, done.stdout.split())
    return {"seconds": seconds, "memory": memory}


def first_step(folder: Path, cache: Path) -> dict[str, float]:
    """What one process says of its start."""
    script = HERE / "entrants" / "first_step.py"
    done = subprocess.run([OURS, script, folder, cache], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    options = parser.parse_args()
    found = {"help, CPU seconds": spread([help_seconds() for _ in range(options.rounds + 1)][1:])}
    rounds = [
        {name: imported(switch) for name, switch in IMPORTS.items()}
        for _ in range(options.rounds + 1)
    ][1:]
    seconds = {name: [row[name]["seconds"] for row in rounds] for name in IMPORTS}
    for name, figures in seconds.items():
        found |= {
            f"{name}, CPU seconds": spread(figures),
            f"{name}, GB": spread([row[name]["memory"] / 1e9 for row in rounds]),
        }
        found |= {f"{name}, ratio": ratio(seconds, name, "imports")}
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place, "images"), Path(place, "cache")
        folder.mkdir()
        write_pictures(folder, options.images)
        turns = [first_step(folder, cache) for _ in range(options.rounds + 1)][
            1:
        ]  # the first one makes the store
    found["first step, seconds"] = spread([turn["first step"] for turn in turns])
    for name, row in found.items():
        print(f"{name:36} {in_words(row)}")
    write_json(options.json, found)


if __name__ == "__main__":
    main()
