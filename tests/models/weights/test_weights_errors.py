"""Files that are no weights, or weights of something else: one line each, nothing executed."""

import argparse
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from checkpoints import (
    HEAD,
    LAYOUTS,
    RESNET,
    others,
    prefixed,
    saved,
    small_network,
    timm_network,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sparring.errors import DataError
from sparring.models.backbones import EncoderSettings, make_backbone
from sparring.models.weights.matching import described, match, require_fit
from sparring.models.weights.reading import read_states


def refusal(path: Path) -> str:
    """The line with which a file is refused when it is read."""
    with pytest.raises(DataError) as error:
        read_states(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value).replace(str(path), "FILE")


def misfit(
    content: object,
    tmp_path: Path,
    *,
    name: str = RESNET,
    network: nn.Module | None = None,
    partial: bool = False,
) -> str:
    """The line with which a file of weights is refused for a network."""
    path = saved(content, tmp_path / "weights.pth")
    states = read_states(path)

    def matched() -> None:
        found = match(states, network or timm_network(name), where="FILE", backbone=name)
        require_fit(found, where="FILE", backbone=name, is_partial=partial, states=states)

    with pytest.raises(DataError) as error:
        matched()
    assert "\n" not in str(error.value)
    return str(error.value)


class Runs:
    """An object whose pickle calls a function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_file_with_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made by the file"
    content = {"state_dict": {"conv1.weight": torch.ones(3)}, "more": Runs(made)}
    path = saved(content, tmp_path / "weights.pth")
    assert "FILE holds code or objects (posix.mkdir)" in refusal(path)
    path.write_bytes(pickle.dumps(content))
    assert "a pickle of another kind than torch.save writes" in refusal(path)
    old = tmp_path / "old.pth"
    torch.save(content, old, _use_new_zipfile_serialization=False)
    assert "FILE holds code or objects (posix.mkdir)" in refusal(old)
    assert not made.exists()


def test_a_whole_network_as_an_object_is_refused_with_its_class(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Linear(2, 2)), tmp_path / "weights.pth")
    line = refusal(path)
    assert "torch.nn.modules.container.Sequential" in line
    assert "torch.save(network.state_dict(), FILE)" in line


def test_objects_that_scripts_store_beside_the_weights_are_left_out(tmp_path: Path) -> None:
    content = {
        "model": timm_network().state_dict(),
        "args": argparse.Namespace(lr=0.1, output=Path("here")),
    }
    path = saved(content, tmp_path / "weights.pth")
    assert set(read_states(path)) == {"model"}


def test_settings_of_packages_that_are_not_here_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ModuleType("omegaconf")
    exec("class DictConfig(dict):\n    pass\nclass Node:\n    pass", made.__dict__)
    monkeypatch.setitem(sys.modules, "omegaconf", made)
    state, node = {"conv1.weight": torch.ones(3)}, made.Node()
    node.value = 3
    path = saved({"state_dict": state, "hyper_parameters": node}, tmp_path / "weights.pth")
    filled = saved(
        {"state_dict": state, "hyper_parameters": made.DictConfig(lr=1)}, tmp_path / "filled.pth"
    )
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    assert set(read_states(path)) == {"state_dict"}
    assert "FILE holds code or objects (omegaconf.DictConfig)" in refusal(filled)


CONTENTS: dict[str, tuple[Any, str]] = {
    "a list": ([torch.ones(3)], "FILE holds a list, and no weights by name"),
    "a number": (3, "FILE holds an int, and"),
    "a tensor": (torch.ones(3), "FILE holds a Tensor, and"),
    "nothing": (None, "FILE holds a NoneType, and"),
    "an empty dictionary": ({}, "FILE holds an empty dictionary, and"),
    "tensors under numbers": ({0: torch.ones(3)}, "FILE holds a dictionary of 0, and"),
    "settings": ({"lr": 0.1, "epoch": 3}, "FILE holds a dictionary of lr, epoch, and"),
    "an optimiser": (
        torch.optim.SGD([nn.Parameter(torch.ones(3))]).state_dict(),
        "FILE holds the state of an optimiser, and",
    ),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_holds_no_weights_is_named(kind: str, tmp_path: Path) -> None:
    content, line = CONTENTS[kind]
    found = refusal(saved(content, tmp_path / "weights.pth"))
    assert found.startswith(line)
    assert "give a state dict" in found


BYTES = {
    "empty": (b"", "FILE are an empty file; download them again"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "FILE is a web page and no weights"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "run `git lfs pull`"),
    "text": (
        b"hello, these are no weights\n" * 9,
        "FILE is damaged or no file of PyTorch's (its content is not in such a form)",
    ),
    "zip": (b"PK\x03\x04" + bytes(99), "FILE is damaged or no file of PyTorch's"),
    "safetensors": (b"\xff" * 7 + b"\x7f{}" + bytes(20), "FILE is damaged or no safetensors file"),
    "short": (b"\x80", "FILE is damaged or no file of PyTorch's"),
}


@pytest.mark.parametrize("kind", BYTES)
def test_what_is_no_file_of_weights_is_named(kind: str, tmp_path: Path) -> None:
    content, line = BYTES[kind]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert line in refusal(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_damaged(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path, state = tmp_path / f"weights{suffix}", {"conv1.weight": torch.ones(64, 3, 7, 7)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    path.write_bytes(path.read_bytes()[:-900])
    assert "is damaged or no" in refusal(path)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "No such file" in refusal(tmp_path / "none.pth")
    assert "Is a directory" in refusal(tmp_path)
    assert "a named pipe" in refusal(tmp_path / "pipe")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(content=st.binary(min_size=1, max_size=400), cut=st.integers(0, 1400), flip=st.booleans())
def test_any_bytes_give_one_line_or_tensors(
    content: bytes, cut: int, flip: bool, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    if flip:  # a file of PyTorch's with bytes exchanged
        torch.save({"conv1.weight": torch.ones(3)}, path)
        whole = path.read_bytes()
        content = whole[:cut] + content + whole[cut + len(content) :]
    path.write_bytes(content)
    line = ""
    try:
        read_states(path)
    except DataError as error:
        line = str(error)
    assert "\n" not in line


def test_another_architecture_is_refused_with_the_one_that_fits(tmp_path: Path) -> None:
    state = {**timm_network("resnet50").state_dict(), **HEAD}
    line = misfit({"state_dict": prefixed(state, "module.encoder_q.")}, tmp_path)
    assert line.startswith("FILE does not fit resnet18: ")
    assert line.endswith("; encoder.backbone=resnet50 fits")
    line = misfit(state, tmp_path, partial=True)
    assert "64 x 64 x 1 x 1 there and 64 x 64 x 3 x 3 here and 22 more of 100 tensors" in line


def test_a_deeper_network_is_not_cut(tmp_path: Path) -> None:
    state = timm_network("resnet34").state_dict()
    line = misfit(state, tmp_path)
    assert line.startswith("FILE holds a network with more layers than resnet18, such as layer1.2.")
    assert line.endswith("; encoder.backbone=resnet34 fits")


def test_names_of_nothing_known_are_shown(tmp_path: Path) -> None:
    line = misfit({"tower.a.kernel": torch.ones(3), "tower.b": torch.ones(2)}, tmp_path)
    assert line == (
        "FILE has no names of resnet18's weights; its 2 names begin with tower.a.kernel, tower.b"
    )


def test_equal_shapes_under_other_names_load_nothing(tmp_path: Path) -> None:
    state = timm_network().state_dict()
    renamed = {f"tensor_{number}.x": one for number, one in enumerate(state.values())}
    assert "has no names of resnet18's weights" in misfit(renamed, tmp_path)


def test_other_channels_are_named(tmp_path: Path) -> None:
    line = misfit(timm_network().state_dict(), tmp_path, network=timm_network(RESNET, in_chans=1))
    assert line.startswith(
        "FILE does not fit resnet18: conv1.weight is 64 x 3 x 7 x 7 there and 64 x 1 x 7 x 7 here "
        "(images of 3 channels there, and data.channels=1)"
    )


def built(**changes: object) -> nn.Module:
    return make_backbone(
        EncoderSettings.build({"backbone": RESNET, **changes}), image_size=32
    ).network


def test_another_stem_and_another_width_are_named(tmp_path: Path) -> None:
    state = timm_network().state_dict()
    line = misfit(state, tmp_path, network=built(small_images=True))
    assert "(usual stem there; leave encoder.small_images out)" in line
    assert line.endswith("encoder.partial_weights=true leaves these as they are drawn")
    line = misfit(state, tmp_path, network=built(width=0.5, small_images=False))
    assert "(a width of 2 times this one's; see encoder.width)" in line


def test_other_patches_are_named(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    here = timm_network(name, depth=1, img_size=32, patch_size=4)
    line = misfit(timm_network(name, depth=1).state_dict(), tmp_path, name=name, network=here)
    assert "(patches of 16 px there; leave encoder.patch_size out)" in line


def test_a_stem_explains_no_other_layer(tmp_path: Path) -> None:
    line = misfit(timm_network("resnet50").state_dict(), tmp_path)
    assert line == (
        "FILE does not fit resnet18: layer1.0.conv1.weight is 64 x 64 x 1 x 1 there and "
        "64 x 64 x 3 x 3 here and 22 more of 100 tensors; encoder.backbone=resnet50 fits"
    )


def test_missing_tensors_are_refused_unless_that_is_asked_for(tmp_path: Path) -> None:
    state = OrderedDict(timm_network().state_dict())
    for name in [name for name in state if name.startswith("layer4.1.")]:
        del state[name]
    line = misfit(state, tmp_path)
    assert line == (
        "FILE does not fit resnet18: 10 of 100 tensors are missing, layer4.1.bn1.bias, "
        "layer4.1.bn1.running_mean, layer4.1.bn1.running_var, ...; "
        "encoder.partial_weights=true leaves these as they are drawn"
    )
    states, network = {"": dict(state)}, timm_network(seed=3)
    before = network.get_parameter("layer4.1.conv1.weight").clone()
    found = match(states, network, where="FILE", backbone=RESNET)
    require_fit(found, where="FILE", backbone=RESNET, is_partial=True, states=states)
    network.load_state_dict(found.state, strict=False)
    assert torch.equal(network.get_parameter("layer4.1.conv1.weight"), before)
    assert torch.equal(network.get_parameter("conv1.weight"), state["conv1.weight"])
    lines = described(found, where="FILE", backbone=RESNET)
    assert lines[0].endswith("90 of 100 tensors of resnet18 loaded")
    assert lines[1].startswith("not in the weights, so untrained: layer4.1.bn1.bias, layer4.1.")


def test_less_than_half_a_network_is_another_network(tmp_path: Path) -> None:
    state = {k: v for k, v in timm_network().state_dict().items() if k.startswith("layer4")}
    line = misfit(state, tmp_path, partial=True)
    assert line.startswith("FILE does not fit resnet18: 75 of 100 tensors are missing")
    assert "partial_weights" not in line


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = timm_network().state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    line = misfit(state, tmp_path)
    assert line == (
        "FILE: layer1.0.conv1.weight holds values that are not finite; its training had diverged"
    )


def test_missing_tensors_of_efficientnet_pytorch_move_no_other(tmp_path: Path) -> None:
    name = "tf_efficientnet_lite0"
    here = timm_network(name)
    state = {  # block 1 of the file has lost its first convolution
        "_conv_stem.weight": here.get_parameter("conv_stem.weight"),
        "_blocks.1._project_conv.weight": here.get_parameter("blocks.1.0.conv_pwl.weight"),
        "_blocks.2._expand_conv.weight": here.get_parameter("blocks.1.1.conv_pw.weight"),
    }
    found = match({"": state}, here, where="FILE", backbone=name)
    assert "blocks.1.0.conv_pwl.weight" in found.state
    assert not found.misfits


def test_names_of_efficientnet_pytorch_need_a_network_that_pads_alike(tmp_path: Path) -> None:
    state = {"_conv_stem.weight": torch.ones(32, 3, 3, 3), "_bn0.weight": torch.ones(32)}
    line = misfit(state, tmp_path, name="efficientnet_lite0")
    assert "such networks pad as TensorFlow does, and efficientnet_lite0 does not" in line


def test_every_layout_is_refused_by_another_network(tmp_path: Path) -> None:
    """No layout lets a smaller network pass for part of a larger one."""
    state, larger = others(small_network().state_dict()), small_network("resnet34")
    for layout in LAYOUTS.values():
        line = misfit(layout(state), tmp_path, name="resnet34", network=larger)
        assert line.startswith("FILE does not fit resnet34: 80 of 180 tensors are missing")
