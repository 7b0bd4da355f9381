"""Logistic regressions of every class against the rest, for images that may show several classes;
fitted like `logistic`."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.evaluation.features import ReportProgress
from sparring.evaluation.frozen.logistic import Probe, minimise, principal_components


def one_against_all_path(
    features: Float[Tensor, "rows dim"],
    presence: Int[Tensor, "rows classes"],
    penalties: Sequence[float],
    *,
    progress: ReportProgress | None = None,
) -> list[Probe]:
    """Binary logistic regressions from the strongest penalty to the weakest, each starting at the
    one before.

    argmin_{w, b} sum_{i in rows of the class} log(1 + exp(-s_i (w.x_i + b))) + penalty / 2 *
    ||w||^2 for every class, with s = +1 or -1

    Args:
        features: standardised rows; float64 gives float64 fits.
        presence: 1: the row shows the class, 0: it does not, -1: the row is left out for the class.
        penalties: of the summed loss, each > 0; penalty = 1 / C for scikit-learn's C.
        progress: told the number of fits done.

    Raises:
        ValueError: if a penalty is not positive.
    """
    if min(penalties) <= 0:
        raise ValueError(
            f"penalties must be positive, got {min(penalties)}; typical values are 1e-6 to 1e5"
        )
    variances, basis = principal_components(features)
    rotated, start = features @ basis, _base_rates(features, presence)
    path = []
    for penalty in sorted(penalties, reverse=True):
        start = _fit(rotated, presence, variances, penalty=penalty, start=start)
        path.append(Probe(start.weight @ basis.T, start.bias, start.iterations))
        if progress is not None:
            progress(len(path), len(penalties))
    return path


def _base_rates(features: Tensor, presence: Tensor) -> Probe:
    """Logits of the classes under an infinite penalty: their frequencies, smoothed by half a row of
    each kind."""
    positive, negative = ((presence == sign).sum(dim=0).to(features) + 0.5 for sign in (1, 0))
    return Probe(
        features.new_zeros(presence.shape[1], features.shape[1]), (positive / negative).log(), 0
    )


def _fit(
    rotated: Tensor, presence: Tensor, variances: Tensor, *, penalty: float, start: Probe
) -> Probe:
    """One fit of all classes at once, in the basis of principal components, where the curvature is
    about variance * p (1 - p) + penalty per row."""
    known, truth = (presence >= 0).to(rotated), (presence == 1).to(rotated)
    rows = known.sum(dim=0).clamp_min(1)
    per_row = penalty / rows
    rates = (truth.sum(dim=0) + 0.5) / (rows + 1)
    scale = (torch.outer(rates * (1 - rates), variances) + per_row[:, None]).rsqrt()
    scaled, bias = (start.weight / scale).requires_grad_(), start.bias.clone().requires_grad_()

    def value() -> Tensor:
        """Sum over classes of the mean loss of their rows, so that no class waits for another."""
        weight = scaled * scale
        logits = torch.addmm(bias, rotated, weight.T)
        loss = (
            F.binary_cross_entropy_with_logits(logits, truth, weight=known, reduction="none").sum(
                dim=0
            )
            / rows
        )
        return (loss + per_row / 2 * weight.square().sum(dim=1)).sum()

    iterations = minimise(value, [scaled, bias])
    return Probe((scaled * scale).detach(), bias.detach(), iterations)
