"""Attacks against the exact worst case of linear models, brute force, and each other."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from sparring.evaluation.robustness.attacks import (
    ATTACKS,
    Attacked,
    AttackLoss,
    Ball,
    Classifier,
    LossAt,
    apgd,
    checkpoints,
    cross_entropy_loss,
    fgsm,
    pgd,
    random_point,
    random_signs,
)
from sparring.seeding import generator

SHAPE = (3, 4, 4)


def pictures(count: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=generator(seed, "pictures"))


def noise(count: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=generator(seed, "noise"))


def linear(seed: int = 0, *, classes: int = 2, sharpness: float = 1.0) -> tuple[Classifier, Tensor]:
    """A linear classifier of pixels without bias at grey 0.5, and its weights (classes, pixels)."""
    weight = sharpness * torch.randn(
        classes, math.prod(SHAPE), generator=generator(seed, "weights")
    )
    return lambda images: (images.flatten(1) - 0.5) @ weight.T, weight


def curved(seed: int = 0) -> Classifier:
    """A small network whose loss bends within the balls of these tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Flatten(),
            nn.Linear(48, 24),
            nn.GELU(),
            nn.Linear(24, 24),
            nn.GELU(),
            nn.Linear(24, 4),
        )
    for layer in network[1::2]:
        layer.weight.detach().mul_(4)
    return network.requires_grad_(False)


def labels_of(classifier: Classifier, images: Tensor) -> Tensor:
    return classifier(images).argmax(dim=1)


def run(name: str, loss_of: AttackLoss, ball: Ball, *, steps: int = 20, seed: int = 0) -> Attacked:
    return ATTACKS[name](loss_of, ball, noise(len(ball.centre), seed), steps)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd-ce"])
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.4])
def test_on_a_linear_model_of_two_classes_every_attack_finds_the_exact_worst_case(
    name: str, epsilon: float
) -> None:
    classifier, weight = linear()
    images = pictures()
    labels = labels_of(classifier, images)
    found = run(name, cross_entropy_loss(classifier, labels), Ball(images, epsilon))
    towards = (weight[1 - labels] - weight[labels]).view(-1, *SHAPE)
    worst = (images + epsilon * towards.sign()).clamp(
        0, 1
    )  # each pixel for itself: the box cuts pixels, not directions
    torch.testing.assert_close(found.images, worst)
    margin = ((worst - 0.5) * -towards).flatten(1).sum(dim=1)
    torch.testing.assert_close(found.loss, -margin, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.is_right, margin > 0)


def test_far_from_black_and_white_the_margin_falls_by_epsilon_times_the_l1_norm() -> None:
    classifier, weight = linear()
    images = 0.3 + 0.4 * pictures()
    labels = labels_of(classifier, images)
    logits = classifier(images)
    margin = (logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None])).flatten()
    found = run("apgd-ce", cross_entropy_loss(classifier, labels), Ball(images, 0.1))
    expected = margin - 0.1 * (weight[1] - weight[0]).abs().sum()
    torch.testing.assert_close(found.loss, -expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.is_right, expected > 0)


def test_apgd_reaches_what_trying_everything_reaches() -> None:
    # Two pixels' worth of freedom: the other values of the image change nothing.
    first = torch.randn(2, 16, generator=generator(4, "first"))
    second = torch.randn(16, 3, generator=generator(4, "second"))

    def classifier(images: Tensor) -> Tensor:
        return torch.sin(6 * images[:, 0, 0, :2] @ first) @ second

    images = pictures(12, seed=3)
    labels, ball = labels_of(classifier, images), Ball(images, 0.1)
    loss_of = cross_entropy_loss(classifier, labels)
    best = loss_of(images).loss
    lost = torch.zeros(12, dtype=torch.bool)
    for shift in itertools.product(torch.linspace(-0.1, 0.1, 21).tolist(), repeat=2):
        tried = images.clone()
        tried[:, 0, 0, :2] += torch.tensor(shift)
        current = loss_of(tried.clamp(0, 1))
        best, lost = torch.maximum(best, current.loss), lost | ~current.is_right
    found = [run("apgd-ce", loss_of, ball, steps=50, seed=seed) for seed in range(4)]
    reached = torch.stack([attack.loss for attack in found]).amax(dim=0)
    assert (reached > best - 0.05).all()
    assert (reached < best + 0.05).all()  # the grid misses the summit by up to 0.005 in a pixel
    assert lost.any()
    assert torch.equal(torch.stack([~attack.is_right for attack in found]).any(dim=0), lost)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 0.3])
def test_attacked_images_stay_in_the_ball_and_in_the_box(name: str, epsilon: float) -> None:
    classifier, images = curved(), pictures()
    images[0], images[1] = 0.0, 1.0
    watched: list[Tensor] = []

    def spy(looked_at: Tensor) -> Tensor:
        watched.append(looked_at.detach())
        return classifier(looked_at)

    found = run(name, cross_entropy_loss(spy, labels_of(classifier, images)), Ball(images, epsilon))
    for moved in [*watched, found.images]:
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert (
            moved - images
        ).abs().max() <= epsilon + 1e-7  # the ball's edge is rounded to float32
    assert not found.images.requires_grad


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_of_size_zero_changes_nothing(name: str) -> None:
    classifier, images = curved(), pictures()
    labels = torch.arange(16) % 4
    found = run(name, cross_entropy_loss(classifier, labels), Ball(images, 0.0))
    assert torch.equal(found.images, images)
    assert torch.equal(found.is_right, classifier(images).argmax(dim=1) == labels)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_ends_at_a_lower_loss_than_it_began(name: str) -> None:
    classifier, images = curved(), pictures(64)
    labels = torch.arange(64) % 4
    loss_of = cross_entropy_loss(classifier, labels)
    found = run(name, loss_of, Ball(images, 0.05), steps=3)
    assert (found.loss >= loss_of(images).loss).all()
    torch.testing.assert_close(found.loss, loss_of(found.images).loss)
    torch.testing.assert_close(found.gradient, loss_of(found.images).gradient)


def test_the_stronger_the_attack_the_higher_the_loss_and_chance_is_the_weakest() -> None:
    for seed in range(3):
        classifier, images = curved(seed), pictures(200, seed)
        loss_of, ball = (
            cross_entropy_loss(classifier, labels_of(classifier, images)),
            Ball(images, 0.1),
        )
        found = [
            run(name, loss_of, ball, seed=seed)
            for name in ("random-signs", "fgsm", "pgd", "apgd-ce")
        ]
        losses = [
            float(nn.functional.softplus(attack.loss).mean()) for attack in found
        ]  # back to the cross-entropy
        assert losses == sorted(losses)
        assert losses[1] > 2 * losses[0]
        right = [int(attack.is_right.sum()) for attack in found]
        assert right[0] > right[1] >= right[3]


@pytest.mark.parametrize("name", ["pgd", "apgd-ce"])
def test_images_are_attacked_apart(name: str) -> None:
    classifier, images = curved(), pictures()
    labels = labels_of(classifier, images)
    together = run(name, cross_entropy_loss(classifier, labels), Ball(images, 0.1))
    rows = torch.tensor([3, 11])
    alone = ATTACKS[name](
        cross_entropy_loss(classifier, labels[rows]), Ball(images[rows], 0.1), noise()[rows], 20
    )
    # A sign at zero may flip with the rounding of another batch size; the loss hardly notices.
    torch.testing.assert_close(alone.loss, together.loss[rows], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_noise_gives_the_same_bits(name: str) -> None:
    classifier, images = curved(), pictures()
    loss_of, ball = cross_entropy_loss(classifier, labels_of(classifier, images)), Ball(images, 0.1)
    assert torch.equal(run(name, loss_of, ball).images, run(name, loss_of, ball).images)
    is_random = name != "fgsm"
    assert (
        torch.equal(run(name, loss_of, ball).images, run(name, loss_of, ball, seed=1).images)
        != is_random
    )


def test_the_loss_is_the_cross_entropy_in_disguise_and_its_gradient_has_the_same_direction() -> (
    None
):
    classifier, images = curved(), pictures().requires_grad_()
    labels = torch.arange(16) % 4
    loss = nn.functional.cross_entropy(classifier(images), labels, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    with torch.no_grad():  # as inside `evaluating`
        current = cross_entropy_loss(classifier, labels)(images)
    torch.testing.assert_close(nn.functional.softplus(current.loss), loss.detach())
    # d softplus(loss) = sigmoid(loss) d loss
    torch.testing.assert_close(
        torch.sigmoid(current.loss)[:, None, None, None] * current.gradient, gradient
    )
    assert torch.equal(current.is_right, classifier(images).argmax(dim=1) == labels)


def test_a_sure_classifier_hides_its_gradient_from_the_cross_entropy_but_not_from_the_look() -> (
    None
):
    classifier, weight = linear(sharpness=100.0)
    images = pictures()
    labels = labels_of(classifier, images)
    watched = images.clone().requires_grad_()
    (usual,) = torch.autograd.grad(
        nn.functional.cross_entropy(classifier(watched), labels, reduction="sum"), watched
    )
    assert int((usual.abs().amax(dim=(1, 2, 3)) == 0).sum()) >= 8
    towards = (weight[1 - labels] - weight[labels]).view(-1, *SHAPE).sign()
    assert torch.equal(cross_entropy_loss(classifier, labels)(images).gradient.sign(), towards)


def test_checkpoints_follow_the_paper() -> None:
    places, marks = [0.0, 0.22], []
    while places[-1] <= 1:
        marks.append(places[-1])
        places.append(places[-1] + max(places[-1] - places[-2] - 0.03, 0.06))
    assert checkpoints(1000) == [round(1000 * mark) for mark in marks]
    assert checkpoints(20) == [5, 9, 12, 14, 16, 18, 19, 20]
    assert set(checkpoints(1)) == {1}


def test_apgd_halves_the_step_where_it_makes_no_progress() -> None:
    # The loss of a pixel is highest at 0.5 and gradients are signs, so a step of 0.4 jumps over the
    # summit again and again.
    looked: list[Tensor] = []

    def loss_of(images: Tensor) -> LossAt:
        looked.append(images)
        distance = (images - 0.5).abs().flatten(1).sum(dim=1)
        return LossAt(
            1 - distance, (0.5 - images).sign(), torch.ones(len(images), dtype=torch.bool)
        )

    image = torch.full((1, 3, 1, 1), 0.45)
    found = apgd(loss_of, Ball(image, 0.2), start=torch.full_like(image, 0.35), steps=100)
    assert float(found.loss) > 1 - 3 * 0.01
    places = [float(images[0, 0, 0, 0]) for images in looked[2:]]
    moves = [abs(after - before) for before, after in itertools.pairwise(places)]
    assert max(moves[:20]) > 0.1
    assert max(moves[-5:]) < 0.03  # the step was halved several times


def test_apgd_goes_back_to_its_best_at_a_checkpoint() -> None:
    # At 0.7 the loss is 10 for once, elsewhere 1; gradients lead up to there, then down for good.
    places: list[float] = []

    def loss_of(images: Tensor) -> LossAt:
        places.append(float(images[0, 0, 0, 0]))
        loss, direction = {0: (0.0, 1.0), 1: (0.0, 1.0), 2: (10.0, -1.0)}.get(
            len(places) - 1, (1.0, -1.0)
        )
        return LossAt(
            torch.tensor([loss]), torch.full_like(images, direction), torch.tensor([True])
        )

    image = torch.full((1, 3, 1, 1), 0.5)
    apgd(loss_of, Ball(image, 0.2), start=image, steps=20)
    moves = places[2:]  # after looks at the start and at the original
    assert moves[0] == pytest.approx(0.7)
    assert moves[4] == pytest.approx(0.3)
    # Move 6 begins at 0.7 with a step of 0.2, half of the first, and comes from move 4 at 0.3:
    assert moves[5] == pytest.approx(0.7 + 0.75 * -0.2 + 0.25 * (0.7 - 0.3))


def test_a_random_start_fills_the_ball_and_random_signs_touch_its_edge() -> None:
    images = torch.full((64, *SHAPE), 0.5)
    ball = Ball(images, 0.2)
    moves = (random_point(ball, noise(64)) - images).flatten()
    assert float(moves.mean()) == pytest.approx(0, abs=0.01)
    assert float(moves.std()) == pytest.approx(0.2 / 3**0.5, rel=0.03)
    loss_of = cross_entropy_loss(curved(), torch.zeros(64, dtype=torch.long))
    signs = random_signs(loss_of, ball, noise=noise(64))
    moved = (signs.images - images).abs().amax(dim=(1, 2, 3))
    assert (
        ((moved - 0.2).abs() < 1e-6) | (moved == 0)
    ).all()  # the original where its loss is higher
    assert (moved > 0).sum() >= 8
    ups = float((signs.images > 0.5)[moved > 0].float().mean())
    assert ups == pytest.approx(0.5, abs=0.05)


def test_an_image_counts_as_broken_even_if_the_loss_is_highest_where_it_is_right() -> None:
    looks = iter([(0.9, True), (0.5, False)])

    def loss_of(images: Tensor) -> LossAt:
        loss, is_right = next(looks)
        return LossAt(torch.tensor([loss]), torch.ones_like(images), torch.tensor([is_right]))

    image = torch.full((1, 3, 1, 1), 0.5)
    found = fgsm(loss_of, Ball(image, 0.1))
    assert torch.equal(found.images, image)
    assert not found.is_right.any()


def test_an_image_that_was_broken_on_the_way_stays_broken() -> None:
    looks = iter([(0.1, True), (0.2, False), (0.9, True)])

    def loss_of(images: Tensor) -> LossAt:
        loss, is_right = next(looks)
        return LossAt(torch.tensor([loss]), torch.ones_like(images), torch.tensor([is_right]))

    image = torch.full((1, 3, 1, 1), 0.5)
    found = pgd(loss_of, Ball(image, 0.1), start=image, steps=1)
    assert float(found.loss) == pytest.approx(0.9)
    assert not found.is_right.any()


def test_pgd_of_one_step_from_the_image_is_fgsm_with_a_longer_step() -> None:
    classifier, images = curved(), pictures()
    loss_of, ball = (
        cross_entropy_loss(classifier, labels_of(classifier, images)),
        Ball(images, 0.05),
    )
    assert torch.equal(pgd(loss_of, ball, start=images, steps=1).images, fgsm(loss_of, ball).images)
