"""Options shared by several commands, with their help texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparring.command import completion as values

if TYPE_CHECKING:
    from sparring.config import Tree
    from sparring.training.strengths import StrengthValue

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder that `sparring train --out` wrote.")
]
DATA_HELP = (
    "Folder of images, parquet file or folder, tar shards, text/CSV list of files, or hf:NAME."
)
LEARNING, MACHINE = "Network and learning", "Machine"
SETTINGS, EARLIER, TRIAL = "All other settings", "Earlier runs", "Trials"
"""Panels of the help, below the options that most runs have."""

DataOption = Annotated[str, typer.Option("--data", metavar="PATH", help=DATA_HELP)]
TrainDataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="PATH", help=f"{DATA_HELP} Default: the images of --from."),
]
TrainOutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="RUN", help="Run folder to create. Required."),
]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        rich_help_panel=EARLIER,
        help="Start from the whole state of another run, with its settings and a fresh schedule.",
    ),
]
KeepOptimizerOption = Annotated[
    bool,
    typer.Option(
        "--keep-optimizer",
        rich_help_panel=EARLIER,
        help="With --from, take the state of the optimisers too.",
    ),
]
ResumeIfExistsOption = Annotated[
    bool,
    typer.Option(
        "--resume-if-exists",
        rich_help_panel=EARLIER,
        help="Continue the run in RUN if it is this one, as a restarted or requeued job does; "
        "without a checkpoint, begin it anew.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel=SETTINGS,
        autocompletion=values.setting_keys,
        help="Change one setting, e.g. bank.size=4096; repeatable. Wins over all other options.",
    ),
]
PrintConfigOption = Annotated[
    bool,
    typer.Option(
        "--print-config",
        rich_help_panel=SETTINGS,
        help="Print all settings as a recipe, each explained, and train nothing; needs neither "
        "--data nor --out.",
    ),
]
StrengthOption = Annotated[
    str | None,
    typer.Option(
        metavar="NATS",
        rich_help_panel=LEARNING,
        autocompletion=values.strengths,
        help="Hold the opponent where it adds so much to the loss, in nats per query, e.g. 0.2; "
        "released: as strong as the paper's constants make it.",
    ),
]
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:PLACE]",
        autocompletion=values.logs,
        help="Show the curves elsewhere too: tensorboard, wandb or mlflow; repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="NAME", autocompletion=values.devices, help="auto, cpu, cuda, cuda:1 or mps."
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=TRIAL,
        help="Stop after N steps, to try a long run or recipe.",
    ),
]
ProfileOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=TRIAL,
        help="Show where the time of N steps goes, after ten others; writes trace.json.gz.",
    ),
]
RunDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        rich_help_panel=MACHINE,
        autocompletion=values.devices,
        help="auto, cpu, cuda, cuda:1 or mps.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        rich_help_panel=MACHINE,
        autocompletion=values.precisions,
        help="auto, float32 or bfloat16; auto: bfloat16 on CUDA devices that support it.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        rich_help_panel=MACHINE,
        help="Threads that decode images; 0: one per core, at most 8.",
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=values.methods,
        help="See `sparring methods`; default: the recipe's, or adco.",
    ),
]
OpponentOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        autocompletion=values.opponents,
        help="Image-space opponent around the method; repeatable. See `sparring methods`.",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        autocompletion=values.recipes,
        help="Name of a shipped recipe, or a TOML file.",
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Passes over the images.")
]
BatchOption = Annotated[
    int | None, typer.Option(metavar="N", help="Images per step over all processes.")
]
SeedOption = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Seed of all random draws; default: 0.")
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        rich_help_panel=LEARNING,
        help="Any model of timm, e.g. resnet50 or vit_small_patch16_224; default: the recipe's, or "
        "resnet18.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        rich_help_panel=LEARNING,
        help="Pretrained weights to start from: a file, a run folder, hf:OWNER/MODEL, or timm.",
    ),
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(
        "--lr",
        metavar="RATE",
        rich_help_panel=LEARNING,
        help="Peak learning rate of the encoder; default: the recipe's, or the method's.",
    ),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        rich_help_panel=LEARNING,
        help="Side of the views; default: from the size of the images.",
    ),
]


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
