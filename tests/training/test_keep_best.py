"""The best look of a run: kept by a score, found again after a kill, and the rule that ends a run
after looks without a better one."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

import games
import sparring
from ranks import on_ranks
from sparring.contract import toy
from sparring.errors import CheckpointError, ConfigError, RunError, StorageError
from sparring.files import link_atomically
from sparring.models.split_norm import join_norms
from sparring.training.build import build_encoder
from sparring.training.checkpoint import encoder_state, read_checkpoint, write_state
from sparring.training.encoders import load_encoder
from sparring.training.keep_best import Looks, evaluated_checkpoint
from sparring.training.loop import Training
from sparring.training.monitor import Monitor
from sparring.training.run_folder import RunFolder
from sparring.training.scores import read_scores
from tiny import tiny_images
from told import Told

STEPS = 2
"""Steps of an epoch, after each of which the monitor looks."""
VALUES = (1.0, 3.0, 2.0, 3.0, 0.0)
"""What it sees: the second look is the first of the best."""
FEW: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 64, "log_steps": 1, "monitor_epochs": 1},
}


class Killed(BaseException):
    """End of a process."""


@pytest.fixture
def look_gives(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Let the look after each epoch give these values, whoever asks."""

    def give(values: Sequence[float]) -> None:
        monkeypatch.setattr(Monitor, "look", _look(values))

    return give


def _look(values: Sequence[float]) -> Callable[..., Any]:
    seen: dict[float, int] = {}

    def look(
        monitor: Monitor, encoder: Any, device: Any, asked: Any = None
    ) -> tuple[dict[str, float], None]:
        # The same weights are the same look, also when a killed run comes to them again.
        print_of = float(sum(part.double().sum() for part in encoder.state_dict().values()))
        return {"effective_rank": values[seen.setdefault(print_of, len(seen))]}, None

    return look


def training(folder: Path, *, opponent: tuple[str, ...] = (), **settings: Any) -> Training:
    own = {"keep_best": "effective_rank", "epochs": 5, "monitor_epochs": 1, **settings}
    return games.training("simclr", folder, count=32, opponent=opponent, training=own)


def run(folder: Path, **settings: Any) -> Training:
    one = training(folder, **settings)
    one.run()
    return one


def best(folder: Path) -> dict[str, Any]:
    return read_checkpoint(RunFolder(folder).best)


def looks(folder: Path) -> Looks:
    last = RunFolder(folder).checkpoint
    found = Looks.of(read_checkpoint(last), last)
    assert found is not None
    return found


def test_of_equal_looks_the_earlier_is_the_best_and_what_is_no_number_never_is() -> None:
    now = Looks(score="effective_rank")
    for number, value in enumerate((math.nan, 2.0, 1.0, 2.0, None, math.inf), start=1):
        now = now.after(value, step=10 * number)
    assert (now.count, now.last_step) == (6, 60)
    assert (now.best, now.step, now.value) == (2, 20, 2.0)


def test_what_was_chosen_is_said_with_what_it_looked_at() -> None:
    one = Looks(score="knn_accuracy", count=12, best=9, step=900, value=0.4, num_labels=410)
    assert one.sentence(steps=1200) == (
        "the best by knn_accuracy of 12 looks, step 900 of 1,200; it looked at labels of 410 of "
        "the training images"
    )
    other = Looks(score="effective_rank", count=1, best=1, step=4, value=2.0)
    assert other.sentence(steps=4) == (
        "the best by effective_rank of 1 look, step 4 of 4; it looked at no labels"
    )


@pytest.mark.parametrize("opponent", [(), ("perturbation",)])
def test_the_run_stands_for_its_best_look(
    tmp_path: Path, look_gives: Callable[..., None], opponent: tuple[str, ...]
) -> None:
    look_gives(VALUES)
    one = training(tmp_path, opponent=opponent)
    one.run()
    folder = one.folder
    assert (one.step, best(tmp_path)["step"]) == (10, 4)
    found = evaluated_checkpoint(folder)
    assert found.path == folder.best
    assert found.chosen_by.startswith("the best by effective_rank of 5 looks, step 4 of 10;")
    lines: list[str] = []
    encoder = load_encoder(folder, report=lines.append)
    assert lines == [f"the encoder of {folder.path}: {found.chosen_by}"]
    expected = build_encoder(one.config)
    expected.load_state_dict(encoder_state(best(tmp_path)))
    for name, value in expected.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name])
    weights = safetensors.torch.load_file(folder.backbone)
    for name, value in expected.backbone.network.state_dict().items():
        assert torch.equal(value, weights[name])
    last = one.game.encoder
    join_norms(last)
    now = last.backbone.network.state_dict()
    assert not all(torch.equal(now[name], weights[name]) for name in weights)
    with safetensors.safe_open(folder.backbone, "pt") as file:
        assert json.loads(file.metadata()["sparring"])["steps"] == "4"


def test_without_a_score_nothing_is_kept(tmp_path: Path) -> None:
    one = run(tmp_path, keep_best=None, epochs=2)
    assert not one.folder.best.exists()
    assert "best" not in read_checkpoint(one.folder.checkpoint)
    assert evaluated_checkpoint(one.folder).path == one.folder.checkpoint


def test_keeping_the_best_changes_no_step(tmp_path: Path, look_gives: Callable[..., None]) -> None:
    look_gives(VALUES)
    run(tmp_path / "kept")
    run(tmp_path / "plain", keep_best=None)
    one, other = (
        read_checkpoint(RunFolder(tmp_path / name).checkpoint)["method"]
        for name in ("kept", "plain")
    )
    assert all(torch.equal(one[name], other[name]) for name in one if torch.is_tensor(one[name]))


@pytest.mark.parametrize(("number", "is_linked"), [(1, False), (2, False), (2, True)])
def test_a_kill_beside_the_best_one_leaves_the_same_best(
    tmp_path: Path,
    look_gives: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    is_linked: bool,
) -> None:
    look_gives(VALUES)
    run(tmp_path / "whole")
    calls = iter(range(1, 10))

    def link(source: Path, place: Path, **named: Any) -> None:
        is_now = next(calls) == number
        if not is_now or is_linked:
            link_atomically(source, place, **named)
        if is_now:
            raise Killed

    look_gives(VALUES)
    with monkeypatch.context() as patch:
        patch.setattr("sparring.training.keep_best.link_atomically", link)
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    again = training(tmp_path / "killed")
    again.restore()
    assert again.step == STEPS * number
    assert best(tmp_path / "killed")["step"] == STEPS * number
    again.run()
    assert looks(tmp_path / "killed") == looks(tmp_path / "whole")
    one, other = best(tmp_path / "killed"), best(tmp_path / "whole")
    assert one["step"] == other["step"]
    assert one["best"] == other["best"]
    assert all(torch.equal(one["method"][k], other["method"][k]) for k in encoder_names(one))


def encoder_names(content: dict[str, Any]) -> Iterator[str]:
    return (name for name, value in content["method"].items() if torch.is_tensor(value))


def test_after_a_damaged_last_checkpoint_the_same_best_is_found_again(
    tmp_path: Path, look_gives: Callable[..., None]
) -> None:
    look_gives((1.0, 0.5, 3.0, 2.0, 0.0))
    run(tmp_path, epochs=5, keep_checkpoints=3)
    before, content = looks(tmp_path), best(tmp_path)
    folder = RunFolder(tmp_path)
    folder.checkpoint.write_bytes(b"damaged")
    # What is left beside it is of the first look, and the best of the third.
    (folder.checkpoint.parent / "step-6.pt").unlink()
    again = training(tmp_path, epochs=5)
    again.restore()
    assert again.step == STEPS
    again.run()
    assert looks(tmp_path) == before
    assert best(tmp_path)["step"] == content["step"] == 6


def test_a_best_one_that_was_lost_is_not_spoken_of(
    tmp_path: Path, look_gives: Callable[..., None]
) -> None:
    look_gives(VALUES)
    run(tmp_path)
    folder = RunFolder(tmp_path)
    folder.best.write_bytes(b"damaged")
    lines: list[str] = []
    found = evaluated_checkpoint(folder, lines.append)
    assert (found.path, found.chosen_by) == (folder.checkpoint, "")
    assert lines[0].endswith("the last checkpoint, of step 10, is used instead")
    assert "best.pt is damaged" in lines[0]
    again = training(tmp_path)
    again.restore()
    assert again.best.looks == Looks(score="effective_rank", last_step=10)


def test_the_stop_rule_ends_a_run_and_more_patience_continues_it(
    tmp_path: Path, look_gives: Callable[..., None]
) -> None:
    look_gives((1.0, 3.0, 2.0, 1.0, 5.0))
    one = run(tmp_path, stop_after_looks=2)
    assert (one.step, one.num_steps, one.last_step) == (8, 10, 8)
    sentence = one.best.stop_sentence(one.num_steps)
    assert sentence is not None
    assert sentence.startswith(
        "ended by training.stop_after_looks=2 after step 8 of 10: effective_rank has not improved "
        "since step 4; schedules are those of all 10 steps"
    )
    again = training(tmp_path, stop_after_looks=2)
    again.restore()
    assert again.last_step == again.step == 8
    assert again.best.stop_sentence(10) == sentence
    more = training(tmp_path, stop_after_looks=3)
    more.restore()
    more.run()
    assert (more.step, best(tmp_path)["step"]) == (10, 10)
    assert more.best.stop_sentence(10) is None


def stopped_at(folder: Path) -> tuple[int, Any]:
    """What one of several processes ends with; only the first one looks."""
    Monitor.look = _look((1.0, 3.0, 2.0, 1.0, 5.0))  # type: ignore[method-assign]
    one = run(folder / "run", stop_after_looks=2)
    return one.step, one.best.looks


@pytest.mark.slow
def test_the_stop_rule_ends_all_processes_after_the_same_step(tmp_path: Path) -> None:
    found = on_ranks(stopped_at, 2, tmp_path)
    assert [step for step, _ in found] == [8, 8]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"keep_best": "knn_acuracy"},
            "keep_best: unknown score 'knn_acuracy'; did you mean 'knn_a",
        ),
        ({"keep_best": "loss"}, "unknown score 'loss'. Accepted: effective_rank, knn_accuracy"),
        ({"stop_after_looks": 3}, "stop_after_looks=3 needs training.keep_best"),
        ({"keep_best": "effective_rank", "stop_after_looks": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        games.config("simclr", training=settings)


def test_a_score_by_labels_needs_labels(tmp_path: Path) -> None:
    images, _ = tiny_images(16)
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="of the monitor's images 0 have one; use"):
        sparring.train(
            images,
            out=out,
            method="simclr",
            settings=FEW,
            batch_size=16,
            image_size=16,
            keep_best="knn_accuracy",
            progress=False,
        )
    assert not out.exists()


def test_scores_and_report_say_how_the_encoder_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter((0.5, 0.9, 0.4))
    monkeypatch.setattr("sparring.training.monitor._online_knn", lambda *_: next(values))
    told, out, data = Told(), tmp_path / "run", tiny_images(32)
    sparring.train(
        data,
        out=out,
        method="simclr",
        settings=FEW,
        epochs=3,
        batch_size=16,
        image_size=16,
        keep_best="knn_accuracy",
        progress=False,
    )
    expected = (
        "the best by knn_accuracy of 3 looks, step 8 of 12; it looked at labels of 64 of the "
        "training images"
    )
    sparring.evaluate(out, train_data=data, protocols="geometry", listener=told)
    assert f"the encoder of {out}: {expected}" in told.lines
    shown = sparring.Run(out).scores
    assert (shown["step"], shown["trained"]["geometry"]["step"]) == (8, 8)
    assert shown["trained"]["geometry"]["chosen_by"] == expected
    assert "chosen_by" not in shown["untrained"]["geometry"]
    page = sparring.report(out, out=tmp_path / "page.html", progress=False).read_text()
    assert f"<dt>Encoder</dt><dd>{expected}</dd>" in page
    assert "<dt>Steps</dt><dd>12 (3 epochs)</dd>" in page
    # A further result stands beside these, and a resumed run takes none of them away.
    sparring.resume(out, data=data, progress=False)
    assert read_scores(RunFolder(out)).step == 8


def test_another_score_is_another_experiment(
    tmp_path: Path, look_gives: Callable[..., None]
) -> None:
    look_gives(VALUES)
    run(tmp_path)
    folder = RunFolder(tmp_path)
    text = folder.config.read_text()
    folder.config.write_text(text.replace('keep_best = "effective_rank"', ""))
    images = toy.images(32)
    with pytest.raises(RunError, match="keep_best effective_rank before and None now"):
        sparring.resume(tmp_path, data=images, progress=False)
    sparring.resume(tmp_path, data=images, changed_on_purpose="training.keep_best", progress=False)


@pytest.mark.parametrize(
    "damage", [{"step": "8"}, {"value": "high"}, {"count": True}, {"score": 3}, {"more": 1}]
)
def test_looks_of_other_types_are_told(
    tmp_path: Path, look_gives: Callable[..., None], damage: dict[str, Any]
) -> None:
    look_gives(VALUES)
    run(tmp_path, epochs=1)
    last = RunFolder(tmp_path).checkpoint
    content = read_checkpoint(last)
    write_state(last, {**content, "best": {**content["best"], **damage}})
    with pytest.raises(CheckpointError, match="holds no usable best look"):
        evaluated_checkpoint(RunFolder(tmp_path))


def test_a_second_name_is_given_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, place = tmp_path / "new", tmp_path / "old"
    source.write_text("new")
    place.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            link_atomically(source, place)
    assert place.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    for _ in range(2):  # the second time both names are of one file already
        link_atomically(source, place)
        assert place.read_text() == "new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
    with monkeypatch.context() as patch:  # a file system without links
        patch.setattr("os.link", fail)
        source.unlink()
        source.write_text("newer")
        link_atomically(source, place)
    assert place.read_text() == "newer"
