"""Images with domains: both layouts give the same, and what is missing is named."""

from pathlib import Path

import numpy as np
import pytest
from domain_images import CLASSES, DOMAINS, in_memory, write_folders, write_parquet

from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.domains import DomainSource, open_domains
from sparring.errors import DataError

NAMES = {"label": CLASSES, "domain": DOMAINS}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("folders"), 3)


def told(source: DomainSource) -> list[tuple[str, str]]:
    """Domain and class of every image, by name."""
    labels = source.labels()
    assert labels is not None
    assert source.class_names is not None
    return [
        (source.domain_names[domain], source.class_names[label])
        for domain, label in zip(source.domains(), labels, strict=True)
    ]


def test_folders_give_the_domain_and_then_the_class(folders: Path) -> None:
    source = open_domains(folders)
    assert (source.domain_names, source.class_names, len(source)) == (DOMAINS, CLASSES, 27)
    assert [source.key(i).split("/")[:2] for i in range(27)] == [
        list(pair) for pair in told(source)
    ]
    assert source.key(0) == "ink/cat/00.png"


@pytest.mark.parametrize("names", [None, NAMES])
def test_parquet_gives_the_same_by_name_or_by_number(
    folders: Path, tmp_path: Path, names: dict[str, tuple[str, ...]] | None
) -> None:
    pytest.importorskip("pyarrow")
    source = open_domains(write_parquet(tmp_path / "all.parquet", folders, names=names))
    assert told(source) == told(open_domains(folders))
    assert source.read(5) == open_domains(folders).read(5)


def test_numbers_without_names_are_their_own_names(folders: Path, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = write_parquet(tmp_path / "all.parquet", folders, names=NAMES)
    pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
    assert open_domains(path).domain_names == ("0", "1", "2")
    table = pq.read_table(path)
    pq.write_table(
        table.set_column(
            table.column_names.index("domain"), "domain", pa.array([None, *[1, 2] * 13])
        ),
        path,
    )
    with pytest.raises(DataError, match=r"1 images have no domain, such as all.parquet#0"):
        open_domains(path)


def test_the_same_images_by_domain_share_the_store(folders: Path) -> None:
    source, settings = open_domains(folders), DataSettings(store="always", limit=20)
    by_class, by_domain = (
        open_dataset(view, settings, image_size=16) for view in (source, source.by_domain())
    )
    assert by_class.fingerprint == by_domain.fingerprint
    assert list(by_class.keys) == list(by_domain.keys)
    assert by_domain.class_names == DOMAINS
    assert by_domain.labels is not None
    assert [key.split("/")[0] for key in by_domain.keys] == [
        DOMAINS[number] for number in by_domain.labels
    ]


def test_an_open_source_is_taken_as_it_is() -> None:
    source = in_memory(2)
    assert open_domains(source) is source


def test_an_image_outside_its_two_folders_is_named(folders: Path, tmp_path: Path) -> None:
    path = write_folders(tmp_path / "mixed", 1)
    (path / "photo" / "cat" / "00.png").rename(path / "photo" / "stray.png")
    with pytest.raises(
        DataError,
        match=r"photo/stray.png is not inside a domain and a class folder; give a folder laid out",
    ):
        open_domains(path)


def test_a_single_domain_is_refused(tmp_path: Path) -> None:
    everything = [(domain, label) for domain in DOMAINS[1:] for label in CLASSES]
    with pytest.raises(
        DataError,
        match="all images are of the domain 'ink', and holding one out needs at least two",
    ):
        open_domains(write_folders(tmp_path / "one", 1, without=everything))


def test_parquet_without_domains_or_classes_is_refused(folders: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    path = write_parquet(tmp_path / "all.parquet", folders)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["domain"]), path)
    with pytest.raises(
        DataError, match="no column 'domain' of integers or names; give a folder laid out"
    ):
        open_domains(path)
    pq.write_table(table.drop_columns(["label"]), path)
    with pytest.raises(DataError, match="have no classes"):
        open_domains(path)


def test_images_in_memory_and_lists_have_no_domains(tmp_path: Path) -> None:
    images = np.zeros((4, 16, 16, 3), np.uint8)
    with pytest.raises(DataError, match="images in memory: the domains are unknown"):
        open_domains((images, np.arange(4)))
    with pytest.raises(DataError, match="images in memory: the domains are unknown"):
        open_domains(Arrays(images, np.arange(4)))
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("a.png\n")
    with pytest.raises(DataError, match=r"a.txt: the domains are unknown"):
        open_domains(tmp_path / "a.txt")
    with pytest.raises(DataError, match="no such file"):
        open_domains(tmp_path / "nowhere")


def test_real_domains_are_those_of_the_published_set(shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    source = open_domains(shared_data / "pacs-96px.parquet")
    assert source.domain_names == ("art_painting", "cartoon", "photo", "sketch")
    # Li et al. 2017, arXiv:1710.03077, as everybody quotes them.
    assert np.bincount(source.domains()).tolist() == [2048, 2344, 1670, 3929]
    assert source.class_names == (
        "dog",
        "elephant",
        "giraffe",
        "guitar",
        "horse",
        "house",
        "person",
    )
