"""Split batch norm: which set works, what it remembers, and that nothing is left of it
afterwards."""

import copy

import torch
from torch import nn

from sparring.models.split_norm import (
    SplitNorm,
    adversarial_norms,
    join_norms,
    split_norms,
    still_statistics,
)


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), inner).double()


def split() -> nn.Sequential:
    made = network()
    split_norms(made, momentum=0.01)
    return made


def rows(seed: int = 0) -> torch.Tensor:
    return 3 + torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_batch_norm_gets_one_twin_however_deep_and_however_often() -> None:
    made = split()
    split_norms(made, momentum=0.01)
    assert sum(isinstance(module, SplitNorm) for module in made.modules()) == 2
    assert sum(isinstance(module, nn.BatchNorm1d) for module in made.modules()) == 4


def test_the_clean_set_works_unless_told_otherwise_as_the_network_did() -> None:
    plain, made = network(), split()
    assert torch.equal(plain(rows()), made(rows()))
    join_norms(made)
    theirs, ours = plain.state_dict(), made.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_the_twins_have_statistics_and_weights_of_their_own() -> None:
    made = split()
    norm = made[1]
    assert isinstance(norm, SplitNorm)
    before = copy.deepcopy(norm.clean.state_dict())
    with adversarial_norms(made):
        output = made(rows())
    assert all(torch.equal(before[name], value) for name, value in norm.clean.state_dict().items())
    mean = made[0](rows()).mean(dim=0)
    assert norm.adversarial.running_mean is not None
    torch.testing.assert_close(
        norm.adversarial.running_mean, 0.01 * mean
    )  # momentum 0.01 from zero
    gradients = torch.autograd.grad(
        output.sum(), [norm.clean.bias, norm.adversarial.bias], allow_unused=True
    )
    assert gradients[0] is None
    assert gradients[1] is not None


def test_the_choice_ends_with_its_block_even_after_an_error() -> None:
    made = split()
    try:
        with adversarial_norms(made):
            raise ValueError
    except ValueError:
        pass
    assert not any(
        module.is_adversarial for module in made.modules() if isinstance(module, SplitNorm)
    )


def test_evaluation_is_through_the_clean_set() -> None:
    made = split()
    with adversarial_norms(made):
        for _ in range(10):
            made(rows())
    assert torch.equal(made.eval()(rows()), network().eval()(rows()))


def test_still_statistics_change_no_bit_in_training_mode() -> None:
    made = split()
    made(rows())
    before = copy.deepcopy(made.state_dict())
    with still_statistics(made):
        made(rows(1))
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
    made(rows(1))
    assert not torch.equal(
        before["1.clean.running_mean"], made.state_dict()["1.clean.running_mean"]
    )
