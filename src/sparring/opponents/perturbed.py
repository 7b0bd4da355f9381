"""Perturbation: adversarial examples of the batch's own images, around any method.

Idea. Two augmented views are positives whose difficulty nobody chose. Move a view by a few grey
levels so that the method's loss over the whole batch rises most, and let it be a further, harder
view. The loss that is attacked is the method's own; so with negatives it is they that the attack
brings closer, and the encoder must tell apart what it confuses now.

The game. At every step, after an attack that moves pixels only, the encoder minimises

    L(a, b) + alpha L(a, a + d*),   d* = epsilon sign( gradient of L(a, a + d) at d = 0 )

with a and b the first two views (with more, L(all views) in the first term). In the attack, anchor
and attacked image go through the attacked images' batch norms; in the second term the anchor goes
through the clean ones. The others of the method (bank, queue, teacher) respond to the clean look
alone. The attack has no parameters and thus no player.

At the start of the attack the anchor and the attacked image are the same pixels through the same
norms, so one forward pass serves both; and the anchor's clean embeddings serve both terms. Counted
in passes, a step costs 11 / 6 of the method's own (benchmarks/method_steps.py).

Where the start has no gradient the attack would be empty. An attacked key, in a method in which one
view asks and the other is its key without gradient, has none: there the attacked image asks. A
method without negatives and without a predictor has none either, as its positives coincide at the
start: it is refused, unless the start is random or the anchor the other view.

Deviations from the paper (Ho & Vasconcelos 2020, arXiv:2010.12050; its body was not available to
us, so this follows the released code): on methods other than simclr, plain and uel it is our
extension, not verified.

Deviations from the authors' code (chihhuiho/CLAE). epsilon is in pixels. The shared forward passes:
the attacked images' running statistics take in two batches per step instead of three. Heads with
batch norm are split too; its heads have none. On SimCLR both clean views share the batch norm's
statistics, as in our control.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from sparring.errors import ConfigError
from sparring.methods.groups import Group
from sparring.methods.method import Method, Step, Turn, Wrapper, innermost
from sparring.methods.shared_forward import SharedForward
from sparring.models.split_norm import split_norms, still_statistics
from sparring.opponents.perturbation import PerturbedSettings, attack, random_signs


class Perturbed(Wrapper):
    """Any method with adversarial examples of its own images. Ho & Vasconcelos 2020,
    arXiv:2010.12050.

    Args:
        method: whose loss is attacked; with split norms, its batch norms get their twins here.
        settings: of the attack.
    """

    def __init__(self, method: Method, settings: PerturbedSettings) -> None:
        super().__init__(method)
        self.settings = settings
        self._shared = SharedForward(method)
        self._asks_first: bool | None = None
        if settings.norms == "split":
            split_norms(method, momentum=settings.norm_momentum)

    def look_at(self, groups: Sequence[Group], step: Step) -> Turn:
        """The method's own look, and one at the anchor and the attacked image, both of the
        batch."""
        s, shared, views = self.settings, self._shared, groups[0].views
        draws = _same_draws(step)
        hard, metrics = self.attacked(views, step)
        with shared.remembering():
            for view in (view for group in groups for view in group.views):
                shared.show(view, is_adversarial=False)
            clean = self.method.look_at(groups, step)
            hard = shared.show(hard, is_adversarial=s.norms == "split")
            turn = self.method.look(self._pair(self._anchor(views), hard), draws)
            shared.require_seen(hard, name="opponent perturbation")
        return Turn(
            loss=clean.loss + s.alpha * turn.loss,
            metrics={**clean.metrics, **metrics, "perturbation/loss": turn.loss.detach()},
            replies=clean.replies,
        )

    def get_extra_state(self) -> dict[str, bool | None]:
        """Who asks: found once per run, as a method may let only one view ask at first and both
        later on."""
        return {"asks_first": self._asks_first}

    def set_extra_state(self, state: dict[str, bool | None]) -> None:
        """Continue from `get_extra_state`'s value."""
        self._asks_first = state["asks_first"]

    def attacked(self, views: Sequence[Tensor], step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The first view, moved, of shape (batch, 3, height, width), and what to log about it."""
        if self._asks_first is None:
            self._asks_first = self._must_ask_first(views, step)
        draws = _same_draws(step).generator
        if self.settings.disarmed == "random-signs":
            return random_signs(views[0], self.settings, generator=draws), {}
        with self._shared.remembering(), self._statistics():
            found = attack(
                views[0],
                lambda images: self._gradient(images, views, step),
                self.settings,
                generator=draws,
            )
        return found.images, {"perturbation/loss_before": found.loss}

    def _gradient(
        self, images: Tensor, views: Sequence[Tensor], step: Step
    ) -> tuple[Tensor, Tensor]:
        """Loss of attacked images beside their anchor, both in the attacked images' norms, and its
        gradient; zeros where there is none."""
        shared, is_split = self._shared, self.settings.norms == "split"
        is_start = self.settings.anchor == "self" and images.data_ptr() == views[0].data_ptr()
        images = shared.show(images.detach().requires_grad_(), is_adversarial=is_split)
        anchor = shared.show(
            self._anchor(views).detach(),
            is_adversarial=is_split,
            stands_for=images if is_start else None,
        )
        loss = self.method.look(self._pair(anchor, images), _same_draws(step)).loss
        if (
            not loss.requires_grad
        ):  # the anchor's embeddings stand still here, and the attacked image is a teacher's key
            return loss, torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(loss, images, allow_unused=True, materialize_grads=True)
        return loss, gradient

    def _must_ask_first(self, views: Sequence[Tensor], step: Step) -> bool:
        """Whether the attacked image has a gradient only as the first view, the one that asks.

        Raises:
            ConfigError: it has none in either place.
        """
        start = (
            random_signs(views[0], self.settings, generator=_same_draws(step).generator)
            if self.settings.random_start
            else views[0]
        )
        for self._asks_first in (False, True):
            with self._shared.remembering(), still_statistics(self.method):
                _, gradient = self._gradient(start, views, step)
            if gradient.any():
                return self._asks_first
        raise ConfigError(
            f"opponent perturbation: the loss of {type(innermost(self.method)).__name__} does "
            "not change with the attacked image "
            "at the start of the attack (without negatives, its positive is itself); "
            "set perturbation.random_start=true or perturbation.anchor=other-view"
        )

    def _anchor(self, views: Sequence[Tensor]) -> Tensor:
        return views[0] if self.settings.anchor == "self" else views[1]

    def _pair(self, anchor: Tensor, hard: Tensor) -> list[Tensor]:
        return [hard, anchor] if self._asks_first else [anchor, hard]

    def _statistics(self) -> AbstractContextManager[None]:
        return (
            nullcontext()
            if self.settings.attack_updates_statistics
            else still_statistics(self.method)
        )


def _same_draws(step: Step) -> Step:
    """The step with a copy of its generator, so that every look draws what the method's own look
    draws."""
    return replace(step, generator=copy.deepcopy(step.generator))
