"""The command line: a thin layer over `sparring.api`. Torch is imported inside the commands, so
that --help answers at once.

Results go to standard output, progress to standard error. Exit code 0: done, 1: failed, 2: wrong
usage. A traceback is shown only with --debug.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sparring.acceleration.thread_waiting import settle_waiting
from sparring.command.failure import explain, fail, resumable
from sparring.command.options import (
    BatchOption,
    DataOption,
    DeviceOption,
    EpochsOption,
    ImageSizeOption,
    JsonOption,
    OpponentOption,
    RecipeOption,
    RunArgument,
    RunDeviceOption,
    SeedOption,
    SetOption,
    StepsOption,
)

if TYPE_CHECKING:
    from sparring.config import Tree

CTRL_C = 130
"""What typer makes of a KeyboardInterrupt."""

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
        typer.Option("--debug", help="Show a traceback when something fails; may stand anywhere."),
    ] = False,
) -> None:
    """Self-supervised visual pretraining in which the encoder trains against worthy opponents."""


def _settings(overrides: list[str] | None) -> "Tree":
    from sparring.config import (
        merged,
        parse_override,
    )  # brings pydantic, which --help does not need

    return merged({}, *(parse_override(text) for text in overrides or []))


@app.command()
def plan(
    data: DataOption,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Method, or METHOD+OPPONENT; repeatable or comma-separated, a row each. Default "
                "adco."
            )
        ),
    ] = None,
    opponent: OpponentOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    image_size: ImageSizeOption = None,
    seed: SeedOption = None,
    device: RunDeviceOption = None,
    max_steps: StepsOption = None,
    settings: SetOption = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", help="Estimate for a CUDA device that is not here."),
    ] = None,
    timed_steps: Annotated[int, typer.Option(min=1, help="Steps of each run that are timed.")] = 8,
    as_json: JsonOption = False,
) -> None:
    """Predict memory and time of a run from a few of its steps, and say what would fit; nothing is
    trained."""
    from sparring import api
    from sparring.command.display import Display
    from sparring.planning.wording import lines_of

    with Display() as display:
        found = api.plan(
            data,
            method=method,
            opponent=opponent,
            recipe=recipe,
            settings=_settings(settings),
            gpu_memory=gpu_memory,
            timed_steps=timed_steps,
            listener=display,
            epochs=epochs,
            batch_size=batch_size,
            image_size=image_size,
            seed=seed,
            device=device,
            max_steps=max_steps,
        )
    typer.echo(json.dumps(found.tree()) if as_json else "\n".join(lines_of(found)))


@app.command()
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to create.")],
    method: Annotated[
        str | None, typer.Option(help="See `sparring methods`; default adco.")
    ] = None,
    opponent: OpponentOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    image_size: ImageSizeOption = None,
    seed: SeedOption = None,
    device: RunDeviceOption = None,
    max_steps: StepsOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pretrain an encoder on a folder of images; ends with its score."""
    from sparring import api
    from sparring.command.display import Display

    with resumable(out), Display() as display:
        run = api.train(
            data,
            out=out,
            method=method,
            opponent=opponent,
            recipe=recipe,
            settings=_settings(settings),
            listener=display,
            epochs=epochs,
            batch_size=batch_size,
            image_size=image_size,
            seed=seed,
            device=device,
            max_steps=max_steps,
        )
        _finish(run, display, as_json=as_json)


@app.command()
def resume(
    run: RunArgument,
    max_steps: StepsOption = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Only for a method that is neither shipped nor installed: the same "
            "FILE.py:CLASS again, since a run folder never makes this command run code."
        ),
    ] = None,
    opponent: OpponentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue an interrupted run, to the bit."""
    from sparring import api
    from sparring.command.display import Display

    with resumable(run), Display() as display:
        done = api.resume(
            run, max_steps=max_steps, method=method, opponent=opponent, listener=display
        )
        _finish(done, display, as_json=as_json)


def _finish(run: Any, display: Any, *, as_json: bool) -> None:
    """Score a finished run where it can be scored, and say what comes next."""
    from sparring import api, distributed

    is_main = distributed.is_main()
    distributed.stop()  # one process scores alone; the others would be waited for
    if not is_main:
        return
    scores = api.score_after_training(run, listener=display)
    display.close()
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), "scores": scores}))
    else:
        display.print_scores(run.path, scores)


@app.command()
def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled test images, or the name of a public set; default: a part of the rest."
        ),
    ] = None,
    train_data: Annotated[
        str | None, typer.Option(help="Labelled images to learn from; default: the run's own.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="Comma-separated, each with its variant if any: knn,linear:adco. See `protocols`."
        ),
    ] = "knn,linear",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the public sets given by name.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of splits and draws; default: the run's.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Look at no more images of each set.")
    ] = None,
    device: DeviceOption = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PROTOCOL.KEY=VALUE",
            help="Change a setting of a protocol; repeatable.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run's encoder beside the untrained one."""
    from sparring import api
    from sparring.command.display import Display

    names = [name.strip() for name in protocol.split(",") if name.strip()]
    with Display() as display:
        scores = api.evaluate(
            run,
            data=data,
            train_data=train_data,
            protocols=names,
            settings=_settings(settings),
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


@app.command()
def protocols(
    name: Annotated[str | None, typer.Argument(help="A protocol, in full.")] = None,
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
        from sparring.command.introductions import describe_protocol, list_protocols

        typer.echo(describe_protocol(name) if name is not None else list_protocols())


@app.command()
def embed(
    run: RunArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="File to write.")],
    device: DeviceOption = "auto",
) -> None:
    """Write the features of every image: arrays `features`, `keys` and, where known, `labels`."""
    from sparring import api
    from sparring.command.display import Display

    with Display() as display:
        found = api.embed(run, data, out=out, device=device, listener=display)
    count, channels = found.features.shape
    typer.echo(f"{out}: features of {count:,} images, {channels} channels each")


@app.command()
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")],
    form: Annotated[
        str, typer.Option("--format", help="timm, torchvision or safetensors.")
    ] = "timm",
) -> None:
    """Write the backbone's weights for another library, and print the lines that load them."""
    from sparring import api

    typer.echo(api.export(run, form=form, out=out))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    data: Annotated[
        str | None, typer.Option(help="Images to show; default: the run's own.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about one or several runs."""
    from sparring import api
    from sparring.command.display import Display

    with Display() as display:
        api.report(runs, out=out, data=data, listener=display)
    typer.echo(str(out))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method or an opponent, in full.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the methods and the opponents around them, or describe one."""
    from sparring.command import introductions

    if as_json:
        typer.echo(json.dumps(introductions.methods_as_json(name)))
    else:
        typer.echo(
            introductions.describe(name) if name is not None else introductions.list_methods()
        )


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check the installation: versions that fit together, devices, decoding, disk."""
    from sparring.command.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(
            json.dumps([{"name": f.name, "ok": f.is_ok, "detail": f.detail} for f in findings])
        )
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.name}: {finding.detail}")
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to create.")] = Path("demo"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with Fashion-MNIST's files; default: download.")
    ] = None,
) -> None:
    """Pretrain AdCo and its control on Fashion-MNIST, score both, and write report.html; a few
    minutes on two cores."""
    from sparring.command.demo import run_demo
    from sparring.command.display import Display

    with Display() as display:
        lines = run_demo(out, data=data, display=display)
    typer.echo("\n".join(lines))


def main() -> None:
    """Entry point: run a command, and turn errors into one line and an exit code."""
    settle_waiting()
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
        explain(error)
    if code == CTRL_C:
        fail("stopped", 1)
    raise SystemExit(code if isinstance(code, int) else 0)
