"""Perturbation: adversarial examples of the batch's own images, around any method.

Idea. The difficulty of two augmented views is left to chance. Change a view by a few grey levels so
that the method's loss over the whole batch rises most, and use the result as a further, harder
view. The attacked loss is the method's own: if it has negatives, the attack moves the view closer
to them, and the encoder must separate the images that it confuses now.

The game. At every step, after an attack that changes pixels only, the encoder minimises

    L(a, b) + alpha L(a, a + d*),   d* = epsilon sign( gradient of L(a, a + d) at d = 0 )

with a and b the first two views (with more, L(all views) in the first term). In the attack, anchor
and attacked image go through the attacked images' batch norms; in the second term the anchor goes
through the clean ones. The method's bank, queue and teacher are updated with the clean loss only.
The attack has no parameters and therefore no player.

Its strength. Every sixth step measures the excess loss: L(a, a + d*) minus the same with random
signs of equal size instead of d*, in nats per query. With `perturbation.strength` the dial holds it
at a target by epsilon, which is then a share of `perturbation.largest_epsilon`.

At the start of the attack the anchor and the attacked image are equal pixels in equal norms, so one
forward pass serves both. The anchor's clean embeddings serve both terms. Counted in passes, a step
costs 11 / 6 of the method's own step (benchmarks/method_steps.py).

An attack needs a gradient at its start. A key has none in a method in which one view is the query
and the other its key without gradient: there the attacked image becomes the query. A method without
negatives and without a predictor has none either, because its positives coincide at the start: it
is refused, unless the start is random or the anchor is the other view.

Deviations from the paper (Ho & Vasconcelos 2020, arXiv:2010.12050). The body of the paper was not
available to us, so this follows the released code. On methods other than simclr, plain and uel the
opponent is our extension, not verified.

Deviations from the authors' code (chihhuiho/CLAE). epsilon refers to pixels in [0, 1]. Because
forward passes are shared, the attacked images' running statistics see two batches per step instead
of three. Heads with batch norm are split too; the code's heads have none. On SimCLR both clean
views share batch-norm statistics, as in our control.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sparring.acceleration.compiled import as_it_is, gradients_of_images_only
from sparring.errors import ConfigError
from sparring.measures.metric import Metric
from sparring.methods.about import About, Pairing, Toy, Twin
from sparring.methods.method import Context, Method, Metrics, Pictures
from sparring.methods.negatives import Strength
from sparring.models.split_norm import split_norms, still_statistics
from sparring.models.view import ForwardCache, View
from sparring.opponents.opponent import Opponent, innermost
from sparring.opponents.pixel_attack import Epsilon, PerturbationSettings, attack, random_signs
from sparring.optim.player import Added, Player
from sparring.optim.schedule import Position
from sparring.step_parts import step_part
from sparring.strength.dial import INNER_METRICS, STRENGTH_METRICS, Dial, inner
from sparring.strength.settings import require_nats
from sparring.transfers import rare_read

MEASURED_EVERY = 6
"""Steps from one measurement of the excess loss to the next; each is one more forward pass."""
PACE = 2.0
"""Pace of the dial, which would be slow at one measurement in six steps."""


class Perturbation(Opponent):
    """Opponent that adds adversarial examples of the batch's own images. Ho & Vasconcelos 2020,
    arXiv:2010.12050.

    Args:
        method: method whose loss is attacked; with split norms, its batch norms are replaced here
            by pairs of batch norms.
        settings: size of the attack and weight of the attacked views.
    """

    about = About(
        name="perturbation",
        title="Perturbation",
        summary="move each image by a few grey levels so that the method's loss rises",
        source="Ho & Vasconcelos 2020, arXiv:2010.12050",
        opponent="adversarial examples of the batch's own images, around any method",
        cost=2.09,
        good_for="finding out whether harder views teach more on your images; compare with "
        "perturbation.disarmed=random-signs",
        order=1,
        twins=(
            Twin("random-signs", "every pixel changes by epsilon with a random sign", primary=True),
        ),
        pairing=Pairing("clae", method="simclr"),
    )
    settings_class = PerturbationSettings
    toy = Toy(
        off={"alpha": 0.0},
        held={"strength": 0.05},
        undialled={"strength": 0.0, "disarmed": "random-signs"},
    )
    metrics: ClassVar[Mapping[str, Metric]] = {
        **STRENGTH_METRICS,
        **INNER_METRICS,
        "perturbation/epsilon": Metric(
            "size of the attack, in pixels of images in [0, 1]", title="Epsilon of the attack"
        ),
        "perturbation/loss_before": Metric(
            "loss of anchor and attacked image where the attack begins, both through the attacked "
            "images' norms"
        ),
        "perturbation/loss": Metric(
            "loss of anchor and attacked image that is trained, the anchor through the clean norms"
        ),
    }
    strengths: ClassVar[Sequence[Strength]] = (
        Strength(
            "perturbation/loss",
            "perturbation/loss_before",
            "loss on the attacked images, beside the loss where the attack begins; random signs of "
            "equal size reach the first number of the twin random-signs",
        ),
    )

    def __init__(self, method: Method, settings: PerturbationSettings) -> None:
        super().__init__(method)
        self.settings = settings
        self.dial = Dial(settings.strength, every=MEASURED_EVERY, pace=PACE)
        self._asks_first: bool | None = None
        require_nats(
            settings.strength,
            self.nats,
            section="perturbation.strength",
            whose=f"the loss of {type(innermost(method)).__name__}",
            instead="perturbation.epsilon sets the size",
        )
        if settings.norms == "split":
            split_norms(innermost(method), momentum=settings.norm_momentum)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Attack the first view, then run the method's step with the attacked view's loss added."""
        batch = [view for view in views if not view.is_further]
        later, position = _with_same_draws(context), context.position
        attacked, metrics = self.attacked(batch, context)
        excess: list[Tensor] = []

        def loss_on_attacked() -> Tensor:
            """Loss on the anchor in the clean norms and the attacked view."""
            twin = self._loss_on_random(batch, later) if self._is_measured(position) else None
            loss = self.method.loss(self._pair(self._anchor(batch), attacked), later).loss
            self._require_seen(attacked, later)
            metrics["perturbation/loss"] = loss.detach()
            if twin is not None and self.nats is not None:
                excess.append(self.nats * (loss.detach() - twin))
            return loss

        encoder = players["encoder"].beside(Added(self.settings.alpha, loss_on_attacked))
        found = self.method.step(views, {**players, "encoder": encoder}, context)
        for measured in excess[-1:]:
            self.dial.turn(measured, position)
        return {**inner(found), **metrics, **self.dial.metrics(position)}

    def epsilon(self, position: Position) -> Epsilon:
        """Size of the attack at a step, in pixels of images in [0, 1]; 0 where the strength is."""
        s = self.settings
        if self.dial.is_off(position):
            return 0.0
        if s.disarmed is not None or not self.dial.is_held:
            return s.epsilon
        return self.dial.share(position) * s.largest_epsilon

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """Pictures of the method, and views with their attacked copies, made as in training."""
        was_training = self.training
        self.train()  # batch statistics, as in training
        with torch.enable_grad(), still_statistics(self.method):
            attacked, _ = self.attacked(views, context)
        self.train(was_training)
        changed = (views[0].pixels, attacked.pixels)
        return replace(self.method.pictures(views, context), changed=changed)

    def get_extra_state(self) -> dict[str, bool | None]:
        """Whether the attacked image is the query. It is determined once per run, because a method
        may use only one view as query at first and both later."""
        return {"asks_first": self._asks_first}

    def set_extra_state(self, state: dict[str, bool | None]) -> None:
        """Continue from `get_extra_state`'s value."""
        self._asks_first = state["asks_first"]

    @step_part("attack")
    def attacked(
        self, views: Sequence[View], context: Context
    ) -> tuple[View, dict[str, Tensor | float]]:
        """The first view after the attack, and its metrics."""
        if self._asks_first is None:
            self._asks_first = self._must_ask_first(views, context)
        epsilon = self.epsilon(context.position)
        metrics: dict[str, Tensor | float] = {"perturbation/epsilon": epsilon}
        if self.settings.disarmed == "random-signs" or self.dial.is_off(context.position):
            return self._random(views, context), metrics
        own = replace(context, cache=ForwardCache())  # the attack shares no outputs with the round
        with self._statistics():
            found = attack(
                views[0].pixels,
                lambda images, is_start: self._gradient(images, views, own, is_start=is_start),
                self.settings,
                generator=_with_same_draws(context).generator,
                epsilon=epsilon,
            )
        metrics["perturbation/loss_before"] = found.loss
        return View(pixels=found.images, norms=self._norms()), metrics

    def _random(self, views: Sequence[View], context: Context) -> View:
        """The first view with random signs of the step's size: what the twin shows."""
        draws, epsilon = _with_same_draws(context).generator, self.epsilon(context.position)
        moved = random_signs(views[0].pixels, self.settings, generator=draws, epsilon=epsilon)
        return View(pixels=moved, norms=self._norms())

    @step_part("excess loss")
    @torch.no_grad()
    def _loss_on_random(self, views: Sequence[View], context: Context) -> Tensor:
        """The loss that the twin would have here; changes no statistics, no cache and no draws."""
        device = views[0].device
        own = replace(_with_same_draws(context), cache=context.cache.copied())
        pair = self._pair(self._anchor(views), self._random(views, context))
        devices = [device] if device.type == "cuda" else []  # of dropout inside backbones
        with torch.random.fork_rng(devices=devices), still_statistics(self.method):
            return self.method.loss(pair, own).loss

    def _is_measured(self, position: Position) -> bool:
        is_armed = self.settings.disarmed is None and self.nats is not None
        return is_armed and self.dial.is_due(position)

    def _gradient(
        self, images: Tensor, views: Sequence[View], context: Context, *, is_start: bool
    ) -> tuple[Tensor, Tensor]:
        """Loss of attacked images and their anchor, both in the attacked images' norms, and its
        gradient with respect to the images; zeros if there is none."""
        moved = View(pixels=images.detach().requires_grad_(), norms=self._norms())
        is_same = is_start and self.settings.anchor == "self"
        anchor = View(
            pixels=self._anchor(views).pixels.detach(),
            norms=self._norms(),
            same_as=moved if is_same else None,
        )
        with gradients_of_images_only():
            loss = self.method.loss(self._pair(anchor, moved), _with_same_draws(context)).loss
        if not loss.requires_grad:
            # Here the anchor's embeddings have no gradient, and the attacked image is a teacher's
            # key.
            return loss, torch.zeros_like(moved.pixels)
        (gradient,) = torch.autograd.grad(
            loss, moved.pixels, allow_unused=True, materialize_grads=True
        )
        return loss, gradient

    def _must_ask_first(self, views: Sequence[View], context: Context) -> bool:
        """Whether the attacked image has a gradient only as the first view, the query.

        Raises:
            ConfigError: if it has a gradient in neither place.
        """
        pixels, is_start = views[0].pixels, not self.settings.random_start
        if not is_start:
            draws = _with_same_draws(context).generator
            pixels = random_signs(pixels, self.settings, generator=draws)
        for self._asks_first in (False, True):
            own = replace(context, cache=ForwardCache())
            with still_statistics(self.method), as_it_is():
                _, gradient = self._gradient(pixels, views, own, is_start=is_start)
            with rare_read():  # once per run
                if gradient.any():
                    return self._asks_first
        raise ConfigError(
            f"opponent perturbation: the loss of {type(innermost(self.method)).__name__} does not "
            "change with the attacked image at the start of the attack (without negatives, its "
            "positive is itself); set perturbation.random_start=true or "
            "perturbation.anchor=other-view"
        )

    def _require_seen(self, view: View, context: Context) -> None:
        """Refuse a method that passes pixels to its networks directly, since they would silently
        use the wrong norms."""
        if not context.cache.has_seen(view):
            raise ConfigError(
                f"opponent perturbation: no network of {type(innermost(self.method)).__name__} was "
                "given the attacked view; a method that opponents wrap calls "
                "context.forward(view, self.encoder)"
            )

    def _anchor(self, views: Sequence[View]) -> View:
        return views[0] if self.settings.anchor == "self" else views[1]

    def _pair(self, anchor: View, attacked: View) -> list[View]:
        return [attacked, anchor] if self._asks_first else [anchor, attacked]

    def _norms(self) -> Literal["clean", "attacked"]:
        return "attacked" if self.settings.norms == "split" else "clean"

    def _statistics(self) -> AbstractContextManager[None]:
        updates = self.settings.attack_updates_statistics
        return nullcontext() if updates else still_statistics(self.method)


def _with_same_draws(context: Context) -> Context:
    """Context with a copy of its generator, so that every loss draws the same numbers."""
    return replace(context, generator=copy.deepcopy(context.generator))
