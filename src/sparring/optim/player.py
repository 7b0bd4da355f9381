"""A player: parameters and the one optimiser that moves them."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.errors import ConfigError, TrainingError, unknown_name
from sparring.optim.optimizers import OptimizerName, make_optimizer
from sparring.optim.schedule import Position, ScheduleName, cosine, warmup_and_fraction


class PlayerSettings(Settings):
    """How one player moves. Defaults: SGD with a cosine, as in MoCo v2 (Chen et al. 2020,
    arXiv:2003.04297)."""

    optimizer: OptimizerName = "sgd"
    """sgd, adamw, or lars for very large batches."""
    learning_rate: float = Field(default=0.06, gt=0)
    """Peak rate."""
    learning_rate_final: float = Field(default=0.0, ge=0)
    """Rate at the end of a cosine."""
    schedule: ScheduleName = "cosine"
    """Of the rate after the warm-up, over the whole planned run."""
    schedule_per_epoch: bool = False
    """Change the rate once per epoch (as the released code of AdCo, CaCo and MoCo does) instead of
    at every step."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs in which the rate rises in a straight line to its peak."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """The optimiser's; AdamW's first beta."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Added to the gradient by sgd and lars, decoupled in adamw."""
    decay_vectors: bool = True
    """Decay biases and norms too, as MoCo and AdCo do."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest joint norm of the gradients."""
    steady: tuple[str, ...] = ()
    """Parts that keep the peak rate after the warm-up whatever the schedule, such as SimSiam's
    `predictor`."""


LossOf: TypeAlias = Callable[[], Tensor]
"""A loss that is computed when it is asked for."""


@dataclass(frozen=True)
class Added:
    """A term that an opponent adds to a player's loss: loss + weight * term.

    Attributes:
        weight: factor of the term.
        loss: computes the term, after the loss beside which it stands.
    """

    weight: float
    loss: LossOf


@dataclass(frozen=True)
class Averaged:
    """A term with which a player's loss is averaged: (rows * loss + weight * term) / (rows +
    weight).

    Attributes:
        rows: weight of the loss beside which it stands.
        weight: weight of the term.
        loss: computes the term, after the loss beside which it stands.
    """

    rows: float
    weight: float
    loss: LossOf


class Player:
    """Parameters and the optimiser that moves them; `update` is the only place that back-propagates
    and steps."""

    def __init__(
        self, name: str, parameters: Mapping[str, nn.Parameter], settings: PlayerSettings
    ) -> None:
        self.name = name
        self.settings = settings
        self._parameters = dict(parameters)
        self._refuse_unknown_parts()
        self._optimizer = make_optimizer(
            settings.optimizer,
            self._parameters,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            decay_vectors=settings.decay_vectors,
            steady=settings.steady,
        )
        self.learning_rate = 0.0
        self._terms: tuple[Added | Averaged, ...] = ()

    def beside(self, *terms: Added | Averaged) -> "Player":
        """This player, minimising further terms beside the loss that `update` is given.

        Averages come before sums, whatever the order in which opponents bring their terms.

        Args:
            terms: computed once per update, after the loss.
        """
        other = copy.copy(self)  # the same parameters and the same optimiser
        other._terms = (*self._terms, *terms)
        return other

    def parameters(self) -> Iterator[nn.Parameter]:
        """What this player moves, and nobody else does."""
        return iter(self._parameters.values())

    def prepare(self, position: Position) -> None:
        """Set the learning rate for this step."""
        s = self.settings
        warmup, fraction = warmup_and_fraction(
            position, per_epoch=s.schedule_per_epoch, warmup_epochs=s.warmup_epochs
        )
        peak = s.learning_rate
        self.learning_rate = warmup * (
            cosine(peak, s.learning_rate_final, fraction) if s.schedule == "cosine" else peak
        )
        for group in self._optimizer.param_groups:
            group["lr"] = warmup * peak if group["is_steady"] else self.learning_rate

    def update(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Back-propagate to this player's parameters only, average over processes, and step.

        Args:
            loss: what this player minimises, as a mean over the rows of this process.

        Returns:
            What was minimised, with the terms of opponents, of this process; without gradient.

        Raises:
            TrainingError: if the loss or the gradient is not finite; nothing has moved then.
        """
        loss = self._with_terms(loss)
        parameters = list(self._parameters.values())
        found = list(
            torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        )
        mean_loss = loss.detach().clone()
        distributed.average([*found, mean_loss])
        self._refuse_non_finite(mean_loss, found)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.detach()

    def _with_terms(self, loss: Tensor) -> Tensor:
        for part in (term for term in self._terms if isinstance(term, Averaged)):
            total = 0 * loss + part.rows * loss + part.weight * part.loss()
            loss = total / (part.rows + part.weight)
        for added in (term for term in self._terms if isinstance(term, Added)):
            loss = loss + added.weight * added.loss()
        return loss

    def _refuse_non_finite(self, loss: Tensor, gradients: list[Tensor]) -> None:
        # Both are averaged by now, so every process sees the same numbers and all of them stop
        # together.
        norms = torch._foreach_norm(gradients)
        if not torch.stack([loss, *norms]).sum().isfinite():
            what = "loss" if not loss.isfinite() else "gradient"
            raise TrainingError(
                f"player '{self.name}': its {what} is not finite (loss {loss.item():g}); "
                f"try a lower players.{self.name}.learning_rate or set "
                f"players.{self.name}.clip_norm"
            )

    def _refuse_unknown_parts(self) -> None:
        parts = {name.partition(".")[0] for name in self._parameters}
        for part in self.settings.steady:
            if part not in parts:
                raise ConfigError(
                    unknown_name(f"part in players.{self.name}.steady:", part, sorted(parts))
                )

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state, such as momentum buffers."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`'s value.

        Raises:
            ValueError: if another optimiser, or one with other settings, made it: PyTorch would
                silently take these over.
        """
        if _fixed(state["param_groups"]) != _fixed(self._optimizer.param_groups):
            raise ValueError(
                f"players.{self.name}: the optimiser, its momentum or its weight decay was another"
            )
        # A checkpoint of version 0.1 lacks what PyTorch's optimisers keep beside the settings.
        groups = [
            {**own, **saved}
            for own, saved in zip(self._optimizer.param_groups, state["param_groups"], strict=True)
        ]
        self._optimizer.load_state_dict({"state": state["state"], "param_groups": groups})


def _fixed(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What an optimiser's settings decide once and for all."""
    return [
        {
            key: group[key]
            for key in ("momentum", "betas", "weight_decay", "trust", "is_steady")
            if key in group
        }
        for group in groups
    ]
