"""Adversarial attacks on a frozen classifier, within a ball around each image.

Images are in [0, 1]; a moved image stays there and within epsilon of its original in every pixel
(the L-infinity ball). An attack knows neither encoders nor heads: it looks at images, and each look
tells loss, gradient and whether the class is still found. An image counts as broken as soon as one
look finds its class lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch 3 height width"]
Classifier: TypeAlias = Callable[[Images], Float[Tensor, "batch classes"]]

MOMENTUM = 0.75
"""Share of APGD's new step in its move; Croce & Hein 2020, section 4.1."""
PROGRESS_SHARE = 0.75
"""Share of the steps between two checkpoints that must raise the loss, or the step is halved; rho
in Croce & Hein 2020."""


@dataclass(frozen=True)
class Seen:
    """Loss, gradient and correctness of images under attack."""

    loss: Float[Tensor, "batch"]
    gradient: Images
    """Gradient of each image's loss with respect to the image."""
    is_right: Bool[Tensor, "batch"]


Look: TypeAlias = Callable[[Images], Seen]


@dataclass(frozen=True)
class Ball:
    """The images that an attack may reach.

    Attributes:
        centre: the originals, in [0, 1].
        epsilon: largest change of a pixel.
    """

    centre: Images
    epsilon: float

    def nearest(self, images: Images) -> Images:
        """The closest images of the ball that are in [0, 1]."""
        inside = torch.minimum(
            torch.maximum(images, self.centre - self.epsilon), self.centre + self.epsilon
        )
        return inside.clamp(0, 1)


@dataclass(frozen=True)
class Attacked:
    """The result of an attack so far.

    Attributes:
        images: of highest loss among those looked at, the originals included.
        loss: theirs.
        gradient: theirs.
        is_right: whether the class was found at every look.
    """

    images: Images
    loss: Float[Tensor, "batch"]
    gradient: Images
    is_right: Bool[Tensor, "batch"]

    def also(self, images: Images, seen: Seen) -> "Attacked":
        """The result extended by one more evaluation."""
        is_higher = seen.loss > self.loss
        return Attacked(
            images=_chosen(is_higher, images, self.images),
            loss=torch.where(is_higher, seen.loss, self.loss),
            gradient=_chosen(is_higher, seen.gradient, self.gradient),
            is_right=self.is_right & seen.is_right,
        )


def cross_entropy_look(classifier: Classifier, labels: Int[Tensor, "batch"]) -> Look:
    """Evaluation of a classifier by a loss that rises and falls with the cross-entropy of the true
    class.

    loss = logsumexp_{j != y}(z_j) - z_y = log(exp(cross_entropy(z, y)) - 1)

    Attacks that follow signs and compare losses move on it as they would on the cross-entropy. But
    that one and its gradient are zero in float32 where a classifier is sure, and to give no
    gradient is no robustness.

    Args:
        classifier: images to logits; each image's logits depend on that image alone.
        labels: true classes, 0 .. classes - 1.
    """

    def look(images: Images) -> Seen:
        """Loss, its gradient, and which images are still classified rightly."""
        with torch.enable_grad():
            watched = images.detach().requires_grad_()
            logits = classifier(watched)
            own = logits.gather(1, labels[:, None])
            loss = (logits - own).scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
            (gradient,) = torch.autograd.grad(loss.sum(), watched)
        return Seen(loss.detach(), gradient, logits.detach().argmax(dim=1) == labels)

    return look


def fgsm(look: Look, ball: Ball) -> Attacked:
    """The fast gradient sign method: x + epsilon sign(dL/dx).

    Source: Goodfellow et al. 2015, arXiv:1412.6572, section 4.
    """
    seen = look(ball.centre)
    moved = ball.nearest(ball.centre + ball.epsilon * seen.gradient.sign())
    return _original(ball, seen).also(moved, look(moved))


def pgd(look: Look, ball: Ball, *, start: Images, steps: int) -> Attacked:
    """Projected gradient ascent with steps of 2.5 epsilon / steps: x <- nearest(x + step
    sign(dL/dx)).

    Args:
        look: tells loss and gradient.
        ball: where to stay.
        start: images of the ball.
        steps: at least 1; the attack looks twice more, at the originals and at the end.

    Source: Madry et al. 2018, arXiv:1706.06083, section 2.1; the step is theirs for balls of
    several sizes.
    """
    found, moved = _original(ball, look(ball.centre)), start
    for _ in range(steps):
        seen = look(moved)
        found = found.also(moved, seen)
        moved = ball.nearest(moved + 2.5 * ball.epsilon / steps * seen.gradient.sign())
    return found.also(moved, look(moved))


def apgd(look: Look, ball: Ball, *, start: Images, steps: int) -> Attacked:
    """Auto-PGD: ascent with momentum whose step is halved, image by image, where it makes no
    progress.

    z = nearest(x_k + step sign(dL/dx_k))
    x_{k+1} = nearest(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1})); the first move is z itself

    At a checkpoint an image's step is halved, and the image goes back to its best, if less than
    0.75 of the moves since the last checkpoint raised its loss, or if neither step nor best loss
    changed between the two. The best may be the original, which the paper does not count among its
    candidates.

    Args:
        look: tells loss and gradient.
        ball: where to stay.
        start: images of the ball.
        steps: at least 1; the attack looks twice more, at the originals and at the end.

    Source: Croce & Hein 2020, arXiv:2003.01690, algorithm 1.
    """
    seen = look(start)
    found = _original(ball, look(ball.centre)).also(start, seen)
    now, before, loss, gradient = start, start, seen.loss, seen.gradient
    best, raised, last = found.loss, torch.zeros_like(loss), 0
    size, halved, marks = (
        torch.full_like(loss, 2 * ball.epsilon),
        torch.zeros_like(seen.is_right),
        checkpoints(steps),
    )
    for step in range(1, steps + 1):
        moved = ball.nearest(now + size[:, None, None, None] * gradient.sign())
        if step > 1:
            moved = ball.nearest(now + MOMENTUM * (moved - now) + (1 - MOMENTUM) * (now - before))
        seen = look(moved)
        found, raised = found.also(moved, seen), raised + (seen.loss > loss)
        before, now, loss, gradient = now, moved, seen.loss, seen.gradient
        if step in marks:
            halved = (raised < PROGRESS_SHARE * (step - last)) | (~halved & (found.loss <= best))
            size = torch.where(halved, size / 2, size)
            now, gradient = (
                _chosen(halved, found.images, now),
                _chosen(halved, found.gradient, gradient),
            )
            loss = torch.where(halved, found.loss, loss)
            best, raised, last = found.loss, torch.zeros_like(raised), step
    return found


def checkpoints(steps: int) -> list[int]:
    """Steps after which APGD looks back: the first after 22 % of them, then ever closer, at least 6
    % apart.

    p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06); checkpoints ceil(p_j
    steps)

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]

    Source: Croce & Hein 2020, arXiv:2003.01690, section 4.1.
    """
    percent, gap, marks = 22, 22, []
    while percent <= 100:
        marks.append(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return marks


def random_point(ball: Ball, noise: Float[Tensor, "batch 3 height width"]) -> Images:
    """Point of the ball, uniform before it is cut to [0, 1], from noise that is uniform in [0,
    1)."""
    return ball.nearest(ball.centre + ball.epsilon * (2 * noise - 1))


def random_signs(
    look: Look, ball: Ball, *, noise: Float[Tensor, "batch 3 height width"]
) -> Attacked:
    """Every pixel moved by epsilon, up or down at random: the control of the attacks.

    Args:
        look: tells loss and gradient; only the loss is used.
        ball: where to stay.
        noise: uniform in [0, 1).
    """
    moved = ball.nearest(ball.centre + ball.epsilon * (2 * (noise < 0.5).to(ball.centre) - 1))
    return _original(ball, look(ball.centre)).also(moved, look(moved))


def _original(ball: Ball, seen: Seen) -> Attacked:
    return Attacked(
        images=ball.centre, loss=seen.loss, gradient=seen.gradient, is_right=seen.is_right
    )


def _chosen(which: Bool[Tensor, "batch"], images: Images, others: Images) -> Images:
    return torch.where(which[:, None, None, None], images, others)


Attack: TypeAlias = Callable[[Look, Ball, Tensor, int], Attacked]
"""Function of a look, a ball, noise uniform in [0, 1) of the shape of the images, and a number of
steps."""

ATTACKS: dict[str, Attack] = {
    "random-signs": lambda look, ball, noise, _: random_signs(look, ball, noise=noise),
    "fgsm": lambda look, ball, _, __: fgsm(look, ball),
    "pgd": lambda look, ball, noise, steps: pgd(
        look, ball, start=random_point(ball, noise), steps=steps
    ),
    "apgd-ce": lambda look, ball, noise, steps: apgd(
        look, ball, start=random_point(ball, noise), steps=steps
    ),
}
"""Attacks by name: the control first, then from the weakest to the strongest."""
