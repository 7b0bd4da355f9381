"""The encoders of a run folder, rebuilt without its method: the same bits as in the game."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

import games
from sparring.errors import CheckpointError
from sparring.models.split_norm import SplitNorm, join_norms
from sparring.training.build import build, build_encoder
from sparring.training.checkpoint import read_checkpoint, write_state
from sparring.training.encoders import load_encoders
from sparring.training.loop import Training

GAMES = [
    *((name, ()) for name in games.METHODS),
    ("mocov2", ("perturbation",)),
    ("simclr", ("generator-pair", "perturbation")),
]


def trained(method: str, opponents: tuple[str, ...], folder: Path) -> Training:
    """A run of three steps."""
    settings = {"training": {"max_steps": 3}, "players": {"encoder": {"learning_rate": 0.5}}}
    run = games.training(method, folder, opponent=opponents, **settings)
    run.run()
    return run


@pytest.mark.parametrize("method", games.METHODS)
def test_an_encoder_alone_is_the_one_inside_the_game_to_the_bit(method: str) -> None:
    config = games.config(method, seed=5)
    alone, inside = build_encoder(config), build(config).encoder
    assert not games.changed(games.state(inside), games.state(alone))
    assert inside.state_dict().keys() == alone.state_dict().keys()
    other = build_encoder(config.changed(seed=6))
    assert games.changed(games.state(alone), games.state(other))


@pytest.mark.parametrize(("method", "opponents"), GAMES)
def test_the_trained_encoder_and_the_untrained_one_are_those_of_the_game(
    method: str, opponents: tuple[str, ...], tmp_path: Path
) -> None:
    run = trained(method, opponents, tmp_path)
    joined = deepcopy(run.game.encoder)
    join_norms(joined)
    found, untrained = load_encoders(run.folder)
    assert found.state_dict().keys() == joined.state_dict().keys()
    assert not games.changed(games.state(joined), games.state(found))
    start = build(games.config(method)).encoder  # no opponent, so no norm is split
    assert untrained.state_dict().keys() == start.state_dict().keys()
    assert not games.changed(games.state(start), games.state(untrained))
    assert games.changed(games.state(untrained), games.state(found))


def test_split_norms_are_joined_and_the_clean_ones_are_kept(tmp_path: Path) -> None:
    run = trained("simclr", ("perturbation",), tmp_path)
    split = [part for part in run.game.encoder.modules() if isinstance(part, SplitNorm)]
    assert split
    assert any(
        not torch.equal(norm.clean.running_mean, norm.adversarial.running_mean)  # type: ignore[arg-type]
        for norm in split
    )
    found, _ = load_encoders(run.folder)
    assert not any(isinstance(part, SplitNorm) for part in found.modules())
    images = games.batch(0).float() / 255
    with torch.no_grad():
        assert torch.equal(found.features(images), run.game.encoder.eval().features(images))


def test_encoders_are_in_evaluation_mode_without_gradients(tmp_path: Path) -> None:
    run = trained("byol", (), tmp_path)
    for encoder in load_encoders(run.folder):
        assert not any(part.training for part in encoder.modules())
        assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_network_of_ones_own_is_given_again_and_left_as_it_is(tmp_path: Path) -> None:
    network = games.Plain()
    config = games.config("simclr")
    template = games.training("simclr", tmp_path)
    run = Training(
        config=config.changed(training={"max_steps": 2}),
        game=build(config, deepcopy(network)),
        dataset=template.dataset,
        folder=template.folder,
    )
    run.run()
    before = games.state(network)
    found, untrained = load_encoders(run.folder, backbone=network)
    assert not games.changed(before, games.state(network))
    assert not games.changed(games.state(run.game.encoder), games.state(found))
    assert not games.changed(before, games.state(untrained.backbone.network))
    with pytest.raises(CheckpointError, match="does not fit this configuration: "):
        load_encoders(run.folder, backbone=nn.Sequential(nn.Conv2d(3, 5, 3)))


def test_a_checkpoint_that_lacks_the_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    run = trained("simclr", (), tmp_path)
    content = read_checkpoint(run.folder.checkpoint)
    kept = {name: value for name, value in content["method"].items() if "projector" not in name}
    write_state(run.folder.checkpoint, {**content, "method": kept})
    with pytest.raises(CheckpointError, match="does not fit this configuration: ") as caught:
        load_encoders(run.folder)
    assert "\n" not in str(caught.value)
