"""Text of a plan: a table with a row per method, and notes on how to read it."""

from collections.abc import Sequence

from sparring.planning.resource_plan import CONTEXT_BYTES, MethodPlan, ResourcePlan
from sparring.training.memory_model import MARGIN
from sparring.training.opponent_pretraining import lasting

EXACT_STEPS = 14
"""Steps of the planned batch that take about as long as an exact plan, its smaller batch and the
passes of the monitor included."""
BUSY_SHARE = 0.8
"""Share of a step's wall time below which a process counts as waiting. The cause may be gone during
the run, and the predicted time with it."""


def plan_lines(plan: ResourcePlan) -> list[str]:
    """Lines that `sparring plan` prints."""
    head = (
        f"{plan.images:,} images of {plan.image_size} x {plan.image_size} px, batch "
        f"{plan.batch_size:,}: "
        f"{plan.steps_per_epoch:,} step{'s' * (plan.steps_per_epoch > 1)} per epoch, "
        f"{plan.num_steps:,} steps in "
        f"{plan.epochs:,} epoch{'s' * (plan.epochs > 1)}"
    )
    table = _estimates(plan) if plan.is_estimate else _predictions(plan)
    misfits = [_does_not_fit(plan, row) for row in plan.rows if not plan.fits(row)]
    return [
        head,
        "",
        *table,
        "",
        *misfits,
        *(_notes_on_estimate(plan) if plan.is_estimate else _notes(plan)),
    ]


def _predictions(plan: ResourcePlan) -> list[str]:
    rows: list[Sequence[str]] = [("", "step", "epoch", "whole run", "peak memory", "largest batch")]
    for row in plan.rows:
        assert row.duration is not None
        shown = _roughly if row.step_range is not None else duration_text
        lasting = row.duration
        times = (shown(seconds) for seconds in (lasting.step, lasting.epoch, lasting.whole))
        rows.append((row.name, *times, size_text(row.peak_bytes), _largest(plan, row)))
    return aligned_table(rows)


def _roughly(seconds: float) -> str:
    """Duration as text, marked as rough, its seconds with two significant digits."""
    text = _two_digits(seconds)
    return text if text.startswith("about") else f"about {text}"


def _two_digits(seconds: float) -> str:
    return duration_text(float(f"{seconds:.2g}"))


def _estimates(plan: ResourcePlan) -> list[str]:
    rows: list[Sequence[str]] = [
        ("", "weights", "optimisers", "step", "peak memory", "largest batch")
    ]
    for row in plan.rows:
        step = row.peak_bytes - row.weight_bytes - row.optimizer_bytes - CONTEXT_BYTES
        parts = (
            size_text(part)
            for part in (row.weight_bytes, row.optimizer_bytes, step, row.peak_bytes)
        )
        rows.append((row.name, *parts, _largest(plan, row)))
    return aligned_table(rows)


def _largest(plan: ResourcePlan, row: MethodPlan) -> str:
    if row.largest_batch == plan.images:
        return f"all {plan.images:,}"
    return f"{row.largest_batch:,}" if row.largest_batch else "none"


def _does_not_fit(plan: ResourcePlan, row: MethodPlan) -> str:
    """One line that says that the run does not fit, and what would fit."""
    ways = [f"a batch of {row.largest_batch:,}"] if row.largest_batch else []
    if 8 <= row.largest_image_size < plan.image_size:
        ways.append(f"images of about {row.largest_image_size} px")
    would = (
        f"{' or '.join(ways)} would fit"
        if ways
        else "no batch would; use a smaller backbone, or a narrower one (encoder.width)"
    )
    needs = size_text(row.peak_bytes - row.store_bytes)
    return (
        f"{row.name} does not fit: it needs {needs} plus a margin of {MARGIN - 1:.0%}, and "
        f"{size_text(plan.room_bytes)} are available; {would}"
    )


def _notes(plan: ResourcePlan) -> list[str]:
    lines = [
        f"measured on {plan.device}, {size_text(plan.room_bytes)} free; the largest batch leaves a "
        f"margin of {MARGIN - 1:.0%}"
        + (", the accuracy of these predictions" if not plan.is_rough else ""),
        "epoch and whole run include monitor passes and checkpoints, but not the final scores",
    ]
    if plan.is_compiled:
        lines.append(
            "the run compiles its networks, and these steps did not; --exact does"
            if plan.is_rough
            else "steps ran compiled, as in the run; the time of compiling is not included"
        )
    for row in plan.rows:
        lines += _notes_on_time(plan, row)
        if plan.is_rough:
            lines.append(_note_on_roughness(plan, row))
        elif row.measured_batches[-1] != plan.batch_size:
            lines.append(
                f"{row.name}: from steps of {_joined_numbers(row.measured_batches)} images, as the "
                "planned batch may not fit"
            )
        if 20 * row.store_bytes > row.peak_bytes:
            lines.append(
                f"{row.name}: {size_text(row.store_bytes)} of its peak are decoded images, which "
                "the system drops when memory is short"
            )
    return [*lines, *_cache_note(plan)]


def _note_on_roughness(plan: ResourcePlan, row: MethodPlan) -> str:
    """What a rough plan measured, how far it may be off, and what a better one takes."""
    assert row.duration is not None
    assert row.step_range is not None
    low, high = row.step_range
    memory = (
        "memory is at most what is shown"
        if len(row.measured_batches) == 1
        else "memory may be off by a third"
    )
    measured = _joined_numbers(row.measured_batches)
    exact = _two_digits(EXACT_STEPS * row.duration.step)
    return (
        f"{row.name} is rough: from steps of {measured} images a step takes "
        f"{_two_digits(low)} to {_two_digits(high)}, and {memory}; --exact runs "
        f"{plan.batch_size:,}, in roughly {exact} and the time of decoding all images"
    )


def _notes_on_time(plan: ResourcePlan, row: MethodPlan) -> list[str]:
    assert row.duration is not None
    assert row.cpu_seconds is not None
    lines, share = [], row.cpu_seconds / row.duration.step
    if row.duration.opponent_pretraining:
        lines.append(
            f"{row.name} pretrains its opponent first: "
            f"{duration_text(row.duration.opponent_pretraining)} of the whole run, once for these "
            "images"
        )
    if plan.device.startswith("cpu") and share < BUSY_SHARE:
        lines.append(
            f"{row.name} computed only {share:.0%} of the time: other programs, or reading "
            "files, took the rest"
        )
    return lines


def _notes_on_estimate(plan: ResourcePlan) -> list[str]:
    batches = _joined_numbers(plan.rows[0].measured_batches)
    return [
        f"estimate for a CUDA device of {size_text(plan.room_bytes)}: no such device is present, "
        "so no times",
        f"tensors of steps with {batches} images were counted on the CPU ({plan.precision}), "
        "and extrapolated linearly; "
        f"{size_text(CONTEXT_BYTES)} are assumed for the CUDA context",
        "not counted: workspaces of convolutions, fragmentation, monitor passes, and what grows "
        f"faster than the batch; the largest batch leaves {MARGIN - 1:.0%} for them",
        *_cache_note(plan),
    ]


def _cache_note(plan: ResourcePlan) -> list[str]:
    return (
        [f"decoded images are kept for the runs in {plan.cache}; nothing else is left behind"]
        if plan.cache
        else []
    )


def _joined_numbers(numbers: Sequence[int]) -> str:
    return " and ".join(f"{number:,}" for number in numbers)


def aligned_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column is left-aligned, the others right-aligned.

    Example:
        >>> aligned_table([("", "step"), ("simclr", "2 s")])
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


def duration_text(seconds: float) -> str:
    """Duration in words; below two minutes in seconds with three significant digits.

    Example:
        >>> [duration_text(seconds) for seconds in (0.01234, 1.234, 75, 600)]
        ['0.0123 s', '1.23 s', '75 s', '10 minutes']
    """
    return f"{seconds:.3g} s" if seconds < 120 else lasting(seconds)


def size_text(num_bytes: float) -> str:
    """Number of bytes in GiB, or in MiB below one GiB.

    Example:
        >>> [size_text(num_bytes) for num_bytes in (2**20, 1.5 * 2**30, 24 * 2**30)]
        ['1 MiB', '1.5 GiB', '24.0 GiB']
    """
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"
