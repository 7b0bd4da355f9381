"""Images per second of the whole training loop: ours against lightly's documented SimCLR loop, and
against our bare training step.

    benchmarks/setup
    python benchmarks/whole_loop.py [--json whole_loop.json] [--rounds 5] [--width 0.25]
        [--batches 12] [--workers 0 1 2] [--forms apart]

ResNet-18 with the small stem, 32 x 32 pictures in memory, batch 256, 2 threads, wall time; the same
distribution of views. lightly runs with 0, 1 and 2 workers once, and then with the number that was
fastest. Ours in the same semantics of the batch norm (each view by itself) and as it is by default
(both views together). Peak memory is that of the trainer's process; lightly's workers are not
counted.
"""

from side_by_side import OURS, PEERS, Worker, arguments, compared, in_words, take_turns, write_json
from sparring.acceleration import thread_waiting

BATCH, THREADS = 256, 2


OURS_BY_FORM = {"apart": "ours, views apart", "together": "ours", "bare": "our bare step"}


def best_workers(width: float, batches: int, numbers: list[int]) -> tuple[Worker, dict[str, float]]:
    """lightly with the number of workers that was fastest, and what each number reached."""
    found, kept = {}, {}
    for number in numbers:
        worker = Worker(
            PEERS,
            "lightly_loop.py",
            str(width),
            str(number),
            str(batches),
            str(BATCH),
            str(THREADS),
        )
        rate = worker.per_second("images")
        rate()
        found[f"{number} workers"], kept[number] = rate(), worker
    best = max(kept, key=lambda number: found[f"{number} workers"])
    for number, worker in kept.items():
        if number != best:
            worker.close()
    return kept[best], found


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batches", type=int, default=12, help="of a turn")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="numbers of lightly's workers to try",
    )
    parser.add_argument(
        "--forms", nargs="+", choices=OURS_BY_FORM, default=list(OURS_BY_FORM), help="of ours"
    )
    options = parser.parse_args()
    lightly, tried = best_workers(options.width, options.batches, options.workers)
    print("lightly, images/s:", ", ".join(f"{name} {rate:.0f}" for name, rate in tried.items()))
    workers = {"lightly": lightly}
    for name, form in ((OURS_BY_FORM[form], form) for form in options.forms):
        numbers = (str(number) for number in (options.width, options.batches, BATCH, THREADS))
        waiting = {"GOMP_SPINCOUNT": thread_waiting.SPINS}
        workers[name] = Worker(OURS, "our_loop.py", *numbers, form, environment=waiting)
    turns = take_turns(
        {name: worker.per_second("images") for name, worker in workers.items()},
        rounds=options.rounds,
    )
    peaks = {name: float(worker.last["peak"]) for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    against_lightly, against_bare = compared(turns, "lightly"), compared(turns, list(workers)[-1])
    print(
        f"{'width ' + str(options.width):18} {'images/s':24} {'of lightly':22} "
        f"{'of the last':22} peak memory"
    )
    for name in turns:
        row = [
            in_words(against_lightly[name], "4.0f"),
            in_words(against_lightly[name]["ratio"]),
            in_words(against_bare[name]["ratio"]),
        ]
        print(f"{name:18} {row[0]:24} {row[1]:22} {row[2]:22} {peaks[name] / 1e9:.2f} GB")
    write_json(
        options.json,
        {
            "width": options.width,
            "workers": tried,
            "of lightly": against_lightly,
            "of bare": against_bare,
            "peak": peaks,
        },
    )


if __name__ == "__main__":
    main()
