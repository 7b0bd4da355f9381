"""A method outside the library: the example keeps the contract, and the whole product works on it
from the command line."""

import ast
import shutil
from pathlib import Path

import pytest

import sparring
from sparring.contract.check import Check
from sparring.methods import plugins, registry
from sparring.testing import method_checks
from tiny import Command, write_photos

EXAMPLE = Path(__file__).parents[1] / "examples" / "barlow_twins.py"
METHOD = f"{EXAMPLE}:BarlowTwins"
SMALL = ["--image-size", "16", "--batch-size", "16", "--set", "encoder.width=0.0625"]

CHECKS = [
    pytest.param(check, id=check.name, marks=[pytest.mark.slow] * check.is_slow)
    for check in method_checks(METHOD)
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_example_keeps_the_contract(check: Check) -> None:
    check.run()


def test_the_example_imports_public_names_only() -> None:
    imported = set()
    for node in ast.walk(ast.parse(EXAMPLE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert imported == {"collections.abc", "pydantic", "sparring", "torch"}
    used = {
        node.attr
        for node in ast.walk(ast.parse(EXAMPLE.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sparring"
    }
    assert used <= set(sparring.__all__)


@pytest.fixture
def started(tmp_path: Path, command: Command) -> tuple[Path, Path, str]:
    """Photos, a run of the example that is stopped after two steps, and the method's name."""
    photos, run = tmp_path / "photos", tmp_path / "run"
    write_photos(photos)
    method = str(shutil.copy(EXAMPLE, tmp_path / "mine.py")) + ":BarlowTwins"
    place = ["--data", photos, "--out", run, "--epochs", "2", "--max-steps", "2"]
    done = command("train", "--method", method, *place, *SMALL)
    assert done.code == 0, done.err
    return photos, run, method


def test_an_unfinished_run_of_the_example_needs_its_class_to_go_on(
    started: tuple[Path, Path, str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, method = started
    # As in a process of its own, in which nothing has been given or imported yet.
    monkeypatch.setattr(registry, "_given", {"method": {}, "opponent": {}})
    monkeypatch.setattr(plugins, "_FILES", {})
    more = ["--max-steps", "4"]
    refused = command("resume", run, *more)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert f"--method {method}" in refused.err
    file = Path(method.partition(":")[0])
    file.write_text(file.read_text() + "\n# another version\n")
    done = command("resume", run, "--method", method, *more)
    assert done.code == 0, done.err
    assert "has changed since this run began" in done.err


def test_evaluating_embedding_exporting_and_reporting_run_no_code_of_a_run(
    started: tuple[Path, Path, str], tmp_path: Path, command: Command
) -> None:
    photos, run, method = started
    file = Path(method.partition(":")[0])
    file.write_text("raise SystemExit('this must not run')\n")
    for arguments in (
        ("evaluate", run, "--data", photos, "--protocol", "geometry"),
        ("embed", run, "--data", photos, "--out", tmp_path / "features.npz"),
        ("export", run, "--format", "timm", "--out", tmp_path / "w.pt"),
        ("report", run, "--out", tmp_path / "page.html"),
    ):
        done = command(*arguments)
        assert done.code == 0, (arguments, done.err)
    assert "BarlowTwins" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("nowhere.py:BarlowTwins", "no such file: nowhere.py"),
        (f"{EXAMPLE}:BarlowTwin", "did you mean 'BarlowTwins'"),
        (f"{EXAMPLE}:BarlowTwinsSettings", "must be a subclass of sparring's Method"),
        ("no_such_package.module:Class", "no module named 'no_such_package.module'"),
        ("adko", "did you mean 'adco'"),
    ],
)
def test_a_method_that_is_not_there_costs_one_line(
    method: str, sentence: str, tmp_path: Path, command: Command
) -> None:
    write_photos(tmp_path / "photos")
    where = ["--data", tmp_path / "photos", "--out", tmp_path / "run"]
    done = command("train", "--method", method, *where)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert sentence in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_class_is_given_in_python_and_planned(tmp_path: Path) -> None:
    from sparring.methods.plugins import load_named

    kind = load_named(METHOD, what="method")
    write_photos(tmp_path / "photos")
    small = {"encoder": {"width": 0.0625}, "training": {"monitor_images": 16}}
    given = {"image_size": 16, "batch_size": 16, "epochs": 1, "max_steps": 2}
    run = sparring.train(
        tmp_path / "photos",
        out=tmp_path / "run",
        method=kind,
        settings=small,
        progress=False,
        **given,
    )
    assert run.config.method.endswith(":BarlowTwins")
    resumed = sparring.resume(run, method=kind, max_steps=3, progress=False)
    assert resumed.path == run.path
    plan = sparring.plan(tmp_path / "photos", method=METHOD, settings=small, timed_steps=1, **given)
    assert METHOD in str(plan.tree())
