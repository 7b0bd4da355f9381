"""Recomputed blocks: the same numbers, fewer kept activations, and statistics that move once."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from sparring.models.backbones import Backbone, EncoderSettings, make_backbone
from sparring.models.recomputation import recompute_activations
from sparring.models.split_norm import SplitNorm, adversarial_norms, split_norms, still_statistics

SIZE = 16


def pair(*, split: bool = False) -> tuple[Backbone, Backbone]:
    """A narrow ResNet, and its equal whose blocks are recomputed."""
    torch.manual_seed(0)
    usual = make_backbone(EncoderSettings(width=0.0625), image_size=SIZE)
    if split:
        split_norms(usual, momentum=0.01)
    other = copy.deepcopy(usual)
    assert recompute_activations(other) == 8
    return usual.train(), other.train()


def images(rows: int = 8) -> Tensor:
    return torch.rand(rows, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def kept_bytes(compute: Callable[[], Tensor]) -> int:
    """Bytes of distinct tensors kept for the backward pass."""
    seen: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(tensor.untyped_storage().nbytes() for tensor in seen.values())


def outcome(network: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor]) -> list[Tensor]:
    """Loss, gradients of images and parameters, and the state after two steps."""
    found = []
    for number in range(2):
        pixels = (images() + number).requires_grad_()
        value = loss(network, pixels)
        value.backward()  # type: ignore[no-untyped-call]
        assert pixels.grad is not None
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        found += [value.detach(), pixels.grad, *(gradient.clone() for gradient in gradients)]
    return [*found, *network.state_dict().values()]


def are_equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_numbers_and_statistics_are_the_same_to_the_bit() -> None:
    usual, other = (outcome(one, lambda net, x: net(x).square().sum()) for one in pair())
    assert are_equal(usual, other)


def test_each_view_is_recomputed_with_its_own_norms() -> None:
    def loss(network: nn.Module, pixels: Tensor) -> Tensor:
        clean = network(pixels)
        with adversarial_norms(network):
            return (clean * network(0.9 * pixels)).sum()

    usual, other = (outcome(one, loss) for one in pair(split=True))
    assert are_equal(usual, other)
    assert any(isinstance(part, SplitNorm) for part in pair(split=True)[1].modules())


def test_an_attack_gets_the_same_gradient_and_leaves_statistics_alone() -> None:
    found = []
    for network in pair():
        before = copy.deepcopy(network.state_dict())
        pixels = images().requires_grad_()
        with still_statistics(network):
            (gradient,) = torch.autograd.grad(network(pixels).square().sum(), pixels)
        after = network.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        found.append(gradient)
    assert torch.equal(*found)


def test_a_mode_that_changes_before_the_backward_pass_does_not_matter() -> None:
    def loss(network: nn.Module, pixels: Tensor) -> Tensor:
        value = network(pixels).square().sum()
        network.eval()
        return value

    usual, other = pair()
    first, second = (outcome(one, loss) for one in (usual, other))
    assert are_equal(first, second)
    assert not other.training


def test_fewer_activations_are_kept() -> None:
    usual, other = (kept_bytes(lambda net=net: net(images())) for net in pair())  # type: ignore[misc]
    assert other < 0.5 * usual


def test_without_gradient_or_in_evaluation_nothing_is_recomputed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, network = pair()
    monkeypatch.setattr("sparring.models.recomputation.checkpoint", None)
    with torch.no_grad():
        network(images())
    network.eval()(images())


def test_names_and_classes_stay_and_copies_recompute_too() -> None:
    usual, other = pair()
    twin = copy.deepcopy(other)
    assert list(usual.state_dict()) == list(twin.state_dict())
    block, plain = twin.network.layer1[0], usual.network.layer1[0]  # type: ignore[index]
    assert isinstance(block, type(plain))
    assert kept_bytes(lambda: twin(images())) < 0.5 * kept_bytes(lambda: usual(images()))


@pytest.mark.parametrize(
    ("name", "blocks"), [("vit_tiny_patch16_224", 12), ("convnext_atto", 4), ("vgg11_bn", 0)]
)
def test_blocks_of_other_networks_are_found(name: str, blocks: int) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    assert recompute_activations(network) == blocks


def test_random_layers_draw_the_same_numbers_again() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8))
    usual = nn.Sequential(block, nn.ReLU())
    other = copy.deepcopy(usual)
    assert recompute_activations(other) == 1
    gradients = []
    for network in (usual, other):
        torch.manual_seed(3)
        network(torch.ones(4, 8)).square().sum().backward()
        gradients.append(network[0][0].weight.grad)  # type: ignore[index]
    assert torch.equal(*gradients)
