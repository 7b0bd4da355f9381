"""L-BFGS for several functions at once, whose decisions are made on the device.

`torch.optim.LBFGS` reads a dozen numbers per iteration, which on a GPU takes longer than the
iteration itself. Here the host looks every few evaluations whether all functions are done.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Evaluate = Callable[
    [Float[Tensor, "functions dim"]],
    tuple[Float[Tensor, "functions"], Float[Tensor, "functions dim"]],
]
"""Values of functions, each at its own point, and their gradients."""

HISTORY = 10
"""Pairs of steps and changes of gradient that are kept; 3 to 20 in Nocedal & Wright 2006, section
7.2."""
LOOK_EVALUATIONS = 10
"""Evaluations between two looks at whether all functions are done."""
_DECREASE, _CURVATURE = 1e-4, 0.9  # of the Wolfe conditions; Nocedal & Wright 2006, section 3.1
_ROUNDING = 1e-6  # share of a value within which float32 tells no decrease


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When a function is done."""

    gradient: float
    """Largest entry of the gradient."""
    change: float
    """Change of the value in one step."""
    iterations: int
    """Steps at most; a quarter more evaluations."""


@dataclass
class _State:
    """Points of all functions, and the search along a line that each is in."""

    point: Float[Tensor, "functions dim"]
    value: Float[Tensor, "functions"]
    gradient: Float[Tensor, "functions dim"]
    direction: Float[Tensor, "functions dim"]
    size: Float[Tensor, "functions"]
    """Share of the direction that is tried next."""
    low: Float[Tensor, "functions"]
    """Largest size found too short."""
    high: Float[Tensor, "functions"]
    """Smallest size found too long."""
    steps: Float[Tensor, "history functions dim"]
    changes: Float[Tensor, "history functions dim"]
    """Changes of the gradient in these steps; both zero where there are none yet."""
    is_done: Bool[Tensor, "functions"]
    iterations: Int[Tensor, "functions"]


@torch.no_grad()
def minimise_together(
    evaluate: Evaluate, start: Float[Tensor, "functions dim"], stopping: Stopping
) -> tuple[Float[Tensor, "functions dim"], Int[Tensor, "functions"]]:
    """Minima of smooth convex functions, and the number of steps to each.

    Args:
        evaluate: values and gradients of all functions.
        start: a point of each.
        stopping: when a function is done.

    Source: Nocedal & Wright 2006, algorithm 7.4; the search along lines by halving and doubling
    after Lewis & Overton 2013, "Nonsmooth optimization via quasi-Newton methods", section 2.
    """
    value, gradient = evaluate(start)
    empty = start.new_zeros(HISTORY, *start.shape)
    state = _State(
        point=start,
        value=value,
        gradient=gradient,
        direction=-gradient,
        size=torch.ones_like(value),
        low=torch.zeros_like(value),
        high=torch.full_like(value, torch.inf),
        steps=empty,
        changes=empty,
        is_done=gradient.abs().amax(dim=1) <= stopping.gradient,
        iterations=torch.zeros_like(value, dtype=torch.long),
    )
    for number in range(stopping.iterations * 5 // 4):
        if number % LOOK_EVALUATIONS == 0 and bool(state.is_done.all()):
            break
        _try(evaluate, state, stopping)
    return state.point, state.iterations


def _try(evaluate: Evaluate, state: _State, stopping: Stopping) -> None:
    """Evaluate once; functions whose trial is good move there, and the others try another size."""
    s = state
    point = s.point + s.size[:, None] * s.direction
    value, gradient = evaluate(point)
    slope, new_slope = _products(s.gradient, s.direction), _products(gradient, s.direction)
    # In the rounding of the value its slope tells more: Hager & Zhang 2005, "A new conjugate
    # gradient method", equation 4.1.
    is_flat = (value <= s.value + _ROUNDING * s.value.abs()) & (
        new_slope <= (2 * _DECREASE - 1) * slope
    )
    is_lower = value <= s.value + _DECREASE * s.size * slope
    is_short = (is_lower | is_flat) & (new_slope < _CURVATURE * slope)
    is_long = ~(is_lower | is_flat)
    is_moving = ~(is_short | is_long | s.is_done)
    s.low, s.high = torch.where(is_short, s.size, s.low), torch.where(is_long, s.size, s.high)
    other = torch.where(s.high.isinf(), 2 * s.low, (s.low + s.high) / 2)
    _remember(s, is_moving, point - s.point, gradient - s.gradient)
    has_settled = is_moving & ((value - s.value).abs() < stopping.change)
    s.point, s.gradient = (
        _chosen(is_moving, point, s.point),
        _chosen(is_moving, gradient, s.gradient),
    )
    s.value = torch.where(is_moving, value, s.value)
    s.iterations = s.iterations + is_moving
    s.direction = _chosen(is_moving, -_newton(s), s.direction)
    s.size = torch.where(is_moving, 1.0, other)
    s.low = torch.where(is_moving, 0.0, s.low)
    s.high = torch.where(is_moving, torch.inf, s.high)
    is_stuck = (s.size * s.direction.abs().amax(dim=1)) <= stopping.change
    has_arrived = s.gradient.abs().amax(dim=1) <= stopping.gradient
    s.is_done = (
        s.is_done | has_settled | has_arrived | is_stuck | (s.iterations >= stopping.iterations)
    )


def _remember(state: _State, is_moving: Tensor, step: Tensor, change: Tensor) -> None:
    """Add the steps of the functions that move to their histories, if the gradient rose along
    them."""
    is_kept = is_moving & (_products(step, change) > 1e-10)
    for name, new in (("steps", step), ("changes", change)):
        old = getattr(state, name)
        setattr(
            state,
            name,
            torch.where(is_kept[None, :, None], torch.cat([old[1:], new[None]]), old),
        )


def _newton(state: _State) -> Float[Tensor, "functions dim"]:
    """Gradients times the approximate inverse Hessians: the two loops of L-BFGS."""
    curvatures = (state.steps * state.changes).sum(dim=2)
    inverse = torch.where(curvatures > 0, 1 / curvatures, 0.0)
    found, shares = state.gradient, []
    for step, change, factor in zip(
        reversed(state.steps), reversed(state.changes), reversed(inverse), strict=True
    ):
        shares.append(factor * _products(step, found))
        found = found - shares[-1][:, None] * change
    last = _products(state.changes[-1], state.changes[-1])
    found = found * torch.where(last > 0, curvatures[-1] / last, 1.0)[:, None]
    for step, change, factor, share in zip(
        state.steps, state.changes, inverse, reversed(shares), strict=True
    ):
        found = found + (share - factor * _products(change, found))[:, None] * step
    return found


def _products(left: Tensor, right: Tensor) -> Float[Tensor, "functions"]:
    return (left * right).sum(dim=1)


def _chosen(which: Bool[Tensor, "functions"], points: Tensor, others: Tensor) -> Tensor:
    return torch.where(which[:, None], points, others)
