"""A plan in words: a table with a row per method, and what must be known to read it."""

from collections.abc import Sequence

from sparring.planning.outcome import CONTEXT_BYTES, Plan, Row
from sparring.planning.prediction import MARGIN
from sparring.training.opponent_pretraining import lasting

BUSY_SHARE = 0.8
"""A process that computes in less of a step's time waits for something: what that is may be gone
during the run, and the time with it."""


def lines_of(plan: Plan) -> list[str]:
    """The lines that `sparring plan` prints."""
    head = (
        f"{plan.images:,} images of {plan.image_size} x {plan.image_size} px, batch "
        f"{plan.batch_size:,}: "
        f"{plan.steps_per_epoch:,} steps per epoch, {plan.num_steps:,} steps in "
        f"{plan.epochs:,} epoch{'s' * (plan.epochs > 1)}"
    )
    table = _estimates(plan) if plan.is_estimate else _predictions(plan)
    misfits = [_misfit(plan, row) for row in plan.rows if not plan.fits(row)]
    return [
        head,
        "",
        *table,
        "",
        *misfits,
        *(_notes_on_estimate(plan) if plan.is_estimate else _notes(plan)),
    ]


def _predictions(plan: Plan) -> list[str]:
    rows: list[Sequence[str]] = [("", "step", "epoch", "whole run", "peak memory", "largest batch")]
    for row in plan.rows:
        assert row.duration is not None
        times = (
            moment(seconds)
            for seconds in (row.duration.step, row.duration.epoch, row.duration.whole)
        )
        rows.append((row.name, *times, size(row.peak_bytes), _largest(plan, row)))
    return aligned(rows)


def _estimates(plan: Plan) -> list[str]:
    rows: list[Sequence[str]] = [
        ("", "weights", "optimisers", "step", "peak memory", "largest batch")
    ]
    for row in plan.rows:
        step = row.peak_bytes - row.weight_bytes - row.optimizer_bytes - CONTEXT_BYTES
        parts = (
            size(part) for part in (row.weight_bytes, row.optimizer_bytes, step, row.peak_bytes)
        )
        rows.append((row.name, *parts, _largest(plan, row)))
    return aligned(rows)


def _largest(plan: Plan, row: Row) -> str:
    if row.largest_batch == plan.images:
        return f"all {plan.images:,}"
    return f"{row.largest_batch:,}" if row.largest_batch else "none"


def _misfit(plan: Plan, row: Row) -> str:
    """One line: that the run does not fit, and what would."""
    ways = [f"a batch of {row.largest_batch:,}"] if row.largest_batch else []
    if 8 <= row.largest_image_size < plan.image_size:
        ways.append(f"images of about {row.largest_image_size} px")
    would = (
        f"{' or '.join(ways)} would fit"
        if ways
        else "no batch would; take a smaller backbone, or a narrower one (encoder.width)"
    )
    needs = size(row.peak_bytes - row.store_bytes)
    return (
        f"{row.name} does not fit: it needs {needs} and {MARGIN - 1:.0%} of margin, there are "
        f"{size(plan.room_bytes)}; {would}"
    )


def _notes(plan: Plan) -> list[str]:
    lines = [
        f"measured on {plan.device}, {size(plan.room_bytes)} free; the largest batch leaves a "
        f"margin of {MARGIN - 1:.0%}, "
        "the accuracy of these predictions",
        "epoch and whole run include looks of the monitor and checkpoints, not the scores at "
        "the end",
    ]
    for row in plan.rows:
        lines += _notes_on_time(plan, row)
        if row.measured_batches[-1] != plan.batch_size:
            lines.append(
                f"{row.name}: from steps of {_joined(row.measured_batches)} images, as the "
                "planned batch may not fit"
            )
        if 20 * row.store_bytes > row.peak_bytes:
            lines.append(
                f"{row.name}: {size(row.store_bytes)} of its peak are decoded images, which "
                "give way where memory is short"
            )
    return [*lines, *_kept(plan)]


def _notes_on_time(plan: Plan, row: Row) -> list[str]:
    assert row.duration is not None
    assert row.cpu_seconds is not None
    lines, share = [], row.cpu_seconds / row.duration.step
    if row.duration.pretraining:
        lines.append(
            f"{row.name} learns the images first: {moment(row.duration.pretraining)} of the "
            "whole run, once for these images"
        )
    if plan.device.startswith("cpu") and share < BUSY_SHARE:
        lines.append(
            f"{row.name} computed in {share:.0%} of the time only: other programs, or reading "
            "files, took the rest"
        )
    return lines


def _notes_on_estimate(plan: Plan) -> list[str]:
    batches = _joined(plan.rows[0].measured_batches)
    return [
        f"estimate for a CUDA device of {size(plan.room_bytes)}: no such device was at hand, "
        "nothing was timed",
        f"tensors of steps with {batches} images were counted on the CPU ({plan.precision}), "
        "and a straight line was drawn through them; "
        f"{size(CONTEXT_BYTES)} are assumed for the CUDA context",
        "not counted: workspaces of convolutions, fragments, looks of the monitor, and what "
        "grows faster than the batch; "
        f"the largest batch leaves {MARGIN - 1:.0%} for them",
        *_kept(plan),
    ]


def _kept(plan: Plan) -> list[str]:
    return (
        [f"decoded images are kept for the runs in {plan.cache}; nothing else is left behind"]
        if plan.cache
        else []
    )


def _joined(numbers: Sequence[int]) -> str:
    return " and ".join(f"{number:,}" for number in numbers)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first column stands to the left, the others to the right.

    Example:
        >>> aligned([("", "step"), ("simclr", "2 s")])
        ['        step', 'simclr   2 s']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def moment(seconds: float) -> str:
    """A time, short ones with three digits.

    Example:
        >>> [moment(seconds) for seconds in (0.01234, 1.234, 75, 600)]
        ['0.0123 s', '1.23 s', '75 s', '10 minutes']
    """
    return f"{seconds:.3g} s" if seconds < 120 else lasting(seconds)


def size(num_bytes: float) -> str:
    """Bytes in GiB, or in MiB below one.

    Example:
        >>> [size(num_bytes) for num_bytes in (2**20, 1.5 * 2**30, 24 * 2**30)]
        ['1 MiB', '1.5 GiB', '24.0 GiB']
    """
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"
