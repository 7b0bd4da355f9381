"""Options of `sparring compare`, with their help texts, and what some of their values mean."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparring.command import completion as values
from sparring.command.options import DATA_HELP, MACHINE, settings_tree
from sparring.errors import ConfigError

if TYPE_CHECKING:
    from sparring.config import Tree

MOST_DIGITS = 18
"""Digits up to which a seed is certain to fit into 64 bits."""
ARMS, SCORES, STUDY = "Arms", "Scores", "The study"
"""Panels of the help, below the options that most studies have."""

PlanArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="PLAN.toml|STUDY",
        help="A plan, or the folder of a study to go on with; none: a plan of --data, --methods.",
        show_default=False,
    ),
]
DataOption = Annotated[
    str | None, typer.Option("--data", metavar="PATH", help=f"Images to train on: {DATA_HELP}")
]
MethodsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        metavar="NAMES",
        autocompletion=values.methods,
        help="Methods to compare, each perhaps METHOD+OPPONENT; comma-separated or repeated.",
    ),
]
TwinsOption = Annotated[
    bool,
    typer.Option("--twins", help="Add each method's primary twin: its opponent without its aim."),
]
AllTwinsOption = Annotated[
    bool, typer.Option("--all-twins", help="Add every twin that the methods declare.")
]
ControlsOption = Annotated[
    bool, typer.Option("--controls", help="Add each method's control, which has no opponent.")
]
TestOption = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        metavar="[NAME=]PATH",
        rich_help_panel=SCORES,
        help="Labelled images to be scored on, the first is primary; repeatable. Default: a "
        "held-out fifth of --data.",
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(metavar="N|LIST", help="Pairs: 5, or the seeds themselves: 0,1,7. Default: 5."),
]
SharesOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        rich_help_panel=ARMS,
        help="Shares of the images to train on, such as 1,0.1.",
    ),
]
EqualOption = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT", rich_help_panel=ARMS, help="What arms have in common: images, time or both."
    ),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        rich_help_panel=SCORES,
        autocompletion=values.protocols,
        help="Comma-separated, the first is primary: knn,linear. See `protocols`.",
    ),
]
MarginOption = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        rich_help_panel=SCORES,
        help="Smallest difference that matters, in points; default: 0.5.",
    ),
]
StopEarlyOption = Annotated[
    bool,
    typer.Option(
        "--stop-early",
        rich_help_panel=SCORES,
        help="Look after 5, 8 and 12 pairs, and stop when it is clear.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=MACHINE,
        help="Threads of each run; bits depend on it. Default: 1.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(metavar="STUDY", help="Folder of the study to create or go on with.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        rich_help_panel=MACHINE,
        autocompletion=values.engines,
        help="What makes the runs: local processes, dask or slurm.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=MACHINE,
        help="Runs at the same time; default: what cores, GPUs and memory allow.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", rich_help_panel=MACHINE, help="Scheduler of a dask cluster."),
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        rich_help_panel=MACHINE,
        help="Parameter of slurm's jobs, as submitit names it; repeatable.",
    ),
]
ReuseOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="STUDY",
        rich_help_panel=STUDY,
        help="Take equal runs that this study finished, as those beside --out; repeatable.",
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        rich_help_panel=MACHINE,
        help="Time for this command: start what ends in it, save the rest; local engine only.",
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", rich_help_panel=STUDY, help="Start without a question.")
]
PlanOnlyOption = Annotated[
    bool,
    typer.Option(
        "--plan-only",
        rich_help_panel=STUDY,
        help="Print the plan as TOML, headed by its cost, and write nothing.",
    ),
]
WatchOption = Annotated[
    bool,
    typer.Option(
        "--watch",
        rich_help_panel=STUDY,
        help="Show a live table of STUDY, from any machine; starts nothing.",
    ),
]


def arm_settings(
    overrides: list[str] | None, backbone: str | None, weights: str | None, precision: str | None
) -> "Tree | None":
    """Settings of all arms, those of `--set` last; None if there are none."""
    from sparring.config import merged
    from sparring.training.arguments import argument_settings

    named = {"backbone": backbone, "weights": weights, "precision": precision}
    return merged(argument_settings(named), settings_tree(overrides)) or None


def seeds_value(text: str | None) -> int | list[int] | None:
    """Seeds of a number or of a list."""
    from sparring.studies.plan import MOST_PAIRS

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and part.isascii() for part in parts):
        raise ConfigError(f"--seeds {text}: expected a number of pairs, or seeds such as 0,1,7")
    if any(len(part) > MOST_DIGITS for part in parts):
        raise ConfigError(f"--seeds {text}: a seed has at most {MOST_DIGITS} digits")
    if "," in text:
        return [int(part) for part in parts]
    number = int(parts[0])
    if not 0 < number <= MOST_PAIRS:
        raise ConfigError(
            f"--seeds {text}: expected a number of pairs from 2 to {MOST_PAIRS:,}, 5 are usual; "
            f"one seed by itself is written with a comma, as {text},"
        )
    return number


def numbers_value(option: str, text: str | None) -> list[float] | None:
    """Numbers separated by commas."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",") if part.strip()] or [float(text)]
    except ValueError:
        raise ConfigError(
            f"{option} {text}: expected numbers separated by commas, such as 0,1,2"
        ) from None
