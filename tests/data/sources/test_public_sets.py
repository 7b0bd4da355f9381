"""Public sets in tiny folders of torchvision's layouts are read as torchvision reads them; errors
are one sentence."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from public_folders import COLOURS, write_set
from sparring.data.decode import decode
from sparring.data.sources.image_source import Source
from sparring.data.sources.public_sets import (
    PUBLIC_SETS,
    PublicSet,
    is_public_set,
    nearest_public_set,
    open_public_set,
)
from sparring.errors import DataError

SIZES = {
    "cifar10": (10, 0, 8),
    "cifar100": (10, 0, 8),
    "dtd": (6, 4, 8),
    "stanford_cars": (10, 0, 8),
    "sun397": (10, 0, 10),
    "fgvc_aircraft": (6, 4, 8),
    "flowers102": (6, 4, 8),
    "caltech101": (60, 0, 8),
    "food101": (10, 0, 8),
    "oxford_pets": (10, 0, 8),
    "voc2007": (12, 12, 20),
}
"""Images of the tiny sets for training, validation and test."""

FIRST_NAMES = {
    "cifar10": ("thing 00", "thing 01"),
    "cifar100": ("thing 00", "thing 01"),
    "dtd": ("banded", "zigzagged"),
    "stanford_cars": ("AM General Hummer SUV 2000", "smart fortwo 2012"),
    "sun397": ("abbey", "balcony/interior"),
    "fgvc_aircraft": ("707-320", "DC-9 30/X"),
    "caltech101": ("accordion", "wrench"),
    "food101": ("apple_pie", "waffles"),
    "oxford_pets": ("Abyssinian", "american_bulldog"),
    "voc2007": ("aeroplane", "bicycle"),
}


def images(source: Source) -> list[np.ndarray]:
    return [decode(source.read(row)).permute(1, 2, 0).numpy() for row in range(len(source))]


def labels(source: Source) -> np.ndarray:
    found = source.labels()
    assert found is not None
    return found


def shown(source: Source) -> list[int]:
    """Class that each image's colour encodes."""
    return [
        int(
            np.abs(image.mean((0, 1)) - COLOURS[1]).sum()
            < np.abs(image.mean((0, 1)) - COLOURS[0]).sum()
        )
        for image in images(source)
    ]


def opened(name: str, root: Path, patch: pytest.MonkeyPatch) -> PublicSet:
    return open_public_set(name, write_set(name, root, patch))


def test_public_sets_and_their_metrics_are_complete() -> None:
    assert set(PUBLIC_SETS) == set(SIZES)
    assert {name for name, public in PUBLIC_SETS.items() if public.metric == "mean-per-class"} == {
        *("fgvc_aircraft", "flowers102", "caltech101", "oxford_pets"),
    }
    assert PUBLIC_SETS["voc2007"].metric == "11-point-mAP"


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_every_set_has_its_parts_and_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opened(name, tmp_path, monkeypatch)
    validation = found.validation
    assert (len(found.train), len(validation or ()), len(found.test)) == SIZES[name]
    assert len(found.train_and_validation) == len(found.train) + len(validation or ())
    if name != "flowers102":
        assert found.class_names[:2] == FIRST_NAMES[name]
    for source in (found.train_and_validation, found.train, found.test):
        assert source.class_names == found.class_names
    keys = [
        [source.key(row) for row in range(len(source))]
        for source in (found.train_and_validation, found.train, found.test)
    ]
    assert keys[0][: len(keys[1])] == keys[1]
    if not name.startswith("cifar"):
        assert not set(keys[0]) & set(keys[2])
    if validation is not None:
        assert [validation.key(row) for row in range(len(validation))] == keys[0][len(keys[1]) :]


@pytest.mark.parametrize("name", [name for name in PUBLIC_SETS if name != "voc2007"])
def test_labels_are_those_of_the_pictures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opened(name, tmp_path, monkeypatch)
    for source in (found.train_and_validation, found.test):
        assert labels(source).tolist() == shown(source)
        assert set(shown(source)) == {0, 1}


# Each of torchvision's classes with the arguments of its parts, in the order of ours: training and
# validation, test.
ORACLES: dict[str, list[list[dict[str, Any]]]] = {
    "cifar10": [[{"train": True}], [{"train": False}]],
    "cifar100": [[{"train": True}], [{"train": False}]],
    "dtd": [[{"split": "train"}, {"split": "val"}], [{"split": "test"}]],
    "stanford_cars": [[{"split": "train"}], [{"split": "test"}]],
    "fgvc_aircraft": [[{"split": "train"}, {"split": "val"}], [{"split": "test"}]],
    "flowers102": [[{"split": "train"}, {"split": "val"}], [{"split": "test"}]],
    "food101": [[{"split": "train"}], [{"split": "test"}]],
    "oxford_pets": [[{"split": "trainval"}], [{"split": "test"}]],
}


@pytest.mark.parametrize("name", ORACLES)
def test_torchvision_reads_the_same_images_and_labels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opened(name, tmp_path, monkeypatch)
    monkeypatch.setattr(
        "torchvision.datasets.flowers102.check_integrity", lambda *_: True
    )  # it wants the digests of the originals
    kind = getattr(datasets, PUBLIC_SETS[name].torchvision)
    for source, arguments in zip(
        (found.train_and_validation, found.test), ORACLES[name], strict=True
    ):
        pairs = [pair for part in arguments for pair in kind(tmp_path, **part)]
        assert labels(source).tolist() == [label for _, label in pairs]
        assert all(
            np.array_equal(image, np.asarray(other))
            for image, (other, _) in zip(images(source), pairs, strict=True)
        )


@pytest.mark.parametrize("name", ["caltech101", "sun397"])
def test_a_set_without_an_official_split_is_parted_whole_and_always_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, again = opened(name, tmp_path, monkeypatch), open_public_set(name, tmp_path)
    assert "drawn by the seed 0" in found.note
    keys = [[source.key(row) for row in range(len(source))] for source in (found.train, found.test)]
    assert keys == [
        [source.key(row) for row in range(len(source))] for source in (again.train, again.test)
    ]
    assert keys[0][: len(keys[0]) // 2] != sorted(keys[0] + keys[1])[: len(keys[0]) // 2], (
        "drawn, not the first ones"
    )
    whole = getattr(datasets, PUBLIC_SETS[name].torchvision)(tmp_path)
    assert len(whole) == len(keys[0]) + len(keys[1]) == len({*keys[0], *keys[1]})
    assert not any("BACKGROUND" in key for key in keys[0] + keys[1])


@pytest.mark.parametrize(("name", "counts"), [("caltech101", (30, 30)), ("sun397", (5, 5))])
def test_the_drawn_part_takes_the_usual_number_of_each_class(
    name: str, counts: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuple(np.bincount(labels(opened(name, tmp_path, monkeypatch).train))) == counts


@pytest.mark.parametrize("folder", ["SUN397", "SUN397/Partitions"])
def test_the_official_lists_of_sun397_win_over_a_draw(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set("sun397", tmp_path, monkeypatch)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "Training_01.txt").write_text(
        "/a/abbey/sun_0000.jpg\n/b/balcony/interior/sun_0001.jpg\n"
    )
    (tmp_path / folder / "Testing_01.txt").write_text("/b/balcony/interior/sun_0003.jpg\n")
    found = open_public_set("sun397", tmp_path)
    assert (labels(found.train).tolist(), labels(found.test).tolist(), found.note) == (
        [0, 1],
        [1],
        "",
    )


def test_voc_tells_what_each_image_shows_and_what_is_only_difficult(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opened("voc2007", tmp_path, monkeypatch)
    assert found.train_and_validation.labels() is None
    assert found.test.labels() is None
    for source in (found.train_and_validation, found.test):
        rows = np.stack([found.presence[source.key(row)] for row in range(len(source))])
        assert rows.shape == (len(source), 20)
        assert rows[:, 1].tolist() == shown(source)
        assert rows[:, 0].tolist() == [1 - label for label in shown(source)]
        assert rows[1, 2] == -1  # the difficult bird
    keys = [found.test.key(row) for row in range(len(found.test))]
    assert keys == [
        path.relative_to(tmp_path).as_posix()
        for path in map(Path, datasets.VOCDetection(tmp_path, "2007", "test").images)
    ]


def test_a_path_of_that_name_wins_over_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_public_set("dtd")
    (tmp_path / "dtd").mkdir()
    assert not is_public_set("dtd")
    for other in ("DTD", "cifar", "", None, tmp_path, np.zeros(3), Path("food101")):
        assert not is_public_set(other)


def test_a_misspelt_name_finds_the_nearest_but_a_path_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        nearest_public_set("cifar-100"),
        nearest_public_set("Flowers"),
        nearest_public_set("pets"),
    ) == (
        "cifar100",
        "flowers102",
        None,
    )
    assert (
        nearest_public_set("somewhere/cifar-100")
        is nearest_public_set("cifar-100.txt")
        is nearest_public_set("photos")
        is None
    )
    (tmp_path / "cifar-100").mkdir()
    assert nearest_public_set("cifar-100") is None
    with pytest.raises(
        DataError, match=r"unknown public set 'flower102'; did you mean 'flowers102'"
    ):
        open_public_set("flower102", tmp_path)


def test_the_root_is_the_given_folder_else_the_variable_else_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("given", "variable", "data"):
        write_set("dtd", tmp_path / place, monkeypatch)
    monkeypatch.delenv("SPARRING_DATA", raising=False)
    by_default = open_public_set("dtd").test.fingerprint()
    monkeypatch.setenv("SPARRING_DATA", str(tmp_path / "variable"))
    by_variable, by_argument = (
        open_public_set("dtd").test.fingerprint(),
        open_public_set("dtd", tmp_path / "given").test.fingerprint(),
    )
    assert by_default == open_public_set("dtd", tmp_path / "data").test.fingerprint()
    assert by_variable == open_public_set("dtd", tmp_path / "variable").test.fingerprint()
    assert len({by_default, by_variable, by_argument}) == 3


@pytest.mark.parametrize("name", PUBLIC_SETS)
def test_an_absent_set_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        open_public_set(name, tmp_path / "nowhere")
    text = str(error.value)
    assert text.startswith(f"{name} is incomplete in {tmp_path / 'nowhere'}: ")
    assert (
        f"torchvision.datasets.{PUBLIC_SETS[name].torchvision}(" in text or name == "stanford_cars"
    )
    assert PUBLIC_SETS[name].layout in text
    assert "\n" not in text
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", [name for name in PUBLIC_SETS if not name.startswith("cifar")])
def test_a_missing_image_is_named_where_the_set_lists_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = opened(name, tmp_path, monkeypatch)
    last = found.test.key(len(found.test) - 1)
    (tmp_path / last).unlink()
    if name in ("caltech101", "sun397"):  # these list nothing: the folder is what there is
        assert (
            len(open_public_set(name, tmp_path).train_and_validation)
            + len(open_public_set(name, tmp_path).test)
            == sum(SIZES[name]) - 1
        )
        return
    with pytest.raises(
        DataError,
        match=f"1 of {sum(SIZES[name])} images are missing, such as {last}; expected there are",
    ):
        open_public_set(name, tmp_path)


def test_altered_cifar_batches_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set("cifar10", tmp_path, monkeypatch)
    with (tmp_path / "cifar-10-batches-py/data_batch_3").open("ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match="its files are missing, or are not the original ones"):
        open_public_set("cifar10", tmp_path)


def test_damaged_lists_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path, content, reason in (
        ("flowers102", "flowers-102/setid.mat", "no matrix", "setid.mat is no MATLAB file"),
        ("food101", "food-101/meta/train.json", "{", "Expecting property name"),
        (
            "fgvc_aircraft",
            "fgvc-aircraft-2013b/data/variants.txt",
            "707-320\n",
            "names 'DC-9 30/X', which another does not know",
        ),
    ):
        write_set(name, tmp_path, monkeypatch)
        (tmp_path / path).write_text(content)
        with pytest.raises(DataError, match=f"{name} is incomplete in .*{reason}"):
            open_public_set(name, tmp_path)


def test_a_missing_scipy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set("stanford_cars", tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(
        DataError, match=r"stanford_cars needs the package scipy.* pip install scipy"
    ):
        open_public_set("stanford_cars", tmp_path)
