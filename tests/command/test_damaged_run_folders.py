"""Small files of a run folder that somebody has changed, as every command meets them: they are
used, or one line says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparring.config import read_toml, toml_text
from tiny import Command, train_arguments

READERS = ("resume", "evaluate", "embed", "export", "report", "train")
DEEP = "[" * 100_000

Tree = dict[str, Any]


def call(command: Command, name: str, run: Path, photos: Path, out: Path) -> tuple[int, str]:
    """Exit code and last line of standard error of a command that reads the run folder."""
    further = {
        "resume": ["--max-steps", "6"],
        "evaluate": ["--protocol", "knn"],
        "embed": ["--data", photos, "--out", out],
        "export": ["--out", out],
        "report": ["--out", out.with_suffix(".html")],
    }
    words = (
        train_arguments(photos, run, "--resume-if-exists")
        if name == "train"
        else [name, run, *further[name]]
    )
    found = command(*words)
    assert "unexpected" not in found.err
    return found.code, found.err.splitlines()[-1] if found.code else ""


CONFIGURATIONS: dict[str, tuple[Callable[[Tree], object], str]] = {
    "an opponent's section is a number": (
        lambda tree: tree.update(opponent=["generator-pair"], generator_pair=3),
        "generator_pair is a section, got 3; set one of generator_pair.",
    ),
    "opponents are a number": (
        lambda tree: tree.update(opponent=3),
        "opponent: should be a name or a list of names, got 3",
    ),
    "no size of images": (
        lambda tree: tree["training"].pop("image_size"),
        "lacks training.image_size, with which the run was trained; restore it from a copy",
    ),
    "a section is missing": (lambda tree: tree.pop("training"), "lacks training.image_size"),
    "a NUL in a path": (
        lambda tree: tree["data"].update(path="a\0b"),
        "data.path: a NUL character cannot be part of a value",
    ),
    "a list for a section": (lambda tree: tree.update(bank=[1]), "bank is a section, got [1]"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_configuration_of_other_types_is_told(
    name: str, kind: str, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    change, message = CONFIGURATIONS[kind]
    tree = read_toml(run / "config.toml")
    change(tree)
    (run / "config.toml").write_text(toml_text(tree))
    code, error = call(command, name, run, photos, tmp_path / "out")
    assert code == 2
    assert message in error or name == "train"  # which says that the run has other settings


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", [f"a = {DEEP}", "a = 1" * 2, "method = " + "1" * 10_000])
def test_a_configuration_that_is_no_toml_is_told(
    name: str, text: str, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    (run / "config.toml").write_text(text)
    code, error = call(command, name, run, photos, tmp_path / "out")
    assert (code, "is not valid TOML" in error) == (2, True)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", [DEEP, "[]", '{"classes": 3, "changes": {}}', "1" * 10_000, "\0"])
def test_a_damaged_environment_passes_for_a_missing_one(
    name: str, text: str, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    (run / "environment.json").write_text(text)
    assert call(command, name, run, photos, tmp_path / "out") == (0, "")


@pytest.mark.parametrize("name", ["resume", "report"])
@pytest.mark.parametrize(
    "line",
    [DEEP, "[]", '{"step": "1"}', '{"step": 1, "loss": [1]}', f'{{"step": {"1" * 10_000}}}'],
)
def test_records_from_a_damaged_one_on_are_left_out(
    name: str, line: str, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    first, *others = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([first, line, *others]) + "\n")
    assert call(command, name, run, photos, tmp_path / "out") == (0, "")


@pytest.mark.parametrize("name", ["evaluate", "report"])
@pytest.mark.parametrize(
    "change",
    [
        lambda tree: DEEP,
        lambda tree: tree["results"][0].update(settings=3),
        lambda tree: tree["results"][0].update(protocol=0.5),
        lambda tree: tree["results"][0]["test"].update(fingerprint=[]),
    ],
)
def test_damaged_scores_are_told(
    name: str,
    change: Callable[[Tree], object],
    command: Command,
    run: Path,
    photos: Path,
    tmp_path: Path,
) -> None:
    tree = json.loads((run / "scores.json").read_text())
    text = change(tree)
    (run / "scores.json").write_text(text if isinstance(text, str) else json.dumps(tree))
    code, error = call(command, name, run, photos, tmp_path / "out")
    assert (code, "scores.json is damaged; remove it" in error) == (2, True)


@pytest.mark.parametrize("size", [2**62, 10**30])
def test_sizes_beyond_all_memory_are_told(
    size: int, command: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    tree = read_toml(run / "config.toml")
    tree["projector"]["hidden"] = size
    (run / "config.toml").write_text(toml_text(tree))
    code, error = call(command, "export", run, photos, tmp_path / "out")
    assert code == 1
    assert error.startswith("error: out of memory: ")
    assert len(error) < 400
