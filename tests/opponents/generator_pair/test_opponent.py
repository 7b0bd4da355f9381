"""Generator pair around a method: who moves when, who is left alone, what the encoder is shown, and
that hardness is hard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from statistics import median
from typing import Any
from unittest.mock import patch

import pytest
import ring
import torch
from torch import Tensor, nn

import games
from sparring.data.views.views import Views, ViewSettings
from sparring.methods.method import Context, Metrics
from sparring.models.split_norm import SplitNorm
from sparring.models.view import as_views
from sparring.objectives.contrastive import nt_xent
from sparring.objectives.similarity import unit_rows
from sparring.opponents.generator_pair.differentiable_views import differentiable_view
from sparring.opponents.generator_pair.hardness import hardness, pair_similarity
from sparring.opponents.generator_pair.opponent import GeneratorPair
from sparring.opponents.generator_pair.pair import GeneratorPairSettings, Opposite, pair_loss
from sparring.seeding import generator
from sparring.training.build import Game

BATCH = ring.BATCH
ROWS = BATCH // 2
"""Latents per step."""


def paired(
    method: str = "simclr",
    *,
    network: type[nn.Module] = ring.Normed,
    pair: dict[str, Any] | None = None,
    **settings: Any,
) -> Game:
    """A method in double precision with a pair around it."""
    return ring.game(
        method, network, opponent=["generator-pair"], generator_pair=pair or {}, **settings
    )


def opponent_of(game: Game) -> GeneratorPair:
    """The pair around the method."""
    assert isinstance(game.method, GeneratorPair)
    return game.method


QUIET = {"generator_every": 2}
"""Neither generators nor discriminator move at odd steps."""
ODD = 1


def opponents_move(game: Game, context: Context) -> Metrics:
    """The opponents' part of a round; the method's own is left out."""
    inner = opponent_of(game).method
    with patch.object(inner, "step", lambda views, players, context: {}):
        return game.method.step(as_views(ring.views()), game.players, context)


def minimised(game: Game) -> Tensor:
    """What the encoder minimises in a round in which neither generators nor discriminator move."""
    assert opponent_of(game).settings.generator_every == 2
    return torch.as_tensor(stepped(game, ODD)["loss"])


def stepped(game: Game, number: int) -> Metrics:
    """A whole round on the views of that step."""
    return game.method.step(as_views(ring.views(number)), game.players, ring.prepared(game, number))


@contextmanager
def seen(game: Game) -> Iterator[list[tuple[Tensor, bool]]]:
    """Images that pass the backbone, and whether they pass the second set of norms."""
    found: list[tuple[Tensor, bool]] = []
    norms = [module for module in game.encoder.modules() if isinstance(module, SplitNorm)]

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Keep what passes."""
        found.append((given[0].detach().clone(), bool(norms) and norms[0].is_adversarial))

    hook = game.encoder.backbone.register_forward_pre_hook(note)
    try:
        yield found
    finally:
        hook.remove()


def test_the_judge_moves_first_then_the_generators_then_the_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    game, order = paired(), []
    for name, player in game.players.items():
        original = player.update
        monkeypatch.setattr(
            player,
            "update",
            lambda loss, name=name, original=original: (order.append(name), original(loss))[1],
        )
    stepped(game, 0)
    assert order == ["discriminator", "generator", "encoder"]


def test_the_encoder_stands_still_in_the_generators_move_and_they_in_its_own() -> None:
    game = paired(pair=QUIET)
    now = ring.prepared(game)
    game.encoder(ring.views()[0])  # running statistics that are not those of the start
    before = games.state(game.method)
    opponents_move(game, now)
    moved = games.changed(before, games.state(game.method))
    assert {name.split(".")[0] for name in moved} == {"pair", "discriminator", "album", "dial"}
    assert all(parameter.grad is None for parameter in game.method.parameters())
    before = games.state(game.method)
    stepped(game, ODD)
    assert {name.split(".")[0] for name in games.changed(before, games.state(game.method))} == {
        "method"
    }
    assert game.encoder.training


def test_the_judge_stands_still_in_the_generators_move() -> None:
    game = paired()
    now = ring.prepared(game)
    before = games.state(opponent_of(game).discriminator)  # type: ignore[arg-type]
    opponent_of(game)._generators_move(game.players["generator"], now, 0.5)
    assert not games.changed(before, games.state(opponent_of(game).discriminator))  # type: ignore[arg-type]


def test_identical_generators_are_similar_to_one_and_nothing_pulls_them_apart() -> None:
    game = paired(pair={"init_noise": 0.0})
    pair, encoder = opponent_of(game).pair, game.encoder.eval()
    first, second = (images.detach().requires_grad_() for images in pair(ring.spread(ROWS, 8)))
    similarity = pair_similarity(encoder(first), encoder(second))
    torch.testing.assert_close(similarity, torch.ones(ROWS, dtype=torch.float64))
    of_pair = torch.autograd.grad(similarity.sum(), (first, second), retain_graph=True)
    (of_others,) = torch.autograd.grad(
        (unit_rows(encoder(first)) @ unit_rows(encoder(second)).T).sum(), first
    )
    assert all(
        float(gradient.abs().max()) < 1e-9 * float(of_others.abs().max()) for gradient in of_pair
    )


def hardness_now(game: Game, context: Context) -> float:
    """Hardness of fixed latents for the game's encoder, under fixed augmentation."""
    assert context.augment is not None
    assert context.images is not None
    encoder, draws = game.encoder, generator(7, "oracle")
    encoder.eval()
    with torch.no_grad():
        views = [
            differentiable_view(images, context.augment.recipes[0], generator=draws)
            for images in (
                *opponent_of(game).pair(ring.spread(64, 8)),
                context.images.double() / 255,
            )
        ]
        found = hardness(*(encoder(view) for view in views), temperature=0.2)
    encoder.train()
    return float(found)


UNLIMITED: dict[str, Any] = {
    "adaptive": False,
    "hardness_rise": 0.0,
    "fence": 0.0,
    "diversity": 0.0,
    "players": {"generator": {"learning_rate": 1e-3}},
}
"""Hardness without anything that keeps it within limits, and generators that move fast enough for a
test; ten times faster they overshoot, and rounding decides where they end."""


def moved_hardness(weight: float, *, moves: int, seed: int) -> float:
    """Change of hardness by updates of the generators against a fixed encoder."""
    game = paired(
        network=ring.Plain,
        pair={**UNLIMITED, "hardness": weight},
        seed=seed,
        weights_seed=seed,
    )
    before = hardness_now(game, ring.prepared(game))
    for number in range(moves):
        opponents_move(game, ring.prepared(game, number))
    return hardness_now(game, ring.prepared(game)) - before


def median_gain(weight: float, *, moves: int) -> float:
    """Median over five games of the hardness that a weight adds.

    An untrained judge moves the generators too, and what it wants is neither hard nor easy: the
    same game without hardness is the zero.
    """
    return median(
        moved_hardness(weight, moves=moves, seed=seed) - moved_hardness(0.0, moves=moves, seed=seed)
        for seed in range(5)
    )


@pytest.mark.slow
def test_generators_make_hard_what_they_are_asked_to() -> None:
    # The five gains lie between 0.31 and 1.07, their median is 0.39 (a sixth seed, 5, has hardly
    # moved by then: 0.02, which is why this is a median); with a weight of 0 all are 0,
    # and with -20 the median is -0.01. Other instruction sets change them by less than 0.01.
    assert median_gain(20.0, moves=20) > 0.1


@pytest.mark.slow
def test_generators_make_easy_what_they_are_asked_to() -> None:
    # From a pair of almost equal images easy takes more moves than hard: -0.01, -0.14, -0.52, -0.71
    # and -0.77 after 40.
    assert median_gain(-20.0, moves=40) < -0.1


@pytest.mark.slow
def test_aimed_generators_are_harder_than_generators_that_moved_as_far_at_random() -> None:
    # Aimed 0.55, at random 0.001 of either sign.
    pair_settings = {**UNLIMITED, "hardness": 20.0}
    game = paired(network=ring.Plain, pair=pair_settings, seed=1, weights_seed=1)
    pair, now = opponent_of(game).pair, ring.prepared(game)
    before, start = ring.parameters(pair), hardness_now(game, now)
    for number in range(20):
        opponents_move(game, ring.prepared(game, number))
    aimed, distances = (
        hardness_now(game, now) - start,
        [(a - b).norm() for a, b in zip(ring.parameters(pair), before, strict=True)],
    )
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter, old, distance in zip(pair.parameters(), before, distances, strict=True):
            direction = torch.randn(parameter.shape, dtype=torch.float64, generator=draws)
            parameter.copy_(old + distance * direction / direction.norm())
    assert aimed > 2 * (hardness_now(game, now) - start)
    assert aimed > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("fence", [0.0, 1000.0])
def test_the_fence_keeps_a_pair_as_similar_as_it_must_be(fence: float) -> None:
    # Without limits the pair ends at 0.89, as far apart as this encoder can see images.
    limits = {
        "hardness": 5.0,
        "fence": fence,
        "similarity": 0.98,
        "players": {"generator": {"learning_rate": 4e-3}},
    }
    game = paired(pair={**UNLIMITED, **limits})
    for number in range(45):
        found = opponents_move(game, ring.prepared(game, number))
    similarity, floor = (
        float(found["generator_pair/similarity"]),
        float(found["generator_pair/floor"]),
    )
    assert (similarity > floor - 0.05) is (fence > 0)


def test_the_real_images_alone_are_seen_at_first() -> None:
    game, alone = paired(pair={"real_only": 0.5}), ring.game("simclr", ring.Normed)
    before = games.state(opponent_of(game).pair)  # type: ignore[arg-type]
    for number in (0, 49):
        now = [ring.prepared(each, number) for each in (game, alone)]
        losses = [
            each.method.step(as_views(ring.views(number)), each.players, at)["loss"]
            for each, at in zip((game, alone), now, strict=True)
        ]
        assert torch.equal(*losses)
    assert not games.changed(before, games.state(opponent_of(game).pair))  # type: ignore[arg-type]
    stepped(game, 50)
    assert games.changed(before, games.state(opponent_of(game).pair))  # type: ignore[arg-type]


def test_four_views_of_a_latent_are_positives_of_each_other_among_all_views() -> None:
    game = paired(network=ring.Plain, pair=QUIET)
    now = ring.prepared(game, ODD)
    real, made = ring.views(ODD), [view.double() for view in opponent_of(game)._supply.views(now)]
    assert [len(view) for view in made] == [ROWS] * 4
    rows = unit_rows(torch.cat([game.encoder(view) for view in (*real, *made)]))
    images = torch.cat([torch.arange(BATCH).repeat(2), BATCH + torch.arange(ROWS).repeat(4)])
    expected = []
    for anchor, row in enumerate(rows):
        others = [place for place in range(len(rows)) if place != anchor]
        total = torch.logsumexp(torch.stack([row @ rows[place] / 0.2 for place in others]), dim=0)
        positives = [place for place in others if images[place] == images[anchor]]
        expected.append(
            torch.stack([total - row @ rows[place] / 0.2 for place in positives]).mean()
        )
    torch.testing.assert_close(minimised(game), torch.stack(expected).mean())


def test_the_two_images_of_a_latent_are_alike_and_augmented_apart() -> None:
    game = paired(pair={"init_noise": 0.0})
    views = opponent_of(game)._supply.views(ring.prepared(game))
    assert not any(torch.equal(left, right) for left, right in combinations(views, 2))
    first, second = opponent_of(game)._supply.images(ring.prepared(game), "latents")
    assert torch.equal(first, second)
    noisy = paired(pair={"init_noise": 0.05})
    first, second = opponent_of(noisy)._supply.images(ring.prepared(noisy), "latents")
    assert 0 < float((first - second).abs().mean().detach()) < 0.1


@pytest.mark.parametrize("twin", ["static", "single"])
def test_one_generator_makes_as_many_different_images_as_two(twin: str) -> None:
    game = paired(pair={"disarmed": twin})
    supply, now = opponent_of(game)._supply, ring.prepared(game)
    assert [len(view) for view in supply.views(now)] == [2 * ROWS] * 2
    first, second = supply.images(now, "latents")
    assert torch.equal(first, second)
    assert not torch.equal(first, supply.images(now, "other latents")[0])
    plain = ViewSettings(crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=0, greyscale=0)
    still = supply.views(replace(now, augment=Views([plain, plain], image_size=games.SIZE)))[0]
    assert len(torch.unique(still.flatten(1), dim=0)) == 2 * ROWS


def test_diversity_is_measured_against_the_batch() -> None:
    game = paired(network=ring.Plain)
    real = opponent_of(game)._supply.real(ring.prepared(game))
    opposite = Opposite(
        encode=game.encoder,
        view=lambda images: images,
        judge=lambda images: images.mean(dim=(1, 2, 3)),
    )
    made = [real.clone().requires_grad_() for _ in range(2)]
    same = [real[:1].expand_as(real).clone().requires_grad_() for _ in range(2)]
    losses = []
    for images in (made, same):
        for weight in (0.0, 1e6):
            settings = GeneratorPairSettings(hardness=0.0, fence=0.0, diversity=weight)
            losses.append(
                float(pair_loss(*images, real, opposite, settings, floor=1.0, rise=1.0)[0].detach())
            )
    assert losses[1] == pytest.approx(losses[0], abs=1e-9)
    assert losses[3] > losses[2] + 1.0


def test_another_method_looks_at_generated_views_in_pairs() -> None:
    game = paired("mocov2", network=ring.Plain, pair={**QUIET, "weight": 0.5})
    now = ring.prepared(game, ODD)
    made = [view.double() for view in opponent_of(game)._supply.views(now)]
    method = opponent_of(game).method
    losses = [method.loss(as_views(pair), now).loss for pair in combinations(made, 2)]
    real, pairs = method.loss(as_views(ring.views(ODD)), now).loss, torch.stack(losses).mean()
    # 32 real views of weight 1, 32 generated ones of weight 1/2.
    torch.testing.assert_close(minimised(game), ((32 * real + 16 * pairs) / 48).detach())


def test_the_others_of_a_method_respond_to_the_batch_alone() -> None:
    game, alone = paired("mocov2"), ring.game("mocov2", ring.Normed)
    queues = [opponent_of(game).method.get_submodule("queue"), alone.method.get_submodule("queue")]
    before = games.state(queues[1])
    for each in (game, alone):
        stepped(each, 0)
    assert games.changed(before, games.state(queues[1]))
    assert not games.changed(games.state(queues[0]), games.state(queues[1]))


def test_views_of_weight_zero_leave_the_methods_loss_as_it_is() -> None:
    game = paired("mocov2", pair={**QUIET, "weight": 0.0})
    alone = ring.game("mocov2", ring.Normed)
    torch.testing.assert_close(minimised(game), stepped(alone, ODD)["loss"])


def test_alignment_adds_the_distances_of_generated_views_without_negatives() -> None:
    game = paired(network=ring.Plain, pair={**QUIET, "loss": "align", "weight": 0.5})
    now = ring.prepared(game, ODD)
    made = [unit_rows(game.encoder(view.double())) for view in opponent_of(game)._supply.views(now)]
    distance = torch.stack(
        [(left - right).square().sum(dim=1).mean() for left, right in combinations(made, 2)]
    ).mean()
    views = torch.stack([game.encoder(view) for view in ring.views(ODD)])
    real = nt_xent(views, temperature=0.2)
    torch.testing.assert_close(minimised(game), (real + 0.5 * distance).detach())


@pytest.mark.parametrize("twin", [None, "static", "single", "latent-noise", "real-views"])
def test_every_control_shows_the_encoder_as_many_views(twin: str | None) -> None:
    game = paired(pair={**QUIET, "disarmed": twin})
    with seen(game) as passes:
        minimised(game)
    assert sum(len(images) for images, _ in passes) == 2 * BATCH + 4 * ROWS


@pytest.mark.parametrize(
    ("twin", "moving"),
    [
        (None, {"pair.first", "pair.second", "discriminator", "album", "dial"}),
        ("single", {"pair.first", "discriminator", "album"}),
        ("static", {"album"}),
        ("latent-noise", {"album"}),
        ("real-views", set()),
    ],
)
def test_a_control_moves_what_it_says(twin: str | None, moving: set[str]) -> None:
    game = paired(pair={"disarmed": twin})
    before = games.state(game.method)
    opponents_move(game, ring.prepared(game))
    moved = games.changed(before, games.state(game.method))
    assert {
        ".".join(name.split(".")[: 2 if name.startswith("pair") else 1]) for name in moved
    } == moving


def test_further_views_of_real_images_are_positives_of_the_batch() -> None:
    game = paired(network=ring.Plain, pair={**QUIET, "disarmed": "real-views"})
    extra = [view.double() for view in opponent_of(game)._supply.views(ring.prepared(game, ODD))]
    assert [len(view) for view in extra] == [BATCH] * 2
    everything = torch.stack([game.encoder(view) for view in (*ring.views(ODD), *extra)])
    torch.testing.assert_close(minimised(game), nt_xent(everything, temperature=0.2).detach())


def test_the_first_generator_can_stay_where_it_is() -> None:
    game = paired(pair={"moves": "second"})
    before = games.state(opponent_of(game).pair)  # type: ignore[arg-type]
    opponents_move(game, ring.prepared(game))
    assert {
        name.split(".")[0] for name in games.changed(before, games.state(opponent_of(game).pair))
    } == {"second"}  # type: ignore[arg-type]


def test_split_norms_keep_generated_views_from_the_clean_statistics() -> None:
    game = paired("mocov2", pair={**QUIET, "norms": "split"})
    alone = ring.game("mocov2", ring.Normed)
    with seen(game) as passes:
        minimised(game)
    stepped(alone, ODD)
    assert [is_second for _, is_second in passes].count(True) == 4
    clean = [
        module.clean.running_mean
        for module in game.encoder.modules()
        if isinstance(module, SplitNorm)
    ]
    plain = [
        module.running_mean
        for module in alone.encoder.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert ring.equal(clean, plain)  # type: ignore[arg-type]


def test_the_generators_see_the_colours_that_they_are_asked_to_see() -> None:
    found = {
        colour: opponents_move(game := paired(pair={"colour": colour}), ring.prepared(game))
        for colour in ("partial", "full")
    }
    hard = [float(metrics["generator_pair/hardness"]) for metrics in found.values()]
    assert hard[0] != hard[1]


def test_a_clipped_hardness_pulls_no_harder_than_realism() -> None:
    weights = []
    for adaptive in (True, False):
        game = paired(pair={"adaptive": adaptive, "hardness": 1e3, "hardness_rise": 0.0})
        weights.append(
            float(opponents_move(game, ring.prepared(game))["generator_pair/hardness_weight"])
        )
    assert weights[1] == pytest.approx(1e3)
    assert 0 < weights[0] < weights[1]


def test_generated_images_that_are_all_alike_are_told() -> None:
    record = {"generator_pair/crowding": 0.9, "generator_pair/crowding_real": 0.5}
    sentence = GeneratorPair.alarm(record)
    assert sentence is not None
    assert "mean cosine 0.90, of real ones 0.50" in sentence
    assert GeneratorPair.alarm({**record, "generator_pair/crowding": 0.69}) is None
    assert GeneratorPair.alarm({"loss": 1.0}) is None


def test_the_defaults_are_those_of_the_specification() -> None:
    s = GeneratorPairSettings()
    assert (s.hardness, s.fence, s.diversity, s.similarity, s.real_only, s.made_share) == (
        1.0,
        10.0,
        10.0,
        0.7,
        0.1,
        0.5,
    )
    assert (s.hardness_rise, s.init_noise, s.generator_every, s.adaptive) == (0.1, 0.01, 1, True)
    p = s.pretraining
    assert (p.batch_size, p.discriminator_steps, p.ema, p.players.generator.learning_rate) == (
        64,
        4,
        0.9999,
        2e-4,
    )
    assert s.players.generator.learning_rate == pytest.approx(
        0.1 * p.players.generator.learning_rate
    )
    assert (s.judge.translation, s.judge.cutout) == (0.125, 0.5)
