"""Optimisers by name: PyTorch's SGD and AdamW, and LARS, which PyTorch does not have."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.sgd import sgd

OptimizerName: TypeAlias = Literal["sgd", "adamw", "lars"]
Group: TypeAlias = dict[str, Any]
"""Parameter group of an optimiser: `params`, the parameters, and their settings."""
FORMS = ("foreach", "fused")
"""Settings of PyTorch's optimisers that choose the code that computes a step, not what it is."""
LAYER = ("depth", "layer_decay")
"""Settings of groups whose rate depends on the depth of their layer."""


def decayed(group: Mapping[str, Any]) -> float:
    """Factor on the learning rate of a group's layer: layer_decay ** depth."""
    return float(group.get("layer_decay", 1.0) ** group.get("depth", 0))


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
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moved and moved[0].device.type == "cpu" and not hasattr(self, "found_inf"):
                for parameter in moved:  # one after the other stays in the cache
                    self._move([parameter], group)
            elif moved:
                self._move(moved, group)

    def _move(self, moved: list[Tensor], group: Group) -> None:
        """Update some parameters of a group."""
        states = [self.state[parameter] for parameter in moved]
        for parameter, state in zip(moved, states, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [state["momentum_buffer"] for state in states]
        gradients = self._scaled(moved, group)
        if (found_inf := getattr(self, "found_inf", None)) is not None:
            # LARS is SGD with other gradients, and PyTorch's fused SGD reads the flag.
            sgd(
                *(moved, gradients, buffers),
                fused=True,
                found_inf=found_inf,
                momentum=group["momentum"],
                lr=group["lr"],
                weight_decay=0.0,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, gradients)
        torch._foreach_add_(moved, buffers, alpha=-group["lr"])

    def _scaled(self, moved: Sequence[Tensor], group: Group) -> list[Tensor]:
        """Gradients of these parameters, those of matrices decayed and scaled."""
        matrices = [parameter for parameter in moved if parameter.ndim > 1]
        scaled = {id(parameter): _gradient(parameter) for parameter in moved}
        if matrices:
            decayed = torch._foreach_add(
                [_gradient(parameter) for parameter in matrices],
                matrices,
                alpha=group["weight_decay"],
            )
            norms, gradient_norms = (
                torch.stack(torch._foreach_norm(tensors)) for tensors in (matrices, decayed)
            )
            ratios = torch.where(
                (norms > 0) & (gradient_norms > 0),
                group["trust"] * norms / gradient_norms,
                torch.ones_like(norms),
            )
            torch._foreach_mul_(decayed, list(ratios.unbind()))
            scaled |= {id(p): gradient for p, gradient in zip(matrices, decayed, strict=True)}
        return list(scaled.values())


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def make_optimizer(
    name: OptimizerName,
    parameters: Mapping[str, nn.Parameter],
    *,
    momentum: float,
    weight_decay: float,
    decay_vectors: bool,
    steady: Sequence[str] = (),
    layer_decay: float = 1.0,
    depths: Mapping[str, int] | None = None,
    found_inf: Tensor | None = None,
) -> Optimizer:
    """Optimiser of named parameters; `Player` sets its learning rate before every step.

    Args:
        name: `sgd`, `adamw` (beta2 0.999; momentum is beta1), or `lars`.
        parameters: parameters by name.
        momentum: in [0, 1).
        weight_decay: >= 0; added to the gradient by sgd and lars, decoupled in adamw.
        decay_vectors: also decay tensors of at most one dimension (biases, norms).
        steady: first components of parameter names whose groups are marked `is_steady`.
        layer_decay: below 1, the parameters of each depth are groups of their own, which say their
            `depth` and this value.
        depths: depth from the output by name; others have depth 0.
        found_inf: scalar on the parameters' device; while it is 1, a step changes nothing.
    """
    groups: list[Group] = []
    for is_steady, depth in product((False, True), _depths(parameters, layer_decay, depths or {})):
        part = [
            parameter
            for name, parameter in parameters.items()
            if (name.partition(".")[0] in steady) is is_steady
            and (depth is None or (depths or {}).get(name, 0) == depth)
        ]
        matrices = [p for p in part if p.ndim > 1 or decay_vectors]
        vectors = [p for p in part if p.ndim <= 1 and not decay_vectors]
        layer = {} if depth is None else dict(zip(LAYER, (depth, layer_decay), strict=True))
        groups += [
            {"params": chosen, "weight_decay": w, "is_steady": is_steady, **layer}
            for chosen, w in ((matrices, weight_decay), (vectors, 0.0))
        ]
    groups = [group for group in groups if group["params"]]
    form = {"foreach": True} if found_inf is None else {"fused": True}
    optimizer: SGD | AdamW | LARS
    match name:
        case "sgd":
            optimizer = SGD(groups, lr=0.0, momentum=momentum, **form)
        case "adamw":
            betas = (momentum, 0.999)
            optimizer = AdamW(groups, lr=0.0, betas=betas, weight_decay=0.0, **form)
        case "lars":
            optimizer = LARS(groups, lr=0.0, momentum=momentum)
    if found_inf is not None:
        optimizer.found_inf = found_inf  # type: ignore[union-attr]
        optimizer.register_step_pre_hook(_prepare)
    return optimizer


def _depths(
    parameters: Mapping[str, nn.Parameter], layer_decay: float, depths: Mapping[str, int]
) -> list[int] | list[None]:
    """Depths that make groups of their own; None, the only one, if all layers have one rate."""
    if layer_decay == 1:
        return [None]
    return sorted({depths.get(name, 0) for name in parameters})


def _prepare(optimizer: Optimizer, *_: Any) -> None:
    """Give PyTorch's fused kernels what they take for granted.

    Gradients and state must lie in memory as the parameters do. Without a buffer of momentum, a
    first step that is skipped would leave an uninitialised one; a buffer of zeros gives the same
    first step.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = _laid_out(parameter.grad, parameter)
            state = optimizer.state[parameter]
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = _laid_out(value, parameter)
            if group.get("momentum") and state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def _laid_out(tensor: Tensor | None, parameter: nn.Parameter) -> Tensor | None:
    """Tensor with the strides of a parameter, a copy where it has others."""
    if tensor is None or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)
