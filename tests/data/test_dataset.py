"""Data sets: when images are stored, how bad files are handled, and that images, keys and labels
match."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.data import data_settings
from sparring.data import dataset as module
from sparring.data.dataset import Dataset, DataSettings, FileDataset, StoredDataset, open_dataset
from sparring.data.decode import centre_square, decode
from sparring.data.sources.image_source import Source
from sparring.errors import ConfigError, DataError

Picture = Callable[..., Image.Image]
STORED, FILES = DataSettings(store="always"), DataSettings(store="never")


def break_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("side", "image_size", "kind"),
    [
        (96, 32, StoredDataset),
        (97, 32, FileDataset),
        (128, 64, StoredDataset),
        (129, 64, FileDataset),
    ],
)
def test_small_images_are_stored_and_large_ones_are_not(
    tmp_path: Path, picture: Picture, side: int, image_size: int, kind: type[Dataset]
) -> None:
    picture(side // 2, side).save(tmp_path / "x.png")
    assert isinstance(open_dataset(tmp_path, DataSettings(), image_size=image_size), kind)


def test_no_large_store_is_made_unasked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_settings, "STORE_BYTES", 10 * 3 * 16 * 16 - 1)
    assert isinstance(open_dataset(folder, DataSettings(), image_size=16), FileDataset)
    assert isinstance(open_dataset(folder, STORED, image_size=16), StoredDataset)


@pytest.mark.parametrize("settings", [STORED, FILES], ids=["store", "files"])
def test_images_are_central_squares_in_the_order_asked(
    folder: Path, settings: DataSettings
) -> None:
    dataset = open_dataset(folder, settings, image_size=16)
    images = dataset.images(torch.tensor([7, 0, 7]))
    paths = [folder / "dogs" / "2.png", folder / "cats" / "0.png", folder / "dogs" / "2.png"]
    assert torch.equal(
        images, torch.stack([centre_square(decode(path.read_bytes()), 16) for path in paths])
    )


@pytest.mark.parametrize("settings", [STORED, FILES], ids=["store", "files"])
def test_keys_labels_and_class_names_are_those_of_the_source(
    folder: Path, settings: DataSettings
) -> None:
    dataset = open_dataset(folder, settings, image_size=16)
    assert (len(dataset), dataset.size, dataset.class_names) == (10, 16, ("cats", "dogs"))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0] * 5 + [1] * 5
    assert dataset.keys[6] == "dogs/1.png"
    assert list(dataset.keys[4:6]) == ["cats/4.png", "dogs/0.png"]
    assert len(list(dataset.keys)) == 10


def test_a_store_closes_the_gaps_of_bad_files(folder: Path) -> None:
    break_files(folder, "cats/1.png", "dogs/0.png")
    dataset = open_dataset(folder, STORED, image_size=16)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0] * 4 + [1] * 4
    assert dataset.keys[4] == "dogs/1.png"
    assert dataset.quarantine == (("cats/1.png", "empty file"), ("dogs/0.png", "empty file"))
    expected = centre_square(decode((folder / "dogs" / "1.png").read_bytes()), 16)
    assert torch.equal(dataset.images([4])[0], expected)


def test_training_replaces_unreadable_files_by_the_next_good_one(folder: Path) -> None:
    break_files(folder, "cats/1.png", "cats/2.png", "dogs/4.png")
    dataset = open_dataset(folder, FILES, image_size=16, is_training=True)
    assert isinstance(dataset, FileDataset)
    assert [dataset.image(i)[1] for i in (0, 1, 2, 3, 9)] == [0, 3, 3, 3, 0]


def test_training_quarantines_unreadable_files_when_it_finds_them(folder: Path) -> None:
    break_files(folder, "cats/1.png", "dogs/4.png")
    dataset = open_dataset(folder, FILES, image_size=16, is_training=True)
    assert dataset.quarantine == ()
    found, rows = dataset.readable([9, 8, 1, 0])
    assert rows.tolist() == [8, 0]
    assert torch.equal(found, dataset.images([8, 0]))
    assert dataset.quarantine == (("cats/1.png", "empty file"), ("dogs/4.png", "empty file"))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, -1, 0, 0, 0, 1, 1, 1, 1, -1]


def test_an_image_never_stands_in_for_another_outside_batches(folder: Path) -> None:
    break_files(folder, "cats/1.png")
    dataset = open_dataset(folder, FILES, image_size=16, is_training=True)
    with pytest.raises(DataError, match=r"cats/1.png cannot be read \(empty file\)"):
        dataset.images([0, 1])


WAYS = {
    "store": STORED,
    "large files": DataSettings(),
    "large files without a store": FILES,
    "no room for a store": DataSettings(cache="/dev/null/nowhere"),
}


@pytest.mark.parametrize("way", WAYS)
def test_unreadable_images_do_not_exist_for_evaluation(
    folder: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "no room for a store":
        monkeypatch.delenv("SPARRING_CACHE", raising=False)
    break_files(folder, "cats/1.png", "dogs/0.png")
    (folder / "dogs" / "1.png").write_bytes((folder / "dogs" / "1.png").read_bytes()[:-200])
    lines: list[str] = []
    monkeypatch.setattr(data_settings, "SMALL_PIXELS", 8)
    dataset = open_dataset(folder, WAYS[way], image_size=16, report=lines.append)
    kept = ["cats/0.png", *(f"cats/{i}.png" for i in (2, 3, 4))]
    kept += [f"dogs/{i}.png" for i in (2, 3, 4)]
    assert list(dataset.keys) == kept
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0] * 4 + [1] * 3
    assert [key for key, _ in dataset.quarantine] == ["cats/1.png", "dogs/0.png", "dogs/1.png"]
    expected = [centre_square(decode((folder / key).read_bytes()), 16) for key in kept]
    assert torch.equal(dataset.images(range(7)), torch.stack(expected))
    assert lines == [
        "3 of 10 images cannot be read and are left out, such as cats/1.png (empty file)"
    ]


def test_evaluation_of_large_files_decodes_each_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_settings, "SMALL_PIXELS", 8)
    dataset = open_dataset(folder, DataSettings(), image_size=16)
    assert isinstance(dataset, FileDataset)
    for path in folder.rglob("*.png"):
        path.unlink()
    assert dataset.images(range(10)).shape == (10, 3, 16, 16)


def test_a_file_that_vanishes_during_evaluation_is_named(folder: Path) -> None:
    dataset = open_dataset(folder, FILES, image_size=16)
    (folder / "cats" / "2.png").unlink()
    with pytest.raises(DataError, match=r"cats/2.png cannot be read \(No such file"):
        dataset.images(range(10))


def test_a_listed_file_that_is_missing_is_quarantined(folder: Path) -> None:
    (folder / "list.txt").write_text("cats/0.png\ncats/77.png\n")
    dataset = open_dataset(folder / "list.txt", STORED, image_size=16)
    assert dataset.quarantine == (("cats/77.png", "No such file or directory"),)


@pytest.mark.parametrize("store", ["auto", "always", "never"])
def test_a_folder_of_garbage_is_refused_at_once(tmp_path: Path, store: str) -> None:
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_text("not a picture")
    with pytest.raises(
        DataError, match=r"none of the 3 images looked at can be read, such as 0.jpg \(not an image"
    ):
        open_dataset(tmp_path, DataSettings.build({"store": store}), image_size=16)


def truncate_all(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:-200])


def test_a_store_of_truncated_files_only_is_refused(folder: Path) -> None:
    truncate_all(folder)
    with pytest.raises(DataError, match="10 of 10 images cannot be read"):
        open_dataset(folder, STORED, image_size=16)


def test_training_on_truncated_files_only_is_refused_even_if_all_may_be_bad(folder: Path) -> None:
    truncate_all(folder)
    settings = DataSettings(store="never", max_bad_share=1)
    with pytest.raises(DataError, match="10 of 10 images cannot be read"):
        open_dataset(folder, settings, image_size=16)
    dataset = open_dataset(folder, settings, image_size=16, is_training=True)
    assert isinstance(dataset, FileDataset)
    with pytest.raises(DataError, match="10 of 10 images cannot be read"):
        dataset.image(0)


@pytest.mark.parametrize(("max_bad_share", "is_refused"), [(0.19, True), (0.2, False)])
def test_a_stored_set_is_refused_above_the_stated_share(
    folder: Path, max_bad_share: float, is_refused: bool
) -> None:
    break_files(folder, "cats/1.png", "dogs/0.png")
    settings = DataSettings(store="always", max_bad_share=max_bad_share)
    if not is_refused:
        assert len(open_dataset(folder, settings, image_size=16)) == 8
        return
    with pytest.raises(
        DataError,
        match=r"2 of 10 images cannot be read, such as cats/1.png \(empty file\); at most 19%",
    ):
        open_dataset(folder, settings, image_size=16)


def test_files_are_refused_when_the_stated_share_is_passed(folder: Path) -> None:
    break_files(folder, "cats/1.png", "dogs/0.png")
    settings = DataSettings(store="never", max_bad_share=0.15)
    dataset = open_dataset(folder, settings, image_size=16, is_training=True)
    dataset.readable([1])
    with pytest.raises(DataError, match="2 of 10 images cannot be read"):
        dataset.readable([5])
    with pytest.raises(DataError, match="2 of 10 images cannot be read"):
        open_dataset(folder, settings, image_size=16)


def test_arrays_of_the_right_size_need_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8)
    monkeypatch.setattr(module, "open_store", lambda *_, **__: pytest.fail("made a store"))
    dataset = open_dataset((images, np.arange(6)), STORED, image_size=8)
    assert (dataset.images([5, 2]).numpy() == images[[5, 2]]).all()
    assert dataset.keys[5] == "image 5"


def test_floats_become_bytes_in_the_store() -> None:
    images = np.random.default_rng(0).random((6, 3, 8, 8))
    dataset = open_dataset(images, DataSettings(), image_size=8)
    assert (dataset.images(range(6)).numpy() == np.rint(images.astype(np.float32) * 255)).all()


def test_a_limit_takes_the_same_random_images_every_time(folder: Path) -> None:
    chosen = [
        list(open_dataset(folder, DataSettings(limit=4), image_size=16).keys) for _ in range(2)
    ]
    assert chosen[0] == chosen[1] == sorted(chosen[0])
    assert len(set(chosen[0])) == 4
    assert chosen[0] != [f"cats/{i}.png" for i in range(4)]


def test_a_limit_beyond_the_set_changes_nothing(folder: Path) -> None:
    assert len(open_dataset(folder, DataSettings(limit=99), image_size=16)) == 10


def test_without_data_the_path_of_the_settings_is_used(folder: Path) -> None:
    assert len(open_dataset(None, DataSettings(path=str(folder)), image_size=16)) == 10
    with pytest.raises(ConfigError, match="no data given: set data"):
        open_dataset(None, DataSettings(), image_size=16)


def test_the_number_of_workers_is_taken_from_the_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    for setting, processes, expected in ((3, "1", 3), (0, "1", 8), (0, "4", 3), (0, "99", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        dataset = open_dataset(folder, DataSettings(store="never", workers=setting), image_size=16)
        assert isinstance(dataset, FileDataset)
        assert dataset.workers == expected


class Counted(Source):
    """A hundred thousand images, none in memory; counts how many are asked for."""

    def __init__(self) -> None:
        self.num_reads = 0

    def __len__(self) -> int:
        return 100_000

    def key(self, index: int) -> str:
        return f"{index}.png"

    def read(self, index: int) -> np.ndarray:
        self.num_reads += 1
        return np.full((100, 100), index % 256, np.uint8)

    def fingerprint(self) -> str:
        raise AssertionError("a set that is not stored needs no fingerprint")


def test_a_hundred_thousand_files_open_after_reading_a_few() -> None:
    source = Counted()
    dataset = open_dataset(source, DataSettings(), image_size=32, is_training=True)
    assert isinstance(dataset, FileDataset)
    assert source.num_reads == 64


def test_an_index_beyond_the_store_is_an_assertion_error(folder: Path) -> None:
    dataset = open_dataset(folder, STORED, image_size=16)
    for index in (-1, 10):
        with pytest.raises(AssertionError, match="beyond"):
            dataset.images([index])
