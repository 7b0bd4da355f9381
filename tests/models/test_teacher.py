"""The teacher: what follows the online network, and what does not; which images share the batch
norm of their keys."""

import pytest
import torch
from torch import Tensor, nn

from sparring import distributed
from sparring.errors import ConfigError
from sparring.models.teacher import KeyNormSettings, Teacher


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
    keys = teacher.keys(inputs, KeyNormSettings(parts=2), generator=torch.Generator())
    assert not keys.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_network_it_copies_keeps_its_gradient() -> None:
    online = network()
    Teacher(online)
    assert all(parameter.requires_grad for parameter in online.parameters())


WHOLE = KeyNormSettings()
SPLIT = KeyNormSettings(parts=4, shuffled=False)
SHUFFLED = KeyNormSettings(parts=4)


def batch() -> Tensor:
    """Sixteen inputs."""
    return torch.randn(16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def keys_of(inputs: Tensor, norm: KeyNormSettings, *, seed: int = 0) -> Tensor:
    """Keys of a fresh teacher."""
    return Teacher(network()).keys(inputs, norm, generator=torch.Generator().manual_seed(seed))


def test_in_one_part_a_batch_is_encoded_in_order_and_nothing_is_drawn() -> None:
    # A permutation within one batch changes no batch norm.
    teacher, draws = Teacher(network()), torch.Generator().manual_seed(0)
    before = draws.get_state()
    assert torch.equal(teacher.keys(batch(), WHOLE, generator=draws), network()(batch()))
    assert torch.equal(draws.get_state(), before)


def test_each_part_has_statistics_of_its_own() -> None:
    expected = torch.cat([network()(part) for part in batch().chunk(4)])
    assert torch.equal(keys_of(batch(), SPLIT), expected)


@pytest.mark.parametrize("parts", [3, 5, 8])
def test_parts_need_not_divide_the_batch(parts: int) -> None:
    found = keys_of(batch(), KeyNormSettings(parts=parts, shuffled=False))
    assert torch.equal(found, torch.cat([network()(p) for p in batch().tensor_split(parts)]))


def test_shuffled_parts_are_random_and_keys_keep_the_order_of_the_images() -> None:
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([network()(part) for part in batch()[order].chunk(4)])
    found = keys_of(batch(), SHUFFLED)
    assert torch.equal(found[order], expected)
    assert not torch.equal(found, keys_of(batch(), SPLIT))
    assert not torch.equal(found, keys_of(batch(), SHUFFLED, seed=1))


@pytest.mark.parametrize("norm", [SPLIT, SHUFFLED])
def test_two_processes_have_the_parts_of_one(
    norm: KeyNormSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, made = keys_of(batch(), norm), []
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for rank, own in enumerate(batch().chunk(2)):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        # First the images of both processes are gathered, then the keys that both have made.
        shuffled = torch.cat([network()(part) for part in batch()[order].chunk(4)])
        gathered = iter([batch(), shuffled.detach()])
        monkeypatch.setattr(distributed, "gather", lambda _, gathered=gathered: next(gathered))
        made.append(keys_of(own, norm))
    torch.testing.assert_close(torch.cat(made), alone, rtol=1e-12, atol=1e-12)


def test_a_process_is_a_part_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    own = batch()[:8]
    assert torch.equal(keys_of(own, KeyNormSettings(shuffled=False)), network()(own))


def test_too_many_parts_are_refused_with_the_most_that_fit() -> None:
    with pytest.raises(ConfigError, match=r"key_norm.parts=9: .* at most 8 parts"):
        keys_of(batch(), KeyNormSettings(parts=9))


def test_parts_that_processes_cannot_share_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    with pytest.raises(ConfigError, match=r"key_norm.parts=3: .* a multiple of 2"):
        keys_of(batch(), KeyNormSettings(parts=3))
