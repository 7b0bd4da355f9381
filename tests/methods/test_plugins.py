"""Objects by FILE_OR_MODULE:NAME: files are imported once, and each failure is one line."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.errors import ConfigError
from sparring.methods.plugins import load_named


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_name_of_a_file_is_loaded_and_the_file_runs_once(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.py", "made = []\nclass Kind: pass\n")
    assert load_named(f"{path}:made", what="thing") is load_named(f"{path}:made", what="thing")
    kind = load_named(f"{path}:Kind", what="thing")
    assert isinstance(kind, type)
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_a_relative_path_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "mine.py", "made = []\n")
    monkeypatch.chdir(tmp_path)
    assert load_named("mine.py:made", what="thing") is load_named(f"{path}:made", what="thing")


def test_two_files_of_one_name_are_two_modules_and_hide_no_installed_one(tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        paths.append(written(tmp_path / str(number) / "json.py", f"number = {number}\n"))
    assert [load_named(f"{path}:number", what="thing") for path in paths] == [0, 1]
    assert not hasattr(sys.modules["json"], "number")


def test_a_name_of_a_module_is_loaded() -> None:
    assert load_named("sparring.errors:ConfigError", what="thing") is ConfigError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mine.py", r"^thing 'mine\.py': write FILE\.py:NAME or package\.module:NAME$"),
        (":made", "write FILE"),
        ("{}/mine.py:", "write FILE"),
        ("{}/mine.py:not a name", "write FILE"),
        ("{}/mime.py:made", r"^thing: no such file: .*mime\.py; did you mean 'mine\.py'\?$"),
        ("{}/nowhere/mine.py:made", r"no such file: .*mine\.py$"),
        ("nowhere_at_all:made", "no module named 'nowhere_at_all' can be imported; install it"),
        ("sparring.nowhere:made", "no module named 'sparring.nowhere' can be imported"),
        ("{}/mine.py:mode", r"has no 'mode'; did you mean 'made'\? It has: Kind, made$"),
        ("{}/mine.py:xyzxyz", r"has no 'xyzxyz'\. It has: Kind, made$"),
        ("{}/raises.py:made", r"importing .*raises\.py fails with ZeroDivisionError: no, no$"),
        ("{}/ends.py:made", r"importing .*ends\.py fails with SystemExit: 3$"),
        ("{}/wrong.py:made", r"importing .*wrong\.py fails with SyntaxError: "),
        ("{}/lacks.py:made", r"fails with ModuleNotFoundError: No module named 'nowhere_at_all'$"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    written(
        tmp_path / "mine.py", "import json\nfrom pathlib import Path\nmade = 1\nclass Kind: 1\n"
    )
    written(tmp_path / "raises.py", "raise ZeroDivisionError('no,\\nno')\n")
    written(tmp_path / "ends.py", "raise SystemExit(3)\n")
    written(tmp_path / "wrong.py", "def\n")
    written(tmp_path / "lacks.py", "import nowhere_at_all\n")
    with pytest.raises(ConfigError, match=sentence) as caught:
        load_named(text.format(tmp_path), what="thing")
    assert "\n" not in str(caught.value)


def test_a_module_whose_own_import_is_missing_is_told_from_a_missing_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "lacking_module.py", "import nowhere_at_all\n")
    written(tmp_path / "raising_module.py", "raise ValueError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="importing lacking_module fails with ModuleNotFound"):
        load_named("lacking_module:made", what="thing")
    with pytest.raises(ConfigError, match="importing raising_module fails with ValueError: no"):
        load_named("raising_module:made", what="thing")


def test_a_file_that_failed_is_tried_again(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.py", "raise ValueError\n")
    with pytest.raises(ConfigError, match=r"ValueError$"):
        load_named(f"{path}:made", what="thing")
    written(path, "made = 'a longer file, so that no stale byte code is taken for it'\n")
    assert str(load_named(f"{path}:made", what="thing")).startswith("a longer file")


def test_loading_needs_no_torch() -> None:
    code = "import sparring.methods.plugins, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
