"""The table of a step's time, on traces written by hand."""

from typing import Any

import pytest

from sparring.step_parts import PREFIX
from sparring.training.step_profile import StepProfile

MAIN, BACKWARD, LOADER = 1, 2, 3


def event(name: str, ts: float, dur: float, **more: Any) -> dict[str, Any]:
    """A complete event of a trace, by default a range of the main thread."""
    return {"ph": "X", "cat": "user_annotation", "tid": MAIN, "name": name} | {
        "ts": ts,
        "dur": dur,
        **more,
    }


def part(name: str, ts: float, dur: float) -> dict[str, Any]:
    return event(PREFIX + name, ts, dur)


HOST = [
    event("ProfilerStep#10", 0, 1000),
    event("ProfilerStep#11", 1000, 1000),
    part("waiting", 0, 100),
    part("views", 100, 200),
    part("forward", 400, 200),
    part("forward", 450, 50),  # a network within a sequence of networks
    part("update of encoder", 600, 300),
    event("Optimizer.step#SGD.step", 800, 100),
    part("attack", 1000, 500),
    part("forward", 1100, 100),
    part("update of bank", 1500, 100),
    event("Optimizer.step#SGD.step", 1550, 40),
    part("records", 1700, 200),
    event("aten::_local_scalar_dense", 1750, 1, cat="cpu_op"),
    event("aten::_local_scalar_dense", 150, 1, cat="cpu_op", tid=BACKWARD),
]


def launched(number: int, ts: float, begin: float, dur: float, tid: int) -> list[dict[str, Any]]:
    """A launch and its kernel."""
    correlation = {"args": {"correlation": number}}
    return [
        event("cudaLaunchKernel", ts, 5, cat="cuda_runtime", tid=tid, **correlation),
        event("gemm", begin, dur, cat="kernel", tid=7, **correlation),
    ]


DEVICE = [
    *launched(1, 150, 200, 400, MAIN),
    *launched(2, 650, 700, 800, BACKWARD),
    *launched(3, 1550, 1600, 100, MAIN),
    *launched(4, 1550, 1650, 250, LOADER),
    *launched(5, 2500, 2600, 900, MAIN),  # after the steps
    event("aten::mm", 650, 10, cat="cpu_op", tid=BACKWARD),
    event("cudaStreamSynchronize", 820, 10, cat="cuda_runtime", args={"correlation": 6}),
    event("cudaStreamSynchronize", 1720, 10, cat="cuda_runtime", args={"correlation": 7}),
    event("cudaDeviceSynchronize", 2400, 10, cat="cuda_runtime", args={"correlation": 8}),
]


def test_every_microsecond_of_the_host_belongs_to_one_part() -> None:
    found = StepProfile.from_trace({"traceEvents": HOST})
    assert found.steps == 2
    assert found.step_ms == pytest.approx(1.0)
    assert dict(found.host_ms) == pytest.approx(
        {
            "waiting": 0.05,
            "views": 0.1,
            "forward": 0.1,
            "backward": 0.1,
            "optimiser": 0.05,
            "opponents": 0.3,
            "records": 0.1,
            "other": 0.2,
        }
    )
    assert sum(found.host_ms.values()) == pytest.approx(found.step_ms)


def test_on_a_cpu_values_that_the_main_thread_reads_are_counted() -> None:
    found = StepProfile.from_trace({"traceEvents": HOST})
    assert (found.waits, found.has_device) == ({"records": 1}, False)
    text = "\n".join(found.lines(batch=64))
    assert "64,000 images/s" in text
    assert "device ms" not in text


def test_kernels_belong_to_the_part_that_launched_them() -> None:
    found = StepProfile.from_trace({"traceEvents": [*HOST, *DEVICE]})
    expected = {"views": 0.2, "backward": 0.4, "opponents": 0.05, "ahead": 0.125}
    assert dict(found.device_ms) == pytest.approx(expected)
    # The kernels overlap: from 200 to 600, from 700 to 1,500, and from 1,600 to 1,900.
    assert found.busy_ms == pytest.approx(0.75)
    assert found.waits == {"optimiser": 1, "records": 1}
    header, *_ = (line for line in found.lines(batch=64) if line.startswith("part"))
    assert "device ms" in header
    assert "waits" in header
