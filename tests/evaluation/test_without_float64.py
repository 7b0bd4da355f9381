"""A device without float64, such as MPS: whatever is computed from its tensors has other types,
until it has been brought to the CPU."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import games
from sparring.contract.toy import Subject
from sparring.evaluation.frozen.transfer_scores import accuracies_by_metric
from sparring.measures.accuracy import mean_per_class, top_1
from sparring.measures.average_precision import area_average_precision
from sparring.measures.geometry import uniformity
from sparring.measures.knn import knn_accuracy
from sparring.seeding import generator


class Device(TorchDispatchMode):
    """A pretended device: its tensors, and what is computed from them, refuse to be float64."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self._own = list(tensors)  # held, so that no other tensor gets the name of one

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = tree_leaves((args, kwargs or {}))
        if any(part is own for part in given for own in self._own):
            for part in tree_leaves(result):
                if isinstance(part, Tensor):
                    assert part.dtype != torch.float64, f"{func} makes float64 on the device"
                    self._own.append(part)
        return result

    def leave(self, tensor: Tensor) -> Tensor:
        """The tensor on the CPU."""
        with torch.utils._python_dispatch._disable_current_modes():
            return tensor.detach().clone()


@contextmanager
def on_a_device(*tensors: Tensor) -> Iterator[None]:
    """Context in which the tensors are on a device without float64."""
    device = Device(list(tensors))
    with pytest.MonkeyPatch.context() as patch, device:
        patch.setattr(Tensor, "cpu", lambda tensor: device.leave(tensor))
        yield


ROWS = torch.randn(12, 4, generator=generator(0, "rows"))
CLASSES = torch.arange(12) % 3
MEASURES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "top-1": lambda rows, classes: top_1(rows.argmax(dim=1), classes),
    "mean-per-class": lambda rows, classes: mean_per_class(rows.argmax(dim=1), classes),
    "by metric": lambda rows, classes: accuracies_by_metric(rows.argmax(dim=1) == classes, classes),
    "average precision": lambda rows, classes: area_average_precision(rows[:, 0], classes == 1),
    "uniformity": lambda rows, classes: uniformity(rows),
    "kNN": lambda rows, classes: knn_accuracy(rows, classes, rows, classes, num_neighbors=3),
}


@pytest.mark.parametrize("measure", list(MEASURES))
def test_a_measure_needs_no_float64_on_the_device(measure: str) -> None:
    rows, classes = ROWS.clone(), CLASSES.clone()
    wanted = MEASURES[measure](rows, classes)
    with on_a_device(rows, classes):
        assert MEASURES[measure](rows, classes) == wanted


def test_float64_on_the_device_is_noticed() -> None:
    rows = ROWS.clone()
    with pytest.raises(AssertionError, match=r"makes float64"), on_a_device(rows):
        (rows * 2).double()


@pytest.mark.parametrize("method", games.METHODS)
def test_a_step_needs_no_float64_on_the_device(method: str) -> None:
    subject = Subject(method)
    game, views, context = subject.game(), subject.views(), subject.context()
    for player in game.players.values():
        player.prepare(context.position)
    pixels = [view.pixels for view in views]
    with on_a_device(*game.method.parameters(), *game.method.buffers(), *pixels):
        game.method.step(views, game.players, context)
