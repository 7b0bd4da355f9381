"""What it costs to let PyTorch's threads wait awake for each other, alone and beside other
programs.

    python benchmarks/openmp_spin.py [--json openmp_spin.json] [--rounds 5] [--width 0.125]

SimCLR's step on ready views, batch 256, 32 pixels, two threads, wall time; a process for each
GOMP_SPINCOUNT, which take turns: alone, beside one program that wants a core, and beside as many as
there are cores. 300,000 is GNU's default, 1,000 what it takes where it knows that cores are wanted;
5,000 is ours (`sparring.acceleration.thread_waiting`).
"""

import os
import subprocess
import sys

from side_by_side import OURS, Worker, arguments, compared, in_words, take_turns, write_json
from sparring.acceleration.thread_waiting import SPINS as OUR_SPINS

SPINS = ("1000", OUR_SPINS, "20000", "300000")
BATCHES, BATCH, THREADS = "4", "256", "2"


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--width", type=float, default=0.125)
    options = parser.parse_args()
    numbers = (str(options.width), BATCHES, BATCH, THREADS, "bare")
    workers = {
        spin: Worker(OURS, "our_loop.py", *numbers, environment={"GOMP_SPINCOUNT": spin})
        for spin in SPINS
    }
    entrants = {spin: worker.per_second("images") for spin, worker in workers.items()}
    found = {}
    for num_others in (0, 1, os.cpu_count() or 1):
        others = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(num_others)
        ]
        try:
            rows = compared(take_turns(entrants, rounds=options.rounds), SPINS[0])
        finally:
            for other in others:
                other.kill()
                other.wait()
        found[f"beside {num_others}"] = rows
        print(f"beside {num_others} busy programs: images/s, and of those at {SPINS[0]}")
        for spin, row in rows.items():
            print(f"  {spin:>7} {in_words(row, '4.0f'):24} {in_words(row['ratio'])}")
    for worker in workers.values():
        worker.close()
    write_json(options.json, found)


if __name__ == "__main__":
    main()
