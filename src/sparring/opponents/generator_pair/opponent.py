"""Generator pair: two generators make hard positives and further negatives, around any method.

Idea. Two generators make similar but distinct images of one latent vector; two augmented views of
each are four positives of each other. The generators learn with the encoder, so that the pair is as
hard for it as it may be.

The game. At every step, in this order:

1. `discriminator` minimises the hinge loss of telling the batch from generated images, both
  augmented.
2. `generator` (both) minimises L_adv - hardness * H + fence * F + diversity * Q against the encoder
  and the judge as they stand, in
   evaluation mode: L_adv = -mean D, H the contrastive loss of a pair among real images, F and Q the limits (objectives/hardness.py).
3. `encoder` minimises the method's loss on the batch and on generated views, which it cannot reach
  back to:

    L = mean over the batch's views and, times `weight`, over the generated views; positives are the views of one image or one latent

simclr sets all of these against each other. In another method the batch is looked at alone, and so
are generated views, as the mean over their six pairs. The others of the method (bank, queue,
teacher) respond to the batch. Before, one generator and the discriminator learn the images
(opponents/pretraining.py), and the encoder sees real images alone for `real_only` of the run.

After Wu et al. 2022, arXiv:2202.06464, our reconstruction: two generators, joint training, falling
similarity and four positives are the paper's; every form and number is ours, not verified. No code
of the authors is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import ClassVar

import torch
from torch import nn

from sparring.methods.groups import Group
from sparring.methods.method import Method, Metrics, Step, Turn, Wrapper
from sparring.methods.shared_forward import SharedForward
from sparring.methods.stage import Stage
from sparring.models.split_norm import split_norms
from sparring.objectives.alignment import normalised_regression
from sparring.opponents.generator_pair.album import Album
from sparring.opponents.generator_pair.differentiable_views import differentiable_view
from sparring.opponents.generator_pair.hardness import similarity_floor
from sparring.opponents.generator_pair.networks import Discriminator
from sparring.opponents.generator_pair.pair import (
    GeneratorPairSettings,
    Opposite,
    Pair,
    joint_fraction,
    pair_loss,
    standing_still,
)
from sparring.opponents.generator_pair.pretraining import Pretraining
from sparring.opponents.generator_pair.realism import crowding_warning
from sparring.opponents.generator_pair.realism_losses import judge_hinge
from sparring.opponents.generator_pair.supply import Supply, draws_for
from sparring.optim.player import Player


class GeneratorPair(Wrapper):
    """Any method with images that two generators make hard for it; after Wu et al. 2022,
    arXiv:2202.06464 (our reconstruction).

    Args:
        method: whose encoder is played against.
        settings: of the pair, the judge and the limits.
    """

    needs_images: ClassVar[bool] = True

    def __init__(self, method: Method, settings: GeneratorPairSettings) -> None:
        super().__init__(method)
        self.settings, size = settings, method.encoder.backbone.image_size
        self.pair = Pair(settings.generator, image_size=size)
        self.discriminator = Discriminator(settings.generator, image_size=size)
        self.album = Album(image_size=size)
        self.pair.begin(self.pair.first, noise=settings.init_noise, seed=0)
        self._last: Metrics = {}  # of the generators' last move, to be logged until the next
        self._supply, self._shared = Supply(self.pair, settings), SharedForward(method)
        if settings.norms == "split":
            split_norms(method, momentum=0.1)

    def teams(self) -> Mapping[str, nn.Module]:
        """The method's, the generators and their judge."""
        makers = {"both": self.pair, "second": self.pair.second}
        return {
            **self.method.teams(),
            "generator": makers[self.settings.moves],
            "discriminator": self.discriminator,
        }

    def rehearse(self, stage: Stage) -> None:
        """One generator and the judge learn the images; the pair begins as two copies of its moving
        average."""
        s = self.settings
        self.method.rehearse(stage)
        if s.disarmed == "real-views":
            return
        camp = Pretraining(
            s.generator, s.pretraining, s.judge, image_size=self.encoder.backbone.image_size, seed=0
        )
        camp.to(stage.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage.learn(
            camp,
            name="generator",
            settings={"generator": s.generator, "judge": s.judge, "pretraining": s.pretraining},
        )
        camp.settle()
        self.pair.begin(camp.average, noise=s.init_noise, seed=0)
        self.discriminator.load_state_dict(camp.discriminator.state_dict())
        self.album.learn(stage.dataset)

    def challenge(self, players: Mapping[str, Player], step: Step) -> Metrics:
        """The judge moves, then the generators."""
        metrics = self.method.challenge(players, step)
        fraction = joint_fraction(step.progress, real_only=self.settings.real_only)
        if fraction is None or self.settings.disarmed == "real-views":
            return metrics
        if (
            self.settings.disarmed in (None, "single")
            and step.progress.step % self.settings.generator_every == 0
        ):
            judged = self._judge_moves(players["discriminator"], step)
            self._last = {**judged, **self._generators_move(players["generator"], step, fraction)}
        return {**metrics, **self._last, **self.album.note(self.pair, fraction)}

    def look_at(self, groups: Sequence[Group], step: Step) -> Turn:
        """The method's look at the batch and at generated views."""
        if joint_fraction(step.progress, real_only=self.settings.real_only) is None:
            return self.method.look_at(groups, step)
        s, like = self.settings, groups[0].views[0]
        views = [view.to(like.dtype) for view in self._supply.views(step)]
        with self._shared.remembering():
            for view in (*(view for group in groups for view in group.views), *views):
                self._shared.show(
                    view, is_adversarial=s.norms == "split" and any(view is made for made in views)
                )
            if s.loss == "align":
                turn = self.method.look_at(groups, step)
                pairs = combinations(self.encoder.together(views), 2)
                distance = torch.stack(
                    [normalised_regression(left, right) for left, right in pairs]
                ).mean()
                return replace(turn, loss=turn.loss + s.weight * distance)
            images = groups[0].images if s.disarmed == "real-views" else "made"
            return self.method.look_at(
                [*groups, Group(views=views, weight=s.weight, images=images)], step
            )

    def warning(self, record: Mapping[str, float | int]) -> str | None:
        """When the generators make the same image again and again."""
        made, real = (
            record.get(f"generator_pair/{name}") for name in ("crowding", "crowding_real")
        )
        return crowding_warning(made, real) or self.method.warning(record)

    def _judge_moves(self, player: Player, step: Step) -> Metrics:
        draws, real = draws_for(step, "judge"), self._supply.real(step)
        with torch.no_grad():
            made = self._supply.images(step, "judge latents")
        verdicts = self.discriminator(
            torch.cat(
                [self.settings.judge.look(images, generator=draws) for images in (real, *made)]
            )
        )
        loss = judge_hinge(verdicts[: len(real)], verdicts[len(real) :])
        player.update(loss)
        return {"generator_pair/judge": loss.detach()}

    def _generators_move(self, player: Player, step: Step, fraction: float) -> Metrics:
        s, draws = self.settings, draws_for(step, "generators")
        assert step.augment is not None
        recipe = step.augment.recipes[0]
        opposite = Opposite(
            encode=self.encoder,
            view=lambda images: differentiable_view(images, recipe, generator=draws),
            judge=lambda images: self.discriminator(s.judge.look(images, generator=draws)),
        )
        floor = similarity_floor(fraction, end=s.similarity)
        rise = min(1.0, fraction / s.hardness_rise) if s.hardness_rise else 1.0
        first, second = self._supply.images(step, "generator latents")
        with standing_still(self.encoder, self.discriminator):
            loss, found = pair_loss(
                first, second, self._supply.real(step), opposite, s, floor=floor, rise=rise
            )
        player.update(loss)
        return {"generator_pair/floor": floor, **found}
