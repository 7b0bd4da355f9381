"""Layers of a network in the order from its input: how deep each lies, and which stay frozen."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.models.backbones import Backbone, EncoderSettings, make_backbone
from sparring.models.layers import depths_from_output, freeze_stages


def timm_network(name: str, **settings: Any) -> nn.Module:
    with torch.device("meta"):  # names alone matter
        network: nn.Module = timm.create_model(name, num_classes=0, **settings)
    return network


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1)
    )


class Wrapped(nn.Module):
    """A network inside another one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """What the inner one gives."""
        return self.inner(images)  # type: ignore[no-any-return]


def frozen(network: nn.Module) -> list[str]:
    return [name for name, one in network.named_parameters() if not one.requires_grad]


@pytest.mark.parametrize(
    ("name", "stem", "last", "deepest"),
    [
        ("resnet18", "conv1.weight", "layer4.1.bn2.bias", 9),
        ("tf_efficientnet_lite0", "conv_stem.weight", "bn2.weight", 17),
        ("convnext_atto", "stem.0.weight", "stages.3.blocks.1.mlp.fc2.bias", 13),
        ("vit_tiny_patch16_224", "pos_embed", "norm.weight", 13),
    ],
)
def test_the_stem_is_deepest_and_the_last_block_has_depth_one(
    name: str, stem: str, last: str, deepest: int
) -> None:
    depths = depths_from_output(timm_network(name))
    assert (depths[stem], depths[last]) == (deepest, 1)
    assert max(depths.values()) == deepest
    assert {*range(1, deepest + 1)} <= {*depths.values()}


def test_blocks_lie_in_their_order() -> None:
    depths = depths_from_output(timm_network("resnet18"))
    blocks = [f"layer{stage}.{block}.conv1.weight" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert [depths[name] for name in blocks] == [8, 7, 6, 5, 4, 3, 2, 1]


def test_what_timm_counts_to_the_classifier_has_depth_zero() -> None:
    depths = depths_from_output(timm_network("convnext_atto"))
    assert [name for name, depth in depths.items() if depth == 0] == [
        "head.norm.weight",
        "head.norm.bias",
    ]


def test_every_parameter_has_a_depth() -> None:
    for network in (timm_network("swin_tiny_patch4_window7_224"), convolutions(), nn.Linear(2, 2)):
        assert depths_from_output(network).keys() == dict(network.named_parameters()).keys()


def test_children_of_other_networks_are_layers_and_norms_belong_to_the_one_before() -> None:
    assert depths_from_output(convolutions()) == {
        "0.weight": 2,
        "0.bias": 2,
        "1.weight": 2,
        "1.bias": 2,
        "3.weight": 1,
        "3.bias": 1,
    }


def test_parameters_of_the_network_itself_belong_to_its_first_layer() -> None:
    network = convolutions()
    network.register_parameter("token", nn.Parameter(torch.zeros(1, 4)))
    assert depths_from_output(network)["token"] == 2


def test_a_wrapper_is_what_it_wraps() -> None:
    wrapped = Wrapped(Wrapped(timm_network("resnet18")))
    assert depths_from_output(wrapped) == {
        f"inner.inner.{name}": depth
        for name, depth in depths_from_output(timm_network("resnet18")).items()
    }


@pytest.mark.parametrize(
    ("name", "stages", "last"),
    [
        ("resnet18", 4, "layer2.1.bn2.bias"),
        ("tf_efficientnet_lite0", 7, "blocks.1.1.bn3.bias"),
        ("convnext_atto", 4, "stages.1.blocks.1.mlp.fc2.bias"),
        ("vit_tiny_patch16_224", 12, "blocks.1.mlp.fc2.bias"),
    ],
)
def test_the_stem_and_the_first_stages_are_frozen(name: str, stages: int, last: str) -> None:
    network = timm_network(name)
    freeze_stages(network, 2, name=name)
    names = [key for key, _ in network.named_parameters()]
    assert frozen(network) == names[: names.index(last) + 1]
    with pytest.raises(ConfigError, match=f"{name} has {stages} stages .* 0 to {stages - 1}$"):
        freeze_stages(network, stages, name=name)


def test_no_frozen_stage_freezes_no_stem() -> None:
    network = timm_network("resnet18")
    freeze_stages(network, 0, name="resnet18")
    assert not frozen(network)


def test_the_first_layer_of_another_network_is_its_stem() -> None:
    network = nn.Sequential(convolutions(), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 8, 1))
    freeze_stages(network, 1, name="Own")
    assert frozen(network) == [
        *(f"0.{name}" for name, _ in convolutions().named_parameters()),
        "1.weight",
        "1.bias",
    ]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (convolutions(), "Own has 1 stage after its stem, and one at least must learn; leave it"),
        (nn.Linear(2, 2), "Own has 0 stages after its stem, and one at least must learn; leave it"),
    ],
)
def test_a_network_with_too_few_stages_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^encoder\.frozen_stages=1: {message}"):
        freeze_stages(network, 1, name="Own")


def test_a_network_of_which_nothing_would_learn_is_refused() -> None:
    network = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(3)))
    network[2].requires_grad_(False)
    with pytest.raises(ConfigError, match="the other layers of Own are frozen already"):
        freeze_stages(network, 1, name="Own")


def test_batch_norms_of_frozen_stages_keep_their_statistics() -> None:
    settings = EncoderSettings(width=0.0625, frozen_stages=1)
    network = make_backbone(settings, image_size=16).train()
    norms = {
        name: part
        for name, part in network.network.named_modules()
        if isinstance(part, nn.BatchNorm2d)
    }
    still = {name for name, norm in norms.items() if not norm.training}
    assert still == {name for name in norms if name.startswith(("bn1", "layer1"))}
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}  # type: ignore[union-attr]
    network(torch.rand(4, 3, 16, 16))
    moved = {
        name
        for name, norm in norms.items()
        if not torch.equal(norm.running_mean, before[name])  # type: ignore[arg-type]
    }
    assert moved == norms.keys() - still


def test_frozen_stages_stay_frozen_when_the_rest_is_turned_on_again() -> None:
    network = make_backbone(EncoderSettings(width=0.0625, frozen_stages=1), image_size=16)
    assert isinstance(network, Backbone)
    network.requires_grad_(True)
    network.unfreeze()
    assert {name.partition(".")[0] for name in frozen(network.network)} == {
        "conv1",
        "bn1",
        "layer1",
    }
