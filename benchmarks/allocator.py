"""What keeping freed memory is worth: our training step with it, and with the C library's own
habits.

    python benchmarks/allocator.py [--json allocator.json] [--rounds 5] [--width 0.25 0.125]

SimCLR's step on ready views, batch 256, 32 pixels, one thread, CPU time; two processes take turns.
Peak memory beside it.
"""

from side_by_side import OURS, Worker, arguments, compared, in_words, take_turns, write_json

BATCH, BATCHES = 256, 4


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--width", type=float, nargs="+", default=[0.25, 0.125])
    options = parser.parse_args()
    found = {}
    for width in options.width:
        numbers = (str(width), str(BATCHES), str(BATCH), "1")
        forms = {"kept": "bare", "handed back": "bare-default-allocator"}
        workers = {
            name: Worker(OURS, "our_loop.py", *numbers, form, environment={"OMP_NUM_THREADS": "1"})
            for name, form in forms.items()
        }
        turns = take_turns(
            {name: worker.per_cpu_second("images") for name, worker in workers.items()},
            rounds=options.rounds,
        )
        rows = compared(turns, "handed back")
        print(f"width {width}: images per CPU second, and of the other's")
        for name, row in rows.items():
            peak = workers[name].last["peak"] / 1e9
            print(
                f"  {name:12} {in_words(row, '5.0f'):24} {in_words(row['ratio']):22} {peak:.2f} GB"
            )
            workers[name].close()
        found[str(width)] = rows
    write_json(options.json, found)


if __name__ == "__main__":
    main()
