"""Every method with every opponent in image space around it, and with all of them in either order;
what each must do."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import sketches
import torch
from arena import SIZE, changed, config, contest, play, state, step, training, views
from safetensors.torch import load_file
from torch import Tensor

from sparring.methods.groups import Group
from sparring.methods.method import Method, Step, Turn, Wrapper, innermost
from sparring.methods.registry import (
    METHODS,
    OPPONENTS,
    PAIRINGS,
    method_class,
    section,
    wrapper_class,
)
from sparring.methods.simclr import SimCLR
from sparring.models.backbones import make_backbone
from sparring.models.split_norm import SplitNorm
from sparring.models.teacher import Teacher
from sparring.training.metrics import METRICS, read_metrics
from sparring.training.settings import RunConfig
from sparring.training.start import both_methods, online_encoder

ALONE = [(opponent,) for opponent in OPPONENTS]
TOGETHER = [tuple(OPPONENTS), tuple(reversed(OPPONENTS))]


def every(*arrangements: tuple[str, ...]) -> pytest.MarkDecorator:
    """Every method with each of these opponents around it, the innermost first."""
    pairs = [
        pytest.param(method, around, id="+".join((method, *around)))
        for method in sorted(METHODS)
        for around in arrangements
    ]
    return pytest.mark.parametrize(("method", "opponents"), pairs)


@every(*ALONE, *TOGETHER)
def test_a_pair_plays_and_says_what_its_opponents_did(
    method: str, opponents: tuple[str, ...]
) -> None:
    game = contest(method, opponent=opponents)
    assert isinstance(game.method, Wrapper)
    assert type(innermost(game.method)) is method_class(method)
    before = state(game.method)
    for number in range(4):
        found = play(method, game, number)
    moved = changed(before, state(game.method))
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    assert found.keys() <= METRICS.keys()
    assert all(any(name.startswith(section(opponent)) for name in found) for opponent in opponents)
    # The networks play on, in both norm sets; a teacher's follow.
    sides = (
        ("clean", "adversarial")
        if any(isinstance(module, SplitNorm) for module in game.method.modules())
        else ("",)
    )
    for side in sides:
        assert any(side in name and "encoder" in name for name in moved)
        if any(isinstance(module, Teacher) for module in game.method.modules()):
            assert any(side in name and "teacher" in name for name in moved)


@every(*ALONE, TOGETHER[0])
def test_a_pair_begins_where_its_method_begins(method: str, opponents: tuple[str, ...]) -> None:
    alone, around = contest(method), contest(method, opponent=opponents)
    theirs = {
        re.sub(r"^(method\.)+", "", name).replace(".clean.", "."): value
        for name, value in state(around.method).items()
    }
    assert not changed(state(alone.method), theirs)


@every(*ALONE, TOGETHER[0])
def test_a_resumed_pair_repeats_every_bit(
    method: str, opponents: tuple[str, ...], tmp_path: Path
) -> None:
    # Stopping at 2: a bank has not filled, so that the game proper and who asks in it are still to
    # come.
    whole = training(method, tmp_path / "whole", opponent=opponents, training={"max_steps": 6})
    whole.play()
    training(method, tmp_path / "parts", opponent=opponents, training={"max_steps": 2}).play()
    second = training(method, tmp_path / "parts", opponent=opponents, training={"max_steps": 6})
    second.restore()
    second.play()
    assert not changed(state(whole.contest.method), state(second.contest.method))
    losses = [
        [record["loss"] for record in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("opponents", [*ALONE, *TOGETHER])
def test_what_a_run_leaves_behind_is_the_clean_network_under_its_plain_names(
    opponents: tuple[str, ...], tmp_path: Path
) -> None:
    run = training("mocov2", tmp_path, opponent=opponents, training={"max_steps": 2})
    run.play()
    run.folder.write_config(run.config)
    trained, plain = online_encoder(both_methods(run.folder)[0]), contest("mocov2").encoder
    assert trained.state_dict().keys() == plain.state_dict().keys()
    saved = load_file(run.folder.backbone)
    assert saved.keys() == plain.backbone.network.state_dict().keys()
    images = views("mocov2")[0]
    ours = run.contest.encoder.eval().features(images)
    assert torch.equal(trained.features(images), ours)
    assert all(
        torch.equal(saved[name], value)
        for name, value in trained.backbone.network.state_dict().items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRINGS)
def test_the_encoder_learns_what_views_share_with_its_opponents(name: str, tmp_path: Path) -> None:
    run = sketches.training(PAIRINGS[name].method, tmp_path, opponent=PAIRINGS[name].opponents)
    before = sketches.score(sketches.untrained(run).encoder)
    run.play()
    # As for methods alone: 36 to 40 % untrained, a standard error of 2 %.
    assert before < 0.45
    assert sketches.score(run.contest.encoder) > before + 0.12


@pytest.mark.parametrize("name", PAIRINGS)
def test_a_published_pairing_is_its_method_and_its_opponents(name: str) -> None:
    run = RunConfig.from_tree({"method": name, "training": {"image_size": 16}})
    pairing = PAIRINGS[name]
    assert (run.method, run.opponent) == (pairing.method, pairing.opponents)
    assert RunConfig.from_tree(run.tree()) == run


class Mirrored(SimCLR):
    """A method that is not in the registry."""

    def look(self, views: Sequence[Tensor], step: Step) -> Turn:
        """With the views the other way round."""
        return super().look(views[::-1], step)


@pytest.mark.parametrize("opponents", [*ALONE, *TOGETHER])
def test_opponents_wrap_a_method_that_someone_else_wrote(opponents: tuple[str, ...]) -> None:
    run = config("simclr", opponent=opponents)
    game: Method = Mirrored(
        make_backbone(run.encoder, image_size=SIZE),
        run.encoder,
        run.game,
        generator=torch.Generator(),
    )
    for name in opponents:
        game = wrapper_class(name)(game, run.around[name])
    turn = game.look_at([Group(views=views("simclr"))], step())
    assert turn.loss.requires_grad


@every(*TOGETHER)
def test_both_opponents_take_part_in_the_loss(method: str, opponents: tuple[str, ...]) -> None:
    losses = {}
    for around in ((), *((name,) for name in opponents), opponents):
        game = contest(method, opponent=around)
        losses[around] = float(
            game.method.look_at([Group(views=views(method))], step()).loss.detach()
        )
    assert len(set(losses.values())) == 4
