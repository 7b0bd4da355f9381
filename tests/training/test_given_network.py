"""A network that a user hands over: copied, its start kept, its frozen layers left as they are."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import games
import sparring
from sparring.contract import toy
from sparring.errors import ConfigError, RunError
from sparring.evaluation.data import EvaluatedEncoder
from sparring.evaluation.finetuning.finetuning import FineTuningSettings, fine_tuned
from sparring.training.build import build
from sparring.training.encoders import load_encoders
from sparring.training.run import load_method, run_training
from sparring.training.run_folder import RunFolder
from told import Told

IMAGES = (toy.images(), np.arange(64) % 2)
FEW: dict[str, Any] = {
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 8, "log_steps": 1},
}


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    # Without a bias, which would learn nothing in front of a batch norm.
    convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Small(nn.Module):
    """Two convolutions, each with a batch norm."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = _layer(3, 4)
            self.second = _layer(4, 8)

    def forward(self, images: Tensor) -> Tensor:
        """Map of features."""
        return self.second(self.first(images))  # type: ignore[no-any-return]


def trained(out: Path, network: nn.Module, *, max_steps: int = 3, **more: Any) -> sparring.Run:
    return sparring.train(
        IMAGES,
        out=out,
        backbone=network,
        method="simclr",
        epochs=2,
        batch_size=16,
        max_steps=max_steps,
        settings=FEW,
        progress=False,
        **more,
    )


def geometry(run: object, network: nn.Module, **more: Any) -> dict[str, Any]:
    scores = sparring.evaluate(
        run,  # type: ignore[arg-type]
        train_data=IMAGES,
        protocols="geometry",
        backbone=network,
        progress=False,
        **more,
    )
    return {who: scores[who]["geometry"] for who in ("trained", "untrained")}


def trained_network(run: sparring.Run, network: nn.Module) -> nn.Module:
    return sparring.load(run, backbone=network).backbone.network


def test_the_callers_network_stays_as_it_is(tmp_path: Path) -> None:
    network = Small().eval()
    before = games.state(network)
    run = trained(tmp_path / "run", network)
    assert not games.changed(before, games.state(network))
    assert not network.training
    assert games.changed(before, games.state(trained_network(run, network)))


def test_untrained_is_the_start_whatever_weights_the_given_network_has(tmp_path: Path) -> None:
    network = Small()
    run = trained(tmp_path / "run", network)
    expected = geometry(run, network)
    assert expected["trained"] != expected["untrained"]
    for other in (trained_network(run, network), Small(seed=1)):
        assert geometry(run, other) == expected
    _, untrained = load_encoders(RunFolder(run.path), backbone=Small(seed=1))
    assert not games.changed(games.state(network), games.state(untrained.backbone.network))


def test_resuming_with_the_trained_network_changes_neither_bits_nor_start(tmp_path: Path) -> None:
    network = Small()
    whole = trained(tmp_path / "whole", network, max_steps=5)
    run = trained(tmp_path / "run", network, max_steps=2)
    start = RunFolder(run.path).initial.read_bytes()
    sparring.resume(
        run,
        data=IMAGES,
        max_steps=5,
        backbone=trained_network(run, network),
        progress=False,
    )
    assert RunFolder(run.path).initial.read_bytes() == start
    ours, theirs = (games.state(trained_network(found, network)) for found in (whole, run))
    assert not games.changed(ours, theirs)


def test_a_run_that_kept_no_start_says_so_and_refuses_the_trained_network(tmp_path: Path) -> None:
    network, told = Small(), Told()
    run = trained(tmp_path / "run", network)
    expected = geometry(run, network)
    RunFolder(run.path).initial.unlink()
    assert geometry(run, network, listener=told) == expected
    assert sum("has not kept the weights from which it started" in line for line in told.lines) == 1
    with pytest.raises(RunError, match=r"has the trained weights, and .* as it was before"):
        geometry(run, trained_network(run, network))
    assert trained_network(run, trained_network(run, network)) is not None  # loading needs no start


def test_a_run_whose_seed_gives_the_start_keeps_no_copy_of_it(tmp_path: Path) -> None:
    run = games.training("simclr", tmp_path, training={"max_steps": 1})
    run_training(run, run.folder)
    assert not run.folder.initial.exists()


@pytest.mark.parametrize(
    ("method", "opponents"),
    [("simclr", ()), ("mocov2", ()), ("byol", ()), ("simclr", ("perturbation",))],
)
def test_frozen_layers_and_their_statistics_stay_and_the_rest_learns(
    method: str, opponents: tuple[str, ...], tmp_path: Path
) -> None:
    network = Small()
    network.first.requires_grad_(False)
    config = games.config(
        method, opponent=opponents, encoder={"backbone": "custom:Small"}, training={"max_steps": 2}
    )
    template = games.training("simclr", tmp_path)
    run = type(template)(
        config=config,
        game=build(config, network),
        dataset=template.dataset,
        folder=template.folder,
    )
    run.folder.write_config(config)
    run_training(run, run.folder)
    encoder, _ = load_encoders(run.folder, backbone=network)
    changed = games.changed(games.state(network), games.state(encoder.backbone.network))
    learned = {name for name in games.state(network) if name.startswith("second.")}
    assert changed == learned


def test_frozen_layers_stay_in_fine_tuning_and_the_rest_learns() -> None:
    network = Small()
    network.first.requires_grad_(False)
    encoder = build(games.config("simclr"), network).encoder.eval().requires_grad_(False)
    settings = FineTuningSettings(steps=2, batch_size=8)
    copy = EvaluatedEncoder("trained", encoder).trainable_copy()
    tuned = fine_tuned(
        copy,
        toy.dataset(),
        torch.arange(64),
        torch.arange(64) % 2,
        num_classes=2,
        settings=settings,
        seed=0,
    )
    after = games.state(tuned.encoder.backbone.network)
    assert games.changed(games.state(network), after) == {
        name for name in after if name.startswith("second.")
    }


def test_a_network_that_cannot_learn_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all 6 parameters of Small are frozen"):
        trained(tmp_path / "run", Small().requires_grad_(False))
    assert not (tmp_path / "run").exists()


def test_a_network_that_cannot_be_copied_is_refused_in_one_line(tmp_path: Path) -> None:
    network = Small()
    network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"^backbone: Small cannot be copied \(.*copy\.deepcopy"):
        trained(tmp_path / "run", network)


def test_a_network_with_shared_weights_is_saved(tmp_path: Path) -> None:
    network = Small()
    network.again = network.second
    run = trained(tmp_path / "run", network, max_steps=1)
    weights = safetensors.torch.load_file(RunFolder(run.path).backbone)
    assert torch.equal(weights["again.0.weight"], weights["second.0.weight"])


def test_frozen_layers_stay_frozen_when_a_run_is_resumed_with_the_loaded_network(
    tmp_path: Path,
) -> None:
    network = Small()
    network.first.requires_grad_(False)
    run = trained(tmp_path / "run", network, max_steps=1)
    loaded = trained_network(run, network)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    between = games.state(loaded)
    sparring.resume(run, data=IMAGES, max_steps=3, backbone=loaded, progress=False)
    changed = games.changed(between, games.state(trained_network(run, loaded)))
    assert changed == {name for name in between if name.startswith("second.")}
    assert load_method(RunFolder(run.path), backbone=loaded) is not None
