"""Commands of training: plan, train, resume."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sparring.command.error_exit import exit_on_interrupt
from sparring.command.options import (
    BatchOption,
    DataOption,
    EpochsOption,
    FromOption,
    ImageSizeOption,
    JsonOption,
    KeepOptimizerOption,
    LogOption,
    OpponentOption,
    RecipeOption,
    ResumeIfExistsOption,
    RunArgument,
    RunDeviceOption,
    SeedOption,
    SetOption,
    StepsOption,
    StrengthOption,
    TrainDataOption,
    refuse_unknown_names,
    settings_tree,
    strength_value,
)

PlannedOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Method, or METHOD+OPPONENT; repeatable or comma-separated, one row each. Default: "
        "adco."
    ),
]


def plan(
    data: DataOption,
    method: PlannedOption = None,
    opponent: OpponentOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    image_size: ImageSizeOption = None,
    seed: SeedOption = None,
    device: RunDeviceOption = None,
    max_steps: StepsOption = None,
    strength: StrengthOption = None,
    settings: SetOption = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GIB", help="Estimate for a CUDA device with this memory that is not present."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Run steps of the whole batch, however long they take; else 30 seconds."
        ),
    ] = False,
    timed_steps: Annotated[
        int, typer.Option(min=1, help="Timed steps of each run, with --exact.")
    ] = 8,
    as_json: JsonOption = False,
) -> None:
    """Predict memory and time of a run, and what would fit; trains nothing."""
    from sparring import api
    from sparring.command.display import TerminalDisplay
    from sparring.planning.plan_text import plan_lines

    with TerminalDisplay() as display:
        found = api.plan(
            data,
            method=method,
            opponent=opponent,
            recipe=recipe,
            settings=settings_tree(settings),
            strength=strength_value(strength),
            gpu_memory=gpu_memory,
            exact=exact,
            timed_steps=timed_steps,
            listener=display,
            epochs=epochs,
            batch_size=batch_size,
            image_size=image_size,
            seed=seed,
            device=device,
            max_steps=max_steps,
        )
    typer.echo(json.dumps(found.tree()) if as_json else "\n".join(plan_lines(found)))


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run folder to create.")],
    data: TrainDataOption = None,
    start_from: FromOption = None,
    keep_optimizer: KeepOptimizerOption = False,
    method: Annotated[
        str | None, typer.Option(help="See `sparring methods`; default: adco.")
    ] = None,
    opponent: OpponentOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    image_size: ImageSizeOption = None,
    seed: SeedOption = None,
    device: RunDeviceOption = None,
    max_steps: StepsOption = None,
    strength: StrengthOption = None,
    settings: SetOption = None,
    resume_if_exists: ResumeIfExistsOption = False,
    profile: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Show where the time of N steps goes, after ten others; writes trace.json.gz.",
        ),
    ] = None,
    log: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pretrain an encoder on a folder of images, and print its score."""
    refuse_unknown_names(method, opponent)
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with exit_on_interrupt(out), TerminalDisplay() as display:
        run = api.train(
            data,
            out=out,
            method=method,
            opponent=opponent,
            recipe=recipe,
            settings=settings_tree(settings),
            strength=strength_value(strength),
            start_from=start_from,
            keep_optimizer=keep_optimizer,
            resume_if_exists=resume_if_exists,
            listener=display,
            epochs=epochs,
            batch_size=batch_size,
            image_size=image_size,
            seed=seed,
            device=device,
            max_steps=max_steps,
            profile=profile,
            log=log or (),
        )
        _finish(run, display, as_json=as_json, keep_scores=resume_if_exists)


def resume(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the run's images are now, if they have moved."),
    ] = None,
    max_steps: StepsOption = None,
    changed_on_purpose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Go on although these were changed: settings in config.toml, or `images`; "
            "repeatable or comma-separated.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Only for a method that is neither shipped nor installed: the same "
            "FILE.py:CLASS again, since a run folder never makes this command run code."
        ),
    ] = None,
    opponent: OpponentOption = None,
    log: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue an interrupted run; to the bit on the same CPU, threads and versions."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with exit_on_interrupt(run), TerminalDisplay() as display:
        done = api.resume(
            run,
            data=data,
            max_steps=max_steps,
            changed_on_purpose=changed_on_purpose or (),
            method=method,
            opponent=opponent,
            listener=display,
            log=log or (),
        )
        _finish(done, display, as_json=as_json)


def _finish(run: Any, display: Any, *, as_json: bool, keep_scores: bool = False) -> None:
    """Score a finished run if its images have labels, and print the next command.

    Args:
        run: finished run.
        display: what shows it.
        as_json: whether to print for programs.
        keep_scores: whether a run that has been scored is not scored again.
    """
    from sparring import api, distributed

    is_main = distributed.is_main()
    distributed.stop()  # only the main process scores; no collective call may wait for the others
    if not is_main:
        return
    found = {key: value for key, value in run.scores.items() if key != "results"}
    is_scored = keep_scores and "geometry" in found.get("trained", {})  # the last of its scores
    scores = found if is_scored else api.score_after_training(run, listener=display)
    display.close()
    if as_json:
        typer.echo(json.dumps({"run": str(run.path), "scores": scores}))
    else:
        display.print_scores(run.path, scores)
