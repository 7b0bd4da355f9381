"""Commands that describe methods, protocols and the installation, and the demo."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from sparring.command import completion as values
from sparring.command.options import JsonOption, settings_tree


def protocols(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=values.protocols,
            help="Protocol to describe in full.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the evaluation protocols, or describe one with its settings and variants."""
    from sparring.evaluation.catalogue import PROTOCOLS, find, installed

    if as_json:
        shown = [find(name)[0]] if name is not None else list(PROTOCOLS.values())
        known = {protocol.name: protocol.facts() for protocol in shown}
        elsewhere = {} if name is not None else installed()
        packages = {key: {"name": key, "entry_point": it.value} for key, it in elsewhere.items()}
        typer.echo(json.dumps(known | packages))
    else:
        from sparring.command.descriptions import describe_protocol, list_protocols

        typer.echo(describe_protocol(name) if name is not None else list_protocols())


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=values.anything,
            help="Method or opponent to describe in full.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the methods and the opponents around them, or describe one."""
    from sparring.command import descriptions

    if as_json:
        typer.echo(json.dumps(descriptions.methods_as_json(name)))
    else:
        typer.echo(descriptions.describe(name) if name is not None else descriptions.list_methods())


def schema(
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=values.methods,
            help="Of this method's recipes alone; default: of all methods'.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write; default: print it.")
    ] = None,
) -> None:
    """Print a JSON schema of recipes, by which editors complete and check them.

    See docs/command_line.md for VS Code and other editors.
    """
    from sparring.files import write_atomically
    from sparring.training.recipe_schema import recipe_schema

    text = json.dumps(recipe_schema(method), indent=1, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    write_atomically(out, text.encode())
    typer.echo(f"wrote {out}; begin a recipe with `#:schema {out}`")


def doctor(
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Look at these images instead: folder, parquet, list."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page that shows the images found.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, help="Images to look at, drawn at random; default: 20,000."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --data, such as data.channels=1."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the installation, or with --data what training and scoring will make of images."""
    if data is not None:
        _doctor_of_data(data, out=out, limit=limit, overrides=overrides, as_json=as_json)
        return
    from sparring.command.doctor import run_checks
    from sparring.errors import UsageError

    if out is not None or limit is not None or overrides:
        raise UsageError("--out, --limit and --set belong to --data; name the images to look at")
    findings = run_checks()
    if as_json:
        typer.echo(
            json.dumps([{"name": f.name, "ok": f.is_ok, "detail": f.detail} for f in findings])
        )
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.name}: {finding.detail}")
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)


def _doctor_of_data(
    data: str, *, out: Path | None, limit: int | None, overrides: list[str] | None, as_json: bool
) -> None:
    """Print the findings about a data set; they are no failure of the command."""
    from sparring.api.inspecting import inspect_data
    from sparring.data.inspection.inspecting import LOOKED_AT
    from sparring.errors import ConfigError, unknown_name

    settings = settings_tree(overrides)
    if unknown := [key for key in settings if key != "data"]:
        raise ConfigError(unknown_name("section", unknown[0], ["data"]))
    findings = inspect_data(
        data,
        out=out,
        limit=LOOKED_AT if limit is None else limit,
        settings=settings.get("data"),
    )
    if as_json:
        shown = [{"name": f.name, "ok": f.is_fine, "detail": f.detail} for f in findings]
        typer.echo(json.dumps(shown))
        return
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.is_fine else 'look'}  {finding.name}: {finding.detail}")
    typer.echo(
        f"next: sparring doctor --data {shlex.quote(data)} --out data.html"
        if out is None
        else f"wrote {out}"
    )


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to create.")] = Path("demo"),
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder with the files of Fashion-MNIST; default: download."
        ),
    ] = None,
) -> None:
    """Compare AdCo with its disarmed twin on Fashion-MNIST, in three pairs, and write a page.

    Takes about four minutes on two cores.
    """
    from sparring.command.demo import run_demo
    from sparring.command.display import TerminalDisplay
    from sparring.command.study_display import print_comparison

    with TerminalDisplay() as display:
        done = run_demo(out, data=data, display=display)
    print_comparison(done, following="sparring compare --data photos/ --twins --out study")
    if done.failed:
        raise typer.Exit(1)
