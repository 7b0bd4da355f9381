"""Generator pair around a method: who moves when, who is left alone, what the encoder is shown, and
that hardness is hard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from typing import Any

import arena
import pytest
import ring
import torch
from sparring.methods.groups import Group
from torch import Tensor, nn

from sparring.data.views.views import Views, ViewSettings
from sparring.methods.method import Step
from sparring.models.split_norm import SplitNorm
from sparring.objectives.contrastive import nt_xent
from sparring.objectives.similarity import unit_rows
from sparring.opponents.generator_pair.differentiable_views import differentiable_view
from sparring.opponents.generator_pair.hardness import hardness, pair_similarity
from sparring.opponents.generator_pair.opponent import GeneratorPair
from sparring.opponents.generator_pair.pair import GeneratorPairSettings, Opposite, pair_loss
from sparring.seeding import generator
from sparring.training.build import Contest

BATCH = ring.BATCH
ROWS = BATCH // 2
"""Latents per step."""


def game(
    method: str = "simclr",
    *,
    network: type[nn.Module] = ring.Normed,
    pair: dict[str, Any] | None = None,
    **settings: Any,
) -> Contest:
    """A method in double precision with a pair around it."""
    return ring.game(
        method, network, opponent=["generator-pair"], generator_pair=pair or {}, **settings
    )


def wrapper(contest: Contest) -> GeneratorPair:
    """The pair's side of a contest."""
    assert isinstance(contest.method, GeneratorPair)
    return contest.method


def look(contest: Contest, number: int = 0) -> Any:
    """A whole round's look, at the views of that step."""
    return contest.method.look_at([Group(views=ring.views(number))], ring.prepared(contest, number))


@contextmanager
def seen(contest: Contest) -> Iterator[list[tuple[Tensor, bool]]]:
    """Images that pass the backbone, and whether they pass the second set of norms."""
    found: list[tuple[Tensor, bool]] = []
    norms = [module for module in contest.encoder.modules() if isinstance(module, SplitNorm)]

    def note(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Keep what passes."""
        found.append((given[0].detach().clone(), bool(norms) and norms[0].is_adversarial))

    hook = contest.encoder.backbone.register_forward_pre_hook(note)
    try:
        yield found
    finally:
        hook.remove()


def test_the_judge_moves_first_then_the_generators_then_the_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contest, order = game(), []
    for name, player in contest.players.items():
        original = player.update
        monkeypatch.setattr(
            player,
            "update",
            lambda loss, name=name, original=original: (order.append(name), original(loss)),
        )
    contest.method.step(ring.views(), contest.players, ring.prepared(contest))
    assert order == ["discriminator", "generator", "encoder"]


def test_the_encoder_stands_still_in_the_generators_move_and_they_in_its_own() -> None:
    contest = game()
    now = ring.prepared(contest)
    look(contest)  # running statistics that are not those of the start
    before = arena.state(contest.method)
    contest.method.challenge(contest.players, now)
    moved = arena.changed(before, arena.state(contest.method))
    assert {name.split(".")[0] for name in moved} == {"pair", "discriminator", "album"}
    assert all(parameter.grad is None for parameter in contest.method.parameters())
    before = arena.state(contest.method)
    contest.players["encoder"].update(look(contest).loss)
    assert {name.split(".")[0] for name in arena.changed(before, arena.state(contest.method))} == {
        "method"
    }
    assert contest.encoder.training


def test_the_judge_stands_still_in_the_generators_move() -> None:
    contest = game()
    now = ring.prepared(contest)
    before = arena.state(wrapper(contest).discriminator)  # type: ignore[arg-type]
    wrapper(contest)._generators_move(contest.players["generator"], now, 0.5)
    assert not arena.changed(before, arena.state(wrapper(contest).discriminator))  # type: ignore[arg-type]


def test_identical_generators_are_similar_to_one_and_nothing_pulls_them_apart_without_augmentation() -> (
    None
):
    contest = game(pair={"init_noise": 0.0})
    pair, encoder = wrapper(contest).pair, contest.encoder.eval()
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


def hardness_now(contest: Contest, step: Step) -> float:
    """Hardness of fixed latents for the contest's encoder, under fixed augmentation."""
    assert step.augment is not None
    assert step.images is not None
    encoder, draws = contest.encoder, generator(7, "oracle")
    encoder.eval()
    with torch.no_grad():
        views = [
            differentiable_view(images, step.augment.recipes[0], generator=draws)
            for images in (*wrapper(contest).pair(ring.spread(64, 8)), step.images.double() / 255)
        ]
        found = hardness(*(encoder(view) for view in views), temperature=0.2)
    encoder.train()
    return float(found)


UNLIMITED: dict[str, Any] = {
    "adaptive": False,
    "hardness_rise": 0.0,
    "fence": 0.0,
    "diversity": 0.0,
    "players": {"generator": {"learning_rate": 1e-2}},
}
"""Hardness without anything that keeps it within limits, and generators that move fast."""


def moved_hardness(weight: float) -> float:
    """Change of hardness by some moves of the generators against an encoder that stands still."""
    contest = game(network=ring.Plain, pair={**UNLIMITED, "hardness": weight})
    before = hardness_now(contest, ring.prepared(contest))
    for number in range(20):
        contest.method.challenge(contest.players, ring.prepared(contest, number))
    return hardness_now(contest, ring.prepared(contest)) - before


def test_generators_make_hard_what_they_are_asked_to_and_easy_otherwise() -> None:
    # An untrained judge moves them too, and what it wants is neither: it is the zero from which
    # both are measured.
    hard, without, easy = (moved_hardness(weight) for weight in (20.0, 0.0, -20.0))
    assert hard > without + 0.02
    assert easy < without - 0.02


def test_aimed_generators_are_harder_than_generators_that_moved_as_far_at_random() -> None:
    contest = game(network=ring.Plain, pair={**UNLIMITED, "hardness": 20.0})
    pair, now = wrapper(contest).pair, ring.prepared(contest)
    before, start = ring.parameters(pair), hardness_now(contest, now)
    for number in range(20):
        contest.method.challenge(contest.players, ring.prepared(contest, number))
    aimed, distances = (
        hardness_now(contest, now) - start,
        [(a - b).norm() for a, b in zip(ring.parameters(pair), before, strict=True)],
    )
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter, old, distance in zip(pair.parameters(), before, distances, strict=True):
            direction = torch.randn(parameter.shape, dtype=torch.float64, generator=draws)
            parameter.copy_(old + distance * direction / direction.norm())
    assert aimed > 2 * (hardness_now(contest, now) - start)
    assert aimed > 0.05


@pytest.mark.parametrize("fence", [0.0, 1000.0])
def test_the_fence_keeps_a_pair_as_similar_as_it_must_be(fence: float) -> None:
    # Without limits the pair ends at 0.89, as far apart as this encoder can see images.
    limits = {
        "hardness": 5.0,
        "fence": fence,
        "similarity": 0.98,
        "players": {"generator": {"learning_rate": 4e-3}},
    }
    contest = game(pair={**UNLIMITED, **limits})
    for number in range(45):
        found = contest.method.challenge(contest.players, ring.prepared(contest, number))
    similarity, floor = (
        float(found["generator_pair/similarity"]),
        float(found["generator_pair/floor"]),
    )
    assert (similarity > floor - 0.05) is (fence > 0)


def test_the_real_images_alone_are_seen_at_first() -> None:
    contest, alone = game(pair={"real_only": 0.5}), ring.game("simclr", ring.Normed)
    before = arena.state(wrapper(contest).pair)  # type: ignore[arg-type]
    for number in (0, 49):
        now = [ring.prepared(each, number) for each in (contest, alone)]
        losses = [
            each.method.step(ring.views(number), each.players, at)["loss"]
            for each, at in zip((contest, alone), now, strict=True)
        ]
        assert torch.equal(*losses)
    assert not arena.changed(before, arena.state(wrapper(contest).pair))  # type: ignore[arg-type]
    contest.method.step(ring.views(50), contest.players, ring.prepared(contest, 50))
    assert arena.changed(before, arena.state(wrapper(contest).pair))  # type: ignore[arg-type]


def test_four_views_of_a_latent_are_positives_of_each_other_among_all_views() -> None:
    contest = game(network=ring.Plain)
    now = ring.prepared(contest)
    real, made = ring.views(), [view.double() for view in wrapper(contest)._supply.views(now)]
    assert [len(view) for view in made] == [ROWS] * 4
    rows = unit_rows(torch.cat([contest.encoder(view) for view in (*real, *made)]))
    images = torch.cat([torch.arange(BATCH).repeat(2), BATCH + torch.arange(ROWS).repeat(4)])
    expected = []
    for anchor, row in enumerate(rows):
        others = [place for place in range(len(rows)) if place != anchor]
        total = torch.logsumexp(torch.stack([row @ rows[place] / 0.2 for place in others]), dim=0)
        positives = [place for place in others if images[place] == images[anchor]]
        expected.append(
            torch.stack([total - row @ rows[place] / 0.2 for place in positives]).mean()
        )
    torch.testing.assert_close(look(contest).loss, torch.stack(expected).mean())


def test_the_two_images_of_a_latent_are_alike_and_augmented_apart() -> None:
    contest = game(pair={"init_noise": 0.0})
    views = wrapper(contest)._supply.views(ring.prepared(contest))
    assert not any(torch.equal(left, right) for left, right in combinations(views, 2))
    first, second = wrapper(contest)._supply.images(ring.prepared(contest), "latents")
    assert torch.equal(first, second)
    noisy = game(pair={"init_noise": 0.05})
    first, second = wrapper(noisy)._supply.images(ring.prepared(noisy), "latents")
    assert 0 < float((first - second).abs().mean().detach()) < 0.1


@pytest.mark.parametrize("twin", ["static", "single"])
def test_one_generator_makes_as_many_different_images_as_two(twin: str) -> None:
    contest = game(pair={"disarmed": twin})
    supply, now = wrapper(contest)._supply, ring.prepared(contest)
    assert [len(view) for view in supply.views(now)] == [2 * ROWS] * 2
    first, second = supply.images(now, "latents")
    assert torch.equal(first, second)
    assert not torch.equal(first, supply.images(now, "other latents")[0])
    plain = ViewSettings(crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=0, greyscale=0)
    still = supply.views(replace(now, augment=Views([plain, plain], image_size=arena.SIZE)))[0]
    assert len(torch.unique(still.flatten(1), dim=0)) == 2 * ROWS


def test_diversity_is_measured_against_the_batch() -> None:
    contest = game(network=ring.Plain)
    real = wrapper(contest)._supply.real(ring.prepared(contest))
    opposite = Opposite(
        encode=contest.encoder,
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
    contest = game("mocov2", network=ring.Plain, pair={"weight": 0.5})
    now = ring.prepared(contest)
    made = [view.double() for view in wrapper(contest)._supply.views(now)]
    method = wrapper(contest).method
    real = method.look(ring.views(), now).loss
    pairs = torch.stack([method.look(pair, now).loss for pair in combinations(made, 2)]).mean()
    # 32 real views of weight 1, 32 generated ones of weight 1/2.
    torch.testing.assert_close(look(contest).loss, (32 * real + 16 * pairs) / 48)


def test_the_others_of_a_method_respond_to_the_batch_alone() -> None:
    contest, alone = game("mocov2"), ring.game("mocov2", ring.Normed)
    found, expected = (
        look(contest).replies,
        alone.method.look(ring.views(), ring.prepared(alone)).replies,
    )
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_views_of_weight_zero_leave_the_methods_loss_as_it_is() -> None:
    contest, alone = game("mocov2", pair={"weight": 0.0}), ring.game("mocov2", ring.Normed)
    torch.testing.assert_close(
        look(contest).loss, alone.method.look(ring.views(), ring.prepared(alone)).loss
    )


def test_alignment_adds_the_distances_of_generated_views_without_negatives() -> None:
    contest = game(network=ring.Plain, pair={"loss": "align", "weight": 0.5})
    now = ring.prepared(contest)
    made = [
        unit_rows(contest.encoder(view.double())) for view in wrapper(contest)._supply.views(now)
    ]
    distance = torch.stack(
        [(left - right).square().sum(dim=1).mean() for left, right in combinations(made, 2)]
    ).mean()
    real = nt_xent(torch.stack([contest.encoder(view) for view in ring.views()]), temperature=0.2)
    torch.testing.assert_close(look(contest).loss, real + 0.5 * distance)


@pytest.mark.parametrize("twin", [None, "static", "single", "latent-noise", "real-views"])
def test_every_control_shows_the_encoder_as_many_views(twin: str | None) -> None:
    contest = game(pair={"disarmed": twin})
    with seen(contest) as passes:
        look(contest)
    assert sum(len(images) for images, _ in passes) == 2 * BATCH + 4 * ROWS


@pytest.mark.parametrize(
    ("twin", "moving"),
    [
        (None, {"pair.first", "pair.second", "discriminator", "album"}),
        ("single", {"pair.first", "discriminator", "album"}),
        ("static", {"album"}),
        ("latent-noise", {"album"}),
        ("real-views", set()),
    ],
)
def test_a_control_moves_what_it_says(twin: str | None, moving: set[str]) -> None:
    contest = game(pair={"disarmed": twin})
    before = arena.state(contest.method)
    contest.method.challenge(contest.players, ring.prepared(contest))
    moved = arena.changed(before, arena.state(contest.method))
    assert {
        ".".join(name.split(".")[: 2 if name.startswith("pair") else 1]) for name in moved
    } == moving


def test_further_views_of_real_images_are_positives_of_the_batch() -> None:
    contest = game(network=ring.Plain, pair={"disarmed": "real-views"})
    extra = [view.double() for view in wrapper(contest)._supply.views(ring.prepared(contest))]
    assert [len(view) for view in extra] == [BATCH] * 2
    everything = torch.stack([contest.encoder(view) for view in (*ring.views(), *extra)])
    torch.testing.assert_close(look(contest).loss, nt_xent(everything, temperature=0.2))


def test_the_first_generator_can_stay_where_it_is() -> None:
    contest = game(pair={"moves": "second"})
    before = arena.state(wrapper(contest).pair)  # type: ignore[arg-type]
    contest.method.challenge(contest.players, ring.prepared(contest))
    assert {
        name.split(".")[0] for name in arena.changed(before, arena.state(wrapper(contest).pair))
    } == {"second"}  # type: ignore[arg-type]


def test_split_norms_keep_generated_views_from_the_clean_statistics() -> None:
    contest, alone = game("mocov2", pair={"norms": "split"}), ring.game("mocov2", ring.Normed)
    with seen(contest) as passes:
        look(contest)
    alone.method.look(ring.views(), ring.prepared(alone))
    assert [is_second for _, is_second in passes].count(True) == 4
    clean = [
        module.clean.running_mean
        for module in contest.encoder.modules()
        if isinstance(module, SplitNorm)
    ]
    plain = [
        module.running_mean
        for module in alone.encoder.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert ring.equal(clean, plain)  # type: ignore[arg-type]


def test_a_clipped_hardness_pulls_no_harder_than_realism() -> None:
    weights = []
    for adaptive in (True, False):
        contest = game(pair={"adaptive": adaptive, "hardness": 1e3, "hardness_rise": 0.0})
        weights.append(
            float(
                contest.method.challenge(contest.players, ring.prepared(contest))[
                    "generator_pair/hardness_weight"
                ]
            )
        )
    assert weights[1] == pytest.approx(1e3)
    assert 0 < weights[0] < weights[1]


def test_generated_images_that_are_all_alike_are_told() -> None:
    method = game().method
    record = {"generator_pair/crowding": 0.9, "generator_pair/crowding_real": 0.5}
    sentence = method.warning(record)
    assert sentence is not None
    assert "mean cosine 0.90, of real ones 0.50" in sentence
    assert method.warning({**record, "generator_pair/crowding": 0.69}) is None
    assert method.warning({"loss": 1.0}) is None


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
