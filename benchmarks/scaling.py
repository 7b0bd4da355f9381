"""Does the cost of a step depend on how many images there are: images per second and memory from
1,000 to 1,000,000.

    python benchmarks/scaling.py [--json scaling.json] [--rounds 5] [--images 1000 30000 1000000]

The whole loop of SimCLR at width 0.125, 32 pixels, batch 256, one thread, CPU time, on files of
decoded images as a store has them; the larger sets repeat the smallest. Held memory is what no file
stands for: pages of the mapped store give way where memory is short.
"""

import tempfile
from pathlib import Path

from entrants.pictures import small
from side_by_side import OURS, Worker, arguments, compared, in_words, take_turns, write_json

BATCH, BATCHES, WIDTH, BLOCK = 256, 12, 0.125, 1000


def write_store(path: Path, number: int) -> None:
    """A file of that many decoded images."""
    block = small(BLOCK).transpose(0, 3, 1, 2).tobytes()
    with path.open("wb") as file:
        for _ in range(number // BLOCK):
            file.write(block)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 30_000, 1_000_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        workers = {}
        for number in options.images:
            file = Path(place, str(number))
            write_store(file, number)
            given = (str(WIDTH), str(BATCHES), str(BATCH), "1", "store", str(file))
            workers[f"{number:,} images"] = Worker(
                OURS, "our_loop.py", *given, environment={"OMP_NUM_THREADS": "1"}
            )
        turns = take_turns(
            {name: worker.per_cpu_second("images") for name, worker in workers.items()},
            rounds=options.rounds,
        )
        rows = compared(turns, next(iter(workers)))
        for name, row in rows.items():
            row["held"] = float(workers[name].last["held"])
            print(
                f"{name:18} {in_words(row, '4.0f'):22} {in_words(row['ratio']):20} "
                f"{row['held'] / 1e9:.2f} GB held"
            )
            workers[name].close()
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
