"""Commands that use a trained encoder: evaluate, embed, export, report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sparring.command import completion as values
from sparring.command.options import (
    DataOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    settings_tree,
)

TestDataOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|NAME",
        help="Labelled test images, or the name of a public set; default: a held-out fifth.",
    ),
]
LabelledDataOption = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Labelled images to train on; default: the run's own."),
]
ProtocolsOption = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        autocompletion=values.protocols,
        help="Comma-separated, each perhaps with a variant: knn,linear:adco. See `protocols`.",
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder that holds the public sets given by name."),
]
ProtocolSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PROTOCOL.KEY=VALUE",
        autocompletion=values.protocol_keys,
        help="Change a setting of a protocol; repeatable.",
    ),
]


def evaluate(
    run: RunArgument,
    data: TestDataOption = None,
    train_data: LabelledDataOption = None,
    protocol: ProtocolsOption = "knn,linear",
    root: RootOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Seed of splits and random draws; default: the run's."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most images used of each set.")
    ] = None,
    device: DeviceOption = "auto",
    settings: ProtocolSetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the encoder of a run and the one from which it started."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    names = [name.strip() for name in protocol.split(",") if name.strip()]
    with TerminalDisplay() as display:
        scores = api.evaluate(
            run,
            data=data,
            train_data=train_data,
            protocols=names,
            settings=settings_tree(settings),
            root=root,
            seed=seed,
            limit=limit,
            device=device,
            listener=display,
        )
        display.close()
        if as_json:
            typer.echo(json.dumps(scores))
        else:
            display.print_scores(run, scores)


def embed(
    run: RunArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="File to write.")],
    device: DeviceOption = "auto",
) -> None:
    """Write the features of every image: `features`, `keys` and, if known, `labels`."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with TerminalDisplay() as display:
        found = api.embed(run, data, out=out, device=device, listener=display)
    count, channels = found.features.shape
    typer.echo(f"{out}: features of {count:,} images, {channels} channels each")


def export(
    run: RunArgument,
    out: Annotated[
        Path, typer.Option(metavar="PATH", help="File to write; for hub a folder, not there yet.")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            autocompletion=values.export_formats,
            help="timm, torchvision, safetensors, onnx, torch-export or hub.",
        ),
    ] = "timm",
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=values.export_precisions,
            help="Of onnx: float32, float16 or int8; says what was lost.",
        ),
    ] = "float32",
    dynamic_size: Annotated[
        bool,
        typer.Option(
            "--dynamic-size", help="Leave height and width open, in onnx and torch-export."
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Images for float16 and int8; default: the run's own."),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            "--license",
            metavar="NAME",
            help="Licence of your weights for the card of hub, e.g. apache-2.0.",
        ),
    ] = "other",
) -> None:
    """Write the encoder for another library, and print the lines that load it.

    Programs and folders are loaded and compared before they are kept. docs/exporting.md has the
    formats.
    """
    from sparring import api

    typer.echo(
        api.export(
            run,
            form=form,
            out=out,
            precision=precision,
            dynamic_size=dynamic_size,
            data=data,
            licence=licence,
        )
    )


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders; or the folder of a study.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML file to write.")] = Path(
        "report.html"
    ),
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Images to show; default: the run's own.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about runs, or about a study, with tables and figures."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with TerminalDisplay() as display:
        api.report(runs, out=out, data=data, listener=display)
    typer.echo(str(out))
