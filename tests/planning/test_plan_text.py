"""The text of a plan."""

from dataclasses import replace

from sparring.planning.plan_text import plan_lines
from sparring.planning.prediction import Duration
from sparring.planning.resource_plan import MethodPlan, ResourcePlan

GIB = 2**30
ROW = MethodPlan(
    name="simclr",
    duration=Duration(step=1.5, epoch=75.0, opponent_pretraining=0.0, whole=7200.0),
    peak_bytes=2 * GIB,
    store_bytes=0,
    largest_batch=512,
    largest_image_size=64,
    measured_batches=(64, 256),
    cpu_seconds=1.5,
    cpu_monitor_seconds=1.0,
    weight_bytes=GIB // 8,
    gradient_bytes=GIB // 8,
    optimizer_bytes=GIB // 8,
)
PLAN = ResourcePlan(
    images=12_800,
    image_size=64,
    batch_size=256,
    epochs=100,
    steps_per_epoch=50,
    num_steps=5000,
    device="cpu with 1 thread",
    room_bytes=16 * GIB,
    is_estimate=False,
    precision="auto",
    cache="",
    rows=(ROW,),
)


def test_a_plan_that_fits_is_a_table_with_notes() -> None:
    lines = plan_lines(PLAN)
    assert (
        lines[0]
        == "12,800 images of 64 x 64 px, batch 256: 50 steps per epoch, 5,000 steps in 100 epochs"
    )
    assert lines[2].split("  ")[-2:] == ["peak memory", "largest batch"]
    assert lines[3].split() == ["simclr", "1.5", "s", "75", "s", "2", "hours", "2.0", "GiB", "512"]
    assert not any("does not fit" in line for line in lines)


def test_a_run_that_does_not_fit_is_one_line_that_says_what_would() -> None:
    row = replace(ROW, peak_bytes=20 * GIB, largest_batch=180, largest_image_size=48)
    (line,) = [
        line for line in plan_lines(replace(PLAN, rows=(ROW, row))) if "does not fit" in line
    ]
    assert line == (
        "simclr does not fit: it needs 20.0 GiB plus a margin of 15%, and 16.0 GiB are available; "
        "a batch of 180 or images of about 48 px would fit"
    )


def test_when_no_batch_fits_another_backbone_is_suggested() -> None:
    row = replace(ROW, peak_bytes=20 * GIB, largest_batch=0, largest_image_size=0)
    assert any(
        "no batch would; use a smaller backbone" in line
        for line in plan_lines(replace(PLAN, rows=(row,)))
    )


def test_an_estimate_says_that_the_device_is_absent_and_gives_no_time() -> None:
    row = replace(ROW, duration=None, cpu_seconds=None, measured_batches=(8, 16))
    lines = plan_lines(
        replace(PLAN, is_estimate=True, precision="bfloat16", room_bytes=24 * GIB, rows=(row,))
    )
    text = "\n".join(lines)
    assert "estimate for a CUDA device of 24.0 GiB: no such device is present, so no times" in lines
    assert "steps with 8 and 16 images were counted on the CPU (bfloat16)" in text
    assert "not counted: workspaces of convolutions" in text
    assert "hours" not in text


def test_notes_appear_only_where_they_apply() -> None:
    learned = replace(
        ROW, duration=Duration(step=1.5, epoch=75.0, opponent_pretraining=7200.0, whole=14400.0)
    )
    waiting = replace(ROW, name="byol", cpu_seconds=0.6)
    mapped, smaller = replace(ROW, store_bytes=GIB), replace(ROW, measured_batches=(32, 64))
    text = "\n".join(
        plan_lines(replace(PLAN, rows=(learned, mapped, smaller, waiting), cache="/cache"))
    )
    assert "simclr pretrains its opponent first: 2 hours of the whole run" in text
    assert "simclr: 1.0 GiB of its peak are decoded images" in text
    assert "simclr: from steps of 32 and 64 images, as the planned batch may not fit" in text
    assert text.count("computed only") == 1
    assert (
        "byol computed only 40% of the time: other programs, or reading files, took the rest"
        in text
    )
    assert text.endswith(
        "decoded images are kept for the runs in /cache; nothing else is left behind"
    )


def test_the_tree_says_what_fits() -> None:
    rows = (ROW, replace(ROW, largest_batch=255))
    assert [row["fits"] for row in replace(PLAN, rows=rows).tree()["rows"]] == [True, False]
    assert "context_bytes" in replace(PLAN, is_estimate=True).tree()


def test_a_rough_plan_says_what_it_measured_how_sure_it_is_and_what_a_better_one_takes() -> None:
    row = replace(ROW, measured_batches=(2, 32), step_range=(1.23, 1.87))
    lines = plan_lines(replace(PLAN, is_rough=True, rows=(row,)))
    assert lines[3].split()[:4] == ["simclr", "about", "1.5", "s"]
    (line,) = [line for line in lines if "rough" in line]
    assert "from steps of 2 and 32 images a step takes 1.2 s to 1.9 s" in line
    assert "memory may be off by a third" in line
    assert "--exact runs 256, in roughly 21 s" in line
    single = replace(row, measured_batches=(2,))
    text = "\n".join(plan_lines(replace(PLAN, is_rough=True, rows=(single,))))
    assert "memory is at most what is shown" in text
    assert not any("rough" in line for line in plan_lines(PLAN))


def test_a_plan_of_a_compiled_run_says_whether_its_steps_were() -> None:
    rough = replace(PLAN, is_rough=True, rows=(replace(ROW, step_range=(1.2, 1.9)),))
    texts = [plan_lines(replace(plan, is_compiled=True)) for plan in (rough, PLAN)]
    assert "the run compiles its networks, and these steps did not; --exact does" in texts[0]
    assert "steps ran compiled, as in the run; the time of compiling is not included" in texts[1]
    assert not any("compile" in line for line in plan_lines(PLAN))
