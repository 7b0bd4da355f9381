"""A player: parameters and the one optimiser that updates them."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sparring.config import Settings
from sparring.errors import ConfigError, unknown_name
from sparring.optim.averaging import averaged_gradients
from sparring.optim.finite_check import FiniteCheck
from sparring.optim.optimizers import FORMS, LAYER, OptimizerName, decayed, make_optimizer
from sparring.optim.schedule import Position, ScheduleName, cosine, warmup_and_fraction
from sparring.optim.turning import turned
from sparring.step_parts import step_part


class PlayerSettings(Settings):
    """Optimiser settings of one player. Defaults: SGD with a cosine schedule, as in MoCo v2 (Chen
    et al. 2020, arXiv:2003.04297)."""

    optimizer: OptimizerName = "sgd"
    """Optimiser: sgd, adamw, or lars for very large batches."""
    learning_rate: float = Field(default=0.06, gt=0)
    """Peak learning rate."""
    learning_rate_final: float = Field(default=0.0, ge=0)
    """Learning rate at the end of a cosine schedule."""
    schedule: ScheduleName = "cosine"
    """Schedule of the learning rate after the warm-up, over the whole planned run."""
    schedule_per_epoch: bool = False
    """Whether the learning rate changes once per epoch (as in the released code of AdCo, CaCo and
    MoCo) instead of at every step."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs in which the learning rate rises linearly to its peak."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of the optimiser; the first beta of AdamW."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay: added to the gradient by sgd and lars, decoupled in adamw."""
    weight_decay_final: float | None = Field(default=None, ge=0)
    """Weight decay at the end of the run, which it reaches along half a cosine, without a warm-up,
    as in DINO (0.04 to 0.4); None: it stays."""
    decay_vectors: bool = True
    """Whether biases and norms are decayed too, as in MoCo and AdCo. A vision transformer's
    position embeddings and class token always are, as in MoCo v3 and DINO."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Joint norm to which the player's gradients are clipped; None: no clipping."""
    steady: tuple[str, ...] = ()
    """Modules that keep the peak rate after the warm-up whatever the schedule, such as SimSiam's
    `predictor`."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate for each layer of depth: a layer has the rate times
    layer_decay ** depth, counted from the output. The heads have depth 0, the backbone's last layer
    1, its stem the largest. 0.65 to 0.9 is usual for starting from weights (Clark et al. 2020,
    arXiv:2003.10555, appendix A; Bao et al. 2022, arXiv:2106.08254, section 3.1); 1: all layers
    learn at one rate."""


LossOf: TypeAlias = Callable[[], Tensor]
"""Function without arguments that computes a loss."""


@dataclass(frozen=True)
class Added:
    """Term that an opponent adds to a player's loss: loss + weight * term.

    Attributes:
        weight: factor of the term.
        loss: function that computes the term, called after the player's own loss is computed.
    """

    weight: float
    loss: LossOf


@dataclass(frozen=True)
class Averaged:
    """Term that is averaged with a player's loss: (rows * loss + weight * term) / (rows + weight).

    Attributes:
        rows: weight of the player's own loss.
        weight: weight of the term.
        loss: function that computes the term, called after the player's own loss is computed.
    """

    rows: float
    weight: float
    loss: LossOf


class Player:
    """Player: parameters and the optimiser that updates them. Only `update` back-propagates and
    steps.

    Args:
        name: name of the player.
        parameters: parameters by their names in its module.
        settings: settings of its optimiser.
        check: check of losses and gradients that all players of a game share; None: one of its
            own, which reads every loss at once.
        section: section of its settings, as messages name it; None: `players.NAME`.
        depths: depth from the output of its parameters, by name; others have depth 0.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, nn.Parameter],
        settings: PlayerSettings,
        *,
        check: FiniteCheck | None = None,
        section: str | None = None,
        depths: Mapping[str, int] | None = None,
    ) -> None:
        self.name = name
        self.section = section or f"players.{name}"
        self.settings = settings
        self.check = check or FiniteCheck()
        self._parameters = dict(parameters)
        self._refuse_unknown_parts()
        if settings.layer_decay < 1 and not depths:
            raise ConfigError(
                f"{self.section}.layer_decay={settings.layer_decay}: this player has no backbone, "
                "whose layers could differ in depth; leave it out"
            )
        self._optimizer = make_optimizer(
            settings.optimizer,
            self._parameters,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            decay_vectors=settings.decay_vectors,
            steady=settings.steady,
            layer_decay=settings.layer_decay,
            depths=depths or {},
            found_inf=self.check.flag,
        )
        self.learning_rate = 0.0
        self._terms: tuple[Added | Averaged, ...] = ()

    def beside(self, *terms: Added | Averaged) -> "Player":
        """This player with further terms, which it minimises in addition to the loss that `update`
        is given.

        Averages are applied before sums, whatever the order in which opponents add their terms.

        Args:
            terms: further terms; each is computed once per update, after the loss.
        """
        other = copy.copy(self)  # the same parameters and the same optimiser
        other._terms = (*self._terms, *terms)
        return other

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that this player updates, and no other player."""
        return iter(self._parameters.values())

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters that this player updates, with their names in its module."""
        return iter(self._parameters.items())

    def prepare(self, position: Position) -> None:
        """Set the learning rate, and the weight decay if it has a schedule, for this step."""
        s = self.settings
        warmup, fraction = warmup_and_fraction(
            position, per_epoch=s.schedule_per_epoch, warmup_epochs=s.warmup_epochs
        )
        peak = s.learning_rate
        self.learning_rate = warmup * (
            cosine(peak, s.learning_rate_final, fraction) if s.schedule == "cosine" else peak
        )
        for group in self._optimizer.param_groups:
            rate = warmup * peak if group["is_steady"] else self.learning_rate
            group["lr"] = rate * decayed(group)
        if s.weight_decay_final is not None:
            self._prepare_decay(s.weight_decay_final, position)

    def _prepare_decay(self, final: float, position: Position) -> None:
        s = self.settings
        _, fraction = warmup_and_fraction(
            position, per_epoch=s.schedule_per_epoch, warmup_epochs=0.0
        )
        for group in self._optimizer.param_groups:
            if s.decay_vectors or group["params"][0].ndim > 1:
                group["weight_decay"] = cosine(s.weight_decay, final, fraction)

    @property
    def lowest_factor(self) -> float:
        """Factor on the learning rate of the deepest layer that learns; 1 without layer_decay."""
        return min((decayed(group) for group in self._optimizer.param_groups), default=1.0)

    @step_part("update of {0.name}")
    def update(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Back-propagate to this player's parameters only, average over processes, and step.

        Args:
            loss: loss that this player minimises, as a mean over the rows of this process.

        Returns:
            Minimised loss of this process, including the opponents' terms; without gradient.

        Raises:
            DivergedError: if the loss or the gradient is not finite; no parameter has changed then.
                Where checks are deferred, nothing is raised and nothing changes.
        """
        loss, gradients = self._checked(loss)
        parameters = list(self._parameters.values())
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.detach()

    @step_part("update of {0.name}")
    @torch.no_grad()
    def turn(self, loss: Float[Tensor, ""], *, degrees: float) -> Float[Tensor, ""]:
        """Back-propagate as `update` does, but turn each row of this player's matrices against its
        gradient by an angle; the optimiser is not used, and rows are unit afterwards.

        Args:
            loss: loss that this player minimises, as a mean over the rows of this process.
            degrees: angle of every row.

        Returns:
            Minimised loss of this process; without gradient.

        Raises:
            DivergedError: as `update`.
        """
        with torch.enable_grad():
            loss, gradients = self._checked(loss)
        for parameter, gradient in zip(self._parameters.values(), gradients, strict=True):
            moved = turned(parameter, gradient, degrees=degrees)
            if self.check.flag is not None:
                moved = torch.where(self.check.flag == 0, moved, parameter)
            parameter.copy_(moved)
        return loss.detach()

    def _checked(self, loss: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Loss with the opponents' terms, and its gradients, averaged over processes."""
        loss = self._with_terms(loss)
        parameters = list(self._parameters.values())
        gradients, mean_loss = averaged_gradients(loss, parameters)
        self.check.require(self.name, mean_loss, gradients, section=self.section)
        return loss, gradients

    def _with_terms(self, loss: Tensor) -> Tensor:
        for part in (term for term in self._terms if isinstance(term, Averaged)):
            total = 0 * loss + part.rows * loss + part.weight * part.loss()
            loss = total / (part.rows + part.weight)
        for added in (term for term in self._terms if isinstance(term, Added)):
            loss = loss + added.weight * added.loss()
        return loss

    def _refuse_unknown_parts(self) -> None:
        parts = {name.partition(".")[0] for name in self._parameters}
        for part in self.settings.steady:
            if part not in parts:
                raise ConfigError(
                    unknown_name(f"part in {self.section}.steady:", part, sorted(parts))
                )

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser, such as momentum buffers."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any], *, own_settings: bool = False) -> None:
        """Continue from `state_dict`'s value.

        Args:
            state: value of `state_dict`.
            own_settings: whether this player keeps its settings where the state has others.

        Raises:
            ValueError: if the state is from another optimiser, or, without `own_settings`, one
                with other settings, which PyTorch would silently adopt.
        """
        is_scheduled = self.settings.weight_decay_final is not None
        own_fixed, fixed = (
            _fixed(groups, has_decay=not is_scheduled)
            for groups in (self._optimizer.param_groups, state["param_groups"])
        )
        if (not own_settings and fixed != own_fixed) or _kinds(fixed) != _kinds(own_fixed):
            raise ValueError(
                f"{self.section}: the optimiser, its momentum or one of its decays was another"
            )
        # A checkpoint of version 0.1 lacks some entries that PyTorch's optimisers keep in their
        # groups.
        groups = [
            {**own, **saved, **kept, **{form: own[form] for form in FORMS if form in own}}
            for own, saved, kept in zip(
                self._optimizer.param_groups, state["param_groups"], own_fixed, strict=True
            )
        ]
        self._optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _fixed(groups: Sequence[Mapping[str, Any]], *, has_decay: bool) -> list[dict[str, Any]]:
    """Settings of an optimiser that stay constant during a run, the weight decay among them unless
    it has a schedule."""
    constant = ("momentum", "betas", "trust", "is_steady", *LAYER, *(["weight_decay"] * has_decay))
    return [{key: group[key] for key in constant if key in group} for group in groups]


def _kinds(groups: Sequence[Mapping[str, Any]]) -> list[tuple[set[str], object, object]]:
    """What tells one optimiser's groups from another's, whatever the values of their settings."""
    return [(set(group), group.get("is_steady"), group.get("depth")) for group in groups]
