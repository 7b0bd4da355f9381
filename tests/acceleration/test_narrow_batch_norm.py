"""The fast batch norm of few channels gives PyTorch's numbers where it applies and leaves
everything else alone."""

import copy

import pytest
import torch
from torch import Tensor, nn

from sparring.acceleration import narrow_batch_norm
from sparring.acceleration.narrow_batch_norm import FEW, NarrowBatchNorm2d, with_narrow_batch_norms
from sparring.models.split_norm import split_norms, still_statistics

BATCH, SIDE = 128, 32


def images(channels: int, *, seed: int = 0, batch: int = BATCH, side: int = SIDE) -> Tensor:
    """Images far from the origin, each channel with its own mean and spread."""
    draw = torch.Generator().manual_seed(seed)
    place, spread = (torch.randn(channels, 1, 1, generator=draw) for _ in range(2))
    drawn = (
        torch.randn(batch, channels, side, side, generator=draw) * (spread.abs() + 0.5) + 3 * place
    )
    return drawn.contiguous(memory_format=torch.channels_last)


def gradients(channels: int) -> Tensor:
    drawn = torch.randn(BATCH, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return drawn.contiguous(memory_format=torch.channels_last)


def norm(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels)
    with torch.no_grad():
        made.weight.copy_(torch.linspace(-1, 2, channels))
        made.bias.copy_(torch.linspace(3, -1, channels))
    return made


def quickened(layer: nn.BatchNorm2d) -> nn.BatchNorm2d:
    parent = nn.Sequential(copy.deepcopy(layer))
    with_narrow_batch_norms(parent)
    made = parent[0]
    assert isinstance(made, nn.BatchNorm2d)
    return made


def results(layer: nn.BatchNorm2d, given: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """Output, gradients and state after one pass; the output is then changed in place, as
    activations do."""
    given = given.clone(memory_format=torch.preserve_format).requires_grad_()
    output = layer(given)
    kept = output.detach().clone()
    output.mul_(2.0).backward(grad)
    assert given.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    return {
        "output": kept,
        "images": given.grad,
        "weight": layer.weight.grad,
        "bias": layer.bias.grad,
        **dict(layer.named_buffers()),
    }


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Channels of every batch that took the fast path."""
    taken: list[int] = []
    through = narrow_batch_norm._Normalise.apply

    def spied(*given: Tensor) -> Tensor:
        taken.append(given[0].shape[1])
        found: Tensor = through(*given)
        return found

    monkeypatch.setattr(narrow_batch_norm._Normalise, "apply", spied)
    return taken


@pytest.mark.parametrize("channels", range(4, FEW))
def test_all_numbers_are_pytorchs_in_double_precision(channels: int, routes: list[int]) -> None:
    given, grad, layer = images(channels), gradients(channels), norm(channels)
    found = results(quickened(layer), given, grad)
    truth = results(copy.deepcopy(layer).double(), given.double(), grad.double())
    assert routes == [channels]
    for name, tensor in found.items():
        error = (tensor - truth[name]).abs().max() / truth[name].abs().max()
        assert error < 2e-5, name


def test_the_order_of_memory_stays(routes: list[int]) -> None:
    given = images(8).requires_grad_()
    output = quickened(norm(8))(given)
    output.sum().backward()
    assert routes == [8]
    assert given.grad is not None
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert given.grad.is_contiguous(memory_format=torch.channels_last)


def test_only_what_is_asked_for_gets_a_gradient(routes: list[int]) -> None:
    layer, given = quickened(norm(8)), images(8).requires_grad_()
    truth = torch.autograd.grad(norm(8)(given), given, gradients(8))[0]
    layer.requires_grad_(False)
    found = torch.autograd.grad(layer(given), given, gradients(8))[0]
    assert routes == [8]
    torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-4)


CASES = {
    "evaluation": (lambda layer: layer.eval(), images(8)),
    "small batch": (lambda layer: layer, images(8, batch=2)),
    "other order of memory": (lambda layer: layer, images(8).contiguous()),
    "pixels that cannot be shared out": (lambda layer: layer, images(8, batch=129, side=17)),
    "cumulative average": (lambda layer: setattr(layer, "momentum", None), images(8)),
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_else_comes_is_pytorchs_to_the_bit(case: str, routes: list[int]) -> None:
    change, given = CASES[case]
    plain, ours = norm(8), quickened(norm(8))
    for layer in (plain, ours):
        change(layer)
    assert torch.equal(plain(given), ours(given))
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.state_dict().values(), ours.state_dict().values(), strict=True)
    )
    assert not routes


@pytest.mark.parametrize(
    "options", [{"affine": False}, {"track_running_stats": False}, {"dtype": torch.float64}]
)
def test_norms_of_another_kind_are_pytorchs_to_the_bit(
    options: dict[str, object], routes: list[int]
) -> None:
    plain = nn.BatchNorm2d(8, **options)  # type: ignore[arg-type]
    given = images(8).to(plain.weight.dtype if plain.affine else torch.float32)
    assert torch.equal(quickened(plain)(given), plain(given))
    assert not routes


def test_wide_norms_and_those_of_other_kinds_stay_what_they_are() -> None:
    class Own(nn.BatchNorm2d):
        """Subclass defined by a user."""

    network = nn.ModuleList(
        [nn.BatchNorm2d(FEW), nn.BatchNorm2d(FEW - 1), nn.BatchNorm1d(8), Own(8)]
    )
    names = list(network.state_dict())
    with_narrow_batch_norms(network)
    assert [type(layer) for layer in network] == [
        nn.BatchNorm2d,
        NarrowBatchNorm2d,
        nn.BatchNorm1d,
        Own,
    ]
    assert list(network.state_dict()) == names


def test_twins_and_still_statistics_know_it(routes: list[int]) -> None:
    network = nn.Sequential(norm(8))
    with_narrow_batch_norms(network)
    with still_statistics(network):
        network(images(8))
    assert routes == [8]
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), norm(8).state_dict().values(), strict=True)
    )
    split_norms(network, momentum=0.01)
    twins = [child for child in network.modules() if isinstance(child, NarrowBatchNorm2d)]
    assert len(twins) == 2
