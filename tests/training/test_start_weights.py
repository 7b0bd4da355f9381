"""Runs that start from pretrained weights: what follows from them, and what is kept of them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import games
import sparring
from ranks import on_ranks
from sparring import planning
from sparring.contract import toy
from sparring.errors import CheckpointError, ConfigError, DataError, RunError
from sparring.models.backbones import EncoderSettings, make_backbone
from sparring.models.weights import pretrained
from sparring.models.weights.pretrained import Pretrained
from sparring.training import start_weights
from sparring.training.build import build
from sparring.training.checkpoint import encoder_state, read_checkpoint
from sparring.training.encoders import load_encoders
from sparring.training.run_folder import RunFolder
from sparring.training.start_weights import with_start_weights
from told import Told

WIDTH = 0.0625
IMAGES = (toy.images(), np.arange(64) % 2)
SETTINGS: dict[str, Any] = {
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 8, "log_steps": 1},
}


def network(*, seed: int = 7, small: bool = False, channels: int = 3) -> nn.Module:
    """A narrow ResNet-18 as a pretraining elsewhere might have left it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = EncoderSettings(backbone="resnet18", width=WIDTH, small_images=small)
        found = make_backbone(settings, image_size=32, channels=channels).network
        for layer in found.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean = torch.randn(layer.num_features) / 10
                layer.running_var = torch.rand(layer.num_features) + 0.5
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights with the usual stem."""
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": network().state_dict()}, path)
    return path


def trained(out: Path, weights: object, *, max_steps: int | None = 2, **more: Any) -> sparring.Run:
    encoder = {"width": WIDTH, "weights": str(weights), **more.pop("encoder", {})}
    return sparring.train(
        IMAGES,
        out=out,
        method=more.pop("method", "simclr"),
        epochs=more.pop("epochs", 1),
        batch_size=16,
        image_size=16,
        max_steps=max_steps,
        settings={**SETTINGS, "encoder": encoder, **more.pop("settings", {})},
        progress=False,
        **more,
    )


def start(run: sparring.Run) -> dict[str, Tensor]:
    """State of the encoder before the first step."""
    return load_encoders(RunFolder(run.path))[1].backbone.network.state_dict()


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_a_run_starts_from_the_weights_and_tells_what_was_found(
    weights: Path, tmp_path: Path
) -> None:
    told = Told()
    run = trained(tmp_path / "run", weights, listener=told)
    assert_equal(start(run), network().state_dict())
    assert (
        f"weights of {weights} (timm's names of state_dict): 100 of 100 tensors of resnet18 loaded"
        in told.lines
    )
    assert any(line.startswith("images are normalised by mean (0.485, ") for line in told.lines)


@pytest.mark.parametrize("method", ["mocov2", "byol"])
def test_teachers_are_copies_of_the_weights(method: str, weights: Path) -> None:
    config = games.config(
        method, encoder={"width": WIDTH, "weights": str(weights)}, training={"image_size": 16}
    )
    config, found = with_start_weights(config, asked=set())
    state = build(config, start=found).method.state_dict()
    expected = network().state_dict()["layer3.0.conv1.weight"]
    copies = [one for name, one in state.items() if name.endswith("layer3.0.conv1.weight")]
    assert len(copies) > 1
    assert all(torch.equal(one, expected) for one in copies)


def test_nothing_needs_the_file_once_the_run_has_begun(weights: Path, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", weights, max_steps=4)
    run = trained(tmp_path / "run", weights, max_steps=2)
    weights.unlink()
    sparring.resume(run, data=IMAGES, max_steps=4, progress=False)
    ours, theirs = (sparring.load(one).state_dict() for one in (run, whole))
    assert_equal(ours, theirs)
    assert_equal(start(run), network().state_dict())
    scores = sparring.evaluate(run, train_data=IMAGES, protocols="geometry", progress=False)
    assert scores["trained"]["geometry"] != scores["start weights"]["geometry"]
    sparring.export(run, out=tmp_path / "exported.pth")
    assert sparring.embed(run, IMAGES[0], progress=False) is not None


def test_a_run_that_has_lost_its_start_is_told_so(weights: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", weights)
    RunFolder(run.path).initial.unlink()
    with pytest.raises(CheckpointError, match=r"does not keep the weights .*initial\.safetensors"):
        load_encoders(RunFolder(run.path))
    assert sparring.load(run) is not None


def test_other_weights_are_another_experiment_and_another_place_is_not(
    weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    trained(out, weights, max_steps=2)
    moved = tmp_path / "elsewhere.pth"
    torch.save(network().state_dict(), moved)  # the same tensors in another container
    trained(out, moved, max_steps=3, resume_if_exists=True)
    torch.save(network(seed=8).state_dict(), moved)
    with pytest.raises(RunError, match=r"another configuration: encoder\.weights_sha256 \w+.* now"):
        trained(out, moved, max_steps=4, resume_if_exists=True)
    with pytest.raises(RunError, match=r"encoder\.weights_sha256 .* before and None now"):
        sparring.train(
            IMAGES,
            out=out,
            method="simclr",
            epochs=1,
            batch_size=16,
            image_size=16,
            settings={**SETTINGS, "encoder": {"width": WIDTH, "small_images": False}},
            resume_if_exists=True,
            progress=False,
        )


def test_a_run_goes_on_where_its_weights_are_gone_and_says_so(
    weights: Path, tmp_path: Path
) -> None:
    out, told = tmp_path / "run", Told()
    trained(out, weights, max_steps=2)
    weights.unlink()
    trained(out, weights, max_steps=4, resume_if_exists=True, listener=told)
    assert f"the weights {weights} cannot be had any more" in told.lines[0]
    (out / "checkpoint" / "last.pt").unlink()
    shutil.rmtree(out / "checkpoint")
    with pytest.raises(DataError, match="No such file"):
        trained(out, weights, resume_if_exists=True)


def test_a_run_goes_on_without_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, told, weights = tmp_path / "run", Told(), "hf:someone/pretrained"
    given = Pretrained({"": dict(network().state_dict())}, {"mean": (0.1, 0.2, 0.3)})
    monkeypatch.setattr(start_weights, "hub_weights", lambda _: given)
    trained(out, weights, max_steps=2)

    def offline(_: str) -> None:
        raise DataError("no route to host")

    monkeypatch.setattr(start_weights, "hub_weights", offline)
    trained(out, weights, max_steps=4, resume_if_exists=True, listener=told)
    assert f"the weights {weights} cannot be had any more" in told.lines[0]
    with pytest.raises(DataError, match="no route to host"):
        trained(tmp_path / "other", weights)


def test_weights_that_another_process_cannot_read_are_told_in_all(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(trained(tmp_path / "run", weights).path)
    monkeypatch.setattr(start_weights.distributed, "everyones", lambda value: [value, False])
    with pytest.raises(DataError, match="another process cannot read"):
        with_start_weights(folder.read_config(), asked=set(), folder=folder)


def test_what_stays_as_the_weights_have_it_is_told(tmp_path: Path) -> None:
    form = {"backbone": "vit_tiny_patch16_224", "width": 0.125, "depth": 1, "patch_size": 4}
    file = tmp_path / "weights.pth"
    torch.save(make_backbone(EncoderSettings(**form), image_size=16).network.state_dict(), file)
    encoder = {**form, "weights": str(file), "fixed_positions": True}
    config = games.config("simclr", encoder=encoder, training={"image_size": 16})
    _, found = with_start_weights(config, asked=set())
    assert found is not None
    assert found.lines[-1] == (
        "encoder.fixed_positions=true: pos_embed is that of the weights, and stays"
    )


def test_weights_of_another_content_than_asked_for_are_refused(
    weights: Path, tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", weights)
    found = RunFolder(run.path).read_config().encoder.weights_sha256
    assert found is not None
    trained(tmp_path / "same", weights, encoder={"weights_sha256": found})
    with pytest.raises(DataError, match=rf"other tensors \(SHA-256 {found}\) than .*=abc asks"):
        trained(tmp_path / "other", weights, encoder={"weights_sha256": "abc"})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("is_small", [True, False])
def test_the_stem_follows_from_the_weights(is_small: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(network(small=is_small).state_dict(), path)
    run = trained(tmp_path / "run", path)
    assert RunFolder(run.path).read_config().encoder.small_images is is_small
    assert_equal(start(run), network(small=is_small).state_dict())
    with pytest.raises(DataError, match=r"conv1\.weight is .* leave encoder\.small_images out"):
        trained(tmp_path / "other", path, encoder={"small_images": not is_small})


def test_another_stem_stays_untrained_where_that_is_asked_for(
    weights: Path, tmp_path: Path
) -> None:
    told = Told()
    more = {"small_images": True, "partial_weights": True}
    run = trained(tmp_path / "run", weights, encoder=more, listener=told)
    assert "not in the weights, so untrained: conv1.weight" in told.lines
    found, given = start(run), network().state_dict()
    assert found["conv1.weight"].shape[2:] == (3, 3)
    assert torch.equal(found["layer4.1.conv2.weight"], given["layer4.1.conv2.weight"])


def test_another_width_and_other_channels_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a width of 0\.5 times this one's; see encoder\.width"):
        trained(tmp_path / "run", weights, encoder={"width": 0.125})
    with pytest.raises(DataError, match=r"images of 3 channels there, and data\.channels=1"):
        trained(tmp_path / "run", weights, settings={"data": {"channels": 1}})


def test_a_run_is_a_start_with_its_network_and_normalisation(weights: Path, tmp_path: Path) -> None:
    normalised = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    first = trained(tmp_path / "first", weights, max_steps=None, encoder=normalised)
    expected = sparring.load(first).backbone.network.state_dict()
    second = trained(tmp_path / "second", first.path)
    assert_equal(start(second), expected)
    found = RunFolder(second.path).read_config().encoder
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    asked = {"mean": [0.485, 0.456, 0.406]}  # the default, but asked for
    third = RunFolder(trained(tmp_path / "third", first.path, encoder=asked).path).read_config()
    assert third.encoder.mean == (0.485, 0.456, 0.406)
    shutil.rmtree(first.path / "checkpoint")
    fourth = trained(tmp_path / "fourth", first.path)
    assert_equal(start(fourth), expected)
    with pytest.raises(ConfigError, match=r"another network; encoder\.width=0\.0625 fits"):
        trained(tmp_path / "other", first.path, encoder={"width": 0.125})
    with pytest.raises(DataError, match=r"is a folder and no run folder \(no config\.toml\)"):
        trained(tmp_path / "other", tmp_path)


def test_a_run_that_keeps_its_best_look_gives_that_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    falling = iter(range(0, -100, -1))
    monkeypatch.setattr("sparring.training.monitor._online_knn", lambda *_: float(next(falling)))
    keeping = {"monitor_images": 64, "log_steps": 1, "keep_best": "knn_accuracy"}
    first = trained(
        tmp_path / "first",
        None,
        max_steps=None,
        epochs=2,
        encoder={"weights": None},
        settings={**SETTINGS, "training": keeping},
    )
    best = read_checkpoint(first.path / "checkpoint" / "best.pt")
    assert best["step"] < read_checkpoint(RunFolder(first.path).checkpoint)["step"]
    told = Told()
    second = trained(tmp_path / "second", first.path, listener=told)
    (line,) = [line for line in told.lines if line.startswith("weights of")]
    assert line.startswith(
        f"weights of {first.path} at step {best['step']}, the best by knn_accuracy of "
    )
    prefix = "backbone.network."
    expected = {
        name.removeprefix(prefix): tensor
        for name, tensor in encoder_state(best).items()
        if name.startswith(prefix)
    }
    assert_equal(start(second), expected)


class _Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        found: Tensor = self.norm(self.first(images))
        return found


def test_a_network_of_ones_own_takes_weights_too(tmp_path: Path) -> None:
    given, own = _Own(), _Own()
    path = tmp_path / "weights.pth"
    torch.save({f"module.{name}": one for name, one in given.state_dict().items()}, path)
    before = games.state(own)
    run = sparring.train(
        IMAGES,
        out=tmp_path / "run",
        method="simclr",
        backbone=own,
        epochs=1,
        batch_size=16,
        settings={**SETTINGS, "encoder": {"weights": str(path)}},
        progress=False,
    )
    assert not games.changed(before, games.state(own))
    _, untrained = load_encoders(RunFolder(run.path), backbone=_Own())
    assert_equal(untrained.backbone.network.state_dict(), given.state_dict())
    with pytest.raises(ConfigError, match="timm has none for a network of your own"):
        sparring.train(
            IMAGES,
            out=tmp_path / "other",
            backbone=own,
            settings={"encoder": {"weights": "timm"}},
            progress=False,
        )


def test_timms_weights_bring_their_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only timm's download is replaced."""
    name = "tf_efficientnet_lite0"
    theirs = timm.create_model(name)

    def downloaded(*_: object, **__: object) -> Mapping[str, Tensor]:
        return theirs.state_dict()

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", downloaded)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", downloaded)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = games.config(
        "simclr",
        encoder={"backbone": name, "weights": "timm", "width": 1.0},
        training={"image_size": 32},
    )
    config, found = with_start_weights(config, asked=set())
    assert found is not None
    assert config.encoder.mean == config.encoder.std == (0.5, 0.5, 0.5)
    assert torch.equal(found.state["conv_stem.weight"], theirs.state_dict()["conv_stem.weight"])
    assert found.lines[0].startswith("weights of timm for tf_efficientnet_lite0 (timm's names): ")


def test_a_model_of_the_hub_is_read_through_timm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the download is replaced: a folder stands for the model on the Hub."""
    from safetensors.torch import save_file

    theirs = timm.create_model("resnet18")
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    normalisation = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 1000}
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "resnet18", "pretrained_cfg": normalisation})
    )

    def downloaded(repo_id: str, filename: str, **_: object) -> str:
        assert repo_id == "someone/pretrained"
        return str(tmp_path / filename)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", downloaded)
    config = games.config(
        "simclr",
        encoder={"backbone": "resnet18", "weights": "hf:someone/pretrained", "width": 1.0},
        training={"image_size": 32},
    )
    resolved, found = with_start_weights(config, asked=set())
    assert found is not None
    assert resolved.encoder.mean == (0.1, 0.2, 0.3)
    assert resolved.encoder.small_images is False
    assert torch.equal(found.state["conv1.weight"], theirs.state_dict()["conv1.weight"])
    other = config.changed(encoder={"backbone": "resnet34"})
    with pytest.raises(
        DataError, match=r"does not fit resnet34: .*encoder\.backbone=resnet18 fits"
    ):
        with_start_weights(other, asked=set())


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    with pytest.raises(
        DataError, match=r"timm's weights of resnet18 cannot be had \(no route .*encoder\.weights$"
    ):
        pretrained.timm_weights("resnet18")
    with pytest.raises(DataError, match=r"download model\.safetensors from huggingface\.co/a/b,"):
        pretrained.hub_weights("a/b")


def test_a_plan_has_the_stem_of_the_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Planner:
        def __init__(self, config: Any, *_: object) -> None:
            seen.append(config.encoder.small_images)
            raise RunError("seen")

    monkeypatch.setattr(planning.plan, "MethodPlanner", Planner)
    with pytest.raises(RunError, match="seen"):
        planning.plan.plan(
            IMAGES,
            method="simclr",
            batch_size=16,
            image_size=16,
            settings={"encoder": {"width": WIDTH, "weights": str(weights)}},
        )
    assert seen == [False]


def _started(folder: Path) -> dict[str, Any]:
    """What one of several processes starts from."""
    config = games.config(
        "simclr",
        encoder={"width": WIDTH, "weights": str(folder / "weights.pth")},
        training={"image_size": 16},
    )
    config, found = with_start_weights(config, asked=set())
    game = build(config, start=found)
    return dict(game.encoder.backbone.network.state_dict())


@pytest.mark.slow
def test_all_processes_start_from_the_same_weights(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "weights.pth")
    for found in on_ranks(_started, 2, tmp_path):
        assert_equal(found, network().state_dict())
