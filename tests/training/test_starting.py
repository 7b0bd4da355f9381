"""A run that starts from another: the whole state of its checkpoint, its settings, a schedule of
its own, and one line where that cannot be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from test_old_runs import images as old_images
from test_old_runs import unpacked

import games
import sparring
from ranks import on_ranks
from sparring.contract import toy
from sparring.errors import CheckpointError, ConfigError, DataError, RunError
from sparring.negatives.queue import NumberedQueue
from sparring.training.checkpoint import encoder_state, read_checkpoint
from sparring.training.encoders import load_encoders
from sparring.training.loop import Training
from sparring.training.metrics import read_metrics
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig
from sparring.training.starting import continued_settings, read_start, take_state
from told import Told

COUNT = 32
"""Images of a run, two batches."""


def train(out: Path, *, data: Any = None, **more: Any) -> list[str]:
    """A run of the command; what it says of its start."""
    told = Told()
    sparring.train(data, out=out, listener=told, **more)
    return [line for line in told.lines if line.startswith("from ")]


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_checkpoint(RunFolder(run).checkpoint)
    return found


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one if torch.is_tensor(one[k]))


def taken(
    run: Path, folder: Path, method: str, *, keeps: bool = False, **settings: Any
) -> Training:
    """Training that has taken the state of a run and made no step."""
    training = games.training(method, folder, count=COUNT, **settings)
    take_state(read_start(run, keeps_optimizer=keeps), training, lambda _: None)
    return training


@pytest.fixture(scope="module")
def adco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished AdCo run of two epochs, whose bank is full and plays; tests leave it as it is."""
    out = tmp_path_factory.mktemp("adco") / "run"
    settings = games.config("adco", bank={"size": 16}, queue_epochs=1.0).tree()
    own = {key: settings[key] for key in ("encoder", "projector", "bank", "queue_epochs")}
    few = {"monitor_images": 16, "log_steps": 1}
    train(
        out,
        data=toy.images(COUNT),
        method="adco",
        settings={**own, "training": few},
        epochs=2,
        batch_size=16,
        image_size=16,
    )
    return out


def test_a_run_starts_from_the_whole_state_with_a_schedule_of_its_own(
    adco: Path, tmp_path: Path
) -> None:
    out, data = tmp_path / "run", toy.images(COUNT)
    lines = train(out, data=data, start_from=adco, epochs=3)
    assert lines == [
        f"from {adco} at step 4: encoder, teacher, bank, dial; optimiser state not kept; schedule "
        "fresh over 3 epochs; seed 1; queue_epochs=0 instead of 1"
    ]
    before, now = sparring.Run(adco).config.tree(), sparring.Run(out).config.tree()
    changed = {"seed": 1, "queue_epochs": 0.0, "training": {**before["training"], "epochs": 3}}
    assert now == {**before, **changed}
    records = read_metrics(out / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(6))
    assert records[0]["learning_rate"] == before["players"]["encoder"]["learning_rate"]
    # The bank plays on: none of its vectors was exchanged for a key.
    assert all("bank/angle_degrees" in record for record in records)


def test_evaluation_compares_with_the_start(adco: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, data=toy.images(COUNT), start_from=adco, epochs=1)
    _, start = load_encoders(RunFolder(out))
    trained, _ = load_encoders(RunFolder(adco))
    assert same(trained.backbone.state_dict(), start.backbone.state_dict())
    found = RunFolder(out).read_environment()["started_from"]
    assert (found["run"], found["step"], found["optimizer"]) == (str(adco), 4, "not kept")
    assert len(found["sha256"]) == 64
    page = sparring.report(out, out=tmp_path / "page.html", progress=False).read_text()
    assert "started_from.sha256" in page
    assert f"<dt>Started from</dt><dd>{adco} at step 4</dd>" in page
    # A resumed run still says where it came from.
    sparring.resume(out, data=toy.images(COUNT), progress=False)
    assert RunFolder(out).read_environment()["started_from"] == found
    with pytest.raises(ConfigError, match="pretrains again from the first step, and this run"):
        sparring.evaluate(
            out,
            train_data=(toy.images(COUNT), [0, 1] * (COUNT // 2)),
            protocols="data-efficiency",
            progress=False,
        )


def test_a_start_that_was_lost_is_not_replaced_by_random_weights(
    adco: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(out, data=toy.images(COUNT), start_from=adco, epochs=1, max_steps=1)
    RunFolder(out).initial.unlink()
    with pytest.raises(CheckpointError, match="does not keep the weights from which it started"):
        load_encoders(RunFolder(out))


@pytest.mark.parametrize(
    ("data", "streaming"), [(None, True), ("hf:other/set", True), ("photos", False)]
)
def test_other_images_have_a_length_and_a_form_of_their_own(
    data: str | None, streaming: bool
) -> None:
    before = games.config("simclr", data={"streaming": True, "num_images": 64, "limit": 48})
    found = RunConfig.from_tree(continued_settings(before, data=data)).data
    assert found.streaming is streaming
    same = data is None
    assert (found.num_images, found.limit) == ((64, 48) if same else (None, None))


@pytest.mark.parametrize("keeps", [False, True])
def test_optimisers_are_taken_if_asked_for(adco: Path, tmp_path: Path, keeps: bool) -> None:
    own = {"bank": {"size": 16}, "queue_epochs": 1.0}
    training = taken(adco, tmp_path, "adco", keeps=keeps, **own)
    assert same(training.game.method.state_dict(), state(adco)["method"])
    states = training.game.players["encoder"].state_dict()["state"]
    assert bool(states) == keeps
    for number, one in states.items():
        assert same(one, state(adco)["players"]["encoder"]["state"][number])
    assert training.step == 0


@pytest.mark.parametrize("is_other", [False, True])
def test_numbers_of_other_images_are_forgotten(tmp_path: Path, is_other: bool) -> None:
    mined = {"mining": {"pool": "queue", "queue_size": 24}}
    first = games.training("acssl", tmp_path / "first", count=COUNT, **mined)
    first.run()
    second = games.training("acssl", tmp_path / "second", count=COUNT - 16 * is_other, **mined)
    lines: list[str] = []
    start = read_start(tmp_path / "first", keeps_optimizer=False)
    take_state(start, second, lines.append)
    queues = [part for part in second.game.method.modules() if isinstance(part, NumberedQueue)]
    assert [len(queue.filled()[1]) for queue in queues] == [0 if is_other else 24]
    assert ("begun anew: queue" in lines[0]) == is_other
    second.run()


def test_opponents_are_taken_and_not_pretrained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    around = {"opponent": ("generator-pair",)}
    first = games.training("simclr", tmp_path / "first", count=COUNT, **around)
    first.run()
    album = next(part for name, part in first.game.method.named_children() if name == "album")
    assert album.is_taken.any()
    training = taken(tmp_path / "first", tmp_path / "second", "simclr", **around)
    now, before = training.game.method.state_dict(), first.game.method.state_dict()
    names = {name for name in before if not name.startswith("album.")}
    assert any(name.startswith("pair.") for name in names)
    assert same({name: before[name] for name in names}, now)
    assert not now["album.is_taken"].any()


def test_the_last_checkpoint_of_an_unfinished_run_and_a_certain_one_are_taken(
    adco: Path, tmp_path: Path
) -> None:
    out, data = tmp_path / "run", toy.images(COUNT)
    train(out, data=data, start_from=adco, epochs=5, max_steps=3)
    assert read_start(out, keeps_optimizer=False).step == 3
    (line,) = train(tmp_path / "next", data=data, start_from=out)
    assert f"from {out} at step 3: " in line
    assert "schedule fresh over 5 epochs; seed 2" in line
    assert state(tmp_path / "next")["step"] == 10  # the trial's length was not taken
    place = out / "checkpoint" / "last.pt"
    assert read_start(place, keeps_optimizer=False).path == place


def test_the_same_command_again_goes_on(adco: Path, tmp_path: Path) -> None:
    data, asked = toy.images(COUNT), {"start_from": adco, "epochs": 3, "resume_if_exists": True}
    train(tmp_path / "whole", data=data, **asked)
    out = tmp_path / "parts"
    assert len(train(out, data=data, **asked, max_steps=3)) == 1
    assert not train(out, data=data, **asked)
    assert same(state(tmp_path / "whole")["method"], state(out)["method"])
    assert state(out)["step"] == 6
    with pytest.raises(RunError, match="and --from is not given"):
        train(out, data=data, resume_if_exists=True, method="adco")


def test_other_image_sizes_keep_the_stem(adco: Path, tmp_path: Path) -> None:
    (line,) = train(
        tmp_path / "run", data=toy.images(COUNT), start_from=adco, image_size=72, max_steps=1
    )
    assert "views of 72 px instead of 16" in line
    assert sparring.Run(tmp_path / "run").config.encoder.small_images is True


def test_an_encoder_trained_elsewhere_starts_nothing_that_it_does_not_fit(
    adco: Path, tmp_path: Path
) -> None:
    data, out = toy.images(COUNT), tmp_path / "run"
    advice = f"--set encoder.weights={adco} in place of --from"
    for error, match, more in (
        (ConfigError, "method was adco and is simclr; put it back, or", {"method": "simclr"}),
        (ConfigError, "opponent was none and is perturbation", {"opponent": "perturbation"}),
        (ConfigError, "encoder.width was", {"settings": {"encoder": {"width": 0.125}}}),
        (ConfigError, "size mismatch for bank.vectors", {"settings": {"bank": {"size": 8}}}),
    ):
        with pytest.raises(error, match=match) as caught:
            train(out, data=data, start_from=adco, **more)
        assert advice in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not out.exists()


def test_arguments_that_do_not_go_together_are_told(adco: Path, tmp_path: Path) -> None:
    data, out = toy.images(COUNT), tmp_path / "run"
    for error, match, more in (
        (ConfigError, "each give a whole configuration", {"recipe": "adco-small"}),
        (ConfigError, "unknown method 'adoc'; did you mean 'adco'", {"method": "adoc"}),
        (RunError, "is not a run folder", {"start_from": tmp_path / "nowhere"}),
        (ConfigError, "--keep-optimizer is about the run", {"start_from": None}),
    ):
        given = {"start_from": adco, "keep_optimizer": True, **more}
        with pytest.raises(error, match=match):
            train(out, data=data, **given)
        assert not out.exists()
    with pytest.raises(RunError, match="--from and --out are both"):
        train(adco, data=data, start_from=adco, resume_if_exists=True)
    with pytest.raises(DataError, match="trained on images in memory; hand them over again"):
        train(out, start_from=adco)


def test_a_damaged_checkpoint_is_told(adco: Path, tmp_path: Path) -> None:
    run = tmp_path / "damaged"
    (run / "checkpoint").mkdir(parents=True)
    (run / "config.toml").write_bytes((adco / "config.toml").read_bytes())
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        train(tmp_path / "run", data=toy.images(COUNT), start_from=run)
    (run / "checkpoint" / "last.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="is damaged or holds more than tensors"):
        train(tmp_path / "run", data=toy.images(COUNT), start_from=run)


@pytest.mark.parametrize("name", ["adco", "simclr"])
def test_a_run_of_an_old_version_is_a_start(name: str, tmp_path: Path) -> None:
    old = unpacked(name, tmp_path)
    (line,) = train(tmp_path / "run", data=old_images(), start_from=old, epochs=1)
    assert f"from {old} at step 5: encoder" in line
    start = safetensors.torch.load_file(tmp_path / "run" / "initial.safetensors")
    weights = encoder_state(state(old))
    assert all(torch.equal(start[k], weights[f"backbone.network.{k}"]) for k in start)


def started(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """State of one of several processes, which start together from one run."""
    torch.manual_seed(0)
    out = folder / "run"
    told = Told()
    place = Path((folder / "start").read_text())
    sparring.train(toy.images(COUNT), out=out, start_from=place, epochs=1, listener=told)
    return state(out)["method"], [line for line in told.lines if line.startswith("from ")]


@pytest.mark.slow
def test_several_processes_start_from_one_run(adco: Path, tmp_path: Path) -> None:
    (tmp_path / "start").write_text(str(adco))
    found = on_ranks(started, 2, tmp_path)
    assert same(found[0][0], found[1][0])
    assert "at step 4: encoder, teacher, bank" in found[0][1][0]
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2
