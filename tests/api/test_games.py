"""Games in a loop of one's own: the same steps as those of `sparring.train`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparring
from sparring.errors import ConfigError, DivergedError
from sparring.methods.simclr import SimCLR
from tiny import tiny_images
from told import Told

NARROW = {"encoder": {"width": 0.0625}, "projector": {"dim": 16}}
IMAGES = torch.from_numpy(tiny_images(16)[0]).permute(0, 3, 1, 2).contiguous()


def made(method: str = "simclr", **more: Any) -> sparring.PlayableGame:
    """A narrow game of four steps on a CPU."""
    plan = {"image_size": 16, "num_steps": 4, "steps_per_epoch": 2, "device": "cpu"}
    return sparring.make_game(method, **{"settings": NARROW, **plan, **more})


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Tensors of a network, copied."""
    state = network.state_dict()
    return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}


@pytest.mark.slow
def test_a_loop_of_ones_own_makes_the_steps_of_a_run_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[Tensor], Tensor]] = []
    whole = SimCLR.step

    def step(self: SimCLR, views: Any, players: Any, context: Any) -> Any:
        """Keep the views of a step, and make it."""
        seen.append(([view.pixels.clone() for view in views], context.indices))
        return whole(self, views, players, context)

    monkeypatch.setattr(SimCLR, "step", step)
    run = sparring.train(
        IMAGES,
        out=tmp_path / "run",
        method="simclr",
        opponent="perturbation",
        settings=NARROW,
        listener=Told(),
        epochs=2,
        batch_size=16,
        image_size=16,
        monitor_images=16,
        device="cpu",
    )
    monkeypatch.undo()
    assert len(seen) == 4
    game = made(opponent="perturbation")
    for views, indices in seen:
        metrics = game.step(views, indices)
    assert {"loss", "perturbation/loss"} <= metrics.keys()
    # A run leaves the clean norms alone, and so does the copy.
    ours, theirs = weights(game.trained_encoder()), weights(run.encoder)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert game.encoder.training


def test_a_game_goes_on_from_its_state_to_the_bit() -> None:
    whole, first, second = made("adco"), made("adco"), made("adco", seed=0)
    steps = [whole.views(IMAGES[:8]) for _ in range(2)]
    for views in steps:
        whole.step(views)
    first.step(steps[0])
    second.load_state_dict(first.state_dict())
    second.step(steps[1])
    ours, theirs = weights(second.method), weights(whole.method)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_views_follow_the_recipe_and_the_step() -> None:
    game = made()
    first, again = game.views(IMAGES[:8]), game.views(IMAGES[:8])
    assert [tuple(view.shape) for view in first] == [(8, 3, 16, 16)] * 2
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    game.step(first)
    assert not torch.equal(first[0], game.views(IMAGES[:8])[0])


def test_rates_follow_the_plan_and_a_game_ends_with_it() -> None:
    game, rates = made(), []
    for _ in range(4):
        game.step(game.views(IMAGES[:8]))
        rates.append(game.players["encoder"].learning_rate)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2 * rates[-1] > 0
    with pytest.raises(ConfigError, match="has made its 4 steps"):
        game.step(game.views(IMAGES[:8]))


def test_a_step_leaves_the_callers_random_numbers_alone() -> None:
    game = made()
    views = game.views(IMAGES[:8])
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    game.step(views)
    assert torch.equal(torch.rand(3), wanted)


def test_wrong_views_cost_one_line() -> None:
    game = made("mocov2", settings={**NARROW, "queue": {"size": 32}})
    with pytest.raises(ConfigError, match="1 views; mocov2 needs 2: one tensor per view"):
        game.step(game.views(IMAGES[:8])[:1])


def test_a_loss_that_is_not_finite_names_the_player_and_makes_no_step() -> None:
    game = made()
    with pytest.raises(DivergedError, match="encoder"):
        game.step([torch.full((8, 3, 16, 16), torch.nan)] * 2)
    assert game.num_made == 0


def test_an_opponent_that_learns_from_the_images_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"learns from the images.*sparring\.train"):
        made(opponent="generator-pair", image_size=32)


@pytest.mark.slow
def test_a_network_of_ones_own_learns_as_a_copy() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = weights(network)
    game = made(backbone=network, settings={"projector": {"dim": 16}})
    game.step(game.views(IMAGES[:8]))
    after = weights(game.encoder.backbone.network)
    assert all(torch.equal(before[name], value) for name, value in weights(network).items())
    assert any(not torch.equal(before[name], after[name]) for name in before)
