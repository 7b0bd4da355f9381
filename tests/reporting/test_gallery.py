"""The pictures of a report show the right images in the right order."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from sparring.reporting import gallery
from sparring.reporting.gallery import (
    EncodedImages,
    attack_rows,
    choose_queries,
    embedding_map,
    generated_pairs,
    hardest_negatives,
    make_gallery,
    retrievals,
    view_rows,
)


def numbered(count: int, size: int = 4) -> Tensor:
    """Images whose every value is their index."""
    return (
        torch.arange(count, dtype=torch.uint8)
        .view(-1, 1, 1, 1)
        .expand(-1, 3, size, size)
        .contiguous()
    )


def circle(count: int) -> Tensor:
    """Unit vectors one degree apart: the nearest neighbours of row i are the rows next to it."""
    angles = torch.deg2rad(torch.arange(count).double())
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def encoded_images(count: int = 30) -> EncodedImages:
    return EncodedImages(
        images=numbered(count),
        features=circle(count).float(),
        labels=torch.arange(count) // 10,
        class_names=("a", "b", "c"),
        embeddings=circle(count).float(),
        bank=circle(count)[[3, 12]].float(),
        views=(torch.full((5, 3, 4, 4), 0.5), torch.full((5, 3, 2, 2), 1.0)),
    )


def test_retrievals_are_the_nearest_other_images_in_order() -> None:
    found = retrievals(encoded_images(), torch.tensor([10, 0]))
    assert found[0].query.shape == (4, 4, 3)
    assert found[0].query[0, 0, 0] == 10
    shown = found[0].neighbours[:, 0, 0, 0]
    assert sorted(shown[:2]) == [9, 11]
    assert sorted(shown) == [6, 7, 8, 9, 11, 12, 13, 14]
    assert found[0].cosines == pytest.approx(
        np.cos(np.deg2rad(np.abs(shown.astype(float) - 10))), abs=1e-5
    )
    assert found[0].same_label is not None
    assert found[0].same_label.tolist() == (shown >= 10).tolist()
    assert found[1].neighbours[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_image_that_occurs_twice_is_still_not_its_own_neighbour() -> None:
    doubled = EncodedImages(images=numbered(4), features=torch.ones(4, 2))
    for query in range(4):
        (found,) = retrievals(doubled, torch.tensor([query]))
        assert sorted(found.neighbours[:, 0, 0, 0].tolist()) == sorted({0, 1, 2, 3} - {query})


def test_hardest_negatives_are_shown_by_their_nearest_images() -> None:
    (found,) = hardest_negatives(encoded_images(), torch.tensor([10]))
    assert [negative.cosine for negative in found.negatives] == pytest.approx(
        np.cos(np.deg2rad([2, 7])), abs=1e-5
    )
    first, second = (negative.nearest_images[:, 0, 0, 0].tolist() for negative in found.negatives)
    assert first[0] == 12
    assert sorted(first) == [11, 12, 13]
    assert second[0] == 3
    flags = [negative.same_label for negative in found.negatives]
    assert [flag is not None and flag.tolist() for flag in flags] == [[True] * 3, [False] * 3]
    assert (
        hardest_negatives(dataclasses.replace(encoded_images(), bank=None), torch.tensor([10]))
        == ()
    )


def test_views_stand_beside_their_image() -> None:
    rows = view_rows(encoded_images())
    assert [int(row.original[0, 0, 0]) for row in rows] == [0, 1, 2, 3, 4]
    assert [view.shape for view in rows[0].views] == [(4, 4, 3), (2, 2, 3)]
    assert (rows[0].views[0][0, 0, 0], rows[0].views[1][0, 0, 0]) == (128, 255)
    assert view_rows(dataclasses.replace(encoded_images(), views=())) == ()


def test_queries_are_the_same_for_every_encoder_and_cover_the_classes() -> None:
    labels = torch.tensor([0] * 50 + [1, 2, 3, 4] + [-1] * 50)
    chosen = choose_queries(104, labels, seed=0)
    assert len(chosen) == gallery.NUM_QUERIES
    assert set(labels[chosen][:5].tolist()) == {0, 1, 2, 3, 4}
    assert -1 not in labels[chosen].tolist()
    assert torch.equal(choose_queries(104, labels, seed=0), chosen)
    assert not torch.equal(choose_queries(104, labels, seed=1), chosen)


def test_the_map_keeps_clusters_together_and_repeats() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = 10 * torch.eye(3)[labels].repeat(1, 4) + torch.randn(60, 12, generator=generator)
    material = EncodedImages(images=numbered(60), features=features, labels=labels)
    drawn = embedding_map(material, seed=0)
    assert drawn is not None
    assert drawn.projection == "t-SNE"
    assert drawn.labels is not None
    assert drawn.xy.min() == 0
    assert drawn.xy.max() == 1
    distances = np.linalg.norm(drawn.xy[:, None] - drawn.xy[None], axis=2) + 10 * np.eye(60)
    assert (drawn.labels[distances.argmin(axis=1)] == drawn.labels).all()
    assert drawn.thumbnails[0, 0, 0, 0] % 3 == drawn.labels[0]
    again = embedding_map(material, seed=0)
    assert again is not None
    assert np.array_equal(again.xy, drawn.xy)


def test_without_scikit_learn_the_map_shows_principal_components(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    drawn = embedding_map(encoded_images(), seed=0)
    assert drawn is not None
    assert drawn.projection == "PCA"


def test_principal_components_are_those_of_the_covariance() -> None:
    rows = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [5.0, 1, 3, 1, 1]
    )
    components = gallery.principal_components(rows, 2)
    centred = (rows - rows.mean(dim=0)).numpy()
    _, singular, _ = np.linalg.svd(centred)
    assert np.linalg.norm(components, axis=0) == pytest.approx(singular[:2], rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_tiny_samples_give_what_they_can(count: int) -> None:
    tiny = EncodedImages(images=numbered(count), features=circle(count).float())
    found = make_gallery(tiny, seed=0)
    assert len(found.retrievals) == (0 if count == 1 else min(count, gallery.NUM_QUERIES))
    assert (found.embedding_map is None) == (count < 3)
    assert found.bank_hardest == ()
    assert all(retrieval.same_label is None for retrieval in found.retrievals)


def test_an_attack_stands_between_the_view_and_their_sum() -> None:
    views = torch.full((2, 3, 4, 4), 0.5)
    attacked = views.clone()
    attacked[0, 0], attacked[0, 1], attacked[1] = 0.5 + 2 / 255, 0.5 - 1 / 255, 1.2
    rows = attack_rows(views[:1], attacked[:1])
    view, (added, total) = rows[0].original, rows[0].views
    assert view[0, 0].tolist() == [128, 128, 128]
    assert added[0, 0].tolist() == [255, 64, 128]
    assert total[0, 0].tolist() == [130, 126, 128]
    assert attack_rows(views, attacked)[1].views[1].max() == 255


def test_generated_pairs_are_in_order_with_their_time() -> None:
    album = (
        torch.arange(3, dtype=torch.uint8)[:, None, None, None, None, None]
        .expand(3, 2, 5, 3, 8, 8)
        .clone()
    )
    album[:, 1] += 100
    found = generated_pairs(dataclasses.replace(encoded_images(), album=album, num_moments=8))
    assert [moment.share for moment in found] == [0.0, 1 / 8, 2 / 8]
    assert [(int(moment.first.max()), int(moment.second.min())) for moment in found] == [
        (0, 100),
        (1, 101),
        (2, 102),
    ]
    assert found[0].first.shape == (5, 8, 8, 3)
    assert generated_pairs(encoded_images()) == ()
