"""The half-minute plan beside the exact one: seconds that each takes, and how far they are apart.

    python benchmarks/rough_plan.py --data FOLDER [--only simclr adco ...] [--exact-too]
        [--options=--image-size=32 --options=--batch-size=128]

One line per method: seconds and CPU seconds of the command; CPU seconds of the exact one; predicted
peak memory and CPU time of a step, each over the exact plan's; batches measured. One thread. Other
programs disturb CPU time less than time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

NAMES = ("simclr", "mocov2", "adco", "caco", "byol", "simclr+perturbation")


def planned(name: str, arguments: argparse.Namespace, *more: str) -> tuple[float, float, Any]:
    """Seconds and CPU seconds of the command, and its only row."""
    call = [sys.executable, "-m", "sparring", "plan", f"--data={arguments.data}", "--json", *more]
    named = "--recipe" if name in arguments.recipes else "--method"
    start, before = time.monotonic(), _cpu_seconds()
    done = subprocess.run(
        [*call, named, name, *arguments.options],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lasted = time.monotonic() - start
    return lasted, _cpu_seconds() - before, json.loads(done.stdout)["rows"][0]


def _cpu_seconds() -> float:
    """CPU seconds of all processes that have ended, theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--only", nargs="*", default=NAMES)
    parser.add_argument("--recipes", nargs="*", default=())
    parser.add_argument("--options", action="append", default=[])
    parser.add_argument("--exact-too", action="store_true")
    arguments = parser.parse_args()
    print(f"{'':24}{'seconds':>9}{'CPU s':>7}{'exact CPU s':>13}{'memory':>8}{'CPU':>6}  batches")
    for name in (*arguments.only, *arguments.recipes):
        seconds, cpu, rough = planned(name, arguments)
        line, cells = f"{name:24}{seconds:9.0f}{cpu:7.0f}", f"{'-':>13}{'-':>8}{'-':>6}"
        if arguments.exact_too:
            _, lasted, exact = planned(name, arguments, "--exact")
            ratios = [rough[key] / exact[key] for key in ("peak_bytes", "cpu_seconds")]
            cells = f"{lasted:13.0f}{ratios[0]:8.2f}{ratios[1]:6.2f}"
        print(f"{line}{cells}  {rough['measured_batches']}", flush=True)


if __name__ == "__main__":
    main()
