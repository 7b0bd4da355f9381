"""Options of `sparring compare`, with their help texts."""

from pathlib import Path
from typing import Annotated

import typer

from sparring.command.options import DATA_HELP

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
    typer.Option(metavar="LIST", help="Shares of the images to train on, such as 1,0.1."),
]
EqualOption = Annotated[
    str | None, typer.Option(help="What arms have in common: images, time or both.")
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(help="Comma-separated, the first is primary: knn,linear. See `protocols`."),
]
MarginOption = Annotated[
    float | None, typer.Option(help="Smallest difference that matters, in points; default: 0.5.")
]
StopEarlyOption = Annotated[
    bool,
    typer.Option("--stop-early", help="Look after 5, 8 and 12 pairs, and stop when it is clear."),
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads of each run; bits depend on it. Default: 1.")
]
OutOption = Annotated[
    Path | None, typer.Option(metavar="STUDY", help="Folder of the study to create or go on with.")
]
EngineOption = Annotated[
    str, typer.Option(help="What makes the runs: local processes, dask or slurm.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Runs at the same time; default: what cores, GPUs and memory allow."),
]
AddressOption = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Scheduler of a dask cluster.")
]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE", help="Parameter of slurm's jobs, as submitit names it; repeatable."
    ),
]
ReuseOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="STUDY",
        help="Take equal runs that this study finished, as those beside --out; repeatable.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Start without a question.")]
PlanOnlyOption = Annotated[
    bool,
    typer.Option(
        "--plan-only", help="Print the plan as TOML, headed by its cost, and write nothing."
    ),
]
WatchOption = Annotated[
    bool,
    typer.Option("--watch", help="Show a live table of STUDY, from any machine; starts nothing."),
]
