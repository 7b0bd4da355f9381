"""Images of one source with equal content."""

import shutil
from pathlib import Path

from PIL import Image

from sparring.data.duplicates import equal_rows
from sparring.data.sources.source import open_source


def test_equal_files_are_grouped_whatever_their_names_and_sizes_alone_group_none(
    tmp_path: Path,
) -> None:
    for number, colour in enumerate(((9, 9, 9), (200, 9, 9), (9, 9, 200))):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{number}.bmp")  # all of one size
    shutil.copy(tmp_path / "0.bmp", tmp_path / "8.bmp")
    shutil.copy(tmp_path / "2.bmp", tmp_path / "7.bmp")
    (tmp_path / "9.bmp").symlink_to(tmp_path / "missing.bmp")
    source = open_source(tmp_path)
    keys = [[source.key(row) for row in rows] for rows in equal_rows(source)]
    assert keys == [["0.bmp", "8.bmp"], ["2.bmp", "7.bmp"]]
