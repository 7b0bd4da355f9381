"""Deterministic runs: same bits as without on a CPU, nothing left behind, and no operation whose
CUDA form has no fixed order of additions."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import deterministic as torch_deterministic
from torch.utils._python_dispatch import TorchDispatchMode

import games
from sparring.data.views import views as views_module
from sparring.errors import ConfigError
from sparring.methods import registry
from sparring.opponents.generator_pair import differentiable_views
from sparring.training.determinism import deterministic
from sparring.training.run import pretrain_opponent, run_training

UNORDERED = (
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool3d",
    "cumsum",
    "embedding_bag",
    "fractional_max_pool",
    "grid_sampler",
    "histc",
    "kthvalue",
    "max_pool3d",
    "max_unpool",
    "median",
    "nll_loss2d",
    "put_.",
    "reflection_pad",
    "upsample_bi",
    "upsample_linear",
    "upsample_trilinear",
)
"""Beginnings of operations for which `torch.use_deterministic_algorithms` raises on CUDA. Its
`bincount` does with weights only, and no method gives it any."""
BACKWARD_ONLY = ("adaptive_avg_pool", "grid_sampler", "reflection_pad", "upsample_bi")
"""Of those, the ones that are in order forwards."""


class Operations(TorchDispatchMode):
    """Names of all operations, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.names.add(str(func).removeprefix("aten.").lstrip("_"))
        return func(*args, **(kwargs or {}))


def unordered(names: set[str]) -> set[str]:
    """Operations without a deterministic algorithm on CUDA."""
    return {
        name
        for name in names
        if name.startswith(UNORDERED) and ("backward" in name or not name.startswith(BACKWARD_ONLY))
    }


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths of devices other than the CPU, on the CPU."""
    monkeypatch.setattr(
        differentiable_views, "resampled_on_a_grid", differentiable_views.resampled_by_products
    )
    monkeypatch.setattr(views_module, "view_by_kernel", views_module.view_by_tensors)


SUBJECTS = [
    *((method, ()) for method in games.METHODS),
    *(("simclr", (opponent,)) for opponent in registry.shipped("opponent")),
]


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize(("method", "opponents"), SUBJECTS)
def test_no_step_has_an_operation_without_an_order_on_cuda(
    method: str, opponents: tuple[str, ...]
) -> None:
    game = games.game(method, opponent=opponents)
    with Operations() as operations:
        for step in range(2):
            games.play(method, game, step)
    assert len(operations.names) > 50
    assert unordered(operations.names) == set()


@pytest.mark.usefixtures("as_on_cuda")
def test_no_pretraining_of_generators_has_one_either(tmp_path: Path) -> None:
    small = {"generator_pair": {"pretraining": {"steps": 2}}}
    training = games.training("simclr", tmp_path, opponent=["generator-pair"], **small)
    with Operations() as operations:
        pretrain_opponent(training, None)
    assert "convolution_backward.default" in operations.names
    assert unordered(operations.names) == set()


def test_the_list_finds_the_sampling_that_cuda_does_not_use() -> None:
    game = games.game("simclr", opponent=["generator-pair"])
    with Operations() as operations:
        games.play("simclr", game, 0)
    assert unordered(operations.names) == {"grid_sampler_2d_backward.default"}


@pytest.mark.parametrize("method", ["adco", "acssl"])
def test_a_deterministic_run_on_a_cpu_has_the_bits_of_any_other(
    method: str, tmp_path: Path
) -> None:
    weights = []
    for is_asked in (False, True):
        small = {"training": {"deterministic": is_asked, "epochs": 1}}
        training = games.training(method, tmp_path / str(is_asked), **small)
        run_training(training, training.folder)
        weights.append(games.state(training.game.method))
    assert games.changed(*weights) == set()


def switches() -> tuple[object, ...]:
    """All that a deterministic run changes."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch_deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("given", [None, ":16:8"])
def test_the_process_is_as_it_was_after_a_deterministic_run(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    if given is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given)
    before = switches()
    seen = []

    def work() -> None:
        with deterministic():
            seen.append(switches())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert seen == [(True, False, False, True, False, given or ":4096:8")]
    assert switches() == before


def test_only_a_run_that_asks_for_it_is_deterministic(tmp_path: Path) -> None:
    found = []
    for is_asked in (False, True):
        small = {"training": {"deterministic": is_asked, "max_steps": 1}}
        training = games.training("simclr", tmp_path / str(is_asked), **small)
        training.observe = lambda *_: found.append(torch.are_deterministic_algorithms_enabled())
        run_training(training, training.folder)
    assert set(found[: len(found) // 2]) == {False}
    assert set(found[len(found) // 2 :]) == {True}


def test_an_operation_without_an_order_is_one_line() -> None:
    line = r"deterministic=true: some_cuda has no .* another"
    with pytest.raises(ConfigError, match=line), deterministic():
        raise RuntimeError("some_cuda does not have a deterministic implementation, but you")
    with pytest.raises(RuntimeError, match=r"^other$"), deterministic():
        raise RuntimeError("other")
