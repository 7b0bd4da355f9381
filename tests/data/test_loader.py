"""Batches: each image once per epoch, shared among processes, resumable, and independent of the
number of workers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring import distributed
from sparring.data.dataset import Dataset, DataSettings, FileDataset, open_dataset
from sparring.data.decode import decode
from sparring.data.loader import Batch, Loader
from sparring.errors import ConfigError, DataError

NUMBERED = np.arange(23, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 4), np.uint8)


@dataclass(frozen=True)
class Crop:
    size: int | None = None
    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)


CROPS = (Crop(), Crop(size=8))


@pytest.fixture
def stored() -> Dataset:
    """23 images, each of the value of its index."""
    return open_dataset(NUMBERED, DataSettings(), image_size=4)


@pytest.fixture
def files(folder: Path) -> FileDataset:
    """Ten files."""
    return file_dataset(folder)


def file_dataset(folder: Path, workers: int = 2) -> FileDataset:
    settings = DataSettings(store="never", workers=workers)
    dataset = open_dataset(folder, settings, image_size=16, is_training=True)
    assert isinstance(dataset, FileDataset)
    return dataset


def all_batches(loader: Loader, epoch: int = 0, first_step: int = 0) -> list[Batch]:
    return list(loader.batches(epoch, first_step))


def are_equal(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a.indices, b.indices)
        and len(a.images) == len(b.images)
        and all(torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))
        for a, b in zip(one, two, strict=True)
    )


def test_an_epoch_shows_every_image_at_most_once(stored: Dataset) -> None:
    loader = Loader(stored, batch_size=5, seed=0)
    seen = torch.cat([batch.indices for batch in all_batches(loader)]).tolist()
    assert loader.steps_per_epoch == 4
    assert len(seen) == len(set(seen)) == 20
    assert set(seen) <= set(range(23))


def test_images_belong_to_their_indices(stored: Dataset) -> None:
    for batch in Loader(stored, batch_size=5, seed=0).batches(0):
        (images,) = batch.images
        assert images.dtype == torch.uint8
        assert images.shape == (5, 3, 4, 4)
        assert (images == batch.indices.byte()[:, None, None, None]).all()


def test_the_order_depends_on_seed_and_epoch(stored: Dataset) -> None:
    orders = [
        torch.cat(
            [batch.indices for batch in Loader(stored, batch_size=5, seed=seed).batches(epoch)]
        )
        for seed, epoch in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[3])


@pytest.mark.parametrize("kind", ["stored", "files"])
def test_a_later_first_step_continues_with_the_same_batches(
    kind: str, request: pytest.FixtureRequest
) -> None:
    dataset = request.getfixturevalue(kind)
    whole = all_batches(Loader(dataset, batch_size=2, seed=3, crops=CROPS), epoch=4)
    rest = all_batches(Loader(dataset, batch_size=2, seed=3, crops=CROPS), epoch=4, first_step=2)
    assert are_equal(rest, whole[2:])
    assert not are_equal(rest, whole[: len(rest)])


@pytest.mark.parametrize("kind", ["stored", "files"])
def test_processes_share_the_joint_batch(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = request.getfixturevalue(kind)
    joint = all_batches(Loader(dataset, batch_size=4, seed=0, crops=CROPS))
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(all_batches(Loader(dataset, batch_size=4, seed=0, crops=CROPS)))
    together = [
        Batch(
            [torch.cat(halves) for halves in zip(a.images, b.images, strict=True)],
            torch.cat([a.indices, b.indices]),
        )
        for a, b in zip(*shares, strict=True)
    ]
    assert are_equal(together, joint)


def test_a_batch_larger_than_the_set_names_both(stored: Dataset) -> None:
    with pytest.raises(
        ConfigError, match="batch_size 24 is larger than the data set of 23 images"
    ) as caught:
        Loader(stored, batch_size=24, seed=0)
    assert caught.value.exit_code == 2


def test_a_batch_must_divide_among_the_processes(
    stored: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "num_processes", lambda: 3)
    with pytest.raises(ConfigError, match="batch_size 4 does not divide among 3 processes"):
        Loader(stored, batch_size=4, seed=0)


def test_files_give_one_tensor_per_view_at_its_own_size(files: FileDataset) -> None:
    for batch in Loader(files, batch_size=5, seed=0, crops=CROPS).batches(0):
        assert [tuple(images.shape) for images in batch.images] == [(5, 3, 16, 16), (5, 3, 8, 8)]


def test_file_batches_do_not_depend_on_the_number_of_workers(folder: Path) -> None:
    one, many = (
        all_batches(Loader(file_dataset(folder, n), batch_size=5, seed=0, crops=CROPS))
        for n in (1, 4)
    )
    assert are_equal(one, many)


def test_crops_differ_between_views_and_epochs(files: FileDataset) -> None:
    loader = Loader(files, batch_size=10, seed=0, crops=(Crop(), Crop()))
    first, second = (all_batches(loader, epoch)[0] for epoch in (0, 1))
    by_index = [batch.indices.argsort() for batch in (first, second)]
    assert not torch.equal(first.images[0], first.images[1])
    assert not torch.equal(first.images[0][by_index[0]], second.images[0][by_index[1]])


def test_crops_come_from_the_whole_image_not_its_central_square(tmp_path: Path) -> None:
    """A wide image whose left end alone is white: crops must reach it, with its pixels at full
    sharpness."""
    values = np.zeros((16, 160, 3), np.uint8)
    values[:, :16] = 255
    for i in range(64):
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    crop = Crop(crop_scale=(0.1, 0.1), crop_ratio=(1.0, 1.0))
    (batch,) = all_batches(
        Loader(file_dataset(tmp_path), batch_size=64, seed=0, crops=[crop, crop])
    )
    brightness = batch.images[0].float().mean(dim=(1, 2, 3))
    assert brightness.max() > 100
    assert (brightness == 0).any()


def test_a_crop_of_the_whole_image_is_the_image(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    picture(16, 16).save(tmp_path / "x.png")
    crop = Crop(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))
    (batch,) = all_batches(Loader(file_dataset(tmp_path), batch_size=1, seed=0, crops=[crop]))
    assert torch.equal(batch.images[0][0], decode((tmp_path / "x.png").read_bytes()))


def test_files_without_crops_give_central_squares(files: FileDataset) -> None:
    (batch, _) = all_batches(Loader(files, batch_size=5, seed=0))
    assert len(batch.images) == 1
    assert torch.equal(batch.images[0], files.images(batch.indices))


def test_a_bad_file_is_replaced_and_the_batch_keeps_its_size(folder: Path) -> None:
    (folder / "cats" / "1.png").write_bytes(b"")
    dataset = file_dataset(folder)
    (batch,) = all_batches(Loader(dataset, batch_size=10, seed=0, crops=CROPS))
    assert sorted(batch.indices.tolist()) == [0, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [len(images) for images in batch.images] == [10, 10]
    assert dataset.quarantine == (("cats/1.png", "empty file"),)


def test_a_bad_file_is_replaced_without_crops_too(folder: Path) -> None:
    (folder / "cats" / "1.png").write_bytes(b"")
    dataset = file_dataset(folder)
    (batch,) = all_batches(Loader(dataset, batch_size=10, seed=0))
    assert sorted(batch.indices.tolist()) == [0, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    assert torch.equal(batch.images[0], dataset.images(batch.indices))


def test_resuming_is_exact_though_bad_files_are_found_anew(folder: Path) -> None:
    for name in ("cats/1.png", "cats/2.png", "dogs/3.png"):
        (folder / name).write_bytes(b"")
    whole = all_batches(Loader(file_dataset(folder), batch_size=2, seed=0, crops=CROPS))
    rest = all_batches(
        Loader(file_dataset(folder), batch_size=2, seed=0, crops=CROPS), first_step=2
    )
    assert are_equal(rest, whole[2:])


def test_too_many_bad_files_stop_the_epoch(folder: Path) -> None:
    dataset = file_dataset(folder)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    for _ in range(2):  # asked again, it stops again instead of looking for a good one for ever
        with pytest.raises(DataError, match=r"of 10 images cannot be read"):
            all_batches(Loader(dataset, batch_size=5, seed=0, crops=CROPS))


def test_batches_are_fetched_ahead_but_not_without_bound(
    stored: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    monkeypatch.setattr(
        stored,
        "batch",
        lambda rows: fetched.append(rows) or torch.zeros(len(rows), 3, 4, 4).byte(),
    )
    batches = Loader(stored, batch_size=1, seed=0).batches(0)
    next(batches)
    deadline = time.monotonic() + 5
    while len(fetched) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(fetched) == 3
    batches.close()  # type: ignore[attr-defined]


def test_leaving_an_epoch_early_stops_its_threads(files: FileDataset) -> None:
    batches = Loader(files, batch_size=2, seed=0, crops=CROPS).batches(0)
    list(islice(batches, 1))
    batches.close()  # type: ignore[attr-defined]
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("sparring-loader")
    ]


@pytest.mark.shared
def test_photographs_of_the_shared_sets_are_cropped(shared_data: Path) -> None:
    dataset = open_dataset(
        shared_data / "bccd-320x240-val.parquet", DataSettings(store="never"), image_size=224
    )
    batch = next(Loader(dataset, batch_size=8, seed=0, crops=CROPS).batches(0))
    assert batch.images[0].shape == (8, 3, 224, 224)
    assert batch.images[0].float().std() > 10


def test_a_file_is_read_once_for_all_views(
    files: FileDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = files._source.read
    monkeypatch.setattr(files._source, "read", lambda index: reads.append(index) or read(index))
    all_batches(Loader(files, batch_size=10, seed=0, crops=CROPS))
    assert sorted(reads) == list(range(10))
