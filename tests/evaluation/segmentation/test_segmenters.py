"""Heads and the whole network: shapes, the reference's form, and the encoder's own maps."""

import pytest
import tiny_encoders
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from sparring.errors import ConfigError
from sparring.evaluation.segmentation.segmenters import (
    HEADS,
    HeadShape,
    Segmenter,
    dilated_maps,
    upsampled,
)
from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder


def shape(*, channels: int = 512, width: int | None = None, output_stride: int = 8) -> HeadShape:
    return HeadShape(
        channels=channels, width=width, num_classes=21, dropout=0.1, output_stride=output_stride
    )


def shapes_of(module: nn.Module) -> list[torch.Size]:
    return [tensor.shape for tensor in module.state_dict().values()]


def test_the_fcn_head_is_torchvisions() -> None:
    assert shapes_of(HEADS["fcn"](shape())) == shapes_of(FCNHead(512, 21))
    assert [type(layer) for layer in HEADS["fcn"](shape())] == [
        type(layer) for layer in FCNHead(512, 21)
    ]  # type: ignore[arg-type]


def test_the_deeplab_head_is_torchvisions() -> None:
    ours, theirs = HEADS["deeplabv3"](shape()), DeepLabHead(512, 21)
    assert shapes_of(ours) == shapes_of(theirs)
    ours.load_state_dict(theirs.state_dict())
    map_ = torch.randn(2, 512, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.eval()(map_), theirs.eval()(map_))


@pytest.mark.parametrize(
    ("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])]
)
def test_the_pyramid_spans_the_same_pixels_at_every_stride(
    output_stride: int, rates: list[int]
) -> None:
    head = HEADS["deeplabv3"](shape(output_stride=output_stride))
    found = [
        layer.dilation[0]
        for layer in head.modules()
        if isinstance(layer, nn.Conv2d) and layer.dilation[0] > 1
    ]
    assert found == rates


def test_the_head_of_moco_has_two_dilated_convolutions_of_256_channels() -> None:
    layers = [layer for layer in HEADS["dilated-fcn"](shape()) if isinstance(layer, nn.Conv2d)]  # type: ignore[attr-defined]
    assert [(layer.out_channels, layer.kernel_size[0], layer.dilation[0]) for layer in layers] == [
        (256, 3, 6),
        (256, 3, 6),
        (21, 1, 1),
    ]


@pytest.mark.parametrize("name", HEADS)
def test_every_head_keeps_the_map_and_takes_a_width(name: str) -> None:
    head = HEADS[name](shape(channels=32, width=8))
    assert head(torch.randn(2, 32, 5, 7)).shape == (2, 21, 5, 7)
    assert sum(p.numel() for p in head.parameters()) < sum(
        p.numel() for p in HEADS[name](shape(channels=32)).parameters()
    )


def segmenter(encoder: Encoder, *, output_stride: int = 8) -> Segmenter:
    return Segmenter(
        encoder,
        output_stride=output_stride,
        make_head=lambda channels, stride: nn.Conv2d(channels, stride, 1),
    ).eval()


def test_logits_come_at_the_stride_asked_for() -> None:
    for stride, side in ((4, 16), (8, 8), (16, 4), (32, 2)):
        model = segmenter(
            tiny_encoders.encoder(image_size=64, small_images=False), output_stride=stride
        )
        assert model(torch.rand(1, 3, 64, 64)).shape == (1, stride, side, side)


def test_the_maps_are_those_of_the_encoder_on_normalised_images() -> None:
    encoder = tiny_encoders.encoder(image_size=64, small_images=False)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = encoder.features(images)
    model = segmenter(
        encoder, output_stride=32
    )  # no dilation: the mean of the map is the encoder's output
    model.head = nn.Identity()
    torch.testing.assert_close(model(images).mean(dim=(2, 3)), expected, atol=1e-5, rtol=1e-5)


def test_upsampling_interpolates_between_the_centres_of_cells() -> None:
    map_ = torch.tensor([[0.0, 4.0]]).view(1, 1, 1, 2)
    assert upsampled(map_, (1, 4)).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    assert torch.equal(upsampled(map_, (1, 2)), map_)


def test_upsampled_logits_are_logits_of_upsampled_features() -> None:
    map_ = torch.randn(1, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    layer = nn.Conv2d(6, 5, 1)
    torch.testing.assert_close(
        upsampled(layer(map_), (20, 31)), layer(upsampled(map_, (20, 31))), atol=1e-5, rtol=1e-5
    )
    assert F.interpolate(map_, size=(20, 31)).shape == upsampled(map_, (20, 31)).shape


def test_a_network_that_is_no_resnet_is_refused() -> None:
    other = Encoder(
        Backbone(nn.Conv2d(3, 4, 3), image_size=16),
        nn.Identity(),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    with pytest.raises(ConfigError, match="need a ResNet"):
        dilated_maps(other, output_stride=8, stage="layer4")
