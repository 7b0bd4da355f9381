"""What `sparring plan` predicts beside what the runs then take: peak memory of the process, and the
time of an epoch.

    python benchmarks/plan_accuracy.py --data PATH [--json plan_accuracy.json]
        [--only simclr adco ...] [--images 5000] [--width 0.25]

Per method a plan and two epochs of a real run, one process at a time, with one thread; every run is
`sparring train` with its scores at the end. Memory is the largest resident memory that the system
reports of the process. Time is that of the second epoch, from its first record to the end of the
run's last step, with the first epoch's look of the monitor in it; CPU time of a step, which other
programs disturb less, is told beside it: of the whole process less a run of a single step, per
step.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NAMES = ("simclr", "mocov2", "adco", "simclr+perturbation")
BATCH, SIZE, EPOCHS = 256, 32, 2


def command(verb: str, name: str, arguments: argparse.Namespace, *more: str) -> list[str]:
    """A command line that plans or makes the run of a method."""
    method, *opponents = name.split("+")
    options = [f"--opponent={opponent}" for opponent in opponents]
    sets = [
        f"--set=data.limit={arguments.images}",
        f"--set=encoder.width={arguments.width}",
        "--set=training.log_steps=1",
    ]
    shape = [f"--epochs={EPOCHS}", f"--batch-size={BATCH}", f"--image-size={SIZE}", "--device=cpu"]
    return [
        sys.executable,
        "-m",
        "sparring",
        verb,
        f"--data={arguments.data}",
        f"--method={method}",
        *options,
        *shape,
        *sets,
        *more,
    ]


def started(call: list[str]) -> tuple[str, Any]:
    """What a command prints, and what the system says that its process took."""
    process = subprocess.Popen(
        call, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(call)} ended with {process.returncode}")
    return said, usage


def run_of(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Memory and times of a real run."""
    with tempfile.TemporaryDirectory() as folder:
        _, usage = started(command("train", name, arguments, f"--out={folder}/run"))
        records = [
            json.loads(line)
            for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()
        ]
        _, trial = started(
            command("train", name, arguments, f"--out={folder}/trial", "--max-steps=1")
        )
    half = len(records) // EPOCHS
    cpu = [part.ru_utime + part.ru_stime for part in (usage, trial)]
    looks = EPOCHS - 1  # the trial has one, too
    return {
        "peak_bytes": 1024 * usage.ru_maxrss,
        "epoch_seconds": records[-1]["seconds"] - records[half - 1]["seconds"],
        "cpu_seconds_per_step_with_looks": (cpu[0] - cpu[1]) / (len(records) - 1),
        "looks_between": looks,
        "steps_between": len(records) - 1,
    }


def plan_of(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """The prediction."""
    said, _ = started(command("plan", name, arguments, "--exact", "--json"))
    row = json.loads(said)["rows"][0]
    return {
        "peak_bytes": row["peak_bytes"],
        "epoch_seconds": row["duration"]["epoch"],
        "cpu_seconds_per_step": row["cpu_seconds"],
        "cpu_monitor_seconds": row["cpu_monitor_seconds"],
    }


def compared(name: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Predicted, actual and ratio of each measure."""
    plan, run = plan_of(name, arguments), run_of(name, arguments)
    looks = plan["cpu_monitor_seconds"] * run["looks_between"] / run["steps_between"]
    pairs = {
        "memory": (plan["peak_bytes"] / 2**20, run["peak_bytes"] / 2**20),
        "epoch": (plan["epoch_seconds"], run["epoch_seconds"]),
        "cpu": (plan["cpu_seconds_per_step"] + looks, run["cpu_seconds_per_step_with_looks"]),
    }
    return {
        key: {"predicted": left, "actual": right, "ratio": left / right}
        for key, (left, right) in pairs.items()
    }


def main() -> None:
    """Compare, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--width", type=float, default=0.25)
    arguments = parser.parse_args()
    titles = {"memory": "peak memory, MiB", "epoch": "epoch, s", "cpu": "CPU time of a step, s"}
    print(
        f"{'':22}"
        + "".join(f"{title:>30}" for title in titles.values())
        + "   (predicted, actual, ratio)"
    )
    found = {}
    for name in arguments.only:
        found[name] = compared(name, arguments)
        cells = [
            f"{p['predicted']:10.4g} {p['actual']:10.4g} {p['ratio']:8.2f}"
            for p in found[name].values()
        ]
        print(f"{name:22}" + "".join(f"{cell:>30}" for cell in cells), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
