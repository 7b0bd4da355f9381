"""TensorBoard's own reader finds in the event files what metrics.jsonl holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_loggers import IMAGES, Stopping, recorded, trained

from sparring import api
from tiny import Command, train_arguments
from told import Told

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder: Path) -> Any:
    """Everything that TensorBoard shows of a folder."""
    found = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    return found.Reload()


def shown(events: Any) -> dict[int, dict[str, float]]:
    """Numbers by step."""
    found: dict[int, dict[str, float]] = {}
    for tag in events.Tags()["scalars"]:
        points = events.Scalars(tag)
        assert len({point.step for point in points}) == len(points), tag
        for point in points:
            found.setdefault(point.step, {})[tag] = point.value
    return found


def as_stored(run: Path) -> dict[int, dict[str, float]]:
    """Records of metrics.jsonl by step, rounded to TensorBoard's 32 bits."""
    return {
        step: {name: float(np.float32(value)) for name, value in numbers.items()}
        for step, numbers in recorded(run)
    }


@pytest.mark.slow
def test_the_reader_finds_each_record_once_though_the_run_failed_and_was_resumed(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    trained(run, "tensorboard", max_steps=2)
    with pytest.raises(RuntimeError, match="lost"):
        api.resume(run, data=IMAGES, log="tensorboard", listener=Stopping(4, RuntimeError("lost")))
    api.resume(run, data=IMAGES, log="tensorboard", max_steps=6, listener=Told())
    assert len(list((run / "tensorboard").iterdir())) == 3
    events = read(run / "tensorboard")
    assert shown(events) == as_stored(run)
    assert sorted(shown(events)) == [0, 1, 2, 3, 4, 5]
    title = events.SummaryMetadata("loss")
    assert title.display_name == "Loss"
    assert "encoder minimises" in title.summary_description


def test_settings_are_shown_as_text(tmp_path: Path) -> None:
    trained(tmp_path / "run", "tensorboard", max_steps=1)
    (text,) = read(tmp_path / "run" / "tensorboard").Tensors("settings")
    assert b'method = "simclr"' in text.tensor_proto.string_val[0]


@pytest.mark.slow
def test_runs_of_one_name_have_folders_of_their_own_in_a_given_place(tmp_path: Path) -> None:
    place = f"tensorboard:{tmp_path / 'curves'}"
    for parent in ("a", "b"):
        trained(tmp_path / parent / "run", place, max_steps=1)
    api.resume(tmp_path / "a" / "run", data=IMAGES, log=place, max_steps=2, listener=Told())
    found = {folder.name: sorted(shown(read(folder))) for folder in (tmp_path / "curves").iterdir()}
    assert found == {"run": [0, 1], "run-2": [0]}


@pytest.mark.slow
def test_curves_that_were_removed_begin_anew_with_all_records(tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    trained(run, "tensorboard", max_steps=2)
    shutil.rmtree(run / "tensorboard")
    api.resume(run, data=IMAGES, log="tensorboard", max_steps=3, listener=Told())
    assert shown(read(run / "tensorboard")) == as_stored(run)


def test_a_full_disk_turns_the_logger_off_and_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self: object, data: bytes) -> None:
        """Fail like a full disk."""
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    listener = Told()
    trained(tmp_path / "run", "tensorboard", listener=listener, max_steps=2)
    (line,) = [line for line in listener.lines if "--log" in line]
    assert line == (
        "warning: --log tensorboard is off, the training goes on: OSError: [Errno 28] No space "
        "left on device"
    )
    assert len(recorded(tmp_path / "run")) == 2


def test_a_place_that_is_a_file_turns_the_logger_off(tmp_path: Path) -> None:
    (tmp_path / "curves").write_text("")
    listener = Told()
    trained(tmp_path / "run", f"tensorboard:{tmp_path / 'curves'}", listener=listener, max_steps=1)
    assert any("is off, the training goes on: NotADirectoryError" in one for one in listener.lines)


@pytest.mark.slow
def test_the_command_line_logs(photos: Path, tmp_path: Path, command: Command) -> None:
    more = ["--log", "tensorboard", "--max-steps", "2"]
    done = command(*train_arguments(photos, tmp_path / "run", *more))
    assert done.code == 0, done.err
    assert f"tensorboard --logdir {tmp_path / 'run' / 'tensorboard'}" in done.err
    done = command("resume", tmp_path / "run", "--log", "tensorboard", "--max-steps", "3")
    assert done.code == 0, done.err
    assert sorted(shown(read(tmp_path / "run" / "tensorboard"))) == [0, 1, 2]
