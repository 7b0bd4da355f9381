"""Optimisers by name: PyTorch's SGD and AdamW, and LARS, which PyTorch does not have."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

OptimizerName: TypeAlias = Literal["sgd", "adamw", "lars"]
Group: TypeAlias = dict[str, Any]
"""Parameter group of an optimiser: `params`, the parameters, and their settings."""


class LARS(Optimizer):
    """LARS: SGD with momentum, with each tensor's gradient scaled by the ratio of weight to
    gradient norm.

    g <- g + weight_decay * p;  g <- trust * |p| / |g| * g;  v <- momentum * v + g;  p <- p - lr * v

    The ratio is 1 where either norm is 0. Tensors with at most one dimension (biases, batch norm)
    are neither decayed nor scaled.

    Source: You et al. 2017, arXiv:1708.03888; exclusions as in BYOL (Grill et al. 2020,
    arXiv:2006.07733, section 3.3).
    """

    def __init__(
        self,
        groups: Iterable[Group],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: nn.Parameter, group: Group) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if parameter.ndim > 1:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
            norm, gradient_norm = parameter.norm(), gradient.norm()
            ratio = group["trust"] * norm / gradient_norm
            gradient = gradient * torch.where(
                (norm > 0) & (gradient_norm > 0), ratio, torch.ones_like(ratio)
            )
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        parameter.add_(state["momentum_buffer"], alpha=-group["lr"])


def make_optimizer(
    name: OptimizerName,
    parameters: Mapping[str, nn.Parameter],
    *,
    momentum: float,
    weight_decay: float,
    decay_vectors: bool,
    steady: Sequence[str] = (),
) -> Optimizer:
    """Optimiser of named parameters; `Player` sets its learning rate before every step.

    Args:
        name: `sgd`, `adamw` (beta2 0.999; momentum is beta1), or `lars`.
        parameters: parameters by name.
        momentum: in [0, 1).
        weight_decay: >= 0; added to the gradient by sgd and lars, decoupled in adamw.
        decay_vectors: also decay tensors of at most one dimension (biases, norms).
        steady: first components of parameter names whose groups are marked `is_steady`.
    """
    groups: list[Group] = []
    for is_steady in (False, True):
        part = [
            parameter
            for name, parameter in parameters.items()
            if (name.partition(".")[0] in steady) is is_steady
        ]
        matrices = [p for p in part if p.ndim > 1 or decay_vectors]
        vectors = [p for p in part if p.ndim <= 1 and not decay_vectors]
        groups += [
            {"params": chosen, "weight_decay": w, "is_steady": is_steady}
            for chosen, w in ((matrices, weight_decay), (vectors, 0.0))
        ]
    groups = [group for group in groups if group["params"]]
    match name:
        case "sgd":
            return SGD(groups, lr=0.0, momentum=momentum, foreach=True)
        case "adamw":
            return AdamW(groups, lr=0.0, betas=(momentum, 0.999), weight_decay=0.0, foreach=True)
        case "lars":
            return LARS(groups, lr=0.0, momentum=momentum)
