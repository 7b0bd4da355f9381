"""The teacher: what follows the online network, and what does not."""

import torch
from torch import nn

from sparring.models.teacher import Teacher


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()


def moved(online: nn.Module) -> None:
    """Give the online network other parameters and other statistics."""
    draw = torch.Generator().manual_seed(1)
    for tensor in online.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, dtype=tensor.dtype, generator=draw) + 2)


def test_a_moving_average_is_exact() -> None:
    online = network()
    teacher = Teacher(online)
    expected = [p.detach().clone() for p in online.parameters()]
    moved(online)
    for _ in range(3):
        teacher.ema_update(online, momentum=0.9)
        expected = [
            0.9 * old + 0.1 * new.detach()
            for old, new in zip(expected, online.parameters(), strict=True)
        ]
    for ours, wanted in zip(teacher.parameters(), expected, strict=True):
        # float64; three roundings.
        torch.testing.assert_close(ours, wanted, rtol=1e-14, atol=0)


def test_a_momentum_of_one_never_moves_and_of_zero_copies() -> None:
    online = network()
    fixed, follower = Teacher(online), Teacher(online)
    moved(online)
    fixed.ema_update(online, momentum=1.0)
    follower.ema_update(online, momentum=0.0)
    for still, copied, first, now in zip(
        fixed.parameters(),
        follower.parameters(),
        network().parameters(),
        online.parameters(),
        strict=True,
    ):
        assert torch.equal(still, first)
        assert torch.equal(copied, now)


def test_the_statistics_of_batch_norm_are_the_teachers_own() -> None:
    online = network()
    teacher = Teacher(online)
    before = {name: buffer.clone() for name, buffer in teacher.named_buffers()}
    moved(online)
    teacher.ema_update(online, momentum=0.0)
    teacher.copy_parameters(online)
    assert all(torch.equal(before[name], buffer) for name, buffer in teacher.named_buffers())
    inputs = 5 + torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    teacher(inputs)
    norm = teacher.network.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm1d)
    # Its buffers come from its own forward pass: a tenth of the way from 0 to the mean of its own
    # activations.
    own = teacher.network.get_submodule("0")(inputs).mean(dim=0).detach()
    torch.testing.assert_close(norm.running_mean, 0.1 * own)


def test_copying_takes_over_every_parameter() -> None:
    online = network()
    teacher = Teacher(online)
    moved(online)
    teacher.copy_parameters(online)
    assert all(
        torch.equal(a, b) for a, b in zip(teacher.parameters(), online.parameters(), strict=True)
    )


def test_a_teacher_shares_no_tensor_with_its_network() -> None:
    online = network()
    teacher = Teacher(online)
    before = [p.clone() for p in teacher.parameters()]
    moved(online)
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))


def test_no_gradient_passes_through_a_teacher() -> None:
    teacher = Teacher(network())
    inputs = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    assert not teacher(inputs).requires_grad
    assert not teacher.shuffled(inputs, generator=torch.Generator()).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_network_it_copies_keeps_its_gradient() -> None:
    online = network()
    Teacher(online)
    assert all(parameter.requires_grad for parameter in online.parameters())


def test_a_single_process_encodes_its_batch_in_order() -> None:
    # With one process there is nobody to shuffle with; a permutation within one batch changes no
    # batch norm.
    teacher, other = Teacher(network()), Teacher(network())
    inputs = torch.randn(8, 4, dtype=torch.float64)
    assert torch.equal(teacher.shuffled(inputs, generator=torch.Generator()), other(inputs))
