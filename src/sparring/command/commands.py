"""Command line over `sparring.api`. Commands import torch when they run, so --help is fast.

Results go to standard output, progress to standard error. Exit codes: 0 done, 1 failed, 2 wrong
usage. A traceback is shown only with --debug.
"""

import io
import sys
from typing import Annotated

import typer

from sparring.acceleration.thread_waiting import settle_waiting
from sparring.command.compare_commands import compare
from sparring.command.encoder_commands import embed, evaluate, export, report
from sparring.command.error_exit import exit_with_error, exit_with_message
from sparring.command.index_commands import clusters, duplicates, neighbours, outliers
from sparring.command.information_commands import demo, doctor, methods, protocols
from sparring.command.missing_operations import settle_missing_operations
from sparring.command.training_commands import plan, resume, train

EXIT_ON_INTERRUPT = 130
"""Code that typer returns after a KeyboardInterrupt."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
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


for command in (
    plan,
    train,
    resume,
    compare,
    evaluate,
    protocols,
    embed,
    neighbours,
    duplicates,
    clusters,
    outliers,
    export,
    report,
    methods,
    doctor,
    demo,
):
    app.command()(command)


def main() -> None:
    """Entry point: run a command; turn errors into one line and an exit code."""
    settle_waiting()
    settle_missing_operations()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # paths may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        code = app(
            args=[argument for argument in arguments if argument != "--debug"],
            standalone_mode=False,
        )
    except Exception as error:
        if debug:
            raise
        exit_with_error(error)
    if code == EXIT_ON_INTERRUPT:
        exit_with_message("stopped", 1)
    raise SystemExit(code if isinstance(code, int) else 0)
