"""Logistic regressions on a device that waits whenever the host decides: several fits at once, and
decisions made there."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.evaluation.frozen.device_lbfgs import Stopping, minimise_together

Fit: TypeAlias = tuple[Tensor, Tensor, int]
"""Weight (classes, dim), bias (classes), and number of iterations."""

LOGITS = 1 << 28
"""Logits of all fits that are computed at once: a gibibyte of floats."""


def fitted_together(
    features: Float[Tensor, "rows dim"],
    targets: Int[Tensor, "rows"],
    components: tuple[Float[Tensor, "dim"], Float[Tensor, "dim dim"]],
    penalties: Float[Tensor, "penalties"],
    *,
    num_classes: int,
    stopping: Stopping,
) -> list[Fit]:
    """The fits of `logistic.regularisation_path`, as many at once as `LOGITS` allows.

    Each starts at zero and is preconditioned as there; the minima are the same.

    Args:
        features: standardised rows.
        targets: class indices below `num_classes`.
        components: see `logistic.principal_components`.
        penalties: each > 0.
        num_classes: number of logits.
        stopping: when a fit is done.
    """
    at_once = max(1, LOGITS // (len(features) * num_classes))
    return [
        fit
        for some in torch.split(penalties, at_once)
        for fit in _fitted(
            features, targets, components, some, num_classes=num_classes, stopping=stopping
        )
    ]


def _fitted(
    features: Tensor,
    targets: Tensor,
    components: tuple[Tensor, Tensor],
    penalties: Float[Tensor, "fits"],
    *,
    num_classes: int,
    stopping: Stopping,
) -> list[Fit]:
    """Fits with some of the penalties."""
    (variances, basis), fits = components, len(penalties)
    scale = (variances / num_classes + penalties[:, None]).rsqrt()[:, None]
    shape = (fits, num_classes, features.shape[1])

    def parts(points: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and biases of each fit."""
        scaled, bias = torch.split(points, [shape[1] * shape[2], num_classes], dim=1)
        return (scaled.view(shape) * scale) @ basis.T, bias

    def evaluate(points: Tensor) -> tuple[Tensor, Tensor]:
        """The penalised cross-entropies and their gradients."""
        with torch.enable_grad():
            watched = points.detach().requires_grad_()
            weight, bias = parts(watched)
            logits = torch.addmm(bias.flatten(), features, weight.flatten(0, 1).T)
            loss = F.cross_entropy(
                logits.view(-1, num_classes), targets.repeat_interleave(fits), reduction="none"
            )
            values = loss.view(-1, fits).mean(dim=0)
            values = values + penalties / 2 * weight.square().sum(dim=(1, 2))
            (gradient,) = torch.autograd.grad(values.sum(), watched)
        return values.detach(), gradient

    start = features.new_zeros(fits, (shape[2] + 1) * num_classes)
    found, iterations = minimise_together(evaluate, start, stopping)
    return list(zip(*parts(found), iterations.tolist(), strict=True))


def minimised_there(
    value: Callable[[], Float[Tensor, ""]], parameters: Sequence[Tensor], stopping: Stopping
) -> int:
    """Minimise a function in place; returns the number of iterations.

    Args:
        value: of the parameters as they are; see `logistic.minimise`.
        parameters: leaves with gradients, changed here.
        stopping: when the minimum is reached.
    """
    sizes = [parameter.numel() for parameter in parameters]

    def put(point: Tensor) -> None:
        """Let the parameters be those of a point."""
        for parameter, part in zip(parameters, torch.split(point, sizes), strict=True):
            parameter.copy_(part.view_as(parameter))

    def evaluate(points: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient at a single point."""
        put(points[0])
        with torch.enable_grad():
            found = value()
            gradients = torch.autograd.grad(found, parameters)
        return found.detach()[None], torch.cat([part.flatten() for part in gradients])[None]

    with torch.no_grad():
        start = torch.cat([parameter.flatten() for parameter in parameters])[None]
        point, iterations = minimise_together(evaluate, start, stopping)
        put(point[0])
    return int(iterations)
