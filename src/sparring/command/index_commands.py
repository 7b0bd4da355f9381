"""Commands that ask an index of embeddings: neighbours, duplicates, clusters, outliers."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sparring.command import completion as values
from sparring.command.options import DataOption, DeviceOption, JsonOption, RunArgument
from sparring.wording import counted

PageOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.html", help="Page with pictures to write.")
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", metavar="FILE.csv", help="Table to write.")
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        "--features", metavar="FILE.npz", help="Features of the set that `sparring embed` wrote."
    ),
]
SearchOption = Annotated[
    str,
    typer.Option(
        "--index",
        metavar="NAME",
        autocompletion=values.searches,
        help="exact, faiss (approximate), or auto: exact up to 10^12 comparisons.",
    ),
]
SHOWN = 10
"""Queries, groups, clusters or outliers that are printed; the files have all of them."""


def neighbours(
    run: RunArgument,
    data: DataOption,
    query: Annotated[
        list[str],
        typer.Option(metavar="IMAGE", help="Key in the set, image or folder; repeatable."),
    ],
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, help="Images shown of each query.")
    ] = 12,
    out: PageOption = None,
    csv: CsvOption = None,
    features: FeaturesOption = None,
    index: SearchOption = "auto",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show the most similar images of a set for one or more queries."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with TerminalDisplay() as display:
        found = api.neighbours(
            run, data, query, k=k, index=index, out=out, csv=csv, features=features,
            device=device, listener=display,
        )  # fmt: skip
    if as_json:
        _print_json(found.tree())
        return
    for one in found.answers[:SHOWN]:
        typer.echo(f"{one.key}{f'  {one.label}' if one.label else ''}")
        for near in one.neighbours:
            typer.echo(f"  {near.similarity:.4f}  {_named(near.key, near.label)}")
        if not one.neighbours:
            typer.echo("  the set has no other image")
    _print_left_out(len(found.answers), "queries")
    _print_files(["neighbours", run, "--data", data, "--query", query[0]], out, csv)


def duplicates(
    run: RunArgument,
    data: DataOption,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            help="Cosine from which images are alike; default: found for this encoder.",
        ),
    ] = None,
    out: PageOption = None,
    csv: CsvOption = None,
    removable: Annotated[
        Path | None, typer.Option(metavar="FILE.txt", help="List to write of what could go.")
    ] = None,
    features: FeaturesOption = None,
    index: SearchOption = "auto",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find images that repeat one another, and which of them to keep; nothing is deleted."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with TerminalDisplay() as display:
        found = api.duplicates(
            run, data, threshold=threshold, index=index, out=out, csv=csv, removable=removable,
            features=features, device=device, listener=display,
        )  # fmt: skip
    if as_json:
        _print_json(found.tree())
        return
    typer.echo(
        f"{counted(len(found.images), 'image')}, {counted(len(found.groups), 'group')}: "
        f"{found.num_removable:,} "
        f"could go, {found.num_equal:,} of them with equal content"
    )
    typer.echo(found.sentence())
    for group in found.groups[:SHOWN]:
        others = ", ".join(found.images.key(row) for row in group.others[:3])
        more = f" and {len(group.others) - 3:,} more" if len(group.others) > 3 else ""
        typer.echo(f"  keep {found.images.key(group.keep)}: {others}{more}")
    _print_left_out(len(found.groups), "groups")
    _print_files(["duplicates", run, "--data", data], out, csv, removable)


def clusters(
    run: RunArgument,
    data: DataOption,
    num: Annotated[str, typer.Option(metavar="N|auto", help="Number of clusters, or auto.")] = "10",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the first centres.")] = 0,
    out: PageOption = None,
    csv: CsvOption = None,
    features: FeaturesOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Sort a set into clusters of similar images, and compare them with its classes."""
    from sparring import api
    from sparring.command.display import TerminalDisplay
    from sparring.errors import UsageError

    if num != "auto" and not num.isdecimal():
        raise UsageError(f"--num must be a number of clusters or auto, got '{num}'")
    with TerminalDisplay() as display:
        found = api.clusters(
            run, data, num="auto" if num == "auto" else int(num), seed=seed, out=out, csv=csv,
            features=features, device=device, listener=display,
        )  # fmt: skip
    if as_json:
        _print_json(found.tree())
        return
    for number, one in enumerate(found.clusters[: 2 * SHOWN]):
        mixture = "" if one.purity is None else f"  {100 * one.purity:3.0f} % {one.majority}"
        typer.echo(f"cluster {number}: {counted(len(one), 'image')}{mixture}")
    _print_left_out(len(found.clusters), "clusters", shown=2 * SHOWN)
    if found.purity is not None and found.nmi is not None:
        typer.echo(
            f"{found.num_classes:,} classes: purity {100 * found.purity:.1f} %, normalised mutual "
            f"information {found.nmi:.3f}"
        )
    _print_files(["clusters", run, "--data", data], out, csv)


def outliers(
    run: RunArgument,
    data: DataOption,
    k: Annotated[
        int, typer.Option("--k", metavar="N", min=1, help="Neighbours the score averages over.")
    ] = 10,
    out: PageOption = None,
    csv: CsvOption = None,
    features: FeaturesOption = None,
    index: SearchOption = "auto",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """List the images that are farthest from their nearest neighbours."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with TerminalDisplay() as display:
        found = api.outliers(
            run, data, k=k, index=index, out=out, csv=csv, features=features, device=device,
            listener=display,
        )  # fmt: skip
    if as_json:
        _print_json(found.tree())
        return
    for line in found.tree(SHOWN)["outliers"]:
        typer.echo(
            f"{line['score']:.4f}  quantile {line['quantile']:.4f}  "
            f"{_named(line['key'], line['label'])}"
        )
    _print_left_out(len(found.rows), "images")
    _print_files(["outliers", run, "--data", data], out, csv)


def _named(key: str, label: str | None) -> str:
    return f"{key}  {label}" if label else key


def _print_json(tree: dict[str, Any]) -> None:
    typer.echo(json.dumps(tree))


def _print_left_out(count: int, what: str, *, shown: int = SHOWN) -> None:
    if count > shown:
        typer.echo(f"  {count - shown:,} more {what}: all are in the file of --csv")


def _print_files(command: Sequence[str | Path], page: Path | None, *others: Path | None) -> None:
    """Name the files that were written, or the command that writes a page."""
    for path in (page, *others):
        if path is not None:
            typer.echo(f"wrote {path}")
    if page is None:
        typer.echo(f"next: sparring {shlex.join(map(str, command))} --out {command[0]}.html")
