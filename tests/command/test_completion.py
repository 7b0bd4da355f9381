"""What the shell is offered, asked as the shell asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparring.command import completion, declared_settings
from sparring.config import leaves
from sparring.evaluation.catalogue import PROTOCOLS
from sparring.formats.options import FORMATS
from sparring.methods import registry
from sparring.training.configure import recipes
from sparring.training.settings import RunConfig, TrainingSettings
from tiny import Command

ASK = (
    "import sys; sys.argv = ['sparring']\n"
    "from sparring.command.commands import main\n"
    "try:\n    main()\n"
    "finally:\n"
    "    heavy = {'torch', 'timm', 'torchvision', 'numpy'} & set(sys.modules)\n"
    "    assert not heavy, heavy\n"
)


def asked(line: str, *, folder: Path | None = None) -> list[str]:
    """What bash is offered for the last word of a line; fails if anything else is printed."""
    words = line.split(" ")
    shell = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, **shell, "_SPARRING_COMPLETE": "complete_bash"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash_is_offered_settings_of_the_method_on_the_line_without_torch() -> None:
    assert asked("sparring train --method mocov2 --set queue.s") == ["queue.size="]
    assert asked("sparring train --method byol --set queue.s") == []


def test_bash_is_offered_names_of_methods() -> None:
    assert asked("sparring train --method sim") == ["simclr", "simsiam"]


def test_a_line_with_a_mistake_is_offered_nothing_and_no_error() -> None:
    assert asked("sparring train --method nowhere --set que") == []
    assert asked("sparring nowhere --method a") == []


def test_other_shells_are_offered_the_same(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "sparring train --opponent pert")
    monkeypatch.setenv("_SPARRING_COMPLETE", "complete_zsh")
    assert '"perturbation":' in command().out
    monkeypatch.setenv("_SPARRING_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert command().out.startswith("perturbation\t")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_by_the_name_of_the_command(
    command: Command, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, shell))
    script = command("--show-completion").out
    assert completion.COMPLETING in script
    assert "-m" not in script


def test_a_shell_that_is_not_known_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("xonsh", "xonsh"))
    done = command("--install-completion")
    assert done.code == 1
    assert (done.out + done.err).count("\n") == 1
    assert "xonsh" in done.out + done.err


def test_completion_is_installed_in_the_home_folder(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "bash"))
    assert command("--install-completion").code == 0
    assert "sparring.sh" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize("name", [*registry.shipped("method"), *registry.further_names()])
def test_settings_read_from_source_are_those_of_the_run(name: str) -> None:
    tree = RunConfig.from_tree({"method": name}).tree()
    declared = {*declared_settings.run_settings(), *declared_settings.method_settings(name)}
    assert declared == {key for key, _ in leaves(tree)} - {"method", "opponent"}


@pytest.mark.parametrize("name", registry.shipped("opponent"))
def test_settings_of_an_opponent_stand_in_its_section(name: str) -> None:
    tree = RunConfig.from_tree({"method": "simclr", "opponent": name}).tree()
    section = registry.section_of(name)
    wanted = {key for key, _ in leaves(tree) if key.startswith(f"{section}.")}
    assert set(declared_settings.opponent_settings(name)) == wanted


def test_lists_that_completion_keeps_are_those_of_the_library() -> None:
    # Read where they are used, they would import torch.
    field = TrainingSettings.model_fields["precision"]
    assert set(completion.PRECISIONS) == set(field.annotation.__args__)  # type: ignore[union-attr]
    assert set(completion.EXPORT_FORMATS) == set(FORMATS)
    assert [name for name, _ in completion.protocols("")] == list(PROTOCOLS)
    shipped = set(recipes())
    assert shipped <= {name for name, _ in completion.recipes("")}


def test_a_name_after_a_comma_is_completed_too() -> None:
    assert [name for name, _ in completion.protocols("linear,kn")] == ["linear,knn"]


def test_an_explanation_is_one_short_line() -> None:
    texts = [help for _, help in completion.general_keys("")]
    assert max(map(len, texts)) <= completion.LONGEST_HELP
    assert not any("\n" in text for text in texts)
