"""The geometry protocol: no labels, alignment of views, a warning of collapse."""

import pytest
import torch
from pixel_encoder import Pixels, coloured, run
from torch import Tensor

from sparring.measures.geometry import alignment


def test_geometry_needs_no_labels_and_aligns_views_if_given() -> None:
    train, test = coloured(20, 0)[0], coloured(30, 1)[0]
    without = run(["geometry"], train, test)["geometry"]
    assert "alignment" not in without
    flipped = run(
        ["geometry"], train, test, views=lambda images, _: (images / 255, images.flip(3) / 255)
    )["geometry"]
    pixels = torch.from_numpy(test).permute(0, 3, 1, 2).float()
    assert flipped["alignment"] == pytest.approx(
        alignment(pixels.flatten(1), pixels.flip(3).flatten(1)), rel=1e-4
    )
    assert {key: flipped[key] for key in without} == without


def test_collapsed_features_carry_a_warning() -> None:
    class Blind(Pixels):
        def features(self, images: Tensor) -> Tensor:
            return torch.ones(len(images), 8)

    assert (
        "collapsed"
        in run(["geometry"], coloured(9, 0), coloured(9, 1), Blind())["geometry"]["warning"]
    )
    assert "warning" not in run(["geometry"], coloured(90, 0), coloured(90, 1))["geometry"]
