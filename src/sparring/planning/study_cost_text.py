"""Text of a study's cost: a table with a row per arm, and what the whole takes."""

from collections.abc import Mapping, Sequence

from sparring.planning.plan_text import aligned_table, duration_text, size_text
from sparring.planning.study_cost import ArmCost, StudyCost
from sparring.studies.records import RunName
from sparring.training.memory_model import MARGIN
from sparring.wording import counted


def cost_lines(cost: StudyCost) -> list[str]:
    """Lines that are shown before a study starts."""
    return [
        *_table(cost),
        "",
        _time(cost),
        _disk(cost),
        *_memory(cost),
        *_cores(cost),
        *_notes(cost),
    ]


def what_is_left(cost: StudyCost) -> str:
    """One line about a study that goes on."""
    done = f"{cost.finished:,} of {cost.finished + cost.runs:,} runs are finished"
    if not cost.runs:
        return done
    if not cost.seconds:
        return f"{done}; {counted(cost.runs, 'run')} left"
    return f"{done}; {counted(cost.runs, 'run')} left: {_span(cost)}"


def rest_line(cost: StudyCost, left: Mapping[RunName, float], *, limit_seconds: float) -> str:
    """One line about a study whose command has used up its time.

    Args:
        cost: of what is left.
        left: seconds of each run that is left, by itself; 0: not known.
        limit_seconds: time of such a command.
    """
    line = what_is_left(cost)
    if cost.seconds and not all(left.values()):
        line += ", and those of which nothing is known"
    long = {name.arm: seconds for name, seconds in left.items() if seconds > limit_seconds}
    if long:
        arm = max(long, key=lambda one: long[one])
        line += f"; a run of {arm} takes {_roughly(long[arm])}, which needs more minutes"
    return line


def _table(cost: StudyCost) -> list[str]:
    rows: list[Sequence[str]] = [("", "step", "training", "scores", "peak memory", "run folder")]
    for arm in cost.arms:
        shown = _roughly if arm.is_rough else duration_text
        rows.append(
            (
                arm.arm,
                shown(arm.step_seconds),
                shown(arm.training_seconds),
                _roughly(arm.scoring_seconds) if arm.scoring_seconds else "-",
                size_text(arm.peak_bytes) if arm.peak_bytes else "-",
                size_text(arm.disk_bytes) if arm.disk_bytes else "-",
            )
        )
    return aligned_table(rows)


def _time(cost: StudyCost) -> str:
    done = f" ({cost.finished:,} more are finished)" if cost.finished else ""
    on = "one worker" if cost.workers.count == 1 else f"{cost.workers.count:,} workers"
    return f"{counted(cost.runs, 'run')}{done} on {on}: {_span(cost)}"


def _span(cost: StudyCost) -> str:
    whole = _roughly(cost.seconds)
    if cost.first_runs == cost.runs:
        return whole
    return (
        f"{_roughly(cost.first_seconds)} up to the first look "
        f"({counted(cost.first_runs, 'run')}), {whole} if it does not stop early"
    )


def _disk(cost: StudyCost) -> str:
    line = f"disk: at most {size_text(cost.disk_bytes)}"
    if cost.free_disk_bytes is None:
        return line
    line += f", {size_text(cost.free_disk_bytes)} free"
    if cost.disk_bytes > cost.free_disk_bytes:
        return f"warning: {line}; free some space, or choose an --out on another disk"
    return line


def _memory(cost: StudyCost) -> list[str]:
    measured = [one for one in cost.arms if one.peak_bytes]
    if not measured:
        return []
    peak = max(one.peak_bytes for one in measured)
    if cost.fitting_workers is None:
        return [f"memory: each worker needs {size_text(peak)}; that of its machine is not known"]
    room = size_text(min(one.room_bytes for one in measured))
    fits = counted(cost.fitting_workers, "such run")
    verb = "fits" if cost.fitting_workers == 1 else "fit"
    line = (
        f"memory: a run needs up to {size_text(peak)}, {room} are free; {fits} {verb} at the same "
        f"time, with a margin of {MARGIN - 1:.0%}"
    )
    if cost.workers.count <= cost.fitting_workers:
        return [line]
    advice = (
        f"give --workers {cost.fitting_workers}"
        if cost.fitting_workers
        else "take a smaller batch, image or network"
    )
    return [f"warning: {line}, and there are {cost.workers.count:,} workers; {advice}"]


def _cores(cost: StudyCost) -> list[str]:
    wanted, cores = cost.workers.count * cost.threads, cost.workers.num_cores
    on_cpu = not any(one.device.startswith(("cuda", "mps")) for one in cost.arms)
    if not (cost.workers.are_here and on_cpu and wanted > cores):
        return []
    return [
        f"warning: {counted(cost.workers.count, 'worker')} with "
        f"{counted(cost.threads, 'thread')} each share {counted(cores, 'core')}, so runs take "
        "longer than shown"
    ]


def _notes(cost: StudyCost) -> list[str]:
    lines = [_stand_in(one) for one in cost.arms if one.measured_as not in ("", one.arm)]
    if any(not one.measured_as for one in cost.arms):
        names = ", ".join(one.arm for one in cost.arms if not one.measured_as)
        lines.append(f"{names}: by the finished runs")
    if any(one.is_rough for one in cost.arms):
        lines.append("times are rough: from steps of smaller batches, half a minute per method")
    if not cost.workers.are_here:
        lines.append("steps were measured on this machine; other machines take another time")
    further = f", and {' and '.join(cost.unknown)} train on top" if cost.unknown else ""
    lines.append(
        "scores: the time to pass all images through two encoders; what protocols compute on "
        f"features is not counted{further}; nor is the start of a process, a few seconds"
    )
    return [*lines, *cost.notes]


def _stand_in(arm: ArmCost) -> str:
    return f"{arm.arm}: taken as {arm.measured_as}, whose steps were measured"


def _roughly(seconds: float) -> str:
    text = duration_text(float(f"{seconds:.2g}"))
    return text if text.startswith("about") else f"about {text}"
