"""Commands of training: plan, train, resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sparring.command import completion as values
from sparring.command.error_exit import exit_on_interrupt
from sparring.command.options import (
    TRIAL,
    BackboneOption,
    BatchOption,
    DataOption,
    EpochsOption,
    FromOption,
    ImageSizeOption,
    JsonOption,
    KeepOptimizerOption,
    LearningRateOption,
    LogOption,
    MethodOption,
    OpponentOption,
    PrecisionOption,
    PrintConfigOption,
    ProfileOption,
    RecipeOption,
    ResumeIfExistsOption,
    RunArgument,
    RunDeviceOption,
    SeedOption,
    SetOption,
    StepsOption,
    StrengthOption,
    TrainDataOption,
    TrainOutOption,
    WeightsOption,
    WorkersOption,
    refuse_unknown_names,
    settings_tree,
    strength_value,
)
from sparring.errors import UsageError

PlannedOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        autocompletion=values.methods,
        help="Method, or METHOD+OPPONENT; repeatable or comma-separated, one row each. Default: "
        "adco.",
    ),
]
GpuMemoryOption = Annotated[
    float | None,
    typer.Option(
        metavar="GIB", help="Estimate for a CUDA device with this memory that is not present."
    ),
]
ExactOption = Annotated[
    bool,
    typer.Option(
        "--exact",
        rich_help_panel=TRIAL,
        help="Run steps of the whole batch, however long they take; else 30 seconds.",
    ),
]
TimedStepsOption = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, rich_help_panel=TRIAL, help="Timed steps of each run, with --exact."
    ),
]


def plan(
    data: DataOption,
    method: PlannedOption = None,
    opponent: OpponentOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    seed: SeedOption = None,
    gpu_memory: GpuMemoryOption = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    lr: LearningRateOption = None,
    image_size: ImageSizeOption = None,
    strength: StrengthOption = None,
    device: RunDeviceOption = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    max_steps: StepsOption = None,
    exact: ExactOption = False,
    timed_steps: TimedStepsOption = 8,
    settings: SetOption = None,
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
            backbone=backbone,
            weights=weights,
            lr=lr,
            precision=precision,
            workers=workers,
        )
    typer.echo(json.dumps(found.tree()) if as_json else "\n".join(plan_lines(found)))


def train(
    data: TrainDataOption = None,
    out: TrainOutOption = None,
    method: MethodOption = None,
    opponent: OpponentOption = None,
    recipe: RecipeOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchOption = None,
    seed: SeedOption = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    lr: LearningRateOption = None,
    image_size: ImageSizeOption = None,
    strength: StrengthOption = None,
    device: RunDeviceOption = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    start_from: FromOption = None,
    keep_optimizer: KeepOptimizerOption = False,
    resume_if_exists: ResumeIfExistsOption = False,
    max_steps: StepsOption = None,
    profile: ProfileOption = None,
    log: LogOption = None,
    settings: SetOption = None,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pretrain an encoder on a folder of images, and print its score."""
    refuse_unknown_names(method, opponent)
    asked: dict[str, Any] = {
        "method": method,
        "opponent": opponent,
        "recipe": recipe,
        "strength": strength_value(strength),
        "settings": settings_tree(settings),
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "backbone": backbone,
        "weights": weights,
        "lr": lr,
        "image_size": image_size,
        "device": device,
        "precision": precision,
        "workers": workers,
        "max_steps": max_steps,
    }
    if print_config:
        _print_config(data, start_from, asked, as_json=as_json)
        return
    if out is None:
        raise UsageError("Missing option '--out': the run folder to create")
    begun = {
        "start_from": start_from,
        "keep_optimizer": keep_optimizer,
        "resume_if_exists": resume_if_exists,
    }
    further = {**begun, "profile": profile, "log": log or ()}
    _train(data, out, {**asked, **further}, as_json=as_json)


def _train(data: str | None, out: Path, asked: Mapping[str, Any], *, as_json: bool) -> None:
    """Train a run with the arguments of `sparring.train`, score it, and print the scores."""
    from sparring import api
    from sparring.command.display import TerminalDisplay

    with exit_on_interrupt(out), TerminalDisplay() as display:
        run = api.train(data, out=out, listener=display, **asked)
        _finish(run, display, as_json=as_json, keep_scores=asked["resume_if_exists"])


def _print_config(
    data: str | None, start_from: Path | None, asked: Mapping[str, Any], *, as_json: bool
) -> None:
    """Print the configuration that `train` would have before it opens the images."""
    from sparring.api.starting import resolved_config
    from sparring.training.config_text import config_text

    config = resolved_config(data, start_from=start_from, **asked)
    typer.echo(json.dumps(config.tree()) if as_json else config_text(config), nl=as_json)


def resume(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the run's images are now, if they have moved."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after N steps in total.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Threads that decode images; default: as before."),
    ] = None,
    changed_on_purpose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            autocompletion=values.general_keys,
            help="Go on although these were changed: settings in config.toml, or `images`; "
            "repeatable or comma-separated.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:CLASS",
            help="Only for a method that is neither shipped nor installed: the same "
            "FILE.py:CLASS again, since a run folder never makes this command run code.",
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
            workers=workers,
            changed_on_purpose=changed_on_purpose or (),
            method=method,
            opponent=opponent,
            log=log or (),
            listener=display,
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
