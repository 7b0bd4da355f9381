"""Options shared by several commands, with their help texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sparring.config import Tree
    from sparring.training.strengths import StrengthValue

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder that `sparring train --out` wrote.")
]
DATA_HELP = (
    "Folder of images, parquet file or folder, tar shards, text/CSV list of files, or hf:NAME."
)
DataOption = Annotated[str, typer.Option("--data", metavar="PATH", help=DATA_HELP)]
TrainDataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="PATH", help=f"{DATA_HELP} Default: the images of --from."),
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="Start from the whole state of another run, with its settings and a fresh schedule.",
    ),
]
KeepOptimizerOption = Annotated[
    bool,
    typer.Option("--keep-optimizer", help="With --from, take the state of the optimisers too."),
]
ResumeIfExistsOption = Annotated[
    bool,
    typer.Option(
        "--resume-if-exists",
        help="Continue the run in RUN if it is this one, as a restarted or requeued job does; "
        "without a checkpoint, begin it anew.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting, e.g. bank.size=4096; repeatable."
    ),
]
StrengthOption = Annotated[
    str | None,
    typer.Option(
        metavar="NATS",
        help="Hold the opponent where it adds so much to the loss, in nats per query, e.g. 0.2; "
        "released: as strong as the paper's constants make it.",
    ),
]
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:PLACE]",
        help="Show the curves elsewhere too: tensorboard, wandb or mlflow; repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
StepsOption = Annotated[
    int | None, typer.Option(min=1, help="Stop after N steps, to try a long run or recipe.")
]
RunDeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
OpponentOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Image-space opponent around the method; repeatable. See `sparring methods`."
    ),
]
RecipeOption = Annotated[str | None, typer.Option(help="Name of a shipped recipe, or a TOML file.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Passes over the images.")]
BatchOption = Annotated[int | None, typer.Option(help="Images per step over all processes.")]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(help="Side of the views in pixels; default: from the size of the images."),
]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Seed of all random draws.")]


def refuse_unknown_names(method: str | None, opponents: list[str] | None) -> None:
    """Raise for an unknown method or opponent before torch is imported, which takes seconds."""
    from sparring.methods import registry

    if method is not None:
        registry.refuse_unknown("method", method)
    for opponent in opponents or []:
        registry.refuse_unknown("opponent", opponent)


def settings_tree(overrides: list[str] | None) -> "Tree":
    """Tree of the values of `--set`; later ones replace earlier ones."""
    # Imported here because it imports pydantic, which --help does not need.
    from sparring.config import merged, parse_override

    return merged({}, *(parse_override(text) for text in overrides or []))


def strength_value(text: str | None) -> "StrengthValue | None":
    """Value of `--strength`, read like that of `--set strength=`; None if it is not given."""
    from sparring.config import parse_override

    return None if text is None else parse_override(f"strength={text}")["strength"]
