"""Sets of the Hugging Face Hub through the real library: local folders, splits, errors."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from hub_sets import NAMES, png, write_parquet
from sparring.data.data_settings import DataSettings
from sparring.data.dataset import open_dataset
from sparring.data.sources.addresses import stored_address
from sparring.data.sources.hub import HubAddress, parsed_address
from sparring.data.sources.public_sets import nearest_public_set
from sparring.data.sources.source import open_source
from sparring.data.streams.hub_stream import HubStream, open_hub_stream
from sparring.errors import DataError

pytestmark = pytest.mark.usefixtures("hub_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "set", {"train": (3, 4), "test": (2,)})


def test_the_grammar_names_set_configuration_revision_and_split() -> None:
    assert parsed_address("hf:me/set") == HubAddress("me/set")
    whole = HubAddress("me/set", "plain_text", "0b27149", "test")
    assert parsed_address("hf:me/set:plain_text@0b27149#test") == whole
    assert parsed_address("hf:set@main") == HubAddress("set", None, "main")
    with pytest.raises(DataError, match="write hf:NAME"):
        parsed_address("hf:")


def test_a_local_folder_after_hf_is_stored_by_its_whole_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert stored_address("hf:set#test") == f"hf:{folder}#test"
    assert stored_address("hf:me/set") == "hf:me/set"


def test_an_address_is_no_misspelt_public_set() -> None:
    assert nearest_public_set("cifar-10") == "cifar10"
    assert nearest_public_set("hf:cifar10") is None


def test_splits_are_parts(folder: Path) -> None:
    train, test = (open_source(f"hf:{folder}", part=part) for part in ("train", "test"))
    assert (len(train), train.part, len(test), test.part) == (7, "train", 2, "test")
    assert "has the splits train, test: only train is used here" in train.notes[0]
    assert train.class_names == NAMES
    labels = train.labels()
    assert labels is not None
    assert labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert train.read(5) == png(5)
    assert len(open_source(f"hf:{folder}", part="all")) == 9
    named = open_source(f"hf:{folder}#test")
    assert (len(named), named.part, named.notes) == (2, "", ())


def test_a_test_split_without_labels_is_not_the_scored_one(tmp_path: Path) -> None:
    for part, label in (("train", 0), ("validation", 1), ("test", -1)):
        table = datasets.Dataset.from_dict(
            {"image": [{"bytes": png(1), "path": None}], "label": [label]},
            features=datasets.Features(
                {"image": datasets.Image(), "label": datasets.Value("int64")}
            ),
        )
        table.to_parquet(tmp_path / "set" / "data" / f"{part}-00000-of-00001.parquet")
    assert open_source(f"hf:{tmp_path / 'set'}", part="test").part == "validation"


def test_an_image_folder_gives_the_images_of_the_folder(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / "set" / NAMES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    opened = [
        open_dataset(data, DataSettings(), image_size=16)
        for data in (f"hf:{tmp_path / 'set'}", str(tmp_path / "set"))
    ]
    first, second = (each.images(np.arange(6)) for each in opened)
    assert first.equal(second)
    assert [each.class_names for each in opened] == [NAMES, NAMES]


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (
            "hf:me/photos",
            "me/photos is not in the cache of datasets, and the Hub cannot be reached",
        ),
        ("hf:pandas", "there is no such set on the Hugging Face Hub"),
        ("hf:/nowhere/set", "/nowhere/set is no folder; correct the path"),
        ("hf:{folder}#tset", "unknown split 'tset'; did you mean 'test'?"),
        ("hf:{folder}:plain", "unknown configuration 'plain'. Accepted: default"),
    ],
)
def test_what_is_not_there_is_one_line(folder: Path, address: str, line: str) -> None:
    text = address.format(folder=folder)
    for opens in (open_source, open_hub_stream):
        with pytest.raises(DataError) as found:
            opens(text)  # type: ignore[operator]
        assert line in str(found.value)
        assert "\n" not in str(found.value)


def test_a_set_without_images_names_its_columns(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    table.to_parquet(tmp_path / "set" / "train-00000-of-00001.parquet")
    for opens in (open_source, open_hub_stream):
        with pytest.raises(DataError, match=r"the columns text.*images"):
            opens(f"hf:{tmp_path / 'set'}")  # type: ignore[operator]


def test_splits_that_are_no_parts_must_be_named(tmp_path: Path) -> None:
    files = write_parquet(tmp_path / "set", {"summer": (2,), "winter": (2,)})
    header = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    splits = "".join(
        f"  - split: {name}\n    path: data/{name}-*\n" for name in ("summer", "winter")
    )
    (files / "README.md").write_text(header + splits + "---\n")
    with pytest.raises(DataError, match=f"none is called train or test; name one: hf:{files}#summ"):
        open_source(f"hf:{files}")
    assert len(open_source(f"hf:{files}#winter")) == 2


def unreachable(error: Exception) -> Any:
    def load(*_: Any, **__: Any) -> Any:
        raise error

    return load


def test_unknown_private_and_gated_sets_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = datasets.exceptions.DatasetNotFoundError("doesn't exist or cannot be accessed")
    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable(missing))
    with pytest.raises(DataError, match=r"or it is private .* did you mean 'hf:uoft-cs/cifar10'"):
        open_source("hf:uoft/cifar10")
    gated = datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub.")
    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable(gated))
    with pytest.raises(DataError, match="is gated: ask for access on its page"):
        open_source("hf:ILSVRC/imagenet-1k")


def test_a_set_in_the_cache_is_proposed(hub_cache: Path) -> None:
    (hub_cache / "me___photos").mkdir(parents=True)
    with pytest.raises(DataError, match="the cache holds 'hf:me/photos'"):
        open_source("hf:me/photo")


def test_no_code_of_a_set_is_run(tmp_path: Path) -> None:
    folder, ran = tmp_path / "set", tmp_path / "ran"
    folder.mkdir()
    (folder / "set.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(DataError):
        open_source(f"hf:{folder}")
    assert not ran.exists()


def test_a_download_becomes_a_set_with_random_access(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = datasets.load_dataset_builder(str(folder))
    asked: list[tuple[Any, ...]] = []

    def load(name: str, config: str | None, **more: Any) -> Any:
        asked.append((name, config, more["revision"]))
        return local

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    source = open_source("hf:me/set:plain@v2#test")
    assert asked == [("me/set", "plain", "v2")]
    assert [source.read(n) for n in range(len(source))] == [png(7), png(8)]


def test_a_stream_of_a_set_gives_its_images_shard_by_shard(folder: Path) -> None:
    stream = open_hub_stream(f"hf:{folder}")
    assert (stream.num_shards, stream.class_names) == (2, NAMES)
    found = [list(stream.records(shard)) for shard in range(2)]
    assert [record.content for part in found for record in part] == [png(n) for n in range(7)]
    assert [record.label for record in found[1]] == [1, 0, 1, 0]
    assert "only train is used here" in stream.notes[0]
    moved = folder.rename(folder.parent / "moved")
    assert open_hub_stream(f"hf:{moved}").fingerprint() == stream.fingerprint()
    assert open_hub_stream(f"hf:{moved}#test").fingerprint() != stream.fingerprint()


def test_a_stream_follows_the_rules_of_sets_with_random_access() -> None:
    values = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), np.uint8)
    features = datasets.Features(
        {
            "raw": datasets.Value("binary"),
            "x": datasets.Array3D((5, 6, 3), "uint8"),
            "fine_label": datasets.List(datasets.Value("int64")),
        }
    )
    rows = {"raw": [b"", b"", b""], "x": list(values), "fine_label": [[0], [1], [2]]}
    data = datasets.Dataset.from_dict(rows, features=features)
    stream, source = HubStream(data.to_iterable_dataset(), name="it"), open_source(data)
    contents = [record.content for record in stream.records(0)]
    for row, content in enumerate(contents):
        assert isinstance(content, np.ndarray)
        assert content.dtype == np.uint8
        assert np.array_equal(content, source.read(row))
    assert stream.notes == source.notes
    assert stream.labels_missing == source.labels_missing
