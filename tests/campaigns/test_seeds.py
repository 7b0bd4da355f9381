"""Every small file of the corpus is used or told, those that once showed a fault included."""

import random
import shutil
from pathlib import Path

import pytest

from campaigns import fuzzing
from sparring.errors import SparringError

FILES = sorted(path for path in fuzzing.SEEDS.rglob("*") if path.is_file())
DAMAGED = ("damaged",)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_seed_is_used_or_told(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(kind: str, place: Path, draw: random.Random) -> Path:
        return Path(shutil.copy(path, place / path.name))

    monkeypatch.setattr(fuzzing, "_malformed", whole)
    is_damaged = path.name.startswith(DAMAGED)
    try:
        end = fuzzing.CHECKS[path.parent.name](tmp_path, random.Random(0), tmp_path)
    except SparringError:
        end = "told"
    assert end == "told" or not is_damaged
    assert end == "used" or is_damaged or path.name in ("boxes.parquet", "a.xml")


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 200_000
