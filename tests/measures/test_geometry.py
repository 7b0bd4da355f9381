"""Label-free measures at values known in closed form, and the warning at its thresholds."""

import math

import pytest
import torch
from torch import Tensor

from sparring.measures.geometry import (
    alignment,
    collapse_warning,
    effective_rank,
    embedding_std,
    panel,
    uniformity,
)


def cloud(rows: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_alignment_is_zero_for_equal_views_two_for_orthogonal_four_for_opposite() -> None:
    view = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    assert alignment(view, 7 * view) == pytest.approx(0)
    assert alignment(view, view.flip(1)) == pytest.approx(2)
    assert alignment(view, -view) == pytest.approx(4)


def test_uniformity_equals_the_loop_over_pairs_in_blocks_of_any_size() -> None:
    rows = cloud(23, 5)
    unit = rows / rows.norm(dim=1, keepdim=True)
    pairs = [
        math.exp(-2 * (unit[i] - unit[j]).square().sum().item())
        for i in range(23)
        for j in range(i)
    ]
    for block_rows in (1, 4, 23, 1000):
        assert uniformity(rows, block_rows=block_rows) == pytest.approx(
            math.log(sum(pairs) / len(pairs)), abs=1e-5
        )


def test_uniformity_of_one_point_an_antipodal_pair_and_a_basis() -> None:
    assert uniformity(torch.ones(6, 4)) == pytest.approx(0, abs=1e-5)
    assert uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(torch.eye(9)) == pytest.approx(-4)
    with pytest.raises(ValueError, match="at least 2 rows"):
        uniformity(torch.ones(1, 4))


@pytest.mark.parametrize("rows", [8, 40])
def test_effective_rank_counts_equal_directions(rows: int) -> None:
    basis = torch.linalg.qr(cloud(rows, 8).double())[0]
    assert effective_rank(basis) == pytest.approx(8)
    assert effective_rank(basis[:, :3] @ cloud(3, 3).double().matrix_exp()) < 3
    assert effective_rank(torch.ones(rows, 8)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(torch.zeros(rows, 8)) == 0


def test_effective_rank_follows_the_entropy_of_singular_values_in_either_orientation() -> None:
    spectrum = torch.tensor([4.0, 2.0, 1.0, 1.0])
    shares = spectrum / 8
    expected = math.exp(-(shares * shares.log()).sum().item())
    wide = torch.diag(spectrum) @ torch.linalg.qr(cloud(12, 4))[0].T
    assert effective_rank(wide) == pytest.approx(expected, rel=1e-5)
    assert effective_rank(wide.T) == pytest.approx(expected, rel=1e-5)


def test_embedding_std_is_one_for_a_gaussian_cloud_and_zero_for_one_point() -> None:
    assert embedding_std(cloud(4000, 64)) == pytest.approx(
        1, abs=0.01
    )  # 64 standard deviations of 4,000 draws: error 0.1 %
    assert embedding_std(torch.ones(10, 64)) == pytest.approx(0, abs=1e-6)
    assert embedding_std(torch.eye(2).repeat(3, 1)) == pytest.approx(0.5 * math.sqrt(2))


def test_the_order_of_the_images_does_not_matter() -> None:
    first, second = cloud(50, 6, 1), cloud(50, 6, 2)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    assert panel(first[order], second[order], first[order]) == pytest.approx(
        panel(first, second, first), abs=1e-6
    )


def test_the_panel_judges_embeddings_and_ranks_features() -> None:
    first, second, features = cloud(50, 6, 1), cloud(50, 6, 2), cloud(30, 9, 3)
    measures = panel(first, second, features)
    assert measures == {
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
        "effective_rank": effective_rank(features),
        "embedding_std": embedding_std(first),
    }


def test_only_collapse_is_warned_about() -> None:
    healthy, points = cloud(200, 32), torch.ones(200, 32) + 1e-3 * cloud(200, 32)
    line = torch.cat([cloud(200, 1), torch.zeros(200, 31)], dim=1)
    assert collapse_warning(panel(healthy, healthy, healthy), channels=32) is None
    assert "look alike" in (collapse_warning(panel(points, points, points), channels=32) or "")
    assert "few directions" in (collapse_warning(panel(healthy, healthy, line), channels=32) or "")
    assert collapse_warning({}, channels=32) is None
    assert collapse_warning({"embedding_std": math.nan}, channels=32) is not None
