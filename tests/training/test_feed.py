"""The feed: the same views wherever the images lie, and copies that wait as they must."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import games
import tiny
from sparring import distributed
from sparring.contract import toy
from sparring.data.dataset import Dataset, DataSettings, StoredDataset, open_dataset
from sparring.data.loader import Batch
from sparring.data.views.views import Views
from sparring.errors import ConfigError
from sparring.seeding import generator
from sparring.training import feed as module
from sparring.training.build import build
from sparring.training.checkpoint import read_checkpoint
from sparring.training.feed import DeviceCopies, FedStep, Feed, place_images
from sparring.training.loop import Training
from sparring.training.run_folder import RunFolder
from sparring.training.settings import RunConfig

CPU = torch.device("cpu")
SIZE = 16
KEPT = ["disk", "always", "memory", "device"]


def feed_config(cache: Path, store: str, **more: Any) -> RunConfig:
    """Configuration of a small run."""
    settings = {"store": store, "cache": str(cache), **more}
    return games.config("simclr", data=settings, training={"image_size": SIZE})


def fed(data: Any, cache: Path, store: str, **more: Any) -> Feed:
    """Feed of a run on the CPU."""
    config = feed_config(cache, store, **more)
    dataset = open_dataset(data, config.data, image_size=SIZE, is_training=True)
    recipes = config.method_settings.views.resolve(SIZE)
    return Feed(config, dataset, Views(recipes, image_size=SIZE), device=CPU)


def made(feed: Feed, epoch: int = 1, first: int = 0) -> list[list[Tensor]]:
    """Indices and views of an epoch's steps."""
    return [
        [step.indices, *(view.pixels for view in step.views(feed._views))]
        for step in feed.steps(epoch, first)
    ]


def are_equal(one: list[list[Tensor]], two: list[list[Tensor]]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 32 images."""
    return tiny.write_photos(tmp_path_factory.mktemp("photos"), per_class=16)


@pytest.mark.parametrize("store", ["disk", "memory", "never", "device"])
def test_arrays_give_the_same_views_wherever_they_are_kept(store: str, tmp_path: Path) -> None:
    usual = made(fed(toy.images(64), tmp_path, "auto"))
    assert len(usual) == 64 // toy.BATCH
    assert are_equal(made(fed(toy.images(64), tmp_path, store)), usual)


@pytest.mark.parametrize("store", KEPT)
def test_decoded_files_give_the_same_views_wherever_they_are_kept(
    store: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = made(fed(photos, tmp_path, "auto"))
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / store))
    assert are_equal(made(fed(photos, tmp_path, store)), usual)
    assert (tmp_path / store / "stores").exists() == (store != "memory")


def test_files_that_are_not_kept_come_in_the_same_order(photos: Path, tmp_path: Path) -> None:
    kept, files = (made(fed(photos, tmp_path, store)) for store in ("device", "never"))
    assert [step[0].tolist() for step in files] == [step[0].tolist() for step in kept]


@pytest.mark.parametrize("store", ["device", "memory", "never"])
def test_an_epoch_goes_on_in_its_middle_with_the_same_views(
    store: str, photos: Path, tmp_path: Path
) -> None:
    feed = fed(photos, tmp_path, store)
    whole = made(feed)
    assert len(whole) >= 2
    assert are_equal(made(feed, first=1), whole[1:])
    assert not are_equal(made(feed, epoch=2), whole)


@pytest.mark.parametrize("store", ["device", "auto", "never"])
def test_processes_share_the_images_and_views_of_one(
    store: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint = made(fed(photos, tmp_path, store))
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(made(fed(photos, tmp_path, store)))
    together = [
        [torch.cat(halves) for halves in zip(*steps, strict=True)]
        for steps in zip(*shares, strict=True)
    ]
    assert are_equal(together, joint)


def test_the_parameters_are_those_that_the_step_would_draw(tmp_path: Path) -> None:
    feed = fed(toy.images(64), tmp_path, "device")
    second = list(feed.steps(1))[1]
    number = feed.loader.steps_per_epoch + 1
    views = feed._views(second.images[0], generator=generator(0, "views", number))
    drawn = [view.pixels for view in second.views(feed._views)]
    assert all(torch.equal(a, b) for a, b in zip(views, drawn, strict=True))


@pytest.mark.parametrize("store", ["device", "never"])
def test_packed_parameters_make_the_same_views(store: str, photos: Path, tmp_path: Path) -> None:
    feed = fed(photos, tmp_path, store)
    packed = Feed(
        feed_config(tmp_path, store), feed._dataset, feed._views, device=CPU, is_packed=True
    )
    (step, *_) = packed.steps(0)
    assert isinstance(step.parameters, Tensor)
    assert are_equal(made(packed), made(feed))
    part, whole = step.first(3).views(feed._views), step.views(feed._views)
    assert all(torch.equal(a.pixels, b.pixels[:3]) for a, b in zip(part, whole, strict=True))


def test_images_of_a_device_are_gathered_there_and_held_once(tmp_path: Path) -> None:
    feed = fed(toy.images(64), tmp_path, "device")
    dataset = feed._dataset
    assert isinstance(dataset, StoredDataset)
    assert dataset._images is None
    assert next(feed.loader.batches(0)).images == []
    rows = torch.tensor([5, 3])
    usual = open_dataset(toy.images(64), DataSettings(), image_size=SIZE)
    assert torch.equal(dataset.images(rows), usual.images(rows))
    assert torch.equal(dataset.readable([63])[0], usual.images([63]))


def stored(num_images: int = 8) -> StoredDataset:
    dataset = open_dataset(toy.images(num_images), DataSettings(), image_size=SIZE)
    assert isinstance(dataset, StoredDataset)
    return dataset


def test_a_quarter_of_the_free_memory_is_given_to_images(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = stored(), stored()
    monkeypatch.setattr(module, "free_device_bytes", lambda device: 4 * small.num_bytes)
    place_images(small, "auto", CPU)
    assert small.resident is not None
    monkeypatch.setattr(module, "free_device_bytes", lambda device: 4 * small.num_bytes - 1)
    place_images(large, "auto", CPU)
    assert large.resident is None
    place_images(large, "disk", CPU)
    assert large.resident is None


def test_on_a_cpu_images_stay_where_they_are_unless_asked_for() -> None:
    dataset = stored()
    place_images(dataset, "auto", CPU)
    assert dataset.resident is None


def test_images_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_device_bytes", lambda device: 10)
    with pytest.raises(
        ConfigError, match=r"data\.store=device: the 8 .* are free on cpu; set data\.store=disk"
    ):
        place_images(stored(), "device", CPU)


def test_memory_that_does_not_suffice_for_decoding_is_told(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.data.dataset.available_bytes", lambda: 100)
    with pytest.raises(ConfigError, match=r"data\.store=memory needs .*data\.store=disk"):
        open_dataset(photos, DataSettings(store="memory"), image_size=SIZE)


def test_larger_squares_are_kept_for_views_and_cut_for_the_rest(
    photos: Path, tmp_path: Path
) -> None:
    feed = fed(photos, tmp_path, "device", stored_size=24)
    (step, *_) = feed.steps(0)
    assert step.images[0].shape[-2:] == (24, 24)
    assert [view.pixels.shape[-2:] for view in step.views(feed._views)] == [(SIZE, SIZE)] * 2
    assert feed._dataset.images([0, 1]).shape == (2, 3, SIZE, SIZE)
    with pytest.raises(ConfigError, match=r"data\.stored_size=8 is less than the views' 16 px"):
        fed(photos, tmp_path, "disk", stored_size=8)


def test_large_photos_that_are_kept_as_squares_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    tiny.write_photos(tmp_path, per_class=2)
    settings = DataSettings(store="memory")
    open_dataset(tmp_path, settings, image_size=7, is_training=True, report=told.append)
    (line,) = told
    assert line.startswith("images of about 16 px are kept as central squares of 7 px")


def test_opponents_that_need_images_take_them_at_the_size_of_the_views(
    photos: Path, tmp_path: Path
) -> None:
    data = {"store": "memory", "stored_size": 24}
    config = games.config("simclr", opponent=["generator-pair"], data=data)
    dataset = open_dataset(photos, config.data, image_size=SIZE, is_training=True)
    folder = RunFolder(tmp_path)
    with pytest.raises(ConfigError, match=r"needs images of the views' size; leave data\.stored"):
        Training(config=config, game=build(config), dataset=dataset, folder=folder)


def run(folder: Path, store: str, **training: Any) -> Training:
    """A run of two epochs of three steps that has made its steps."""
    settings = {
        "data": {"store": store},
        "encoder": {"backbone": "resnet18", "width": 0.0625},
        "training": {"epochs": 2, **training},
    }
    made_run = games.training("simclr", folder, count=48, **settings)
    made_run.run()
    return made_run


def test_a_run_on_resident_images_is_the_usual_run_and_resumes_within_an_epoch(
    tmp_path: Path,
) -> None:
    whole, stopped = run(tmp_path / "whole", "auto"), run(tmp_path / "cut", "device", max_steps=4)
    config = stopped.config.changed(training={"max_steps": None})
    again = Training(
        config=config,
        game=build(config),
        dataset=toy.dataset(48),
        folder=RunFolder(tmp_path / "cut"),
    )
    again.restore()
    again.run()
    assert read_checkpoint(again.folder.checkpoint)["step"] == 6
    states = [games.state(each.game.method) for each in (whole, again)]
    assert not games.changed(*states)


class Recorder:
    """Stands for CUDA's streams and events, and notes what is asked of them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.is_copying = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of CUDA's streams."""
        recorder = self

        class Stream:
            def __init__(self, *_: object) -> None:
                self.count = 0

            def record_event(self) -> str:
                self.count += 1
                recorder.notes.append(f"copied {self.count - 1}")
                return f"event {self.count - 1}"

            def wait_event(self, event: str) -> None:
                recorder.notes.append(f"waits for {event}")

        @contextmanager
        def entered(stream: Stream) -> Iterator[None]:
            recorder.is_copying = True
            yield
            recorder.is_copying = False

        def record_stream(tensor: Tensor, stream: Stream) -> None:
            assert not recorder.is_copying
            recorder.notes.append(f"keeps {int(tensor.flatten()[0])}")

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", entered)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
        monkeypatch.setattr(Tensor, "record_stream", record_stream)


def kept(number: int) -> list[str]:
    """Notes of a batch whose images and parameters are kept for the step's stream."""
    return [f"keeps {number}", f"keeps {10 + number}"]


def test_two_batches_are_copied_ahead_and_each_is_waited_for_before_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    recorder.install(monkeypatch)
    batches = (
        Batch(
            [torch.full((2, 3, 4, 4), number, dtype=torch.uint8)],
            torch.arange(2),
            torch.full((2, 2, 4), 10.0 + number),
        )
        for number in range(4)
    )
    for number, step in enumerate(DeviceCopies(CPU).streamed(batches)):
        assert isinstance(step, FedStep)
        recorder.notes.append(f"step {number}")
    assert recorder.notes == [
        *["copied 0", "copied 1", "copied 2", "waits for event 0", *kept(0), "step 0"],
        *["copied 3", "waits for event 1", *kept(1), "step 1"],
        *["waits for event 2", *kept(2), "step 2"],
        *["waits for event 3", *kept(3), "step 3"],
    ]


def test_subsets_of_a_set_keep_its_larger_squares(photos: Path, tmp_path: Path) -> None:
    from sparring.data.sources.dataset_subset import dataset_subset

    settings = DataSettings(store="disk", cache=str(tmp_path), stored_size=24)
    whole: Dataset = open_dataset(photos, settings, image_size=SIZE, is_training=True)
    part = dataset_subset(whole, np.array([3, 1]))
    assert part.kept_size == 24
    assert torch.equal(part.batch([1]), whole.batch([1]))
