"""The attack on pixels: images are changed by a few grey levels so that a loss rises.

The attack is one step of the fast gradient sign method on the loss over the whole batch, so it
includes the effect of an image on all others. `attack` takes a function from images to loss and
gradient; it knows neither networks nor methods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from sparring import distributed
from sparring.config import Settings
from sparring.strength.settings import Strength, is_held
from sparring.transfers import sent

Images: TypeAlias = Float[Tensor, "batch bands height width"]
Epsilon: TypeAlias = float | Float[Tensor, ""]
"""Largest change of a pixel; a tensor where feedback sets it on the device."""


class PerturbationSettings(Settings):
    """Settings of the attack and weight of the attacked images. The defaults are those of CLAE's
    released code on CIFAR (Ho & Vasconcelos 2020)."""

    epsilon: float = Field(default=0.015, gt=0, le=1)
    """Largest change of a pixel of images in [0, 1]. The released 0.03 refers to normalised images:
    0.015 for SimCLR on CIFAR (std 0.5), 0.006 for plain and uel on CIFAR, 0.0067 with ImageNet's
    normalisation."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the loss on attacked images, relative to the loss on clean ones."""
    strength: Strength = "released"
    """How strong the attack is: `released`, by `epsilon`; or the loss in nats per query that the
    attacked images add above random signs of equal size, held by the size of the attack
    (docs/strength.md). At 0 no pixel changes, in the twin neither; otherwise it has no effect on
    the twin."""
    largest_epsilon: float = Field(default=0.06, gt=0, le=1)
    """Largest change of a pixel of images in [0, 1] while `strength` holds the attack, which then
    leaves `epsilon` to the twin. 0.06 is about 16 / 255, the largest in Kurakin et al. 2017,
    arXiv:1611.01236."""
    steps: int = Field(default=1, ge=1)
    """Number of gradient steps of the attack; 1 in the released code."""
    step_size: float | None = Field(default=None, gt=0)
    """Size of each gradient step, pixels scaled to 0..1; None: epsilon for one step, else 2.5
    epsilon / steps, the only choice while `strength` holds the attack."""
    random_start: bool = False
    """Whether the attack starts at a random point within epsilon instead of at the image."""
    anchor: Literal["self", "other-view"] = "self"
    """View of which the attacked image is the positive: the view it was made from (`self`, as in
    the released code), or the image's other view."""
    norms: Literal["split", "shared"] = "split"
    """Batch norms of attacked images: `split` gives them a second set, `shared` uses the clean
    ones."""
    norm_momentum: float = Field(default=0.01, gt=0, le=1)
    """Momentum of the running statistics of the attacked images' batch norms."""
    attack_updates_statistics: bool = True
    """Whether the attack's own forward pass updates running statistics, as in the released code. It
    never updates the clean set of split norms."""
    clip: tuple[float, float] | None = None
    """Range to which attacked pixels are clipped, such as [0, 1]; None: no clipping, as in the
    released code."""
    disarmed: Literal["random-signs"] | None = None
    """Control without the opponent's aim: `random-signs` changes every pixel by epsilon in a random
    direction."""

    @model_validator(mode="after")
    def _clip_is_a_range(self) -> "PerturbationSettings":
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(
                f"clip={list(self.clip)} is empty; give the lower end first, such as [0, 1]"
            )
        return self

    @model_validator(mode="after")
    def _steps_follow_epsilon(self) -> "PerturbationSettings":
        if is_held(self.strength) and self.step_size is not None:
            raise ValueError(
                f"step_size={self.step_size} is fixed, and `strength` sets epsilon anew at every "
                "step; leave out step_size, and the steps follow epsilon"
            )
        return self


@dataclass(frozen=True)
class Attack:
    """Result of an attack.

    Attributes:
        images: attacked images, changed by at most epsilon, without gradient.
        loss: loss at the start of the attack.
    """

    images: Images
    loss: Float[Tensor, ""]


LossAndGradient: TypeAlias = Callable[[Images, bool], tuple[Tensor, Tensor]]
"""Function that returns the loss of images and its gradient with respect to them. The second
argument is true for the unchanged images from which the attack starts."""


def attack(
    images: Images,
    loss_and_gradient: LossAndGradient,
    settings: PerturbationSettings,
    *,
    generator: torch.Generator,
    epsilon: Epsilon | None = None,
) -> Attack:
    """Images changed so that a loss rises: x <- clip_eps(x + step_size * sign(dL/dx)).

    Args:
        images: images from which the attack starts; no gradient flows back to them.
        loss_and_gradient: called once per step of the attack.
        settings: size and form of the attack.
        generator: source of a random start.
        epsilon: size of the attack; None: that of the settings.

    Source: Goodfellow et al. 2015, arXiv:1412.6572; several steps as in Madry et al. 2018,
    arXiv:1706.06083.
    """
    s, images = settings, images.detach()
    epsilon = s.epsilon if epsilon is None else epsilon
    size = s.step_size or (epsilon if s.steps == 1 else 2.5 * epsilon / s.steps)
    is_far = s.steps > 1 or s.random_start or s.step_size is not None
    moved, first_loss = images, None
    if s.random_start:
        moved = images + epsilon * (2 * _uniform(images, generator) - 1)
    for _ in range(s.steps):
        loss, gradient = loss_and_gradient(moved, moved is images)
        first_loss = loss.detach() if first_loss is None else first_loss
        moved = moved + size * gradient.sign()
        if is_far:
            moved = torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon)
        if s.clip is not None:
            moved = moved.clamp(*s.clip)
    assert first_loss is not None
    return Attack(images=moved.detach(), loss=first_loss)


def random_signs(
    images: Images,
    settings: PerturbationSettings,
    *,
    generator: torch.Generator,
    epsilon: Epsilon | None = None,
) -> Images:
    """Images with every pixel changed by epsilon, up or down at random: an attack's size without
    its aim.

    Args:
        images: images to change.
        settings: epsilon, and the range of pixels.
        generator: source of the signs.
        epsilon: size of the change; None: that of the settings.
    """
    epsilon = settings.epsilon if epsilon is None else epsilon
    moved = images.detach() + epsilon * (
        2 * (_uniform(images, generator) < 0.5).to(images.dtype) - 1
    )
    return moved if settings.clip is None else moved.clamp(*settings.clip)


def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1) of the images' shape; drawn for the joint batch, so that several
    processes get the same numbers as one."""
    joint = torch.rand(distributed.num_processes(), *images.shape, generator=generator)
    return sent(distributed.own_share(joint)[0], images.device, images.dtype)
