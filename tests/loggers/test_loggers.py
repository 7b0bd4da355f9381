"""Loggers of a run: what they are told, and that none of them changes it or stops it."""

import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

import sparring
from sparring import api, distributed
from sparring.errors import ConfigError
from sparring.loggers import choosing, own_thread
from sparring.loggers.choosing import choose_loggers
from tiny import Command, tiny_images, train_arguments
from told import Told

IMAGES = torch.from_numpy(tiny_images(32)[0]).permute(0, 3, 1, 2).contiguous()
SMALL = {"image_size": 16, "batch_size": 16, "monitor_images": 16, "log_steps": 1, "epochs": 4}
SETTINGS = {"encoder": {"width": 0.0625}, "projector": {"dim": 16}}


class Kept:
    """Logger that keeps what it is told; raises at a step if it is to."""

    def __init__(self, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.runs: list[sparring.LoggedRun] = []
        self.records: list[tuple[int, Mapping[str, float]]] = []
        self.ends: list[str] = []

    def open(self, run: sparring.LoggedRun) -> str:
        """Keep the run, and name the curves."""
        self.runs.append(run)
        run.report("curves: kept")
        return "curves of a test"

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Keep a record."""
        if step == self.fails_at:
            raise OSError("the server\nis gone")
        self.records.append((step, numbers))

    def close(self, end: str) -> None:
        """Keep the end."""
        self.ends.append(end)


class Stopping(Told):
    """Listener that raises an error at a step."""

    def __init__(self, step: int, error: BaseException) -> None:
        super().__init__()
        self._step, self._error = step, error

    def observe(self, *told: Any) -> None:
        """Raise the error at its step."""
        if told[0].step == self._step:
            raise self._error


def trained(out: Path, log: choosing.Logs, *, listener: Told | None = None, **more: Any) -> api.Run:
    """A run of 16 steps, every one of which is recorded."""
    return api.train(
        IMAGES,
        out=out,
        method="simclr",
        settings=SETTINGS,
        listener=listener or Told(),
        log=log,
        **SMALL | more,
    )


def recorded(run: Path) -> list[tuple[int, dict[str, float]]]:
    """Records of metrics.jsonl, as a logger is told them."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        (record.pop("step"), {name: value for name, value in record.items() if value is not None})
        for record in found
    ]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept, Kept, Told]:
    """A run of four steps with a logger that holds, and one that fails at the second step."""
    out = tmp_path_factory.mktemp("logged") / "photos"
    holds, fails, listener = Kept(), Kept(fails_at=1), Told()
    trained(out, [holds, fails], listener=listener, max_steps=4)
    return out, holds, fails, listener


def test_a_logger_is_told_the_run_and_every_record(told: tuple[Path, Kept, Kept, Told]) -> None:
    out, logger, _, listener = told
    (run,) = logger.runs
    assert (run.name, run.folder, run.first_step, run.kept) == ("photos", out, 0, None)
    assert run.settings["training.batch_size"] == 16
    assert 'method = "simclr"' in run.text
    assert run.metrics["loss"].title == "Loss"
    assert logger.records == recorded(out)
    assert [step for step, _ in logger.records] == [0, 1, 2, 3]
    assert logger.ends == ["finished"]
    assert "curves: kept" in listener.lines


def test_a_logger_that_fails_costs_one_line_and_is_off(
    told: tuple[Path, Kept, Kept, Told],
) -> None:
    _, _, logger, listener = told
    warnings = [line for line in listener.lines if line.startswith("warning: --log")]
    assert len(warnings) == 1
    assert "is off, the training goes on: OSError: the server is gone" in warnings[0]
    assert [step for step, _ in logger.records] == [0]
    assert logger.ends == ["failed"]


@pytest.mark.slow
def test_a_logged_run_has_the_bits_of_one_without(
    told: tuple[Path, Kept, Kept, Told], tmp_path: Path
) -> None:
    plain = trained(tmp_path / "plain", (), max_steps=4).path
    name = "backbone.safetensors"
    assert (plain / name).read_bytes() == (told[0] / name).read_bytes()
    assert not (plain / "logs.json").exists()


@pytest.mark.slow
def test_a_logger_hears_of_a_failure_and_goes_on_when_the_run_is_resumed(tmp_path: Path) -> None:
    logger, late = Kept(), Kept()
    trained(tmp_path / "run", logger, max_steps=2)
    with pytest.raises(RuntimeError, match="lost"):
        api.resume(
            tmp_path / "run",
            data=IMAGES,
            log=logger,
            max_steps=6,
            listener=Stopping(4, RuntimeError("lost")),
        )
    assert logger.ends == ["finished", "failed"]
    api.resume(tmp_path / "run", data=IMAGES, log=[logger, late], max_steps=6, listener=Told())
    assert logger.ends == ["finished", "failed", "finished"]
    assert [run.kept for run in logger.runs] == [None, "curves of a test", "curves of a test"]
    assert [run.first_step for run in logger.runs] == [0, 2, 2]
    # Steps 2 and 3 came twice, since no checkpoint had been written after them.
    assert [step for step, _ in logger.records] == [0, 1, 2, 3, 2, 3, 4, 5]
    # Another logger of the run gets the records that it has missed, each once.
    assert late.runs[0].kept is None
    assert late.records == recorded(tmp_path / "run")
    assert [step for step, _ in late.records] == [0, 1, 2, 3, 4, 5]


def test_a_logger_hears_of_an_interruption(tmp_path: Path) -> None:
    logger = Kept()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", logger, listener=Stopping(1, KeyboardInterrupt()))
    assert logger.ends == ["interrupted"]


def test_a_logger_that_hangs_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    released = threading.Event()

    class Hangs(Kept):
        """Logger that waits for a server."""

        def log(self, step: int, numbers: Mapping[str, float]) -> None:
            """Wait."""
            released.wait()

    monkeypatch.setattr(own_thread, "CLOSE_SECONDS", 0.1)
    listener = Told()
    try:
        trained(tmp_path / "run", Hangs(), listener=listener, max_steps=2)
    finally:
        released.set()
    assert any("has not ended within" in line for line in listener.lines)
    assert len(recorded(tmp_path / "run")) == 2


def test_of_several_processes_the_main_one_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparring.loggers.logged_training import logged

    monkeypatch.setattr(distributed, "is_main", lambda: False)
    logger = Kept()
    with logged(None, choose_loggers(logger), report=print):  # type: ignore[arg-type]
        pass
    assert logger.runs == []


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("tensorbord", "unknown logger 'tensorbord'; did you mean 'tensorboard'?"),
        ("", "unknown logger ''. Accepted: mlflow, tensorboard, wandb"),
        (3, "3 is no logger; give a name"),
        (Kept, "is no logger; give a name"),
    ],
)
def test_a_wrong_logger_costs_one_line(log: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"logger") as found:
        choose_loggers([log])
    assert sentence in str(found.value)


def test_a_missing_package_costs_one_line_with_the_command(
    photos: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda name: None)
    for name in choosing.SHIPPED:
        done = command(*train_arguments(photos, tmp_path / "run", "--log", name))
        assert done.code == 2
        assert (
            done.error == f"--log {name} needs the package {name}; pip install 'sparring[{name}]'"
        )
        assert not (tmp_path / "run").exists()


# W&B and MLflow leave folders of their names in the working folder.
def test_a_folder_named_like_a_package_is_not_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_logger_of_nobody").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(choosing.SHIPPED, "a_logger_of_nobody", "nowhere:Nothing")
    with pytest.raises(ConfigError, match="needs the package a_logger_of_nobody"):
        choose_loggers("a_logger_of_nobody")


def test_an_installed_package_declares_its_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "own": EntryPoint("own", f"{__name__}:made", choosing.GROUP),
        "broken": EntryPoint("broken", "no_such_package:made", choosing.GROUP),
    }
    monkeypatch.setattr(choosing, "installed_points", lambda group: points)
    (found,) = choose_loggers("own:some:place")
    assert (found.name, found.logger) == ("own:some:place", ("made", "some:place"))
    with pytest.raises(ConfigError, match="no_such_package:made fails with ModuleNotFoundError"):
        choose_loggers("broken")


def made(place: str | None) -> Any:
    """Stand-in of a logger, which shows the place that it is given."""
    return ("made", place)


def test_two_loggers_of_one_class_have_names_of_their_own() -> None:
    names = [one.name for one in choose_loggers([Kept(), Kept()])]
    assert names == [f"{__name__}.Kept", f"{__name__}.Kept 2"]
