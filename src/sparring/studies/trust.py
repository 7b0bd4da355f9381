"""What a plan makes the library run besides its own code, and who may ask for it.

A study folder is data, whoever it comes from: its plan.toml starts no code that it names. A plan
that the user names, on the command line or in Python, may name classes. A command, `pipe:...`, is
taken from neither: only from the command line or from Python.
"""

from collections.abc import Iterator
from pathlib import Path

from sparring.data.sources.addresses import is_command
from sparring.errors import ConfigError, RunError
from sparring.evaluation.catalogue import protocol_of
from sparring.methods import registry
from sparring.methods.plugins import is_reference
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Arm, Study


def classes_named(study: Study) -> Iterator[str]:
    """Methods, opponents and protocols of a plan that are imported from a file or a module."""
    for arm in study.arms:
        yield from filter(is_reference, (arm.method, *arm.opponent))
    for name in study.protocols:
        if is_reference(name) and protocol_of(name) is None:
            yield name


def commands_named(study: Study) -> Iterator[str]:
    """Images of a plan that are the output of a command."""
    yield from filter(is_command, [study.data, *(arm.tuning.images for arm in study.arms)])
    for test in study.tests:
        yield from filter(is_command, (test.data, test.train_data))


def require_given(*arms: Arm) -> None:
    """Refuse arms whose classes are neither the library's, nor installed, nor given in this
    process: configuring them would import code, which a page never does.

    Raises:
        ConfigError: if a class is not here.
    """
    for arm in arms:
        named: tuple[tuple[registry.Kind, str], ...] = (
            ("method", arm.method),
            *(("opponent", name) for name in arm.opponent),
        )
        for kind, name in named:
            if is_reference(name) and not registry.is_known(kind, name):
                raise ConfigError(
                    f"the {kind} {name} of {arm.name} is not part of this library, and a page "
                    "imports no code"
                )


def require_no_command(study: Study, place: str | Path) -> None:
    """Refuse a plan from a file whose images are the output of a command.

    Raises:
        ConfigError: if one is named.
    """
    for text in commands_named(study):
        raise ConfigError(
            f"{place}: the images '{text}' are the output of a command, and a plan starts none; "
            "read it, and give it by --data (data= in Python), or name files"
        )


def require_data_only(study: Study, folder: StudyFolder) -> None:
    """Refuse a study folder whose plan would start code.

    Raises:
        RunError: if it names a class or a command.
    """
    again = "give the command that began the study again"
    for text in commands_named(study):
        raise RunError(
            f"{folder.plan}: the images '{text}' are the output of a command, and a study folder "
            f"starts none; read it, then {again}"
        )
    for text in classes_named(study):
        raise RunError(
            f"{folder.plan} names the code {text}, and a study folder runs none; read it, then "
            f"{again}, or name the plan itself: sparring compare {folder.plan} --out {folder.path}"
        )
