"""Where a training step's time goes, read from a trace of PyTorch's profiler."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from sparring.step_parts import PREFIX

ROWS = {
    "waiting": "waiting for images",
    "views": "views",
    "forward": "forward",
    "backward": "backward",
    "optimiser": "optimiser",
    "opponents": "opponents' updates and attacks",
    "records": "records, looks of the monitor, checkpoints",
    "other": "loss, copies to the device, other",
    "ahead": "made ahead by other threads",
}
"""Parts of a step in words, in the order of the table."""
STEP, OPTIMIZER = "ProfilerStep#", "Optimizer.step#"
OWN_UPDATE, UPDATE, ATTACK = "update of encoder", "update of ", "attack"
WAITS = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy"}
"""Calls in which the host waits for a CUDA device."""
READ = "aten::_local_scalar_dense"
"""Operation by which the host reads one value of a tensor, and waits for it on a device."""
ON_DEVICE, LAUNCH = {"kernel", "gpu_memcpy", "gpu_memset"}, {"cuda_runtime", "cuda_driver"}

Event: TypeAlias = Mapping[str, Any]
Stretch: TypeAlias = tuple[float, float, str]
"""Start and end in microseconds, and the part of the step that the thread was in."""


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """Mean times of a step, and what made the host wait.

    Attributes:
        steps: number of profiled steps.
        step_ms: milliseconds of a step by the host's clock.
        host_ms: milliseconds of each part on the host; they add up to a step.
        device_ms: milliseconds of the device's work that each part launched; empty on a CPU.
        busy_ms: milliseconds of a step in which the device did anything; 0 on a CPU.
        waits: how often the host waited for the device in each part, over all steps; on a CPU, how
            often it read a single value, for which it would have waited.
    """

    steps: int
    step_ms: float
    host_ms: Mapping[str, float]
    device_ms: Mapping[str, float]
    busy_ms: float
    waits: Mapping[str, int]

    @classmethod
    def from_trace(cls, trace: Mapping[str, Any]) -> Self:
        """Times of the steps of a trace.

        Args:
            trace: content of a Chrome trace with at least one `ProfilerStep`.
        """
        events = [event for event in trace["traceEvents"] if event.get("ph") == "X"]
        own = [event for event in events if event.get("cat") in ("user_annotation", "cpu_op")]
        steps = [event for event in own if event["name"].startswith(STEP)]
        main, start = steps[0]["tid"], min(event["ts"] for event in steps)
        end = max(event["ts"] + event["dur"] for event in steps)
        named = [event for event in own if event["tid"] == main and _name(event)]
        stretches = list(_stretches(named, start, end))
        launches = _launches(events, stretches, own)
        host: defaultdict[str, float] = defaultdict(float)
        for begin, until, part in stretches:
            host[part] += (until - begin) / len(steps) / 1000
        device: defaultdict[str, float] = defaultdict(float)
        done = [event for event in events if _number(event) in launches and _is_done(event)]
        for event in done:
            device[launches[_number(event)]] += event["dur"] / len(steps) / 1000
        asked = WAITS if done else {READ}
        waits = Counter(
            _part_at(event["ts"], stretches)
            for event in events
            if event["name"] in asked and event["tid"] == main and start <= event["ts"] < end
        )
        return cls(
            steps=len(steps),
            step_ms=(end - start) / len(steps) / 1000,
            host_ms=host,
            device_ms=device,
            busy_ms=_union(done) / len(steps) / 1000,
            waits=waits,
        )

    def lines(self, *, batch: int) -> list[str]:
        """The table in words.

        Args:
            batch: images per step.
        """
        rate = 1000 * batch / self.step_ms
        device = f"{'device ms':>11}" if self.has_device else ""
        found = [
            f"where a step's time goes: mean of {self.steps} steps, {self.step_ms:.2f} ms each, "
            f"{rate:,.0f} images/s while profiled",
            f"{'part':44}{'host ms':>9}{'share':>9}{device}{self._waiting:>8}",
        ]
        for key, words in ROWS.items():
            times = self.host_ms.get(key, 0.0), self.device_ms.get(key, 0.0)
            if any(times):
                found.append(self._row(words, *times, self.waits.get(key, 0)))
        total = self._row("step", self.step_ms, self.busy_ms, sum(self.waits.values()))
        meaning = (
            "device ms: work launched by the part, for the step the time in which the device did "
            "anything; waits: how often the host waited for the device, per step"
            if self.has_device
            else "reads: how often the host read a single value, per step; on a GPU it would have "
            "waited for each"
        )
        return [*found, total, meaning]

    @property
    def has_device(self) -> bool:
        """Whether a device took part beside the host."""
        return self.busy_ms > 0

    @property
    def _waiting(self) -> str:
        return "waits" if self.has_device else "reads"

    def _row(self, words: str, host: float, device: float, waits: int) -> str:
        on_device = f"{device:11.2f}" if self.has_device else ""
        share = 100 * host / self.step_ms
        return f"{words:44}{host:9.2f}{share:7.1f} %{on_device}{waits / self.steps:8.1f}"


def _name(event: Event) -> str:
    """Name of the part that an event is, without the prefix; empty for others."""
    name = str(event["name"])
    if name.startswith(OPTIMIZER):
        return "optimiser"
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else ""


def _part(stack: Sequence[str]) -> str:
    """Part of the step for the names of all ranges that are open, the outermost first."""
    is_opponent = any(
        name == ATTACK or (name.startswith(UPDATE) and name != OWN_UPDATE) for name in stack
    )
    if is_opponent:
        return "opponents"
    inner = stack[-1] if stack else "other"
    return "backward" if inner == OWN_UPDATE else inner


def _stretches(named: Sequence[Event], start: float, end: float) -> Iterator[Stretch]:
    """Stretches of time from start to end without gaps, each with its part."""
    bounds = [(event["ts"], 1, -event["dur"], event) for event in named]
    bounds += [(event["ts"] + event["dur"], 0, event["dur"], event) for event in named]
    open_now: list[Event] = []
    before = start
    for time, is_start, _, event in sorted(bounds, key=lambda bound: bound[:3]):
        now = min(max(time, start), end)
        if now > before:
            yield before, now, _part([_name(each) for each in open_now])
            before = now
        if is_start:
            open_now.append(event)
        else:
            open_now = [each for each in open_now if each is not event]
    if end > before:
        yield before, end, "other"


def _part_at(time: float, stretches: Sequence[Stretch]) -> str:
    place = bisect_right(stretches, time, key=lambda stretch: stretch[0]) - 1
    return stretches[place][2]


def _launches(
    events: Sequence[Event], stretches: Sequence[Stretch], own: Sequence[Event]
) -> dict[object, str]:
    """Part in which each work of the device was launched, by its correlation number.

    Threads of which the profiler recorded operations work for the step, such as that of the
    backward pass; the others load batches ahead.
    """
    start, end, threads = stretches[0][0], stretches[-1][1], {event["tid"] for event in own}
    return {
        _number(event): _part_at(event["ts"], stretches) if event["tid"] in threads else "ahead"
        for event in events
        if event.get("cat") in LAUNCH and _number(event) and start <= event["ts"] < end
    }


def _number(event: Event) -> object:
    return event.get("args", {}).get("correlation")


def _is_done(event: Event) -> bool:
    return event.get("cat") in ON_DEVICE


def _union(events: Sequence[Event]) -> float:
    """Microseconds in which at least one of the events went on."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted((event["ts"], event["ts"] + event["dur"]) for event in events):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total
