"""Batches of a stream: the images of the set, each once an epoch, on one process and on two."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from stream_ranks import loader, opened, shades, shades_of_a_rank

from hub_sets import png, shades_of, write_parquet, write_tars
from ranks import on_ranks
from sparring.data.data_settings import DataSettings
from sparring.data.dataset import FileDataset, open_dataset
from sparring.data.loader import Loader
from sparring.data.streams.stream_loader import StreamLoader
from sparring.data.streams.streamed_dataset import monitored
from sparring.data.views.view_settings import ViewSettings
from sparring.errors import ConfigError, DataError

CROPS = (ViewSettings(size=8), ViewSettings(size=8))


def test_an_epoch_has_the_images_of_the_set_each_once(tmp_path: Path) -> None:
    batches = loader(opened(write_tars(tmp_path, (5, 7)), 12))
    first = list(batches.batches(0))
    assert sorted(shades(first)) == list(range(12))
    assert shades(list(batches.batches(0))) == shades(first)
    assert shades(list(batches.batches(1))) != shades(first)
    numbers = torch.cat([batch.indices for batch in first]).tolist()
    assert len(set(numbers)) == 12
    named = dict(zip(numbers, shades(first), strict=True))
    again = torch.cat([batch.indices for batch in batches.batches(1)]).tolist()
    assert [named[n] for n in again] == shades(list(batches.batches(1)))


def test_squares_are_those_of_random_access(tmp_path: Path) -> None:
    pattern = write_tars(tmp_path / "tars", (6,))
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    images = open_dataset(str(tmp_path), DataSettings(), image_size=16).images(np.arange(6))
    found = torch.cat([batch.images[0] for batch in loader(opened(pattern, 6), 2).batches(0)])
    assert found[np.argsort(shades_of(found))].equal(images)


def test_crops_are_drawn_as_from_files(tmp_path: Path) -> None:
    """The number of a stream's image stands where the index of a file does; in a stream of one
    shard they are equal."""
    pattern = write_tars(tmp_path / "tars", (6,))
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    files = open_dataset(
        str(tmp_path), DataSettings(store="never"), image_size=16, is_training=True
    )
    assert isinstance(files, FileDataset)
    of_files = crops_of(Loader(files, batch_size=6, seed=0, crops=CROPS))
    of_stream = crops_of(loader(opened(pattern, 6, store="never"), 6, crops=CROPS))
    assert of_files.keys() == of_stream.keys()
    assert all(one.equal(of_stream[key]) for key, one in of_files.items())


def crops_of(batches: Loader | StreamLoader) -> dict[tuple[int, int], torch.Tensor]:
    """Crop of each image and view."""
    (batch,) = batches.batches(0)
    return {
        (int(index), view): images[row]
        for row, index in enumerate(batch.indices)
        for view, images in enumerate(batch.images)
    }


def test_an_epoch_goes_on_from_any_step(tmp_path: Path) -> None:
    lines: list[str] = []
    batches = loader(opened(write_tars(tmp_path, (5, 7)), 12, lines))
    whole, rest = list(batches.batches(3)), list(batches.batches(3, 2))
    assert shades(rest) == shades(whole)[8:]
    assert any("first 8 images of epoch 3 are read again, without decoding" in one for one in lines)


def test_nothing_is_decoded_before_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(write_tars(tmp_path, (8,)), 8)
    decoded: list[int] = []
    decode = dataset.decoded
    monkeypatch.setattr(
        dataset, "decoded", lambda record: (decoded.append(record.row), decode(record))[1]
    )
    assert len(list(loader(dataset).batches(0, 1))) == 1
    assert len(decoded) == 4


def test_a_stream_shorter_than_the_epoch_begins_again_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    batches = loader(opened(write_tars(tmp_path, (6,)), 12, lines))
    found = shades(list(batches.batches(0)))
    assert sorted(found[:6]) == sorted(found[6:]) == list(range(6))
    assert found == shades(list(batches.batches(0)))
    told = [line for line in lines if "ended after 6 images, and an epoch has 12" in line]
    assert len(told) == 1


def test_a_stream_longer_than_the_epoch_is_cut(tmp_path: Path) -> None:
    lines: list[str] = []
    batches = loader(opened(write_tars(tmp_path, (12,)), 8, lines))
    first, second = (shades(list(batches.batches(epoch))) for epoch in range(2))
    assert len(set(first)) == len(set(second)) == 8
    assert not any("ended" in line for line in lines)


def test_a_limit_uses_the_first_images_in_every_epoch(tmp_path: Path) -> None:
    dataset = opened(write_tars(tmp_path, (4, 8)), 12, limit=6)
    assert len(dataset) == 6
    for epoch in range(2):
        found = shades(list(loader(dataset, 3).batches(epoch)))
        assert sorted(found) == list(range(6))


def test_unreadable_images_are_counted_and_another_stands_in_their_place(tmp_path: Path) -> None:
    dataset = opened(write_tars(tmp_path, (8,), damaged=(2, 5)), 8)
    found = list(loader(dataset).batches(0))
    assert {key for key, _ in dataset.quarantine} == {"000.tar/000002", "000.tar/000005"}
    assert set(shades(found)) == {0, 1, 3, 4, 6, 7}
    for batch in found:
        assert len(batch.indices) == 4
        assert [int(n) for n in batch.indices] == shades_of(batch.images[0])


def test_too_many_unreadable_images_stop_the_run(tmp_path: Path) -> None:
    dataset = opened(write_tars(tmp_path, (8,), damaged=(2, 5)), 8, max_bad_share=0.1)
    with pytest.raises(DataError, match=r"of 8 images cannot be read, such as 000\.tar/00000"):
        list(loader(dataset).batches(0))


def test_no_image_is_found_by_its_number(tmp_path: Path) -> None:
    dataset = opened(write_tars(tmp_path, (4, 4)), 8)
    assert dataset.labels is None
    with pytest.raises(ConfigError, match="is read in order, and the method or its opponent"):
        dataset.images([0])
    first = monitored(dataset, 6)
    images, rows = first.readable(range(6))
    assert shades_of(images) == [0, 1, 2, 4, 5, 6]
    assert first.labels is not None
    assert first.labels[rows].tolist() == [0, 1, 0, 0, 1, 0]


def test_an_iterable_dataset_is_a_stream() -> None:
    def examples(shards: list[int]) -> Any:
        for shard in shards:
            for row in range(4):
                yield {"image": np.full((16, 16, 3), shard * 4 + row, np.uint8), "label": row}

    data = datasets.IterableDataset.from_generator(examples, gen_kwargs={"shards": [0, 1, 2]})
    dataset = opened(data, 12)
    assert dataset.stream.num_shards == 3
    found = [int(image.max()) for batch in loader(dataset).batches(0) for image in batch.images[0]]
    assert sorted(found) == list(range(12))


def test_what_a_stream_cannot_do_is_said_before_the_start(tmp_path: Path) -> None:
    lines: list[str] = []
    pattern = write_tars(tmp_path, (4,))
    opened(pattern, 4, lines)
    assert "is read in order: 4 images an epoch, in 1 shard, shuffled through 4 in mem" in lines[0]
    assert lines[1].startswith("no image is kept or found by its number")
    with pytest.raises(ConfigError, match="does not say how many images it has"):
        opened(pattern, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.store=disk keeps images"):
        opened(pattern, 4, store="disk")
    with pytest.raises(ConfigError, match="num_images=4 is for streaming=true"):
        DataSettings.build({"num_images": 4})


def test_two_processes_share_an_epoch_without_overlap(tmp_path: Path) -> None:
    write_tars(tmp_path / "two", (6, 6))
    write_tars(tmp_path / "three", (3, 4, 5))
    alone = loader(opened(str(tmp_path / "three" / "{000..002}.tar"), 12), 4)
    joint = [shades([batch]) for batch in alone.batches(0)]
    first, second = on_ranks(shades_of_a_rank, 2, tmp_path)
    for name in ("divided", "whole"):
        used = [shade for rank in (first, second) for batch in rank[name] for shade in batch]
        assert sorted(used) == list(range(12)), name
        for rank in (first, second):
            assert rank[f"{name} rest"] == rank[name][1:]
    assert [a + b for a, b in zip(first["whole"], second["whole"], strict=True)] == joint
    assert "the shards are divided among 2 processes" in first["divided line"]
    assert "every process reads all shards" in first["whole line"]


@pytest.mark.usefixtures("hub_cache")
def test_a_set_of_the_hub_and_tar_shards_give_the_same_epoch(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", {"train": (5, 3)})
    of_hub = loader(opened(f"hf:{folder}", 8))
    of_tars = loader(opened(write_tars(tmp_path / "tars", (5, 3)), 8))
    for one, other in zip(of_hub.batches(0), of_tars.batches(0), strict=True):
        assert one.images[0].equal(other.images[0])
        assert one.indices.equal(other.indices)
