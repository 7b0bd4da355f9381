"""LARS against a slow loop from its docstring, and settings that must reach them."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from sparring.optim.optimizers import LARS, make_optimizer

MOMENTUM, DECAY, TRUST, RATE = 0.9, 0.01, 0.02, 0.5


def parameters() -> dict[str, nn.Parameter]:
    """A matrix, a kernel, a matrix of zeros, and two vectors."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> nn.Parameter:
        return nn.Parameter(torch.randn(*shape, dtype=torch.float64, generator=draw))

    zeros = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
    return {
        "matrix": random(4, 3),
        "kernel": random(2, 3, 3, 3),
        "zeros": zeros,
        "bias": random(4),
        "scale": random(3),
    }


def gradients(step: int, like: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Random gradients; that of the kernel is zero at step 1."""
    draw = torch.Generator().manual_seed(100 + step)
    found = {name: torch.randn(p.shape, dtype=p.dtype, generator=draw) for name, p in like.items()}
    if step == 1:
        found["kernel"].zero_()
    return found


def slow_lars(
    p: list[float], v: list[float], g: list[float], *, is_vector: bool, decay: float
) -> tuple[list[float], list[float]]:
    """One step of one tensor, number by number."""
    if not is_vector:
        g = [gi + decay * pi for gi, pi in zip(g, p, strict=True)]
        norm, gradient_norm = sum(x * x for x in p) ** 0.5, sum(x * x for x in g) ** 0.5
        ratio = TRUST * norm / gradient_norm if norm > 0 and gradient_norm > 0 else 1.0
        g = [ratio * gi for gi in g]
    v = [MOMENTUM * vi + gi for vi, gi in zip(v, g, strict=True)]
    return [pi - RATE * vi for pi, vi in zip(p, v, strict=True)], v


def run_lars(moved: dict[str, nn.Parameter], *, decay: float, steps: int = 4) -> None:
    optimizer = LARS(
        [{"params": moved.values()}], lr=RATE, momentum=MOMENTUM, weight_decay=decay, trust=TRUST
    )
    for step in range(steps):
        for name, gradient in gradients(step, moved).items():
            moved[name].grad = gradient
        optimizer.step()


def test_lars_equals_a_slow_loop_over_several_steps() -> None:
    for decay in (DECAY, 0.0):  # without decay the kernel's gradient of step 1 has no length at all
        moved = parameters()
        slow = {name: p.detach().flatten().tolist() for name, p in moved.items()}
        velocity = {name: [0.0] * len(values) for name, values in slow.items()}
        run_lars(moved, decay=decay)
        for step in range(4):
            for name, gradient in gradients(step, moved).items():
                given = gradient.flatten().tolist()
                slow[name], velocity[name] = slow_lars(
                    slow[name], velocity[name], given, is_vector=moved[name].ndim <= 1, decay=decay
                )
        for name, parameter in moved.items():
            # float64, four steps: rounding of sums only.
            torch.testing.assert_close(
                parameter.detach().flatten(),
                torch.tensor(slow[name], dtype=torch.float64),
                rtol=1e-12,
                atol=1e-13,
            )


def test_lars_takes_vectors_as_plain_sgd_without_decay_would() -> None:
    moved, plain = parameters(), parameters()
    vectors = {name: p for name, p in plain.items() if p.ndim <= 1}
    sgd = torch.optim.SGD(vectors.values(), lr=RATE, momentum=MOMENTUM)
    for step in range(3):
        for name, gradient in gradients(step, plain).items():
            plain[name].grad = gradient
        sgd.step()
    run_lars(moved, decay=DECAY, steps=3)
    for name, parameter in vectors.items():
        torch.testing.assert_close(moved[name], parameter, rtol=1e-12, atol=1e-13)


def test_the_step_of_lars_does_not_depend_on_the_size_of_the_gradient() -> None:
    small, large = parameters(), parameters()
    for moved, factor in ((small, 1.0), (large, 1000.0)):
        moved["matrix"].grad = factor * gradients(0, moved)["matrix"]
        LARS([{"params": [moved["matrix"]]}], lr=RATE, trust=TRUST).step()
    torch.testing.assert_close(small["matrix"], large["matrix"], rtol=1e-12, atol=0.0)
    assert not torch.equal(small["matrix"], parameters()["matrix"])


def test_lars_leaves_alone_what_has_no_gradient() -> None:
    moved = parameters()
    moved["matrix"].grad = torch.ones_like(moved["matrix"])
    LARS([{"params": moved.values()}], lr=RATE).step()
    assert torch.equal(moved["kernel"], parameters()["kernel"])


def made(
    name: str, *, decay_vectors: bool = True, moved: dict[str, nn.Parameter] | None = None
) -> Optimizer:
    given = moved or parameters()
    return make_optimizer(
        name, given, momentum=0.8, weight_decay=DECAY, decay_vectors=decay_vectors
    )  # type: ignore[arg-type]


def step_once(
    optimizer: Optimizer, moved: dict[str, nn.Parameter], step: int, *, rate: float = RATE
) -> None:
    """One step; the vectors have no gradient at step 2."""
    for name, gradient in gradients(step, moved).items():
        moved[name].grad = None if step == 2 and moved[name].ndim == 1 else gradient
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_what_is_remembered_continues_to_the_bit(name: str) -> None:
    whole, first = parameters(), parameters()
    unbroken, optimizer = (
        made(name, moved=whole, decay_vectors=False),
        made(name, moved=first, decay_vectors=False),
    )
    for step in range(5):
        step_once(unbroken, whole, step)
    for step in range(2):
        step_once(optimizer, first, step)
    second = {key: nn.Parameter(parameter.detach().clone()) for key, parameter in first.items()}
    resumed = made(name, moved=second, decay_vectors=False)
    resumed.load_state_dict(optimizer.state_dict())
    for step in range(2, 5):
        step_once(resumed, second, step)
    assert all(torch.equal(whole[key], second[key]) for key in whole)


def test_memory_of_other_parameters_is_refused() -> None:
    few = {"matrix": parameters()["matrix"]}
    with pytest.raises(ValueError, match="size of optimizer's group"):
        made("sgd", moved=few).load_state_dict(made("sgd").state_dict())


def test_gradients_are_left_as_they_are_and_then_forgotten() -> None:
    for name in ("sgd", "adamw", "lars"):
        moved = parameters()
        optimizer = made(name, moved=moved)
        step_once(optimizer, moved, 0)
        assert all(
            torch.equal(parameter.grad, gradients(0, moved)[key])
            for key, parameter in moved.items()
            if parameter.grad is not None
        )
        assert all(parameter.grad is not None for parameter in moved.values())
        optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in moved.values())


def test_sgd_gets_its_momentum_and_decay() -> None:
    optimizer = made("sgd", decay_vectors=True)
    assert isinstance(optimizer, SGD)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"]) == (0.8, DECAY)


def test_adamw_takes_momentum_as_its_first_beta() -> None:
    optimizer = made("adamw", decay_vectors=True)
    assert isinstance(optimizer, AdamW)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)
    assert optimizer.param_groups[0]["weight_decay"] == DECAY


def test_lars_gets_its_momentum_and_decay() -> None:
    optimizer = made("lars", decay_vectors=True)
    assert isinstance(optimizer, LARS)
    assert (optimizer.param_groups[0]["momentum"], optimizer.param_groups[0]["weight_decay"]) == (
        0.8,
        DECAY,
    )


def test_vectors_are_decayed_only_on_request() -> None:
    for name in ("sgd", "adamw", "lars"):
        matrices, vectors = made(name, decay_vectors=False).param_groups
        assert [p.ndim for p in matrices["params"]] == [2, 4, 2]
        assert [p.ndim for p in vectors["params"]] == [1, 1]
        assert (matrices["weight_decay"], vectors["weight_decay"]) == (DECAY, 0.0)
        (everything,) = made(name, decay_vectors=True).param_groups
        assert len(everything["params"]) == 5


def test_a_player_of_vectors_alone_has_one_group() -> None:
    vectors = {name: p for name, p in parameters().items() if p.ndim <= 1}
    (group,) = make_optimizer(
        "sgd", vectors, momentum=0.9, weight_decay=DECAY, decay_vectors=False
    ).param_groups
    assert group["weight_decay"] == 0.0
