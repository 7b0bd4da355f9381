"""Evaluation on a device: what is read back per step, and that nothing else changes.

The paths of other devices are taken on CPU tensors here; that their copies do not make the host
wait can only be seen on a GPU.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import coloured, encoder, evaluated_encoder
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparring.data.dataset import DataSettings, StoredDataset, open_dataset
from sparring.errors import TrainingError
from sparring.evaluation import device_work
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.device_work import DeviceImages, Losses, made_ahead
from sparring.evaluation.finetuning.finetuning import FineTuningSettings, fine_tuned
from sparring.evaluation.finetuning.tuning_batches import tuning_batches
from sparring.evaluation.frozen.epoch_probe import EpochRecipe, probe_accuracies
from sparring.evaluation.robustness.attacks import ATTACKS, Ball, cross_entropy_loss
from sparring.evaluation.segmentation.segmentation import pixel_loss
from sparring.evaluation.segmentation.segmenters import HeadShape, fcn_head, upsampled

READS = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal.", "unique", "_unique2")
"""Operations whose result the host waits for."""
FAST = torch.device("meta")
"""Any device other than the CPU, for choices that are made by its name alone."""


class HostReads(TorchDispatchMode):
    """Operations that read from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = str(func).removeprefix("aten.")
        has_mask = name.startswith("index.") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name.startswith(READS) or has_mask:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def stored(per_class: int = 20) -> tuple[StoredDataset, Tensor]:
    """Tiny images and their classes."""
    images, labels = coloured(per_class)
    dataset = open_dataset((images, labels), DataSettings(), image_size=16)
    assert isinstance(dataset, StoredDataset)
    return dataset, torch.from_numpy(labels)


def reads_of(steps: int, work: Callable[[int], object]) -> int:
    """Reads of some steps more."""
    counts = []
    for number in (2, 2 + steps):
        with HostReads() as reads:
            work(number)
        counts.append(len(reads.names))
    return counts[1] - counts[0]


def fine_tune(steps: int) -> object:
    """Fine-tuning on views that are already drawn, since draws are made on the CPU in any case."""
    dataset, labels = stored()
    settings = FineTuningSettings(steps=steps, batch_size=16)
    with pytest.MonkeyPatch.context() as patch:
        view = torch.rand(16, 3, 16, 16), labels[:16]
        patch.setattr(
            "sparring.evaluation.finetuning.finetuning.tuning_batches",
            lambda *_, **__: iter([view] * steps),
        )
        return fine_tuned(
            deepcopy(encoder()).requires_grad_(True),
            dataset,
            torch.arange(60),
            labels,
            num_classes=3,
            settings=settings,
            seed=0,
        )


def probe_epochs(steps: int) -> object:
    """A linear probe on features computed once."""
    data = EvaluationData(coloured(20), image_size=16)
    recipe = EpochRecipe(epochs=steps, crop_scale=None, learning_rate=0.1)
    return probe_accuracies(evaluated_encoder(), data, recipe)


@pytest.mark.parametrize("work", [fine_tune, probe_epochs])
def test_a_training_step_reads_nothing_from_the_device(work: Callable[[int], object]) -> None:
    assert reads_of(5, work) == 0


def test_a_segmentation_loss_reads_nothing_from_the_device() -> None:
    shape = HeadShape(channels=4, width=8, num_classes=3, dropout=0.1, output_stride=8)
    head, masks = fcn_head(shape), torch.randint(-1, 3, (2, 16, 16))
    with HostReads() as reads:
        logits = upsampled(head(torch.rand(2, 4, 2, 2)), masks.shape[1:])
        torch.autograd.backward(pixel_loss(logits, masks, ignore_index=-1))
    assert reads.names == []


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_reads_nothing_from_the_device(name: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images, labels = torch.rand(5, 3, 4, 4), torch.arange(5) % 3
    with HostReads() as reads:
        ATTACKS[name](
            cross_entropy_loss(network, labels), Ball(images, 0.1), torch.rand(5, 3, 4, 4), 10
        )
    assert reads.names == []


def test_reads_are_noticed() -> None:
    values = torch.arange(3.0)
    with HostReads() as reads:
        float(values[0]), values[values > 1], values.nonzero()
    assert len(reads.names) == 3


def test_losses_are_looked_at_seldom_and_name_the_first_step_that_is_not_finite() -> None:
    losses = Losses(lambda step, loss: f"{loss} at {step}", look_steps=4)
    with HostReads() as reads:
        for _ in range(3):
            losses.add(torch.tensor(0.5))
    assert reads.names == []
    losses.add(torch.tensor(0.25))
    assert losses.values() == [0.5, 0.5, 0.5, 0.25]
    for value in (1.0, float("inf"), float("nan")):
        losses.add(torch.tensor(value))
    with pytest.raises(TrainingError, match=r"^inf at 5$"):
        losses.values()


def test_views_of_several_steps_at_once_are_those_of_each() -> None:
    dataset, labels = stored()
    images = DeviceImages(dataset, torch.device("cpu"), stays=False)
    one, three = (
        list(
            tuning_batches(
                images,
                torch.arange(60),
                labels,
                steps=7,
                batch_size=16,
                crop_scale=(0.2, 1.0),
                seed=3,
                together=together,
            )
        )
        for together in (None, 3)
    )
    assert len(one) == len(three) == 7
    for (view, classes), (other, same) in zip(one, three, strict=True):
        assert torch.equal(view, other)
        assert torch.equal(classes, same)
    assert not torch.equal(one[0][0], one[1][0])


def test_images_that_stay_on_a_device_are_those_of_the_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, _ = stored()
    streamed = DeviceImages(dataset, torch.device("cpu"), stays=True)
    held = DeviceImages(dataset, torch.device("cpu"), stays=True)
    monkeypatch.setattr(device_work, "_ROWS_AT_ONCE", 16)
    held._resident = held._brought()
    assert streamed._resident is None
    assert held._resident is not None
    monkeypatch.setattr(dataset, "images", None)  # is not asked again
    rows = torch.tensor([5, 5, 59, 0])
    batches = list(held.batches([rows, rows[:1]]))
    monkeypatch.undo()
    for pixels, wanted in zip(batches, [rows, rows[:1]], strict=True):
        assert torch.equal(pixels, dataset.images(wanted.numpy()))
        assert torch.equal(pixels, streamed(wanted))


def test_images_stay_where_they_were_if_they_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, _ = stored()
    monkeypatch.setattr(device_work, "_room", lambda _: 60 * 3 * 16 * 16 - 1)
    assert DeviceImages(dataset, torch.device("cpu"), stays=True)._brought() is None


def test_work_made_ahead_comes_in_order_and_errors_reach_the_caller() -> None:
    assert list(made_ahead(lambda number: number**2, 5, device=FAST)) == [0, 1, 4, 9, 16]
    assert list(made_ahead(lambda number: number**2, 0, device=FAST)) == []
    with pytest.raises(ZeroDivisionError):
        list(made_ahead(lambda number: 1 // (3 - number), 5, device=FAST))


def test_work_made_ahead_is_two_pieces_ahead_and_none_on_a_cpu() -> None:
    for device, ahead in ((FAST, 2), (torch.device("cpu"), 0)):
        asked: list[int] = []
        found = made_ahead(asked.append, 9, device=device)
        next(found)
        assert asked[0] == 0
        assert len(asked) <= 1 + ahead
        assert np.all(np.diff(asked) == 1)
        found.close()  # type: ignore[attr-defined]
