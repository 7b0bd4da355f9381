"""Generator pair: two generators make hard positives and further negatives, around any method.

Idea. Two generators make similar but distinct images from one latent vector; two augmented views of
each are four positives of each other. The generators are trained together with the encoder, so that
the pair is as hard for it as the limits allow.

The game. At every step, in this order:

1. `discriminator` minimises the hinge loss of telling the batch from generated images, both
   augmented.
2. `generator` (both) minimises L_adv - hardness * H + fence * F + diversity * Q against the current
   encoder and discriminator, both in evaluation mode: L_adv = -mean D, H is the contrastive loss of
   a pair among real images, F and Q are the penalties in hardness.py.
3. `encoder` minimises the method's loss on the batch and on detached generated views:

    L = mean over the batch's views and, times `weight`, over the generated views;
    positives are the views of one image or of one latent vector

simclr contrasts all of these with each other. Any other method computes its loss on the batch
alone, and on generated views as the mean over their six pairs. The method's bank, queue and teacher
are updated with the batch only. Before the game, one generator and the discriminator are trained on
the images (pretraining.py), and the encoder sees only real images for `real_only` of the run.

The generator with which the pair began is kept. What the pair adds to the loss of generated queries
above that generator's images is measured, in nats per query. `strength` holds it by the share of
latents whose images the pair makes; the others have images of the fixed generator.

After Wu et al. 2022, arXiv:2202.06464, our reconstruction: two generators, joint training, falling
similarity and four positives are the paper's; every form and number is ours, not verified. No code
of the authors is known.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring import distributed
from sparring.acceleration.compiled import as_it_is, gradients_of_images_only
from sparring.data.images import Images
from sparring.measures.metric import Metric
from sparring.methods.about import About, Pairing, Toy, Twin
from sparring.methods.learning import OpponentCache
from sparring.methods.method import Context, Method, Metrics, Pictures
from sparring.methods.negatives import Strength
from sparring.models.split_norm import split_norms, still_statistics
from sparring.models.view import ForwardCache, View
from sparring.objectives.alignment import normalised_regression
from sparring.opponents.generator_pair.album import MOMENTS, Album
from sparring.opponents.generator_pair.differentiable_views import differentiable_view
from sparring.opponents.generator_pair.fixed import FixedGenerator, with_fixed
from sparring.opponents.generator_pair.hardness import similarity_floor
from sparring.opponents.generator_pair.networks import Discriminator
from sparring.opponents.generator_pair.pair import (
    GENERATOR_PAIR_METRICS,
    GeneratorPairSettings,
    Opposite,
    Pair,
    has_nats,
    joint_fraction,
    pair_loss,
    standing_still,
)
from sparring.opponents.generator_pair.pretraining import Pretraining
from sparring.opponents.generator_pair.realism import crowding_warning
from sparring.opponents.generator_pair.realism_losses import judge_hinge
from sparring.opponents.generator_pair.supply import Supply, draws_for
from sparring.opponents.opponent import Opponent, innermost
from sparring.optim.player import Added, Averaged, Player
from sparring.optim.schedule import Position
from sparring.step_parts import step_part
from sparring.strength.dial import Dial, inner
from sparring.strength.settings import require_nats

MEASURED_EVERY = 16
"""Steps from one measurement of the excess loss to the next; in shorter epochs it is measured on
their first steps."""
PACE = 2.0
"""Pace of the dial at so few measurements. With a share that acts in proportion, a jump of the
target is followed to 15 % within 13 to 29 of them, and noise of 20 % moves the share by 10 %;
twice as fast, three times as much."""


class GeneratorPair(Opponent):
    """Opponent that adds hard images made by two generators. After Wu et al. 2022,
    arXiv:2202.06464.

    Args:
        method: method whose encoder the generators play against.
        settings: settings of the pair, the discriminator and the limits.
    """

    about = About(
        name="generator-pair",
        title="Generator pair",
        summary="two generators, trained with the encoder, make similar but distinct images that "
        "are hard for it (our reconstruction)",
        source="after Wu et al. 2022, arXiv:2202.06464",
        opponent="generated hard positives and further negatives, around any method",
        cost=11.7,
        good_for="few images, when generating more might help; compare with "
        "generator_pair.disarmed=real-views, which costs less",
        order=2,
        twins=(
            Twin("static", "one fixed generator, two views per image", primary=True),
            Twin("single", "one generator, made hard, two views per image"),
            Twin("latent-noise", "two images of neighbouring latents of one fixed generator"),
            Twin("real-views", "further views of the real images instead of generated ones"),
        ),
        pairing=Pairing("hardgen", method="simclr"),
    )
    settings_class = GeneratorPairSettings
    is_for_colours = True
    toy = Toy(
        small={
            "generator": {"width": 4, "latent": 8},
            "pretraining": {"steps": 0},
            "real_only": 0.0,
            "players": {
                "generator": {"learning_rate": 1e-3},
                "discriminator": {"learning_rate": 1e-3},
            },
        },
        off={"real_only": 0.99},
        held={"strength": 0.05},
    )
    metrics: ClassVar[Mapping[str, Metric]] = GENERATOR_PAIR_METRICS
    strengths: ClassVar[Sequence[Strength]] = (
        Strength(
            "generator_pair/similarity",
            "generator_pair/crowding",
            "similarity of generated pairs, beside that of different images of one generator: the "
            "lower the first, the harder the pairs; once it falls to the second they are no pairs",
        ),
    )
    needs_images: ClassVar[bool] = True

    def __init__(self, method: Method, settings: GeneratorPairSettings) -> None:
        super().__init__(method)
        self.settings, size = settings, method.encoder.backbone.image_size
        self.pair = Pair(settings.generator, image_size=size)
        self.fixed = FixedGenerator(self.pair.first)
        self.discriminator = Discriminator(settings.generator, image_size=size)
        self.album = Album(image_size=size)
        # Until `pretrain_opponent`, which begins with the run's seed.
        self.pair.begin(self.pair.first, noise=settings.init_noise, seed=0)
        self._last: Metrics = {}  # of the generators' last update, logged until the next
        self._supply = Supply(self.pair, self.fixed, settings)
        self.dial = Dial(settings.strength, every=MEASURED_EVERY, pace=PACE)
        if settings.disarmed is None:
            is_aligned, name = settings.loss == "align", type(innermost(method)).__name__
            require_nats(
                settings.strength,
                None if is_aligned else self.nats,
                section="generator_pair.strength",
                whose="generator_pair.loss=align" if is_aligned else f"the loss of {name}",
                instead="generator_pair.hardness and .similarity set how hard the pair is",
            )
        self.register_load_state_dict_pre_hook(with_fixed)  # type: ignore[no-untyped-call]
        if settings.norms == "split":
            split_norms(innermost(method), momentum=0.1)

    def modules_by_player(self) -> Mapping[str, nn.Module]:
        """Modules of the method's players, of the generators and of their discriminator."""
        makers = {"both": self.pair, "second": self.pair.second}
        return {
            **self.method.modules_by_player(),
            "generator": makers[self.settings.moves],
            "discriminator": self.discriminator,
        }

    def pretrain_opponent(
        self, images: Images, cache: OpponentCache, *, device: torch.device
    ) -> None:
        """Train one generator and the discriminator on the images; both generators of the pair
        start from the moving average of that generator."""
        s = self.settings
        self.method.pretrain_opponent(images, cache, device=device)
        if s.disarmed == "real-views":
            return
        seed = cache.seed if s.pretraining_seed is None else s.pretraining_seed
        size = self.encoder.backbone.image_size
        pretraining = Pretraining(s.generator, s.pretraining, s.judge, image_size=size, seed=seed)
        pretraining.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        decisive = {"generator": s.generator, "judge": s.judge, "pretraining": s.pretraining}
        cache.train(pretraining, name="generator", settings=decisive, seed=seed)
        pretraining.settle()
        self.pair.begin(pretraining.average, noise=s.init_noise, seed=cache.seed)
        self.fixed.begin(pretraining.average)
        self.discriminator.load_state_dict(pretraining.discriminator.state_dict())
        self.album.learn(images)

    def step(
        self, views: Sequence[View], players: Mapping[str, Player], context: Context
    ) -> Metrics:
        """Update the discriminator, then the generators, then run the method's step with generated
        views added."""
        s, position, fraction = self.settings, context.position, self._fraction(context)
        if fraction is None:
            return inner(self.method.step(views, players, context))
        metrics: Metrics = {}
        if s.disarmed != "real-views":
            if s.disarmed in (None, "single") and position.step % s.generator_every == 0:
                judged = self._discriminator_moves(players["discriminator"], context)
                moved = self._generators_move(players["generator"], context, fraction)
                self._last = {**judged, **moved}
            metrics = {**self._last, **self.album.note(self.pair, fraction)}
        made = self._made_views(views, context)
        excess = self._excess(views, context) if self._is_measured(position) else None
        if s.loss == "multi-positive" and self.mixes_images:
            found = self.method.step([*views, *made], players, context)
        else:
            encoder = players["encoder"].beside(self._term(views, made, context))
            found = self.method.step(views, {**players, "encoder": encoder}, context)
        if excess is not None:
            self.dial.turn(excess, position)
        return {**metrics, **inner(found), **self.dial.metrics(position)}

    def pictures(self, views: Sequence[View], context: Context) -> Pictures:
        """Pictures of the method, and snapshots of pairs over the training, once there are any."""
        shown = self.album.pictures[self.album.is_taken] if self.album.is_taken.any() else None
        own = self.method.pictures(views, context)
        return replace(own, pairs=shown, num_moments=MOMENTS)

    @classmethod
    def alarm(cls, record: Mapping[str, float | int]) -> str | None:
        """A warning if the generators make the same image again and again."""
        made, real = (
            record.get(f"generator_pair/{name}") for name in ("crowding", "crowding_real")
        )
        return crowding_warning(made, real)

    def _fraction(self, context: Context) -> float | None:
        return joint_fraction(context.position, real_only=self.settings.real_only)

    def _made_views(self, views: Sequence[View], context: Context) -> list[View]:
        """Generated views that the encoder learns from at this step."""
        position = context.position
        if not self.dial.is_held or self.settings.disarmed is not None:
            return self._as_views(self._supply.views(context), views)
        if self.dial.target(position) == 0:
            return self._as_views(self._supply.static_views(context), views)
        share, has_others = self.dial.share(position), self.mixes_images
        pixels, is_moving = self._supply.mixed_views(context, share, has_others=has_others)
        made = self._as_views(pixels, views)
        if not has_others:
            return made
        return [*made[:2], *(replace(view, apart=~is_moving) for view in made[2:])]

    def _as_views(self, made: Sequence[Tensor], views: Sequence[View]) -> list[View]:
        s = self.settings
        return [
            View(
                pixels=pixels.to(views[0].pixels.dtype),
                norms="attacked" if s.norms == "split" else "clean",
                images=views[0].images if s.disarmed == "real-views" else "made",
                weight=s.weight,
                is_further=True,
            )
            for pixels in made
        ]

    def _is_measured(self, position: Position) -> bool:
        every = min(self.dial.every, max(1, position.steps_per_epoch))
        is_armed = self.settings.disarmed is None and has_nats(self.settings, self.nats)
        return is_armed and position.step % every == 0

    @step_part("excess loss")
    @torch.no_grad()
    def _excess(self, views: Sequence[View], context: Context) -> Tensor:
        """Excess loss at the share of this step, in nats per query; changes no statistics, no cache
        and no draws.

        What a query of the moving pair adds, times the share of queries that are the pair's. It is
        measured on all latents, on the step's own draws, however few are the pair's.
        """
        assert self.nats is not None
        losses, device = [], views[0].device
        devices = [device] if device.type == "cuda" else []  # of dropout inside backbones
        with torch.random.fork_rng(devices=devices), still_statistics(self.method), as_it_is():
            for pixels in (self._supply.views(context), self._supply.fixed_views(context)):
                losses.append(self._loss_beside(views, self._as_views(pixels, views), context))
        return self.dial.share(context.position) * self.nats * (losses[0] - losses[1])

    def _loss_beside(self, views: Sequence[View], made: Sequence[View], context: Context) -> Tensor:
        """Method's loss on the queries among generated views, as the game computes it."""
        draws = copy.deepcopy(context.generator)
        own = replace(context, cache=ForwardCache(), generator=draws)
        if not self.mixes_images:
            return self._loss_on_pairs(made, own)
        beside = [replace(view, weight=0.0) for view in views]
        return self.method.loss([*beside, *(replace(view, weight=1.0) for view in made)], own).loss

    def _term(
        self, views: Sequence[View], made: Sequence[View], context: Context
    ) -> Added | Averaged:
        """Term of generated views that is added to the encoder's loss."""
        if self.settings.loss == "align":
            return Added(self.settings.weight, lambda: self._distance(made, context))
        rows, made_rows = (float(sum(len(view) for view in group)) for group in (views, made))
        weight = self.settings.weight * made_rows
        return Averaged(rows, weight, lambda: self._loss_on_pairs(made, context))

    def _distance(self, made: Sequence[View], context: Context) -> Tensor:
        pairs = combinations(context.forward_together(made, self.encoder), 2)
        return torch.stack([normalised_regression(left, right) for left, right in pairs]).mean()

    def _loss_on_pairs(self, made: Sequence[View], context: Context) -> Tensor:
        # Generated images are not in the data set; any distinct numbers serve as their indices.
        apart = replace(context, indices=distributed.own_rows(len(made[0])))
        pairs = combinations(made, 2)
        return torch.stack([self.method.loss(pair, apart).loss for pair in pairs]).mean()

    def _discriminator_moves(self, player: Player, context: Context) -> Metrics:
        draws, real = draws_for(context, "judge"), self._supply.real(context)
        with torch.no_grad():
            made = self._supply.images(context, "judge latents")
        judge = self.settings.judge
        shown = [judge.augmented(images, generator=draws) for images in (real, *made)]
        verdicts = self.discriminator(torch.cat(shown))
        loss = judge_hinge(verdicts[: len(real)], verdicts[len(real) :])
        return {"generator_pair/judge": player.update(loss)}

    def _generators_move(self, player: Player, context: Context, fraction: float) -> Metrics:
        s, draws = self.settings, draws_for(context, "generators")
        assert context.augment is not None
        recipe = context.augment.recipes[0]
        opposite = Opposite(
            encode=self.encoder,
            view=lambda images: differentiable_view(
                images, recipe, colour=s.colour, generator=draws
            ),
            judge=lambda images: self.discriminator(s.judge.augmented(images, generator=draws)),
        )
        floor = similarity_floor(fraction, end=s.similarity)
        rise = min(1.0, fraction / s.hardness_rise) if s.hardness_rise else 1.0
        first, second = self._supply.images(context, "generator latents")
        real = self._supply.real(context)
        # Evaluation reads running statistics, of which checkpoints hold those of the main process.
        distributed.broadcast(self.encoder.buffers())
        with standing_still(self.encoder, self.discriminator), gradients_of_images_only():
            loss, found = pair_loss(first, second, real, opposite, s, floor=floor, rise=rise)
        player.update(loss)
        return {"generator_pair/floor": floor, **found}
