"""Linear probe: multinomial logistic regression on frozen features, its regularisation chosen
without the test set.

Features are standardised by the training rows' mean and deviation. The fit is full-batch L-BFGS
with a strong Wolfe search in the precision of the features (float32 as `extract_features` gives
them), from the strongest regularisation to the weakest, each starting at the last solution. The
regularisation that scores best on held-out training rows is fitted again on all training rows, and
the test rows are used once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sparring.errors import DataError
from sparring.evaluation.features import ReportProgress
from sparring.evaluation.frozen.device_fits import fitted_together, minimised_there
from sparring.evaluation.frozen.device_lbfgs import Stopping
from sparring.evaluation.split import split
from sparring.measures.accuracy import top_1

REGULARISATIONS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Candidates for the weight penalty, strongest first; scikit-learn's C is 1 / (rows * penalty)."""

_MAX_ITERATIONS = 300
# Largest gradient entry of the preconditioned mean loss at which a fit is finished: the objective
# is then within 2e-6 of what ten times stricter fits reach (50k x 512, penalties 1e-2 and 1e-4).
_GRADIENT_TOLERANCE = 1e-4
# Or when the loss changes by less; torch's own default.
_LOSS_TOLERANCE = 1e-9

_STOPPING = Stopping(
    gradient=_GRADIENT_TOLERANCE, change=_LOSS_TOLERANCE, iterations=_MAX_ITERATIONS
)

_ROWS_PER_CHANNEL = 16
"""Rows from which the preconditioner is made, per channel. Twice as many change the iterations of a
fit by one at most (50k x 512)."""


@dataclass(frozen=True, kw_only=True)
class LinearScore:
    """Scores of a linear probe."""

    accuracy: float
    """Share of test rows classified correctly, in [0, 1]."""
    validation_accuracy: float
    """Accuracy on the held-out training rows with the chosen regularisation, in [0, 1]."""
    regularisation: float
    """The chosen weight penalty."""
    iterations: int
    """Number of L-BFGS iterations of all fits together."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier of standardised features."""

    weight: Float[Tensor, "classes dim"]
    bias: Float[Tensor, "classes"]
    iterations: int

    def accuracy(self, features: Float[Tensor, "rows dim"], targets: Int[Tensor, "rows"]) -> float:
        """Share of rows whose largest logit is that of their class, in [0, 1]."""
        predicted = torch.addmm(self.bias, features, self.weight.T).argmax(dim=1)
        return top_1(predicted, targets)


@dataclass(frozen=True, kw_only=True)
class FittedProbe:
    """A linear classifier of raw features, and how its fit went."""

    probe: Probe
    """Classifier of standardised features."""
    mean: Float[Tensor, "dim"]
    scale: Float[Tensor, "dim"]
    """Standard deviation of the training rows; infinite for a constant channel."""
    classes: Int[Tensor, "classes"]
    """Label of each logit, rising."""
    validation_accuracy: float
    regularisation: float
    iterations: int
    """Number of L-BFGS iterations of all fits together."""

    def standardised(self, features: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
        """Features standardised by the mean and deviation of the training rows."""
        return (features - self.mean) / self.scale

    def logits(self, features: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows classes"]:
        """Logits of raw features; gradients pass."""
        return torch.addmm(self.probe.bias, self.standardised(features), self.probe.weight.T)

    def predicted(self, features: Float[Tensor, "rows dim"]) -> Int[Tensor, "rows"]:
        """Label of the largest logit of each row of raw features."""
        return self.classes[self.logits(features).argmax(dim=1)]


def linear_probe(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int[Tensor, "train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int[Tensor, "test"],
    *,
    seed: int,
    regularisations: Sequence[float] = REGULARISATIONS,
    validation_share: float = 0.2,
) -> LinearScore:
    """Test accuracy of logistic regression on frozen features.

    Seven parameters because a score needs both halves of both sets.

    Args:
        train_features: raw backbone features.
        train_labels: class indices; any integers, all known.
        test_features: used once, after everything is chosen.
        test_labels: a class that training lacks counts as an error.
        seed: draws the validation rows.
        regularisations: candidates, each > 0.
        validation_share: part of each class to choose the regularisation on, in (0, 1).

    Raises:
        DataError: for fewer than two classes, or no class of two rows.
    """
    fitted = fitted_probe(
        train_features,
        train_labels,
        seed=seed,
        regularisations=regularisations,
        validation_share=validation_share,
    )
    return LinearScore(
        accuracy=top_1(fitted.predicted(test_features), test_labels),
        validation_accuracy=fitted.validation_accuracy,
        regularisation=fitted.regularisation,
        iterations=fitted.iterations,
    )


def fitted_probe(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int[Tensor, "train"],
    *,
    seed: int,
    regularisations: Sequence[float] = REGULARISATIONS,
    validation_share: float = 0.2,
) -> FittedProbe:
    """Logistic regression on frozen features, its regularisation chosen on held-out rows and fitted
    again on all.

    Args:
        train_features: raw backbone features.
        train_labels: class indices; any integers, all known.
        seed: draws the validation rows.
        regularisations: candidates, each > 0.
        validation_share: part of each class to choose the regularisation on, in (0, 1).

    Raises:
        DataError: for fewer than two classes, or no class of two rows.
    """
    classes, targets = torch.unique(train_labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"a linear probe needs at least two classes, got {len(classes)}")
    kept, held_out = (
        rows.to(targets.device) for rows in split(targets, share=validation_share, seed=seed)
    )
    fitting, validating = standardise(train_features[kept], train_features[held_out])
    path = regularisation_path(fitting, targets[kept], regularisations)
    validated = [probe.accuracy(validating, targets[held_out]) for probe in path]
    best = max(range(len(path)), key=validated.__getitem__)  # the strongest among equals
    penalty = sorted(regularisations, reverse=True)[best]
    mean, scale = _moments(train_features)
    (final,) = regularisation_path((train_features - mean) / scale, targets, [penalty])
    return FittedProbe(
        probe=final,
        mean=mean,
        scale=scale,
        classes=classes,
        validation_accuracy=validated[best],
        regularisation=penalty,
        iterations=final.iterations + sum(probe.iterations for probe in path),
    )


def standardise(
    train: Float[Tensor, "train dim"], other: Float[Tensor, "other dim"]
) -> tuple[Float[Tensor, "train dim"], Float[Tensor, "other dim"]]:
    """Training and test features less the mean and divided by the deviation of the training rows;
    constant channels become zero."""
    mean, scale = _moments(train)
    return (train - mean) / scale, (other - mean) / scale


def _moments(
    train: Float[Tensor, "train dim"],
) -> tuple[Float[Tensor, "dim"], Float[Tensor, "dim"]]:
    """Mean and deviation of each channel; the deviation of a constant channel is infinite."""
    std, mean = torch.std_mean(train, dim=0, correction=0)
    # A channel that hardly moves for its size is constant up to rounding; dividing by its deviation
    # magnifies noise.
    return mean, torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, torch.inf)


def regularisation_path(
    features: Float[Tensor, "rows dim"],
    targets: Int[Tensor, "rows"],
    regularisations: Sequence[float],
    *,
    progress: ReportProgress | None = None,
) -> list[Probe]:
    """Logistic regressions from the strongest penalty to the weakest, each starting at the one
    before.

    argmin_{W, b} mean_i cross_entropy(W x_i + b, y_i) + penalty / 2 * ||W||^2

    Args:
        features: standardised rows; float64 gives float64 fits.
        targets: class indices 0 .. classes - 1.
        regularisations: penalties > 0; penalty = 1 / (rows * C) for scikit-learn's C.
        progress: told the number of fits done.

    Raises:
        ValueError: if a penalty is not positive.
    """
    if min(regularisations) <= 0:
        raise ValueError(
            f"regularisations must be positive, got {min(regularisations)}; typical values "
            "are 1e-6 to 1"
        )
    # A part of the rows is enough for a preconditioner; taken evenly, as rows may be in the order
    # of their classes.
    components = principal_components(
        features[:: max(1, len(features) // (_ROWS_PER_CHANNEL * features.shape[1]))]
    )
    num_classes = int(targets.max()) + 1
    if features.device.type != "cpu":
        penalties = features.new_tensor(sorted(regularisations, reverse=True))
        fits = fitted_together(
            features, targets, components, penalties, num_classes=num_classes, stopping=_STOPPING
        )
        return [Probe(*fit) for fit in fits]
    probe = Probe(
        features.new_zeros(num_classes, features.shape[1]), features.new_zeros(num_classes), 0
    )
    path = []
    for penalty in sorted(regularisations, reverse=True):
        probe = _fit(features, targets, components, penalty=penalty, start=probe)
        path.append(probe)
        if progress is not None:
            progress(len(path), len(regularisations))
    return path


def principal_components(
    features: Float[Tensor, "rows dim"],
) -> tuple[Float[Tensor, "dim"], Float[Tensor, "dim dim"]]:
    """Variances of centred rows along their principal components, rising, and the components as
    columns."""
    products = features.T @ features
    if products.device.type == "mps":  # which has no float64
        products = products.cpu()
    products = products.double() / len(features)
    try:
        variances, basis = torch.linalg.eigh(products)
    except RuntimeError:  # LinAlgError: most variances are 0, as of few rows of many channels
        basis, variances, _ = torch.linalg.svd(products)
        variances, basis = variances.flip(0), basis.flip(1)
    return variances.clamp_min(0).to(features), basis.to(features)


def minimise(value: Callable[[], Float[Tensor, ""]], parameters: Sequence[Tensor]) -> int:
    """Minimise a function in place by full-batch L-BFGS; returns the number of iterations.

    Args:
        value: of the parameters as they are; convex, and scaled so that all directions curve about
            alike.
        parameters: leaves with gradients, changed here.
    """
    if parameters[0].device.type != "cpu":
        return minimised_there(value, parameters, _STOPPING)
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=_MAX_ITERATIONS,
        tolerance_grad=_GRADIENT_TOLERANCE,
        tolerance_change=_LOSS_TOLERANCE,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        """The value, with its gradients left in the parameters."""
        optimizer.zero_grad()
        found = value()
        torch.autograd.backward(found)
        return found

    # torch annotates neither `step` nor the state.
    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return int(optimizer.state[parameters[0]]["n_iter"])


def _fit(
    features: Tensor,
    targets: Tensor,
    components: tuple[Tensor, Tensor],
    *,
    penalty: float,
    start: Probe,
) -> Probe:
    """One fit, preconditioned by its near-diagonal curvature in the basis of principal components.

    With C classes the curvature along component k is about variance_k / C + penalty. Scaling each
    weight by its root makes all directions alike: 13 iterations where scikit-learn's plain L-BFGS
    takes 121 (benchmarks/linear_probe.py, 50k x 512, penalty 1e-4). Only the weights change their
    basis, which costs nothing; the features stay as they are.
    """
    variances, basis = components
    scale = (variances / len(start.weight) + penalty).rsqrt()
    to_weight = (basis * scale).T
    scaled, bias = (
        ((start.weight @ basis) / scale).requires_grad_(),
        start.bias.clone().requires_grad_(),
    )

    def value() -> Tensor:
        """The penalised cross-entropy."""
        weight = scaled @ to_weight
        return (
            F.cross_entropy(torch.addmm(bias, features, weight.T), targets)
            + penalty / 2 * weight.square().sum()
        )

    iterations = minimise(value, [scaled, bias])
    return Probe((scaled @ to_weight).detach(), bias.detach(), iterations)
