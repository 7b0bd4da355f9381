"""One-against-all logistic regressions against scikit-learn's, class by class."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from sparring.evaluation.frozen import logistic
from sparring.evaluation.frozen.logistic import standardise
from sparring.evaluation.frozen.one_against_all import one_against_all_path


def tagged(rows: int, seed: int, *, classes: int = 3, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Standardised rows of float64, and classes of which several may be there, with some left
    out."""
    draw = torch.Generator().manual_seed(seed)
    features = (
        torch.randn(rows, dim, generator=draw).double()
        @ torch.randn(dim, dim, generator=torch.Generator().manual_seed(1)).double()
    )
    logits = 0.7 * features @ torch.randn(
        dim, classes, generator=torch.Generator().manual_seed(2)
    ).double() - torch.arange(classes)
    presence = (torch.rand(rows, classes, generator=draw) < torch.sigmoid(logits)).long()
    presence[torch.rand(rows, classes, generator=draw) < 0.1] = -1
    return standardise(features, features)[0], presence


@pytest.mark.parametrize("penalty", [30.0, 1.0, 0.01])
def test_every_class_equals_a_fit_of_scikit_learn_on_its_known_rows(
    penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic, "_GRADIENT_TOLERANCE", 1e-9)
    monkeypatch.setattr(logistic, "_LOSS_TOLERANCE", 0)
    features, presence = tagged(200, 0)
    (probe,) = one_against_all_path(features, presence, [penalty])
    for number in range(presence.shape[1]):
        known = presence[:, number] >= 0
        oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(
            features[known].numpy(), presence[known, number].numpy()
        )
        np.testing.assert_allclose(probe.weight[number].numpy(), oracle.coef_[0], atol=1e-5)
        np.testing.assert_allclose(probe.bias[number].item(), oracle.intercept_[0], atol=1e-5)


def test_the_path_ends_where_single_fits_end_and_tells_its_progress() -> None:
    features, presence = tagged(150, 3)
    told: list[tuple[int, int]] = []
    path = one_against_all_path(
        features,
        presence,
        [0.1, 10.0, 1.0],
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    for probe, penalty in zip(path, [10.0, 1.0, 0.1], strict=True):
        (single,) = one_against_all_path(features, presence, [penalty])
        torch.testing.assert_close(probe.weight, single.weight, atol=5e-3, rtol=0)
    assert path[0].weight.norm() < path[-1].weight.norm()


def test_rows_left_out_do_not_matter() -> None:
    features, presence = tagged(120, 4, classes=1)
    moved = torch.where(presence < 0, 100.0, features)
    basis_of_the_same = one_against_all_path(
        features[presence[:, 0] >= 0], presence[presence[:, 0] >= 0], [1.0]
    )[0]
    (probe,) = one_against_all_path(moved, presence, [1.0])
    torch.testing.assert_close(probe.weight, basis_of_the_same.weight, atol=2e-3, rtol=0)


def test_a_class_that_no_row_shows_is_never_preferred() -> None:
    features, presence = tagged(100, 5)
    presence[:, 1], presence[:, 2] = 0, -1
    (probe,) = one_against_all_path(features.float(), presence, [1.0])
    assert probe.weight.isfinite().all()
    assert probe.weight[2].abs().max() == 0
    assert (features.float() @ probe.weight[1] + probe.bias[1]).max() < -3


def test_a_penalty_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"penalties must be positive, got 0\.0"):
        one_against_all_path(*tagged(20, 6), [1.0, 0.0])
