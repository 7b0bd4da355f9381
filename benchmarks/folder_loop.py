"""Images per second of a run from a folder of images: ours against lightly-train's `simclr`.

    benchmarks/setup
    python benchmarks/folder_loop.py [--json folder_loop.json] [--rounds 5] [--width 0.25]
        [--images 2560] [--epochs 4]

PNG files of 32 x 32 pixels, ResNet-18 with the small stem, batch 256, 2 threads, wall time; both
share the batch norm between the views and have the same head and augmentation. Rates of the epochs
after the first, so that neither starting nor our store's making counts. lightly-train runs with 0,
1 and 2 workers once, and then with the number that was fastest.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from entrants.pictures import small
from side_by_side import OURS, PEERS, Worker, arguments, compared, in_words, take_turns, write_json
from sparring.acceleration import thread_waiting

BATCH, THREADS = 256, 2


def write_pictures(folder: Path, number: int) -> None:
    """PNG files."""
    for index, picture in enumerate(small(number)):
        Image.fromarray(picture).save(folder / f"{index:06}.png")


def steady(worker: Worker) -> Callable[[], float]:
    """Images per second after the first epoch."""

    def turn() -> float:
        """One run."""
        found = worker.turn()
        return float(found["images"] / found["steady"])

    return turn


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), options.images)
        tried = {}
        for number in ("0", "1", "2"):
            given = (
                str(options.width),
                number,
                str(options.epochs),
                str(BATCH),
                str(THREADS),
                folder,
            )
            worker = Worker(PEERS, "lightly_train_loop.py", *given)
            tried[number] = steady(worker)()
            worker.close()
        best = max(tried, key=lambda number: tried[number])
        print(
            "lightly-train, images/s:",
            ", ".join(f"{number} workers {rate:.0f}" for number, rate in tried.items()),
        )
        given = (str(options.width), best, str(options.epochs), str(BATCH), str(THREADS), folder)
        workers = {"lightly-train": Worker(PEERS, "lightly_train_loop.py", *given)}
        batches = options.images // BATCH * (options.epochs - 1)
        numbers = (str(options.width), str(batches), str(BATCH), str(THREADS), "folder", folder)
        workers["ours"] = Worker(
            OURS, "our_loop.py", *numbers, environment={"GOMP_SPINCOUNT": thread_waiting.SPINS}
        )
        entrants = {
            "lightly-train": steady(workers["lightly-train"]),
            "ours": workers["ours"].per_second("images"),
        }
        rows = compared(take_turns(entrants, rounds=options.rounds, warmup=1), "lightly-train")
        for name, row in rows.items():
            peak = workers[name].last["peak"] / 1e9
            print(f"{name:15} {in_words(row, '4.0f'):24} {in_words(row['ratio']):22} {peak:.2f} GB")
            workers[name].close()
    write_json(options.json, {"width": options.width, "workers": tried, "found": rows})


if __name__ == "__main__":
    main()
