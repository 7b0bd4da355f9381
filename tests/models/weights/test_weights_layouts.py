"""Names of other libraries: each gives the features of the network that wrote the file."""

from pathlib import Path

import pytest
import torch
from checkpoints import (
    LAYOUTS,
    NUM_TENSORS,
    RESNET,
    others,
    prefixed,
    saved,
    small_network,
    timm_network,
    torchvision_network,
)
from safetensors.torch import save_file
from torch import nn

from sparring.errors import DataError
from sparring.models.weights.matching import Match, described, match, require_fit
from sparring.models.weights.reading import read_states


def loaded(path: Path, network: nn.Module, *, name: str = RESNET) -> Match:
    """Match of a file with a network, which has taken its weights."""
    states = read_states(path)
    found = match(states, network, where=str(path), backbone=name)
    require_fit(found, where=str(path), backbone=name, is_partial=False, states=states)
    network.load_state_dict(found.state, strict=False)
    return found


def difference(one: nn.Module, other: nn.Module, *, size: int = 64) -> float:
    """Largest difference of two networks' features of random images."""
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((one.eval()(images) - other.eval()(images)).abs().max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_features_of_its_network(layout: str, tmp_path: Path) -> None:
    theirs, ours = small_network(), small_network(seed=5)
    path = saved(LAYOUTS[layout](theirs.state_dict()), tmp_path / "weights.pth")
    assert difference(theirs, ours) > 0.01
    found = loaded(path, ours)
    assert not found.missing
    assert not found.misfits
    assert difference(theirs, ours) < (1e-6 if layout != "half precision" else 0.01)
    assert f"{NUM_TENSORS} of {NUM_TENSORS} tensors" in described(found, where="", backbone="")[0]


def test_safetensors_are_read(tmp_path: Path) -> None:
    theirs, ours = small_network(), small_network(seed=5)
    save_file(dict(theirs.state_dict()), tmp_path / "any.name")
    loaded(tmp_path / "any.name", ours)
    assert difference(theirs, ours) == 0


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_resnets_are_timms(name: str, tmp_path: Path) -> None:
    theirs, ours = torchvision_network(name), timm_network(name, seed=5)
    path = saved(theirs.state_dict(), tmp_path / "weights.pth")
    theirs.fc = nn.Identity()
    found = loaded(path, ours, name=name)
    assert difference(theirs, ours) < 1e-6
    assert found.unused == ["fc.bias", "fc.weight"]


@pytest.mark.slow
def test_torchvisions_vision_transformer_is_timms(tmp_path: Path) -> None:
    theirs, ours = torchvision_network("vit_b_16"), timm_network("vit_base_patch16_224", seed=5)
    path = saved(theirs.state_dict(), tmp_path / "weights.pth")
    theirs.heads = nn.Identity()
    loaded(path, ours, name="vit_base_patch16_224")
    assert difference(theirs, ours, size=224) < 1e-5  # attention is computed in another order


VIT = {"embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize("layout", ["plain", "MoCo v3", "DINO"])
def test_a_vision_transformer_is_loaded_from_each_layout(layout: str, tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    theirs, ours = timm_network(name, **VIT), timm_network(name, seed=5, **VIT)
    path = saved(LAYOUTS[layout](theirs.state_dict()), tmp_path / "weights.pth")
    loaded(path, ours, name=name)
    assert difference(theirs, ours, size=224) == 0


def test_position_embeddings_of_another_image_size_are_resampled_as_timm_does(
    tmp_path: Path,
) -> None:
    name = "vit_tiny_patch16_224"
    theirs, ours = timm_network(name, **VIT), timm_network(name, seed=5, img_size=96, **VIT)
    path = saved(theirs.state_dict(), tmp_path / "weights.pth")
    found = loaded(path, ours, name=name)
    assert found.resampled == ["pos_embed"]
    assert "resampled to this image size: pos_embed" in described(found, where="", backbone="")
    theirs.set_input_size(img_size=(96, 96))  # type: ignore[operator]
    assert difference(theirs, ours, size=96) < 1e-6


def test_what_is_not_used_is_counted_by_group(tmp_path: Path) -> None:
    path = saved(LAYOUTS["MoCo"](small_network().state_dict()), tmp_path / "weights.pth")
    lines = described(loaded(path, small_network(seed=5)), where="FILE", backbone=RESNET)
    assert lines == [
        "weights of FILE (timm's names of state_dict after 'module.encoder_q.', MoCo): 100 of 100 "
        "tensors of resnet18 loaded",
        "not used of the weights: module.encoder_k (120), module.encoder_q.fc (2), "
        "module.queue (1), module.queue_ptr (1)",
    ]


def test_of_two_networks_under_unknown_prefixes_none_is_chosen(tmp_path: Path) -> None:
    state = small_network().state_dict()
    path = saved({**prefixed(state, "left."), **prefixed(others(state), "right.")}, tmp_path / "w")
    with pytest.raises(DataError, match=r"several times, after left\., right\.;"):
        loaded(path, small_network(seed=5))


def test_a_teacher_alone_is_taken(tmp_path: Path) -> None:
    theirs, ours = small_network(), small_network(seed=5)
    path = saved(prefixed(theirs.state_dict(), "module.momentum_encoder."), tmp_path / "w")
    assert "teacher" in loaded(path, ours).layout
    assert difference(theirs, ours) == 0


def test_a_network_of_ones_own_is_matched_by_its_names(tmp_path: Path) -> None:
    def own(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))

    path = saved({"state_dict": prefixed(own(0).state_dict(), "module.")}, tmp_path / "w")
    ours = own(1)
    loaded(path, ours, name="Sequential")
    assert difference(own(0), ours) == 0


def test_the_content_of_weights_does_not_depend_on_their_container(tmp_path: Path) -> None:
    state = small_network().state_dict()
    contents = {
        loaded(saved(LAYOUTS[layout](state), tmp_path / layout), small_network(seed=5)).content()
        for layout in ("plain", "MoCo", "lightly", "DINO")
    }
    assert len(contents) == 1
    other = saved(small_network(seed=1).state_dict(), tmp_path / "other")
    assert loaded(other, small_network(seed=5)).content() not in contents
