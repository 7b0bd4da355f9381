"""Projectors: the layers of each kind."""

import pytest
import torch
from torch import nn

from sparring.models.heads import ProjectorSettings, make_projector

LAYERS = {
    "mocov2": ["Linear(12, 8) + bias", "ReLU", "Linear(8, 4) + bias"],
    "simclr": ["Linear(12, 8)", "BatchNorm1d", "ReLU", "Linear(8, 4) + bias"],
    "three-layer": ["Linear(12, 8)", "BatchNorm1d", "ReLU", "Linear(8, 8)", "BatchNorm1d", "ReLU", "Linear(8, 4)"],
}


def described(layer: nn.Module) -> str:
    if isinstance(layer, nn.Linear):
        return f"Linear({layer.in_features}, {layer.out_features})" + (" + bias" if layer.bias is not None else "")
    return type(layer).__name__


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_each_kind_has_the_layers_of_its_papers(kind: str) -> None:
    head = make_projector(ProjectorSettings.build({"kind": kind, "hidden": 8, "dim": 4}), 12)
    assert [described(layer) for layer in head] == LAYERS[kind]
    assert head(torch.randn(3, 12)).shape == (3, 4)


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_hidden_layers_are_as_wide_as_the_features_unless_told(kind: str) -> None:
    first = make_projector(ProjectorSettings.build({"kind": kind, "dim": 4}), 12)[0]
    assert isinstance(first, nn.Linear)
    assert first.out_features == 12
