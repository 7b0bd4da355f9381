"""What the documentation shows runs, with little work: Python blocks marked `runnable`, and the
commands of blocks marked `sh runnable`, in order, in one folder per page.

A Python block that is not run says why: `python not-run: REASON`.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import sparring
from sparring import api
from sparring.config import merged
from sparring.studies.plan import Study
from test_docs import PAGES, ROOT
from tiny import Command, write_photos

REASONS = {"a skeleton", "an excerpt", "needs runs", "takes minutes"}
"""Why a Python block of a page is not run."""

PYTHON = re.compile(r"^```python(?P<remark>[^\n]*)\n(?P<code>.*?)^```", re.M | re.S)
SEQUENCE = re.compile(r"^```sh runnable\n(.*?)^```", re.M | re.S)
BLOCKS = [
    pytest.param(
        block["code"],
        id=f"{page.name}-{number}",
        marks=[pytest.mark.slow] * ("sparring.compare" in block["code"]),
    )
    for page in PAGES
    for number, block in enumerate(PYTHON.finditer(page.read_text()))
    if block["remark"] == " runnable"
]
SEQUENCES = [
    pytest.param(page, id=page.stem) for page in PAGES if SEQUENCE.search(page.read_text())
]

LITTLE_WORK: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "training": {"batch_size": 16, "max_steps": 2, "monitor_images": 16},
    "bank": {"size": 32},
}
LITTLE_STUDY: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "training": {"batch_size": 16, "image_size": 16, "monitor_images": 16},
}
ALL_RUNS = ("--set", "encoder.width=0.0625", "--set", "training.monitor_images=16")
LITTLE_COMMAND: dict[str, tuple[str, ...]] = {
    "train": ("--max-steps", "2", "--batch-size", "16", *ALL_RUNS),
    "compare": (
        *("--yes", "--seeds", "2", "--epochs", "1", "--protocol", "knn"),
        *("--set", "training.batch_size=16", "--set", "training.image_size=16", *ALL_RUNS),
    ),
}
"""What is added to a command of a page; of an option that is given twice, the last counts."""


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training as a page writes it, but two steps of a narrow network; studies of two seeds."""
    train, compare = api.train, api.compare

    def little_train(*given: Any, settings: Mapping[str, Any] | None = None, **named: Any) -> Any:
        method = named.get("method", "adco")
        keep = {key: one for key, one in LITTLE_WORK.items() if key != "bank" or method == "adco"}
        return train(*given, settings=merged(settings or {}, keep), **named)

    def little_compare(study: Study | None = None, **named: Any) -> Any:
        if study is None:
            small = {"seeds": 2, "epochs": 1, "protocols": ["knn"], "settings": LITTLE_STUDY}
            return compare(**{**named, **small}, progress=False)
        fields = study.model_dump(exclude_unset=True)
        fields |= {"seeds": 2, "epochs": 1, "protocols": ["knn"], "settings": LITTLE_STUDY}
        return compare(Study.build(fields), progress=False, **named)

    monkeypatch.setattr(api, "train", little_train)
    monkeypatch.setattr(api, "compare", little_compare)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with the photos that pages speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARRING_CACHE", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos")
    write_photos(tmp_path / "test-photos")
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS)
def test_runnable_block_runs(block: str, folder: Path, little_work: None) -> None:
    exec(compile(block, "block", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_python_block_is_run_or_says_why_not(page: Path) -> None:
    for block in PYTHON.finditer(page.read_text()):
        mark, _, reason = block["remark"].strip().partition(": ")
        assert (mark, reason) == ("runnable", "") or (mark == "not-run" and reason in REASONS), (
            block[0]
        )


@pytest.mark.slow
@pytest.mark.parametrize("page", SEQUENCES)
def test_the_commands_of_a_page_run_in_order(page: Path, folder: Path, command: Command) -> None:
    for block in SEQUENCE.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            program, name, *arguments = shlex.split(line, comments=True)
            assert program == "sparring", line
            done = command(name, *arguments, *LITTLE_COMMAND.get(name, ()))
            assert done.code == 0, f"{line}\n{done.err}"


def test_pages_with_commands_that_are_run_exist() -> None:
    assert len(SEQUENCES) >= 3


def test_readme_shows_at_least_one_runnable_block_of_twelve_lines() -> None:
    blocks = [
        block["code"]
        for block in PYTHON.finditer((ROOT / "README.md").read_text())
        if block["remark"] == " runnable"
    ]
    assert blocks
    assert len([line for line in blocks[0].splitlines() if line]) <= 12


def test_a_page_is_run_as_the_user_would_import_it() -> None:
    assert sparring.train is api.train
