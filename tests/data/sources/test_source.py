"""Any kind of data opens as a source, or one clear line says why not."""

from pathlib import Path

import numpy as np
import pytest

from sparring.data.sources.source import Subset, open_source
from sparring.errors import DataError


def test_a_missing_path_is_named_with_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no such file or folder: .*nowhere; give a folder of images"
    ) as caught:
        open_source(tmp_path / "nowhere")
    assert caught.value.exit_code == 2


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds nothing"):
        open_source(tmp_path)


def test_a_folder_of_text_files_is_refused_with_an_example(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(
        DataError,
        match=r"holds 2 files, such as a.txt, but no image; give a folder with files ending in",
    ):
        open_source(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"x.zip is not a data set; give"):
        open_source(tmp_path / "x.zip")


def test_paths_may_be_strings_and_start_at_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open_source("~/photos")) == 10


def test_an_open_source_is_returned_as_it_is(folder: Path) -> None:
    source = open_source(folder)
    assert open_source(source) is source


def test_a_subset_keeps_keys_contents_and_labels_together(folder: Path) -> None:
    source = open_source(folder)
    subset = Subset(source, np.array([7, 2]))
    labels = subset.labels()
    assert [subset.key(0), subset.key(1), len(subset)] == ["dogs/2.png", "cats/2.png", 2]
    assert subset.read(0) == source.read(7)
    assert labels is not None
    assert labels.tolist() == [1, 0]
    assert (
        subset.fingerprint()
        != Subset(source, np.array([2, 7])).fingerprint()
        != source.fingerprint()
    )
