"""Map-style datasets: what their items hold is found, told and read; nothing of it stops a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import MNIST, ImageFolder

from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.dataset_kinds import FileDataset, StoredDataset
from sparring.data.decode import decode
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.files import Files
from sparring.data.sources.source import open_source
from sparring.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), np.uint8)


class Rows:
    """A dataset of given items; an item that is an error is raised."""

    def __init__(self, items: Sequence[Any], **attributes: Any) -> None:
        self.items, self.num_reads = items, 0
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.num_reads += 1
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item() if callable(item) else item


def labels_of(data: Any) -> tuple[list[int] | None, tuple[str, ...] | None]:
    source = open_source(data)
    labels = source.labels()
    return None if labels is None else labels.tolist(), source.class_names


@pytest.mark.parametrize(
    "item",
    [
        lambda image: image,
        lambda image: (image, 1),
        lambda image: [Image.fromarray(image), 1, "more"],
        lambda image: {"mask": image[..., 0] * 0, "image": image, "label": 1},
        lambda image: {"label": 1, "pixels": torch.from_numpy(image).permute(2, 0, 1)},
        lambda image: {"path": "nowhere.png", "image": image},
    ],
)
def test_the_image_of_an_item_is_found(item: Callable[[Any], Any]) -> None:
    source = open_source(Rows([item(image) for image in IMAGES]))
    assert np.array_equal(decode(source.read(4)).permute(1, 2, 0).numpy(), IMAGES[4])


def test_labels_of_items_are_read_when_they_are_asked_for() -> None:
    data = Rows([(image, name) for image, name in zip(IMAGES, "babaab", strict=True)])
    source = open_source(data)
    before = data.num_reads
    labels = source.labels()
    assert labels is not None
    assert (labels.tolist(), source.class_names) == ([1, 0, 1, 0, 0, 1], ("a", "b"))
    source.labels()
    assert data.num_reads <= before + len(data)
    fields = Rows([{"image": image, "Class": 3} for image in IMAGES])
    assert labels_of(fields) == ([3] * 6, None)


@pytest.mark.parametrize(
    ("attribute", "found"),
    [
        ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0]),  # in another order
        ([5, 5, 5, 5, 5, 5], [1, 0, 1, 0, 1, 0]),  # of something else
        (list("abcdef"), [1, 0, 1, 0, 1, 0]),
        (["dog", "cat"] * 3, [1, 0, 1, 0, 1, 0]),  # the names of the numbers
        ([-1, 0, 1, 0, 1, 0], [-1, 0, 1, 0, 1, 0]),
    ],
)
def test_an_attribute_that_contradicts_the_items_is_not_used(
    attribute: list[Any], found: list[int]
) -> None:
    data = Rows([(image, 1 - row % 2) for row, image in enumerate(IMAGES)], targets=attribute)
    source = open_source(data)
    labels = source.labels()
    assert labels is not None
    assert labels.tolist() == found
    is_told = any("are not those of its items" in note for note in source.notes)
    assert is_told == (attribute[1] not in ("cat", 0))


@pytest.mark.parametrize("name", ["targets", "labels"])
def test_labels_of_an_attribute_need_no_item(name: str) -> None:
    items = [(image, torch.zeros(2)) for image in IMAGES]
    data = Rows(items, classes=["cat", "dog"], **{name: [0, 1, 1, 0, 1, 0]})
    assert labels_of(data) == ([0, 1, 1, 0, 1, 0], ("cat", "dog"))
    changed = Rows([(image, 5) for image in IMAGES], target_transform=int, **{name: [0] * 6})
    assert labels_of(changed) == ([5] * 6, None)


def test_why_items_have_no_labels_is_told() -> None:
    reasons = {}
    for name, item in {"alone": IMAGES[0], "row": (IMAGES[0], torch.zeros(2))}.items():
        source = open_source(Rows([item] * 2))
        assert source.labels() is None
        reasons[name] = source.labels_missing
    assert reasons["alone"] == "the items of the dataset are images alone"
    assert "such as an array of shape (2,)" in reasons["row"]
    source = open_source(Rows([{"image": IMAGES[0], "box": 1}]))
    assert "the fields image, box, and none is called label" in source.labels_missing


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([7, 8], "item 0 of the dataset is a value of type int; an item is an image, a tuple"),
        ([([IMAGES[0], IMAGES[0]], 1)], "is a tuple of list, int; .* several views of it"),
        ([{"a": 1}], "a dict with the keys a; an item is"),
        ([ValueError("gone\n away")], r"none of the 1 items looked at .* \(ValueError: gone away"),
        ([(np.zeros(3), 1)], r"none of the 1 items looked at can be read, .* of shape \(3,\)"),
        ([], "type Rows without items"),
    ],
)
def test_items_that_are_no_images_are_refused(items: list[Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_source(Rows(items))


def test_items_that_raise_are_unreadable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path))
    items: list[Any] = [(image, 1) for image in IMAGES]
    items[3] = ZeroDivisionError("by zero")
    dataset = open_dataset(Rows(items), DataSettings(max_bad_share=0.5), image_size=8)
    assert dataset.quarantine == (("item 3", "ZeroDivisionError: by zero"),)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1] * 5
    assert not list(tmp_path.iterdir()), "a store would need a read of all items for its name"


def noisy() -> Any:
    return np.random.default_rng().integers(0, 256, (8, 9, 3), np.uint8)


def test_a_random_transform_is_told_and_not_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path))
    told: list[str] = []
    for is_training in (True, False):
        dataset = open_dataset(
            Rows([noisy] * 6),
            DataSettings(),
            image_size=8,
            is_training=is_training,
            report=told.append,
        )
        assert isinstance(dataset, FileDataset)
        assert not torch.equal(dataset.images([0]), dataset.images([0]))
    assert "two reads of an item of the dataset differ: its transform is random" in told[0]
    assert "cannot be resumed" in told[0]


def test_a_normalising_transform_is_told() -> None:
    normalised = [(torch.randn(3, 8, 9, generator=torch.Generator()) - 0.5, 1)] * 6
    (note,) = open_source(Rows(normalised)).notes
    assert "items of the dataset have values from -" in note
    assert "leave that out and give values in [0, 1] or bytes" in note
    for kept in (IMAGES / np.float32(255), IMAGES, IMAGES * np.float32(100)):
        assert open_source(Rows(list(kept))).notes == ()


def test_training_from_large_items_reads_none_for_its_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path))
    large = np.random.default_rng(0).integers(0, 256, (30, 400, 500, 3), np.uint8)
    data = Rows([(image, number % 2) for number, image in enumerate(large)])
    training = open_dataset(data, DataSettings(), image_size=8, is_training=True)
    before = data.num_reads
    assert training.labels is None
    assert data.num_reads == before
    scored = open_dataset(data, DataSettings(), image_size=8)
    assert scored.labels is not None
    assert scored.labels.tolist() == [0, 1] * 15


class Watched(Rows):
    """Notices two threads in it at once."""

    def __init__(self, items: Sequence[Any], **attributes: Any) -> None:
        super().__init__(items, **attributes)
        self.inside, self.met = Lock(), False

    def __getitem__(self, index: int) -> Any:
        if not self.inside.acquire(blocking=False):
            self.met = True
            return super().__getitem__(index)
        try:
            torch.ones(200, 200).sin().sum()  # lets other threads run
            return super().__getitem__(index)
        finally:
            self.inside.release()


def test_items_are_read_by_one_thread_at_a_time() -> None:
    data = Watched([image for image in IMAGES for _ in range(100)])
    dataset = open_dataset(data, DataSettings(workers=8), image_size=8)
    assert isinstance(dataset, StoredDataset)
    assert not data.met


def test_folders_of_torchvision_are_read_as_files(folder: Path) -> None:
    source, whole = open_source(ImageFolder(str(folder))), open_source(folder)
    assert (len(source), source.class_names) == (10, ("cats", "dogs"))
    assert source.fingerprint() == whole.fingerprint()
    assert np.array_equal(source.labels(), whole.labels())  # type: ignore[arg-type]

    class Grey(ImageFolder):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image.convert("L"), label

    for changed in (
        Grey(str(folder)),
        ImageFolder(str(folder), loader=lambda path: Image.open(path).convert("L")),
        ImageFolder(str(folder), transform=lambda image: image.convert("L")),
    ):
        grey = open_source(changed)
        assert not isinstance(grey, Files)
        assert np.asarray(grey.read(0)).shape == (30, 40)
        assert (grey.class_names, grey.labels().tolist()) == (("cats", "dogs"), [0] * 5 + [1] * 5)  # type: ignore[union-attr]


def test_labels_follow_samples_in_another_order(folder: Path) -> None:
    for transform in (None, lambda image: image.convert("L")):
        data = ImageFolder(str(folder), transform=transform)
        data.samples.reverse()  # which leaves `targets` as they are
        assert labels_of(data) == ([1] * 5 + [0] * 5, ("cats", "dogs"))


class Digits(MNIST):
    """MNIST without its files."""

    def __init__(self, transform: Any = None) -> None:
        self.data, self.targets = torch.from_numpy(IMAGES[..., 0]), torch.tensor([0, 1] * 3)
        self.classes = ["0 - zero", "1 - one"]  # type: ignore[misc]
        self.transform, self.target_transform = transform, None
        self.transforms = transform


def test_values_of_torchvision_are_taken_without_its_items() -> None:
    source = open_source(Digits())
    assert isinstance(source, Arrays)
    assert source.class_names == ("0 - zero", "1 - one")
    assert np.array_equal(source.read(2), IMAGES[2, ..., 0])

    def inverted(image: Image.Image) -> Tensor:
        return 255 - torch.from_numpy(np.array(image))

    changed = open_source(Digits(inverted))
    assert np.array_equal(changed.read(2), 255 - IMAGES[2, ..., 0])
    labels = changed.labels()
    assert labels is not None
    assert (labels.tolist(), changed.class_names) == ([0, 1] * 3, ("0 - zero", "1 - one"))


def test_rows_with_paths_are_a_dataset(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    rows = [{"path": str(path), "label": path.parent.name} for path in files]
    source = open_source(rows)
    assert labels_of(rows) == ([0] * 5 + [1] * 5, ("cats", "dogs"))
    assert source.read(3) == files[3].read_bytes()


def test_a_list_of_images_with_labels_is_a_dataset() -> None:
    assert labels_of([(image, "a") for image in IMAGES]) == ([0] * 6, ("a",))
