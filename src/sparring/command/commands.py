"""Command line over `sparring.api`. Commands import torch when they run, so --help is fast.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 failed, 2 wrong
usage. A traceback is shown only with --debug.
"""

import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from sparring.acceleration.thread_waiting import settle_waiting
from sparring.command.compare_commands import compare
from sparring.command.completion import is_completing
from sparring.command.encoder_commands import embed, evaluate, export, report
from sparring.command.error_exit import exit_with_error, exit_with_message
from sparring.command.index_commands import clusters, duplicates, neighbours, outliers
from sparring.command.information_commands import demo, doctor, methods, protocols, schema
from sparring.command.missing_operations import settle_missing_operations
from sparring.command.training_commands import plan, resume, train

PROGRAM = "sparring"
"""Name in the help and in the shell's completion, also for `python -m sparring`."""
EXIT_ON_INTERRUPT = 130
"""Code that typer returns after a KeyboardInterrupt."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from sparring import __version__

        typer.echo(f"sparring {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show a traceback on errors; accepted anywhere."),
    ] = False,
) -> None:
    """Self-supervised visual pretraining in which the encoder trains against worthy opponents."""


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Train": (train, resume, plan, compare),
    "Use a trained encoder": (evaluate, embed, export, report),
    "Ask a collection": (neighbours, duplicates, clusters, outliers),
    "Look up": (methods, protocols, schema, doctor, demo),
}
"""Commands in the order of the help, below the title of their panel."""

for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def command_line() -> Any:
    """The whole command line; flags show no type in the help, since they take no value."""
    group: Any = typer.main.get_command(app)
    whole = typer.Context(group, **group.context_settings)
    for each in (group, *group.commands.values()):
        for parameter in each.get_params(typer.Context(each, parent=whole)):
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
    return group


def main() -> None:
    """Entry point: run a command; turn errors into one line and an exit code."""
    settle_waiting()
    settle_missing_operations()
    if is_completing():
        _complete()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # paths may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        code = command_line()(
            args=[argument for argument in arguments if argument != "--debug"],
            prog_name=PROGRAM,
            standalone_mode=False,
        )
    except Exception as error:
        if debug:
            raise
        exit_with_error(error)
    if code == EXIT_ON_INTERRUPT:
        exit_with_message("stopped", 1)
    raise SystemExit(code if isinstance(code, int) else 0)


def _complete() -> None:
    """Answer a shell that asks for completions, and say nothing if that fails."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        try:
            command_line()(prog_name=PROGRAM, standalone_mode=False)
        except Exception:
            raise SystemExit(1) from None
