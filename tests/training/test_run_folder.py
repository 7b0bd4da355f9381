"""The run folder: who may make it, who may write it, and that it rebuilds its run."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

import games
from sparring.errors import RunError, StorageError
from sparring.files import write_atomically
from sparring.training import run_folder
from sparring.training.run_folder import RunFolder


def test_a_run_makes_its_folder_and_those_above_it(tmp_path: Path) -> None:
    RunFolder(tmp_path / "deep" / "run").create()
    assert (tmp_path / "deep" / "run").is_dir()


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    RunFolder(tmp_path).create()


def test_a_folder_that_holds_a_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(games.config("simclr"))
    with pytest.raises(RunError, match=r"holds a run already.*choose another --out"):
        folder.create()
    write_atomically(folder.checkpoint, b"")
    with pytest.raises(RunError, match=r"holds a run already.*sparring resume"):
        folder.create()


def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not an empty folder"):
        RunFolder(tmp_path).create()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is not an empty folder"):
        RunFolder(tmp_path / "run").create()
    with pytest.raises(StorageError, match="cannot create"):
        RunFolder(tmp_path / "run" / "inner").create()


def test_a_folder_without_a_run_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder(tmp_path).read_config()


def test_only_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with (
        folder.locked(),
        pytest.raises(RunError, match="in use by another process"),
        RunFolder(tmp_path).locked(),
    ):
        pass
    with folder.locked():  # free again
        pass


def test_the_lock_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    # What RunFolder.locked does, in a process that ends without letting go.
    code = (
        f"import fcntl, os; f = open({str(tmp_path / '.lock')!r}, 'w'); fcntl.flock(f, "
        "fcntl.LOCK_EX); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / ".lock").exists()
    with RunFolder(tmp_path).locked():
        pass


def test_the_lock_is_released_when_the_training_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fails"), RunFolder(tmp_path).locked():
        raise ValueError("fails")
    with RunFolder(tmp_path).locked():
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    target = tmp_path / "thesis.tex"
    for content in (None, "years of work"):
        if content is not None:
            target.write_text(content)
            (tmp_path / "run" / ".lock").unlink()
        (tmp_path / "run" / ".lock").symlink_to(target)
        with (
            pytest.raises(StorageError, match=r"cannot write .*\.lock: it is a link"),
            RunFolder(tmp_path / "run").locked(),
        ):
            pass
        assert target.exists() == (content is not None)
    assert target.read_text() == "years of work"


def test_a_claimed_folder_is_refused_to_others_and_locked_for_its_owner(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.claimed():
        with (
            pytest.raises(RunError, match="in use by another process"),
            RunFolder(tmp_path / "run").claimed(),
        ):
            pass
        with folder.locked():
            folder.write_config(games.config("simclr"))
        with (
            pytest.raises(RunError, match="in use by another process"),
            RunFolder(tmp_path / "run").locked(),
        ):
            pass
    with pytest.raises(RunError, match="holds a run already"), folder.claimed():
        pass


def test_a_run_that_was_finished_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = RunFolder(tmp_path), RunFolder(tmp_path)
    lock = slow._lock

    def lock_late() -> int:
        with fast.claimed():
            fast.write_config(games.config("simclr"))
        return lock()

    monkeypatch.setattr(slow, "_lock", lock_late)
    with pytest.raises(RunError, match="holds a run already"), slow.claimed():
        pass
    assert fast.config.exists()


def test_a_folder_that_a_failed_claim_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, create = tmp_path / "run", RunFolder.create

    def create_and_lose(folder: RunFolder, *, goes_on: bool) -> None:
        create(folder, goes_on=goes_on)
        monkeypatch.setattr(RunFolder, "create", create)
        path.rmdir()

    monkeypatch.setattr(RunFolder, "create", create_and_lose)
    with RunFolder(path).claimed():
        assert path.is_dir()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_claim_that_comes_to_nothing_leaves_the_folder_as_it_was(
    is_new: bool, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    if not is_new:
        path.mkdir()
    with pytest.raises(ValueError, match="fails"), RunFolder(path).claimed():
        raise ValueError("fails")
    assert [*tmp_path.rglob("*")] == ([] if is_new else [path])


def test_what_a_killed_claim_leaves_is_as_good_as_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.toml.0123abcd.sparring.part").touch()
    with RunFolder(tmp_path).claimed():
        pass


@pytest.mark.parametrize("method", games.METHODS)
def test_the_saved_configuration_rebuilds_the_run(method: str, tmp_path: Path) -> None:
    config = games.config(method, seed=3, training={"max_steps": 2})
    RunFolder(tmp_path).write_config(config)
    assert RunFolder(tmp_path).read_config() == config


def test_the_environment_names_what_a_reader_needs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_environment(torch.device("cpu"))
    text = folder.environment.read_text()
    assert all(
        f'"{name}"' in text
        for name in ("command", "python", "torch", "sparring", "device", "threads")
    )


def test_the_quarantine_lists_one_file_per_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_quarantine(
        [("a.png", "cut short"), ("b\udcff.png", "empty")]
    )  # a name that is not UTF-8
    assert folder.quarantine.read_text() == "a.png\tcut short\nb\\xff.png\tempty\n"


def test_no_name_and_no_reason_forges_a_line_of_the_quarantine(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_quarantine([("a\nb\tc.png", "cut\r\nshort"), ("d\u2028\x1b.png", "empty")])
    text = folder.quarantine.read_text()
    assert text == "a\\nb\\tc.png\tcut\\r\\nshort\nd\\u2028\\x1b.png\tempty\n"


def test_scores_are_empty_before_the_first_evaluation(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_scores() == {}
    folder.write_scores({"knn": 0.5})
    assert folder.read_scores() == {"knn": 0.5}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "1", '"x"', "{", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\xff"],
)
def test_damaged_small_files_are_told_or_pass_for_missing(text: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for path in (folder.environment, folder.scores):
        path.write_bytes(text.encode("latin-1"))
    assert folder.read_environment() == {}
    assert folder.read_classes() == {}
    with pytest.raises(RunError, match=r"scores\.json is damaged"):
        folder.read_scores()


def test_fields_of_another_type_pass_for_missing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.environment.write_text('{"classes": 1, "changes": {}, "device": "cpu"}')
    assert folder.read_environment() == {"device": "cpu"}
    assert folder.read_classes() == {}


def test_a_restarted_run_waits_for_its_former_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, again = RunFolder(tmp_path), RunFolder(tmp_path)
    former.write_config(games.config("simclr"))
    with ExitStack() as ends:
        ends.enter_context(former.locked())
        monkeypatch.setattr(run_folder.time, "sleep", lambda _: ends.close())
        with again.claimed(goes_on=True):
            assert again.config.exists()
    with (
        former.locked(),
        pytest.raises(RunError, match="in use by another process"),
        again.locked(patience_seconds=0.01),
    ):
        pass
