"""Heads: the layers of each kind."""

from typing import get_args

import pytest
import torch
from torch import nn

from sparring.models.heads import (
    PredictorSettings,
    ProjectorSettings,
    Prototypes,
    make_predictor,
    make_projector,
)

LAYERS = {
    "linear": ["Linear(12, 4) + bias"],
    "mocov2": ["Linear(12, 8) + bias", "ReLU", "Linear(8, 4) + bias"],
    "simclr": ["Linear(12, 8)", "BatchNorm1d", "ReLU", "Linear(8, 4) + bias"],
    "three-layer": [
        "Linear(12, 8)",
        "BatchNorm1d",
        "ReLU",
        "Linear(8, 8)",
        "BatchNorm1d",
        "ReLU",
        "Linear(8, 4)",
    ],
    "mocov3": [
        "Linear(12, 8)",
        "BatchNorm1d",
        "ReLU",
        "Linear(8, 4)",
        "BatchNorm1d without parameters",
    ],
    "simsiam": [
        *("Linear(12, 8)", "BatchNorm1d", "ReLU"),
        *("Linear(8, 8)", "BatchNorm1d", "ReLU"),
        *("Linear(8, 4)", "BatchNorm1d without parameters"),
    ],
    "dino": [
        *("Linear(12, 8) + bias", "GELU", "Linear(8, 8) + bias", "GELU"),
        "Linear(8, 4) + bias",
    ],
    "dino-normed": [
        *("Linear(12, 8) + bias", "BatchNorm1d", "GELU"),
        *("Linear(8, 8) + bias", "BatchNorm1d", "GELU"),
        "Linear(8, 4) + bias",
    ],
}
PREDICTORS = {
    "normed": ["Linear(4, 8)", "BatchNorm1d", "ReLU", "Linear(8, 4) + bias"],
    "normed-unbiased": ["Linear(4, 8)", "BatchNorm1d", "ReLU", "Linear(8, 4)"],
    "normed-output": [
        "Linear(4, 8)",
        "BatchNorm1d",
        "ReLU",
        "Linear(8, 4)",
        "BatchNorm1d without parameters",
    ],
    "plain": ["Linear(4, 8) + bias", "ReLU", "Linear(8, 4) + bias"],
}


def described(layer: nn.Module) -> str:
    if isinstance(layer, nn.Linear):
        return f"Linear({layer.in_features}, {layer.out_features})" + (
            " + bias" if layer.bias is not None else ""
        )
    bare = isinstance(layer, nn.BatchNorm1d) and not layer.affine
    return type(layer).__name__ + (" without parameters" if bare else "")


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_each_kind_has_the_layers_of_its_papers(kind: str) -> None:
    head = make_projector(ProjectorSettings.build({"kind": kind, "hidden": 8, "dim": 4}), 12)
    assert [described(layer) for layer in head] == LAYERS[kind]
    assert head(torch.randn(3, 12)).shape == (3, 4)


@pytest.mark.parametrize("kind", sorted(LAYERS.keys() - {"linear"}))
def test_hidden_layers_are_as_wide_as_the_features_unless_told(kind: str) -> None:
    first = make_projector(ProjectorSettings.build({"kind": kind, "dim": 4}), 12)[0]
    assert isinstance(first, nn.Linear)
    assert first.out_features == 12


@pytest.mark.parametrize("kind", ["mocov3", "simsiam"])
def test_a_batch_norm_at_the_end_gives_every_direction_mean_0_and_variance_1(kind: str) -> None:
    head = make_projector(
        ProjectorSettings.build({"kind": kind, "hidden": 8, "dim": 4}), 12
    ).double()
    embeddings = head(
        torch.randn(64, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3
    )
    torch.testing.assert_close(
        embeddings.mean(dim=0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12
    )
    # Batch norm adds 1e-5 to the variance that it divides by.
    torch.testing.assert_close(
        embeddings.var(dim=0, correction=0), torch.ones(4, dtype=torch.float64), rtol=1e-2, atol=0
    )


def test_every_kind_of_head_is_tested() -> None:
    assert set(LAYERS) == set(get_args(ProjectorSettings.model_fields["kind"].annotation))
    assert set(PREDICTORS) == set(get_args(PredictorSettings.model_fields["kind"].annotation))


@pytest.mark.parametrize("kind", sorted(PREDICTORS))
def test_each_kind_of_predictor_leads_from_embeddings_to_embeddings(kind: str) -> None:
    head = make_predictor(PredictorSettings.build({"kind": kind, "hidden": 8}), 4)
    assert [described(layer) for layer in head] == PREDICTORS[kind]
    assert head(torch.randn(3, 4)).shape == (3, 4)


def test_dinos_projector_begins_without_biases_and_keeps_the_size_of_its_input() -> None:
    head = make_projector(ProjectorSettings(kind="dino", hidden=512, dim=128), 256)
    for layer in head:
        if isinstance(layer, nn.Linear):
            assert not layer.bias.any()
            assert float(layer.weight.detach().std()) == pytest.approx(
                layer.in_features**-0.5, rel=0.05
            )


def test_scores_of_prototypes_are_cosines() -> None:
    layer = Prototypes(4, 6).double().requires_grad_(False)
    embeddings = torch.randn(3, 4, dtype=torch.float64)
    scores = layer(embeddings)
    for i, embedding in enumerate(embeddings):
        for k, prototype in enumerate(layer.weight):
            cosine = torch.dot(embedding, prototype) / embedding.norm() / prototype.norm()
            assert float(scores[i, k]) == pytest.approx(float(cosine), rel=1e-12)


def test_fixed_prototypes_get_no_gradient_and_embeddings_do() -> None:
    layer = Prototypes(4, 6)
    for is_fixed in (True, False):
        embeddings = torch.randn(3, 4, requires_grad=True)
        found = torch.autograd.grad(
            layer(embeddings, is_fixed=is_fixed).square().sum(),
            [embeddings, layer.weight],
            allow_unused=True,
        )
        assert found[0] is not None
        assert (found[1] is None) is is_fixed
