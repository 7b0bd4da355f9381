"""Runs whose layers learn at rates of their own, or not at all: what moves, what is told, and that
they go on to the bit."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

import games
import sparring
from sparring.errors import ConfigError
from sparring.training.build import build
from sparring.training.checkpoint import load_checkpoint
from sparring.training.continuing import layer_lines
from sparring.training.encoders import load_encoders
from sparring.training.metrics import METRICS, read_metrics
from sparring.training.run import run_training
from sparring.training.run_folder import RunFolder
from tiny import tiny_images

SLOW: dict[str, Any] = {
    "encoder": {"backbone": "resnet18", "width": 0.0625, "frozen_stages": 1},
    "players": {"encoder": {"layer_decay": 0.5}},
    "training": {"max_steps": 3, "log_steps": 1},
}
CASES: list[tuple[str, tuple[str, ...]]] = [
    ("byol", ()),
    ("simclr", ("perturbation",)),
]


@pytest.mark.parametrize(("method", "opponents"), CASES)
def test_frozen_stages_and_their_statistics_stay_and_the_rest_learns(
    method: str, opponents: tuple[str, ...], tmp_path: Path
) -> None:
    run = games.training(method, tmp_path, opponent=opponents, **SLOW)
    run_training(run, run.folder)
    trained, start = (games.state(one.backbone.network) for one in load_encoders(run.folder))
    changed = games.changed(start, trained)
    assert changed == {name for name in start if not name.startswith(("conv1", "bn1", "layer1"))}


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("lars", marks=pytest.mark.slow)])
def test_a_run_goes_on_to_the_bit(optimizer: str, tmp_path: Path) -> None:
    player = {"encoder": {"layer_decay": 0.5, "optimizer": optimizer, "clip_norm": 1.0}}
    settings = {**SLOW, "players": player}
    whole = games.training("simsiam", tmp_path / "whole", **settings)
    run_training(whole, whole.folder)
    first = games.training("simsiam", tmp_path / "run", **settings | {"training": {"max_steps": 2}})
    run_training(first, first.folder)
    second = games.training("simsiam", tmp_path / "run", **settings)
    second.restore()
    assert second.step == 2
    run_training(second, second.folder)
    ours, theirs = (games.state(run.game.method) for run in (whole, second))
    assert not games.changed(ours, theirs)


def test_the_rates_of_the_deepest_layer_and_of_the_heads_are_recorded(tmp_path: Path) -> None:
    run = games.training("simclr", tmp_path, **SLOW)
    run_training(run, run.folder)
    for record in read_metrics(run.folder.metrics):
        # Eight blocks, the first two of which are frozen.
        assert record["learning_rate_lowest"] == pytest.approx(record["learning_rate"] / 2**6)
    assert "learning_rate_lowest" in METRICS
    plain = games.training("simclr", tmp_path / "plain", training={"max_steps": 1})
    run_training(plain, plain.folder)
    assert "learning_rate_lowest" not in read_metrics(plain.folder.metrics)[0]


def test_the_rates_and_the_frozen_share_are_told() -> None:
    config = games.config("simclr", **SLOW)
    rates, frozen = layer_lines(config, build(config))
    assert rates == (
        "players.encoder.layer_decay=0.5: learning rates from 0.00094 in the first layer that "
        "learns to 0.06 in the heads"
    )
    assert frozen == (
        "encoder.frozen_stages=1: the stem and 1 stage, 1.6 % of the backbone's parameters, stay "
        "as they are, which is random without encoder.weights"
    )
    assert list(layer_lines(games.config("simclr"), games.game("simclr"))) == []


def test_too_many_frozen_stages_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resnet18 has 4 stages .* accepted are 0 to 3"):
        sparring.train(
            tiny_images(8),
            out=tmp_path / "run",
            method="simclr",
            settings={"encoder": {"frozen_stages": 4, "width": 0.0625}},
            progress=False,
        )
    assert not (tmp_path / "run").exists()


def test_the_rate_of_a_player_without_a_backbone_has_no_depth(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^players\.bank\.layer_decay=0\.5: "):
        games.game("adco", players={"bank": {"layer_decay": 0.5}})


def test_a_network_of_ones_own_has_its_first_layers_frozen() -> None:
    network = nn.Sequential(*(nn.Conv2d(width, 4, 3) for width in (3, 4, 4)))
    config = games.config("simclr", **SLOW | {"encoder": {"frozen_stages": 1}})
    game = build(config, network)
    assert game.encoder.backbone.frozen == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert all(parameter.requires_grad for parameter in network.parameters())  # a copy is used
    assert game.players["encoder"].lowest_factor == 0.5


def test_a_checkpoint_at_one_rate_has_no_word_of_layers(tmp_path: Path) -> None:
    run = games.training("simclr", tmp_path, training={"max_steps": 1})
    run_training(run, run.folder)
    (group, *_) = run.game.players["encoder"].state_dict()["param_groups"]
    assert not {"depth", "layer_decay"} & group.keys()
    assert load_checkpoint(RunFolder(tmp_path).checkpoint, build(run.config)) == 1
