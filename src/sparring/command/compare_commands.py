"""The command that compares methods: compare."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sparring.command.compare_options import (
    AddressOption,
    AllTwinsOption,
    ControlsOption,
    DataOption,
    EngineOption,
    EqualOption,
    MarginOption,
    MethodsOption,
    MinutesOption,
    OutOption,
    PlanArgument,
    PlanOnlyOption,
    ProtocolOption,
    ReuseOption,
    SeedsOption,
    SharesOption,
    SlurmOption,
    StopEarlyOption,
    TestOption,
    ThreadsOption,
    TwinsOption,
    WatchOption,
    WorkersOption,
    YesOption,
    arm_settings,
    numbers_value,
    seeds_value,
)
from sparring.command.error_exit import exit_with_message
from sparring.command.options import (
    BackboneOption,
    EpochsOption,
    JsonOption,
    PrecisionOption,
    RecipeOption,
    RunDeviceOption,
    SetOption,
    StrengthOption,
    WeightsOption,
    strength_value,
)
from sparring.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from sparring.api.study_plans import Options
    from sparring.api.study_preparing import Prepared
    from sparring.api.study_workers import Engine
    from sparring.command.display import TerminalDisplay
    from sparring.config import Tree


def compare(
    study: PlanArgument = None,
    data: DataOption = None,
    methods: MethodsOption = None,
    out: OutOption = None,
    twins: TwinsOption = False,
    all_twins: AllTwinsOption = False,
    controls: ControlsOption = False,
    seeds: SeedsOption = None,
    epochs: EpochsOption = None,
    recipe: RecipeOption = None,
    test: TestOption = None,
    protocol: ProtocolOption = None,
    margin: MarginOption = None,
    stop_early: StopEarlyOption = False,
    equal: EqualOption = None,
    shares: SharesOption = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    strength: StrengthOption = None,
    device: RunDeviceOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    address: AddressOption = None,
    slurm: SlurmOption = None,
    minutes: MinutesOption = None,
    yes: YesOption = False,
    plan_only: PlanOnlyOption = False,
    watch: WatchOption = False,
    reuse: ReuseOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods on your images: paired seeds, equal budgets, disarmed twins, one page.

    First the time, memory and disk of all runs are shown, and nothing is written before the answer.
    The same command again goes on where it stopped; so does `sparring compare STUDY`.
    """
    from sparring.api.study_plans import Options

    if watch:
        _watch(study, as_json=as_json, minutes=minutes)
        return
    fields: dict[str, Any] = {
        "seeds": seeds_value(seeds),
        "shares": numbers_value("--shares", shares),
        "protocols": None if protocol is None else [one.strip() for one in protocol.split(",")],
        "settings": arm_settings(settings, backbone, weights, precision),
    }
    fields |= {"epochs": epochs, "equal": equal, "margin": margin}
    fields |= {"recipe": recipe, "threads": threads, "device": device}
    options = Options(
        data=data,
        methods=methods,
        twins="all" if all_twins else twins,
        controls=controls,
        tests=test or (),
        stop_early=stop_early,
        strength=strength_value(strength),
        fields=fields,
    )
    ways = {"yes": yes, "plan_only": plan_only, "as_json": as_json}
    _compare(study, options, _engine(engine, workers, address, slurm, minutes), out, reuse, **ways)


def _compare(
    study: Path | None,
    options: "Options",
    engine: "Engine",
    out: Path | None,
    reuse: list[Path] | None,
    *,
    yes: bool,
    plan_only: bool,
    as_json: bool,
) -> None:
    """Show the cost of a study, ask, make its runs, and print what they say."""
    from sparring.api.study_costs import what_remains
    from sparring.api.study_preparing import prepare
    from sparring.api.study_running import run_study
    from sparring.command.display import TerminalDisplay
    from sparring.command.study_display import print_comparison

    if plan_only:
        _refuse_minutes(engine.minutes, "--plan-only")
    folder = _folder_for_plan(study, out, plan_only)
    prepared = prepare(study, out=folder, options=options, reuse=reuse or ())
    with _exit_on_interrupt(prepared), TerminalDisplay() as display:
        if plan_only:
            _print_plan(prepared, engine, display, as_json=as_json)
            return
        cost = _accepted_cost(prepared, engine, display, yes=yes)
        done = run_study(prepared, engine=engine, cost=cost, listener=display)
        display.close()
    if as_json:
        typer.echo(json.dumps(done.tree()))
    else:
        print_comparison(done)
    if engine.minutes is not None and not done.is_over:
        again = _again(prepared, engine, reuse or ())
        typer.echo(f"{what_remains(prepared, engine=engine)}; go on with `{again}`", err=True)
    if done.failed:
        raise typer.Exit(1)


def _again(prepared: "Prepared", engine: "Engine", reuse: Sequence[Path]) -> str:
    """The command that goes on with a study for as many minutes."""
    words = ["sparring", "compare", str(prepared.folder.path), "--minutes", f"{engine.minutes:g}"]
    words += [] if engine.workers is None else ["--workers", str(engine.workers)]
    return shlex.join([*words, *(word for one in reuse for word in ("--reuse", str(one)))])


def _accepted_cost(
    prepared: "Prepared", engine: "Engine", display: "TerminalDisplay", *, yes: bool
) -> Any:
    """Cost of what is left, once the user has agreed to it.

    Raises:
        UsageError: if nobody can be asked.
    """
    from sparring.api.study_costs import cost_of
    from sparring.planning.study_cost_text import cost_lines, what_is_left

    for line in prepared.cautions:
        display.report(f"note: {line}")
    if not prepared.needs_consent:
        engine.require()
        cost = cost_of(prepared, engine=engine, is_measured=False)
        display.report(what_is_left(cost))
        return cost
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "a study runs for long, and without a terminal nobody can be asked: give --yes to "
            "start it, or --plan-only to see its cost"
        )
    engine.require()
    cost = cost_of(prepared, engine=engine, listener=display)
    display.close()
    for line in [*_changes(prepared), *cost_lines(cost)]:
        display.report(line)
    if not yes and not _is_wanted():
        raise typer.Exit(0)
    return cost


def _changes(prepared: "Prepared") -> list[str]:
    """Lines about what a study that goes on does otherwise than before."""
    lines = []
    if prepared.changes:
        changes = "; ".join(prepared.changes)
        lines.append(f"the plan has changed, which every output will say: {changes}")
    if prepared.stale:
        lines.append(
            f"{len(prepared.stale):,} finished runs were made with other images, settings or "
            "another version, and are made again"
        )
    return lines


def _is_wanted() -> bool:
    """Whether the user answers yes; without an answer the next line begins on its own."""
    sys.stderr.write("Start? [y/N] ")
    sys.stderr.flush()
    answer = ""
    try:
        answer = sys.stdin.readline()
    finally:
        if not answer.endswith("\n"):
            sys.stderr.write("\n")
    if answer.strip().lower() in ("y", "yes"):
        return True
    sys.stderr.write("nothing was started, and nothing is written\n")
    return False


def _print_plan(
    prepared: "Prepared", engine: "Engine", display: "TerminalDisplay", *, as_json: bool
) -> None:
    """Print the plan as TOML with its cost above it."""
    from sparring.api.study_costs import cost_of
    from sparring.planning.study_cost_text import cost_lines
    from sparring.studies.history import plan_text

    cost = cost_of(prepared, engine=engine, listener=display)
    display.close()
    if as_json:
        typer.echo(json.dumps({"plan": prepared.study.tree(), "cost": cost.tree()}))
        return
    notes = [f"note: {line}" for line in prepared.cautions]
    head = [f"# {line}".rstrip() for line in [*cost_lines(cost), *notes]]
    typer.echo("\n".join([*head, "", plan_text(prepared.study)]), nl=False)


def _refuse_minutes(minutes: float | None, other: str) -> None:
    """Refuse minutes beside an option with which no run is made.

    Raises:
        UsageError: if there are any.
    """
    if minutes is not None:
        raise UsageError(f"--minutes is time to make runs, and {other} makes none; leave one out")


def _watch(study: Path | None, *, as_json: bool, minutes: float | None) -> None:
    """Show the live table of a study."""
    from sparring.command.study_state import study_state
    from sparring.command.study_watch import watch
    from sparring.studies.folder import StudyFolder
    from sparring.studies.history import read_study

    _refuse_minutes(minutes, "--watch")
    if study is None:
        raise UsageError("--watch shows a study: name its folder, as in sparring compare STUDY")
    folder = StudyFolder(study)
    plan = read_study(folder)
    watch(lambda: study_state(plan, folder), as_json=as_json, where=shlex.quote(str(study)))


def _folder_for_plan(study: Path | None, out: Path | None, plan_only: bool) -> Path | None:
    """Folder of the study; a plan that is only printed needs none."""
    is_new = study is None or study.suffix == ".toml"
    return Path("study") if plan_only and is_new and out is None else out


def _engine(
    name: str,
    workers: int | None,
    address: str | None,
    slurm: list[str] | None,
    minutes: float | None,
) -> "Engine":
    """What makes the runs, from its options."""
    from sparring.api.study_workers import Engine
    from sparring.config import merged

    options = {} if address is None else {"address": address}
    if slurm and name != "slurm":
        raise ConfigError(
            f"--slurm {slurm[0]} belongs to --engine slurm, and the engine is {name}; leave one out"
        )
    return Engine(
        name=name,
        workers=workers,
        options=merged(options, *(_slurm_option(text) for text in slurm or ())),
        minutes=minutes,
    )


def _slurm_option(text: str) -> "Tree":
    """Option of the engine from KEY=VALUE."""
    from sparring.config import parse_override

    return parse_override(text, option="--slurm", example="partition=gpu")


@contextmanager
def _exit_on_interrupt(prepared: "Prepared") -> Iterator[None]:
    """Exit on Ctrl-C with the command that goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        folder = prepared.folder
        if not folder.is_study():
            exit_with_message("stopped; nothing is written", 1, stop)
        finished = sum(one.status == "finished" for one in folder.read_records())
        runs = "run is" if finished == 1 else "runs are"
        exit_with_message(
            f"stopped; {finished:,} {runs} finished; go on with "
            f"`sparring compare {shlex.quote(str(folder.path))}`",
            1,
            stop,
        )
