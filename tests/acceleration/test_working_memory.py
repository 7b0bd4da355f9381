"""Kept memory is the same for one purpose and never shared between purposes, types or threads."""

import threading

import pytest
import torch
from torch import Tensor

from sparring.acceleration.working_memory import scratch

LIKE = torch.zeros(1)


def test_a_purpose_gets_the_same_memory_in_whatever_shape_fits() -> None:
    first = scratch("a test", 4, 6, like=LIKE)
    assert first.shape == (4, 6)
    assert scratch("a test", 3, 5, like=LIKE).data_ptr() == first.data_ptr()
    assert scratch("a test", 40, 60, like=LIKE).shape == (40, 60)
    assert scratch("a test", 0, 5, like=LIKE).shape == (0, 5)


def test_other_purposes_and_types_get_other_memory() -> None:
    first = scratch("a test", 4, 6, like=LIKE).fill_(1)
    scratch("another test", 4, 6, like=LIKE).fill_(2)
    assert scratch("a test", 4, 6, like=LIKE.double()).dtype == torch.float64
    assert (first == 1).all()


def test_another_thread_writes_elsewhere() -> None:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(scratch("a test", 4, 6, like=LIKE)))
    thread.start()
    thread.join()
    assert found[0].data_ptr() != scratch("a test", 4, 6, like=LIKE).data_ptr()


def test_it_takes_no_part_in_differentiation() -> None:
    assert not scratch("a test", 2, 2, like=torch.zeros(1, requires_grad=True)).requires_grad


def test_without_fast_paths_memory_is_new_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARRING_ACCELERATION", "off")
    first, second = (scratch("a test", 4, 6, like=LIKE) for _ in range(2))
    assert first.shape == second.shape == (4, 6)
    assert first.data_ptr() != second.data_ptr()
