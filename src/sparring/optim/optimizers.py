"""Optimisers: SGD and AdamW as in PyTorch, and LARS, which PyTorch does not have.

Those of `torch.optim` import PyTorch's compiler before the first step, which costs a run a second and 150 MB (benchmarks/start_up.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

OptimizerName: TypeAlias = Literal["sgd", "adamw", "lars"]
Group: TypeAlias = dict[str, Any]
"""Settings of some parameters, and `params`, the parameters themselves."""


class Optimizer(ABC):
    """Moves parameters by their gradients.

    Args:
        groups: parameters with the settings in which they differ.
        settings: of all groups that do not say otherwise; the rate `lr` is among them.

    Attributes:
        param_groups: groups with all their settings, which may be changed between steps.
        state: what is remembered of each parameter.
    """

    def __init__(self, groups: Iterable[Group], **settings: Any) -> None:
        self.param_groups: list[Group] = [{**settings, **group, "params": list(group["params"])} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved:
                self._move(moved, [parameter.grad for parameter in moved], group)

    @abstractmethod
    def _move(self, parameters: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        """Move those of one group."""

    def _remembered(self, name: str, parameters: Iterable[Tensor]) -> list[Tensor]:
        """A tensor of each parameter's shape, zeros at first."""
        states = [(parameter, self.state.setdefault(parameter, {})) for parameter in parameters]
        for parameter, state in states:
            if name not in state:
                state[name] = torch.zeros_like(parameter)
        return [state[name] for _, state in states]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    def _parameters(self) -> list[Tensor]:
        return list(chain.from_iterable(group["params"] for group in self.param_groups))

    def state_dict(self) -> dict[str, Any]:
        """Settings and memory, with numbers in place of parameters, in the form of `torch.optim`."""
        number = {parameter: place for place, parameter in enumerate(self._parameters())}
        groups = [{**group, "params": [number[parameter] for parameter in group["params"]]} for group in self.param_groups]
        return {"state": {number[parameter]: state for parameter, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`'s value.

        Raises:
            ValueError: if it is of other numbers of parameters.
        """
        saved = state["param_groups"]
        if [len(group["params"]) for group in saved] != [len(group["params"]) for group in self.param_groups]:
            raise ValueError("the optimiser moved another number of parameters")
        for group, old in zip(self.param_groups, saved, strict=True):
            group.update({key: value for key, value in old.items() if key != "params"})
        parameters = self._parameters()
        self.state = {parameters[place]: _beside(parameters[place], memory) for place, memory in state["state"].items()}


def _beside(parameter: Tensor, memory: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to(parameter.device) if isinstance(value, Tensor) else value for name, value in memory.items()}


class SGD(Optimizer):
    """SGD with momentum, without dampening or Nesterov's look ahead.

    g <- g + weight_decay * p;  v <- momentum * v + g;  p <- p - lr * v
    """

    def __init__(self, groups: Iterable[Group], *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        velocities = self._remembered("momentum_buffer", parameters)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        torch._foreach_add_(parameters, velocities, alpha=-group["lr"])


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    p <- (1 - lr * weight_decay) * p;  m <- beta1 * m + (1 - beta1) * g;  v <- beta2 * v + (1 - beta2) * g^2
    p <- p - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + 1e-8), at step t

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101.
    """

    def __init__(
        self, groups: Iterable[Group], *, lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.01
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay, eps=1e-8)

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        (beta1, beta2), rate = group["betas"], group["lr"]
        means, squares = self._remembered("exp_avg", parameters), self._remembered("exp_avg_sq", parameters)
        steps = [self._count(parameter) for parameter in parameters]
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, means, roots, [-rate / (1 - beta1**step) for step in steps])

    def _count(self, parameter: Tensor) -> int:
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        return int(state["step"])


class LARS(Optimizer):
    """SGD with momentum whose step is scaled, tensor by tensor, by the ratio of weight to gradient norm.

    g <- g + weight_decay * p;  g <- trust * |p| / |g| * g;  v <- momentum * v + g;  p <- p - lr * v

    The ratio is 1 where either norm is 0. Tensors with at most one dimension (biases, batch norm) are neither decayed nor scaled.

    Source: You et al. 2017, arXiv:1708.03888; exclusions as in BYOL (Grill et al. 2020, arXiv:2006.07733, section 3.3).
    """

    def __init__(
        self, groups: Iterable[Group], *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001
    ) -> None:
        super().__init__(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust)

    def _move(self, parameters: list[Tensor], gradients: list[Tensor], group: Group) -> None:
        for parameter, gradient, velocity in zip(parameters, gradients, self._remembered("momentum_buffer", parameters), strict=True):
            if parameter.ndim > 1:
                gradient = gradient.add(parameter, alpha=group["weight_decay"])
                norm, gradient_norm = parameter.norm(), gradient.norm()
                ratio = group["trust"] * norm / gradient_norm
                gradient = gradient * torch.where((norm > 0) & (gradient_norm > 0), ratio, torch.ones_like(ratio))
            velocity.mul_(group["momentum"]).add_(gradient)
            parameter.add_(velocity, alpha=-group["lr"])


def make_optimizer(
    name: OptimizerName,
    parameters: Mapping[str, nn.Parameter],
    *,
    momentum: float,
    weight_decay: float,
    decay_vectors: bool,
    steady: Sequence[str] = (),
) -> Optimizer:
    """Optimiser over named parameters; its learning rate is set before every step.

    Args:
        name: `sgd`, `adamw` (beta2 0.999; momentum is beta1), or `lars`.
        parameters: what it moves.
        momentum: in [0, 1).
        weight_decay: >= 0; added to the gradient by sgd and lars, decoupled in adamw.
        decay_vectors: also decay tensors of at most one dimension (biases, norms).
        steady: first parts of names whose groups are marked `is_steady`.
    """
    groups: list[Group] = []
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
            return SGD(groups, lr=0.0, momentum=momentum)
        case "adamw":
            return AdamW(groups, lr=0.0, betas=(momentum, 0.999))
        case "lars":
            return LARS(groups, lr=0.0, momentum=momentum)
