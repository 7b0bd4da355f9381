"""Adversarial attacks on a frozen classifier, within a ball around each image.

Images are in [0, 1]; a moved image stays there and within epsilon of its original in every pixel
(the L-infinity ball). An attack knows neither encoders nor heads: it evaluates a loss on images,
which gives the loss, its gradient, and whether the class is still predicted. An image counts as
broken as soon as one evaluation predicts another class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch bands height width"]
Classifier: TypeAlias = Callable[[Images], Float[Tensor, "batch classes"]]

MOMENTUM = 0.75
"""Share of APGD's new step in its move; Croce & Hein 2020, section 4.1."""
PROGRESS_SHARE = 0.75
"""Share of the steps between two checkpoints that must raise the loss, or the step is halved; rho
in Croce & Hein 2020."""


@dataclass(frozen=True)
class LossAt:
    """Loss, gradient and correctness of images under attack."""

    loss: Float[Tensor, "batch"]
    gradient: Images
    """Gradient of each image's loss with respect to the image."""
    is_right: Bool[Tensor, "batch"]


AttackLoss: TypeAlias = Callable[[Images], LossAt]


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
        images: images of highest loss among those evaluated, the originals included.
        loss: loss of these images.
        gradient: gradient of the loss at these images.
        is_right: whether the class was predicted in every evaluation.
    """

    images: Images
    loss: Float[Tensor, "batch"]
    gradient: Images
    is_right: Bool[Tensor, "batch"]

    def also(self, images: Images, current: LossAt) -> "Attacked":
        """The result extended by one more evaluation."""
        is_higher = current.loss > self.loss
        return Attacked(
            images=_chosen(is_higher, images, self.images),
            loss=torch.where(is_higher, current.loss, self.loss),
            gradient=_chosen(is_higher, current.gradient, self.gradient),
            is_right=self.is_right & current.is_right,
        )


def cross_entropy_loss(classifier: Classifier, labels: Int[Tensor, "batch"]) -> AttackLoss:
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

    def loss_of(images: Images) -> LossAt:
        """Loss, its gradient, and which images are still classified rightly."""
        with torch.enable_grad():
            watched = images.detach().requires_grad_()
            logits = classifier(watched)
            own = logits.gather(1, labels[:, None])
            loss = (logits - own).scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
            (gradient,) = torch.autograd.grad(loss.sum(), watched)
        return LossAt(loss.detach(), gradient, logits.detach().argmax(dim=1) == labels)

    return loss_of


def fgsm(loss_of: AttackLoss, ball: Ball) -> Attacked:
    """The fast gradient sign method: x + epsilon sign(dL/dx).

    Source: Goodfellow et al. 2015, arXiv:1412.6572, section 4.
    """
    current = loss_of(ball.centre)
    moved = ball.nearest(ball.centre + ball.epsilon * current.gradient.sign())
    return _original(ball, current).also(moved, loss_of(moved))


def pgd(loss_of: AttackLoss, ball: Ball, *, start: Images, steps: int) -> Attacked:
    """Projected gradient ascent with steps of 2.5 epsilon / steps: x <- nearest(x + step
    sign(dL/dx)).

    Args:
        loss_of: loss of images, with its gradient.
        ball: where to stay.
        start: images of the ball.
        steps: at least 1; two more evaluations are of the originals and of the last images.

    Source: Madry et al. 2018, arXiv:1706.06083, section 2.1; the step is theirs for balls of
    several sizes.
    """
    found, moved = _original(ball, loss_of(ball.centre)), start
    for _ in range(steps):
        current = loss_of(moved)
        found = found.also(moved, current)
        moved = ball.nearest(moved + 2.5 * ball.epsilon / steps * current.gradient.sign())
    return found.also(moved, loss_of(moved))


def apgd(loss_of: AttackLoss, ball: Ball, *, start: Images, steps: int) -> Attacked:
    """Auto-PGD: ascent with momentum whose step is halved, image by image, where it makes no
    progress.

    z = nearest(x_k + step sign(dL/dx_k))
    x_{k+1} = nearest(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1})); the first move is z itself

    At a checkpoint an image's step is halved, and the image goes back to its best, if less than
    0.75 of the moves since the last checkpoint raised its loss, or if neither step nor best loss
    changed between the two. The best may be the original, which the paper does not count among its
    candidates.

    Args:
        loss_of: loss of images, with its gradient.
        ball: where to stay.
        start: images of the ball.
        steps: at least 1; two more evaluations are of the originals and of the last images.

    Source: Croce & Hein 2020, arXiv:2003.01690, algorithm 1.
    """
    current = loss_of(start)
    found = _original(ball, loss_of(ball.centre)).also(start, current)
    now, before, loss, gradient = start, start, current.loss, current.gradient
    best, raised, last = found.loss, torch.zeros_like(loss), 0
    size, halved, marks = (
        torch.full_like(loss, 2 * ball.epsilon),
        torch.zeros_like(current.is_right),
        checkpoints(steps),
    )
    for step in range(1, steps + 1):
        moved = ball.nearest(now + size[:, None, None, None] * gradient.sign())
        if step > 1:
            moved = ball.nearest(now + MOMENTUM * (moved - now) + (1 - MOMENTUM) * (now - before))
        current = loss_of(moved)
        found, raised = found.also(moved, current), raised + (current.loss > loss)
        before, now, loss, gradient = now, moved, current.loss, current.gradient
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


def random_point(ball: Ball, noise: Float[Tensor, "batch bands height width"]) -> Images:
    """Point of the ball, uniform before it is cut to [0, 1], from noise that is uniform in [0,
    1)."""
    return ball.nearest(ball.centre + ball.epsilon * (2 * noise - 1))


def random_signs(
    loss_of: AttackLoss, ball: Ball, *, noise: Float[Tensor, "batch bands height width"]
) -> Attacked:
    """Every pixel moved by epsilon, up or down at random: the control of the attacks.

    Args:
        loss_of: loss of images; its gradient is not used.
        ball: where to stay.
        noise: uniform in [0, 1).
    """
    moved = ball.nearest(ball.centre + ball.epsilon * (2 * (noise < 0.5).to(ball.centre) - 1))
    return _original(ball, loss_of(ball.centre)).also(moved, loss_of(moved))


def _original(ball: Ball, current: LossAt) -> Attacked:
    return Attacked(
        images=ball.centre, loss=current.loss, gradient=current.gradient, is_right=current.is_right
    )


def _chosen(which: Bool[Tensor, "batch"], images: Images, others: Images) -> Images:
    return torch.where(which[:, None, None, None], images, others)


Attack: TypeAlias = Callable[[AttackLoss, Ball, Tensor, int], Attacked]
"""Function of a loss, a ball, noise uniform in [0, 1) of the shape of the images, and a number of
steps."""

ATTACKS: dict[str, Attack] = {
    "random-signs": lambda loss_of, ball, noise, _: random_signs(loss_of, ball, noise=noise),
    "fgsm": lambda loss_of, ball, _, __: fgsm(loss_of, ball),
    "pgd": lambda loss_of, ball, noise, steps: pgd(
        loss_of, ball, start=random_point(ball, noise), steps=steps
    ),
    "apgd-ce": lambda loss_of, ball, noise, steps: apgd(
        loss_of, ball, start=random_point(ball, noise), steps=steps
    ),
}
"""Attacks by name: the control first, then from the weakest to the strongest."""
