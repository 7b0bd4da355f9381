"""The linear probe against scikit-learn, and its honesty towards the test set."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparring.errors import DataError
from sparring.evaluation.frozen import device_fits, logistic
from sparring.evaluation.frozen.device_lbfgs import Stopping, minimise_together
from sparring.evaluation.frozen.logistic import linear_probe, regularisation_path, standardise
from sparring.evaluation.split import split
from sparring.seeding import generator


def clouds(count: int, seed: int, *, classes: int = 4, dim: int = 12) -> tuple[Tensor, Tensor]:
    """Overlapping Gaussian clouds whose channels differ a thousandfold in scale."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(77))
    rows = centres[labels] + 1.5 * torch.randn(count, dim, generator=generator)
    return rows * torch.logspace(-2, 1, dim), labels


@pytest.mark.parametrize("penalty", [1e-1, 1e-2, 1e-3])
def test_the_fit_equals_that_of_scikit_learn(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic, "_GRADIENT_TOLERANCE", 1e-9)
    monkeypatch.setattr(logistic, "_LOSS_TOLERANCE", 0)
    features, targets = clouds(300, 0)
    rows, _ = standardise(features.double(), features.double())
    oracle = LogisticRegression(C=1 / (300 * penalty), tol=1e-10, max_iter=10_000).fit(
        rows.numpy(), targets.numpy()
    )
    (probe,) = regularisation_path(rows, targets, [penalty])
    # scikit-learn stops at a gradient of 1e-10, in flat directions at a distance of up to 1e-10 /
    # penalty; the rest is rounding.
    np.testing.assert_allclose(probe.weight.numpy(), oracle.coef_, atol=1e-5)
    centred = probe.bias - probe.bias.mean()  # a common shift of the biases changes nothing
    np.testing.assert_allclose(
        centred.numpy(), oracle.intercept_ - oracle.intercept_.mean(), atol=1e-5
    )
    assert probe.accuracy(rows, targets) == pytest.approx(
        oracle.score(rows.numpy(), targets.numpy())
    )


def test_the_usual_tolerance_ends_at_the_same_objective() -> None:
    features, targets = clouds(300, 0)
    rows, _ = standardise(features, features)
    oracle = LogisticRegression(C=1 / (300 * 1e-3), tol=1e-10, max_iter=10_000).fit(
        rows.double().numpy(), targets.numpy()
    )

    def objective(weight: Tensor, bias: Tensor) -> float:
        return float(
            torch.nn.functional.cross_entropy(rows @ weight.T + bias, targets)
            + 1e-3 / 2 * weight.square().sum()
        )

    (probe,) = regularisation_path(rows, targets, [1e-3])
    best = objective(
        torch.from_numpy(oracle.coef_).float(), torch.from_numpy(oracle.intercept_).float()
    )
    assert best - 1e-6 < objective(probe.weight, probe.bias) < best + 1e-5  # float32 on both sides


def test_correlated_channels_do_not_slow_the_fit() -> None:
    features, targets = clouds(400, 1)
    mixing = torch.randn(12, 12, generator=torch.Generator().manual_seed(2)).double()
    rows, _ = standardise(
        *[(features / torch.logspace(-2, 1, 12)).double() @ (mixing @ mixing.T)] * 2
    )
    oracle = LogisticRegression(C=1 / (400 * 1e-5), solver="newton-cholesky", tol=1e-8).fit(
        rows.numpy(), targets.numpy()
    )
    (probe,) = regularisation_path(rows, targets, [1e-5])
    assert probe.iterations < 60  # without the preconditioner 300 are not enough
    difference = rows @ (probe.weight - torch.from_numpy(oracle.coef_)).T
    difference = difference - difference.mean(
        dim=1, keepdim=True
    )  # and a common shift of the logits changes nothing
    assert difference.abs().max() < 0.1


def test_the_path_ends_where_single_fits_end() -> None:
    features, targets = clouds(200, 3)
    rows, _ = standardise(features.double(), features.double())
    for probe, penalty in zip(
        regularisation_path(rows, targets, [1e-3, 1.0, 1e-1]), [1.0, 1e-1, 1e-3], strict=True
    ):
        (single,) = regularisation_path(rows, targets, [penalty])
        torch.testing.assert_close(probe.weight, single.weight, atol=5e-3, rtol=0)


def test_the_score_equals_that_of_scikit_learn_at_the_chosen_regularisation() -> None:
    (train, labels), (test, truth) = clouds(400, 4), clouds(200, 5)
    score = linear_probe(train, labels, test, truth, seed=0)
    fitting, testing = standardise(train.double(), test.double())
    oracle = LogisticRegression(C=1 / (400 * score.regularisation), max_iter=10_000).fit(
        fitting.numpy(), labels.numpy()
    )
    assert score.accuracy == pytest.approx(
        oracle.score(testing.numpy(), truth.numpy()), abs=0.006
    )  # one row of 200
    assert 0.5 < score.accuracy < 1


def test_the_validation_rows_choose_the_regularisation() -> None:
    features, labels = clouds(120, 6)
    features = torch.cat(
        [features, torch.randn(120, 60, generator=torch.Generator().manual_seed(0))], dim=1
    )
    candidates = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
    score = linear_probe(features, labels, features, labels, seed=1, regularisations=candidates)
    kept, held_out = split(labels, share=0.2, seed=1)
    fitting, validating = standardise(features[kept], features[held_out])
    accuracies = [
        probe.accuracy(validating, labels[held_out])
        for probe in regularisation_path(fitting, labels[kept], candidates)
    ]
    assert len(set(accuracies)) > 1
    assert score.validation_accuracy == max(accuracies)
    assert score.regularisation == candidates[accuracies.index(max(accuracies))]


def test_test_rows_and_labels_influence_nothing_but_the_score() -> None:
    (train, labels), (test, truth) = clouds(200, 7), clouds(100, 8)
    first = linear_probe(train, labels, test, truth, seed=0)
    second = linear_probe(train, labels, 5 * test + 1, (truth + 1) % 4, seed=0)
    assert (first.validation_accuracy, first.regularisation, first.iterations) == (
        second.validation_accuracy,
        second.regularisation,
        second.iterations,
    )
    assert first.accuracy != second.accuracy


def test_the_same_seed_gives_the_same_score_to_the_bit() -> None:
    (train, labels), (test, truth) = clouds(200, 9), clouds(100, 10)
    assert linear_probe(train, labels, test, truth, seed=3) == linear_probe(
        train, labels, test, truth, seed=3
    )


def test_constant_channels_and_shifts_change_nothing() -> None:
    (train, labels), (test, truth) = clouds(200, 11), clouds(100, 12)
    base = linear_probe(train, labels, test, truth, seed=0)
    padded = [
        torch.cat([7 * rows + 3, torch.full((len(rows), 2), 0.1)], dim=1) for rows in (train, test)
    ]
    assert linear_probe(padded[0], labels, padded[1], truth, seed=0).accuracy == pytest.approx(
        base.accuracy, abs=0.011
    )
    rows, _ = standardise(padded[0], padded[1])
    assert torch.equal(rows[:, -2:], torch.zeros(200, 2))


def test_labels_may_be_any_integers_and_an_unseen_class_is_an_error() -> None:
    (train, labels), (test, truth) = clouds(200, 13), clouds(100, 14)
    base = linear_probe(train, labels, test, truth, seed=0).accuracy
    renamed = linear_probe(train, 10 * labels + 5, test, 10 * truth + 5, seed=0).accuracy
    assert renamed == base
    truth = truth.clone()
    truth[:] = 99
    assert linear_probe(train, labels, test, truth, seed=0).accuracy == 0


def test_one_class_or_a_penalty_of_zero_is_refused() -> None:
    features, labels = clouds(20, 15)
    with pytest.raises(DataError, match="two classes"):
        linear_probe(features, torch.zeros_like(labels), features, labels, seed=0)
    with pytest.raises(ValueError, match="must be positive"):
        regularisation_path(features, labels, [1.0, 0.0])


def test_a_split_keeps_the_share_of_every_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    kept, held_out = split(labels, share=0.2, seed=0)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(63))
    assert torch.bincount(labels[held_out], minlength=4).tolist() == [10, 2, 1, 0]
    assert torch.equal(split(labels, share=0.2, seed=0)[1], held_out)
    assert not torch.equal(split(labels, share=0.2, seed=1)[1], held_out)
    with pytest.raises(DataError, match="at least two images"):
        split(torch.arange(5), share=0.2, seed=0)


STRICT = Stopping(gradient=1e-9, change=1e-16, iterations=300)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits to the last digits, so that two ways to the same minimum can be compared."""
    monkeypatch.setattr(logistic, "_GRADIENT_TOLERANCE", 1e-9)
    monkeypatch.setattr(logistic, "_LOSS_TOLERANCE", 1e-16)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("logits", [1 << 28, 2 * 200 * 3])
def test_fits_made_together_on_a_device_are_those_of_the_path(
    logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_fits, "LOGITS", logits)
    draws = generator(0, "together")
    targets = torch.arange(200) % 3
    features = torch.randn(200, 6, generator=draws, dtype=torch.float64) + targets[:, None] / 2
    penalties = (1e-1, 1.0, 1e-3)
    path = logistic.regularisation_path(features, targets, penalties)
    together = device_fits.fitted_together(
        features,
        targets,
        logistic.principal_components(features),
        features.new_tensor(sorted(penalties, reverse=True)),
        num_classes=3,
        stopping=STRICT,
    )
    assert len(path) == len(together) == 3
    for probe, (weight, bias, iterations) in zip(path, together, strict=True):
        torch.testing.assert_close(probe.weight, weight, atol=1e-6, rtol=0)
        torch.testing.assert_close(probe.bias, bias, atol=1e-6, rtol=0)
        assert 3 < iterations < 60
    assert not torch.allclose(together[0][0], together[1][0], atol=1e-2)


@pytest.mark.usefixtures("strict")
def test_a_minimum_found_on_a_device_is_that_of_the_cpu() -> None:
    draws = generator(0, "quadratic")
    factor = torch.randn(5, 5, generator=draws, dtype=torch.float64)
    matrix = factor @ factor.T + torch.eye(5)
    found = []
    for way in (logistic.minimise, partial(device_fits.minimised_there, stopping=STRICT)):
        left = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        right = torch.full((3,), 7.0, dtype=torch.float64, requires_grad=True)

        def value(left: Tensor = left, right: Tensor = right) -> Tensor:
            point = torch.cat([left, right]) - 1
            return point @ matrix @ point + point.exp().sum()

        assert way(value, [left, right]) > 3
        found.append(torch.cat([left, right]).detach())
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


def test_fits_on_a_device_are_looked_at_every_ten_evaluations() -> None:
    reads = 0

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: object, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal reads
            reads += str(func).startswith(("aten._local_scalar_dense", "aten.nonzero"))
            return func(*args, **(kwargs or {}))

    evaluations = 0

    def evaluate(points: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal evaluations
        evaluations += 1
        return (points**4).sum(dim=1), 4 * points**3

    start = torch.tensor([[1.0, -2.0], [30.0, 0.0]])
    with Reads():
        points, _ = minimise_together(
            evaluate, start, Stopping(gradient=1e-4, change=1e-12, iterations=200)
        )
    assert points.abs().max() < 0.05
    assert evaluations > 20
    assert reads <= 2 + evaluations // 10


def test_principal_components_are_found_where_the_solver_for_symmetric_matrices_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fails at some matrices of few rows and many channels."""
    features = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))

    def fails(*_: object) -> None:
        raise torch.linalg.LinAlgError("did not converge")

    variances, _ = logistic.principal_components(features)
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    found, basis = logistic.principal_components(features)
    torch.testing.assert_close(found, variances, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        basis @ torch.diag(found) @ basis.T, features.T @ features / 6, rtol=1e-5, atol=1e-5
    )
