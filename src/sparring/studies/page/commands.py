"""Command lines by which anyone repeats one run of a study, and its scores."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparring.config import Tree, leaves, merged, toml_text
from sparring.errors import SparringError
from sparring.reporting.pools import HARMLESS
from sparring.studies.configs import arm_config, recipe_of
from sparring.studies.plan import Arm, ScoredSet, Study
from sparring.studies.records import RunRecord
from sparring.studies.trust import require_given

LINE = 84
"""Letters to a line of a command."""
_GIVEN = ("data.path", "seed", "training.epochs", "method", "opponent", *HARMLESS)
"""Settings that the command gives in another way, or that do not change the result."""


def train_command(study: Study, arm: Arm, record: RunRecord | None = None) -> str:
    """`sparring train` with everything that decides the run, for a shell.

    Args:
        study: the plan.
        arm: one of its arms.
        record: a run of the arm; what its configuration has besides the plan's settings, such as
            the share of the images, is set too. None: the first seed of the plan.
    """
    seed = study.seeds[0] if record is None else record.name.seed
    recipe, settings = recipe_of(study, arm), merged(study.settings, arm.settings)
    options: Tree = {"method": arm.method, "recipe": recipe, "epochs": study.epochs, "seed": seed}
    options["device"] = None if study.device == "auto" else study.device
    changed = dict(leaves(settings))
    if record is not None:
        changed |= _besides(study, arm, record)
    words = [f"OMP_NUM_THREADS={study.threads}", "sparring", "train", "--data", study.data]
    for name, value in options.items():
        words += [f"--{name}", str(value)] if value is not None else []
        if name == "method":
            words += [word for other in arm.opponent for word in ("--opponent", other)]
    words += [word for text in _assignments(changed) for word in ("--set", text)]
    return in_lines([*words, "--out", _out(arm, seed)])


def evaluate_commands(study: Study, arm: Arm, seed: int) -> list[str]:
    """`sparring evaluate` for each test set of the plan, of the run that `train_command` makes."""
    return [_evaluate_command(study, test, _out(arm, seed)) for test in study.tests]


def _evaluate_command(study: Study, test: ScoredSet, run: str) -> str:
    words = [f"OMP_NUM_THREADS={study.threads}", "sparring", "evaluate", run]
    words += ["--data", test.data] if test.data else []
    words += ["--train-data", test.train_data] if test.train_data else []
    words += ["--protocol", ",".join(study.protocols)]
    settings = _assignments(dict(leaves(study.protocol_settings)))
    return in_lines([*words, *(word for text in settings for word in ("--set", text))])


def in_lines(words: Sequence[str]) -> str:
    """A command for a shell, an option and its value never apart, in lines of some length.

    Example:
        >>> in_lines(["sparring", "train", "--data", "my photos"])
        "sparring train --data 'my photos'"
    """
    parts: list[str] = []
    for word in words:
        joins = bool(parts) and not word.startswith("--")
        if joins:
            parts[-1] += f" {shlex.quote(word)}"
        else:
            parts.append(shlex.quote(word))
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > LINE:
            lines.append(f"    {part}")
        else:
            lines[-1] += f" {part}" if lines[-1] else part
    return " \\\n".join(lines)


def _besides(study: Study, arm: Arm, record: RunRecord) -> dict[str, object]:
    """Settings of a run's configuration that the plan alone would not give; none if the plan gives
    no configuration here, as without the package of a method, or with code that a page never
    imports."""
    try:
        require_given(arm)
        found = arm_config(study, arm, seed=record.name.seed)
    except SparringError:
        return {}
    expected = dict(leaves(found.tree()))
    return {
        name: value
        for name, value in leaves(record.config)
        if name not in _GIVEN and value is not None and _plain(expected.get(name)) != _plain(value)
    }


def _plain(value: object) -> object:
    """The value with lists for tuples, as JSON gives it back."""
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _assignments(settings: Mapping[str, object]) -> Iterator[str]:
    """`key=value` for each setting, the value as TOML."""
    for name, value in settings.items():
        if value is not None:
            yield f"{name}={toml_text({'value': value}).removeprefix('value = ').strip()}"


def _out(arm: Arm, seed: int) -> str:
    return str(Path(f"{arm.name.replace('/', '-')}-seed-{seed}"))
