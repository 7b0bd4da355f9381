"""Optimisers by name, and LARS, which PyTorch does not have."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor, nn

OptimizerName: TypeAlias = Literal["sgd", "adamw", "lars"]


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose step is scaled, tensor by tensor, by the ratio of weight to gradient norm.

    g <- g + weight_decay * p;  g <- trust * |p| / |g| * g;  v <- momentum * v + g;  p <- p - learning_rate * v

    The ratio is 1 where either norm is 0. Tensors with at most one dimension (biases, batch norm) are neither decayed nor scaled.

    Source: You et al. 2017, arXiv:1708.03888; exclusions as in BYOL (Grill et al. 2020, arXiv:2006.07733, section 3.3).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return None

    def _move(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad
        if parameter.ndim > 1:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
            norm, gradient_norm = parameter.norm(), gradient.norm()
            ratio = group["trust"] * norm / gradient_norm
            gradient = gradient * torch.where((norm > 0) & (gradient_norm > 0), ratio, torch.ones_like(ratio))
        velocity = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        velocity.mul_(group["momentum"]).add_(gradient)
        parameter.add_(velocity, alpha=-group["lr"])


def make_optimizer(
    name: OptimizerName,
    parameters: Mapping[str, nn.Parameter],
    *,
    momentum: float,
    weight_decay: float,
    decay_vectors: bool,
    steady: tuple[str, ...] = (),
) -> torch.optim.Optimizer:
    """Optimiser over named parameters; its learning rate is set before every step.

    Args:
        name: `sgd` (PyTorch's form: no dampening, no Nesterov), `adamw` (beta2 0.999; momentum is beta1), or `lars`.
        parameters: what it moves.
        momentum: in [0, 1).
        weight_decay: >= 0; added to the gradient by sgd and lars, decoupled in adamw.
        decay_vectors: also decay tensors of at most one dimension (biases, norms).
        steady: first parts of names whose groups are marked `is_steady`.
    """
    groups: list[dict[str, Any]] = []
    for is_steady in (False, True):
        part = [parameter for name, parameter in parameters.items() if (name.partition(".")[0] in steady) is is_steady]
        matrices = [p for p in part if p.ndim > 1 or decay_vectors]
        vectors = [p for p in part if p.ndim <= 1 and not decay_vectors]
        groups += [
            {"params": chosen, "weight_decay": w, "is_steady": is_steady} for chosen, w in ((matrices, weight_decay), (vectors, 0.0))
        ]
    groups = [group for group in groups if group["params"]]
    match name:
        case "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=momentum)
        case "adamw":
            return torch.optim.AdamW(groups, lr=0.0, betas=(momentum, 0.999))
        case "lars":
            return LARS(groups, lr=0.0, momentum=momentum)
