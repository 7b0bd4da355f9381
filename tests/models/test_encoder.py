"""The encoder: normalisation first, features before embeddings, full precision out."""

import torch
from torch import Tensor, nn

from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder

MEAN, STD = (0.5, 0.25, 0.125), (0.5, 0.25, 2.0)


class Mean(nn.Module):
    """Mean over space, so that the network shows what it is given."""

    def forward(self, images: Tensor) -> Tensor:
        """One value per channel."""
        return images.mean(dim=(2, 3))


def encoder(projector: nn.Module, network: nn.Module | None = None) -> Encoder:
    return Encoder(Backbone(network or Mean(), image_size=8), projector, mean=MEAN, std=STD)


def test_an_image_of_the_mean_colour_gives_the_network_zeros() -> None:
    image = torch.tensor(MEAN).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    assert torch.equal(encoder(nn.Identity()).features(image), torch.zeros(2, 3))


def test_a_deviation_above_the_mean_is_one() -> None:
    image = (torch.tensor(MEAN) + torch.tensor(STD)).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert torch.equal(encoder(nn.Identity()).features(image), torch.ones(1, 3))


def test_features_stop_before_the_projector() -> None:
    double = nn.Linear(3, 3, bias=False)
    nn.init.eye_(double.weight)
    double.weight.data.mul_(2)
    network, images = (
        encoder(double),
        torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(network(images), 2 * network.features(images), rtol=0, atol=0)


def test_embeddings_are_raw() -> None:
    network = encoder(nn.Linear(3, 5))
    assert (network(torch.rand(4, 3, 8, 8)).norm(dim=1) - 1).abs().min() > 1e-3


def test_half_precision_inside_comes_out_as_float32() -> None:
    network = encoder(nn.Sequential(nn.Linear(16, 4)), nn.Conv2d(3, 16, 3))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    full = network(images)
    network.autocast_dtype = torch.bfloat16
    seen: list[torch.dtype] = []
    network.backbone.network.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    half, features = network(images), network.features(images)
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert half.dtype == features.dtype == torch.float32
    assert not torch.equal(half, full)
    # bfloat16 keeps 8 bits: 0.4 % per operation, two layers.
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.02)


def test_gradients_reach_the_weights_in_full_precision_through_half() -> None:
    network = encoder(nn.Linear(16, 4), nn.Conv2d(3, 16, 3))
    network.autocast_dtype = torch.bfloat16
    network(torch.rand(4, 3, 8, 8)).square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.abs().sum() > 0


def test_normalisation_moves_with_the_encoder_and_is_saved_with_it() -> None:
    network = encoder(nn.Identity())
    assert {"mean", "std"} <= network.state_dict().keys()
    assert network.double().mean.dtype == torch.float64
    assert not list(network.parameters())
