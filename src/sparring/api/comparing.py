"""Public functions that compare methods: compare, read_study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparring.api import study_parts
from sparring.api.common import heard_by
from sparring.api.comparison import Comparison
from sparring.api.study_costs import cost_of
from sparring.api.study_plans import Options, Twins
from sparring.api.study_preparing import prepare
from sparring.api.study_reports import results_of
from sparring.api.study_running import run_study
from sparring.api.study_workers import Engine
from sparring.data.sources.source import ImageData
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Study
from sparring.training.listener import Listener
from sparring.training.strengths import StrengthValue


def compare(
    study: Study | str | Path | None = None,
    *,
    data: ImageData | None = None,
    methods: str | Sequence[str] | None = None,
    twins: Twins = False,
    controls: bool = False,
    tests: Sequence[str] = (),
    stop_early: bool = False,
    strength: StrengthValue | None = None,
    out: str | Path | None = None,
    engine: str = "local",
    workers: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    reuse: Sequence[str | Path] = (),
    listener: Listener | None = None,
    progress: bool = True,
    **plan: Any,
) -> Comparison:
    """Compare methods on your images, with paired seeds and equal budgets, and write a page.

    Called again, it goes on where it stopped; finished runs are not made again.

    Args:
        study: the plan: a `Study`, a TOML file, or the folder of a study to go on with; None: it
            is made from the arguments below.
        data: images without labels, as `train` takes them, in files.
        methods: methods to compare; `simclr+perturbation` is a method with its opponent.
        twins: whether each method's primary disarmed twin plays too; `"all"`, or names of twins.
        controls: whether each method's control plays too.
        tests: labelled images to be scored on, PATH or NAME=PATH each; default: a held-out fifth
            of `data`.
        stop_early: whether to look after 5, 8 and 12 pairs, and stop once the answer is known.
        strength: strength of the opponents of all arms that have a dial, as `train` takes it.
        out: folder of the study to create or to go on with.
        engine: what makes the runs: `local` processes, `dask`, or `slurm`.
        workers: runs at the same time; None: as many as cores, GPUs and memory allow.
        engine_options: of the engine, such as {"address": "tcp://host:8786"} for dask;
            see `sparring.studies.engines.options`.
        minutes: of wall-clock time for this call, with engine `local`: a run that would not end
            within them is not started, and one that has not is saved. The next call goes on.
        reuse: folders of other studies, whose finished runs are taken where they are equal, as
            those of studies beside this one are.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.
        plan: further fields of `Study`, such as seeds=5, epochs=100, equal="both", margin=0.5.

    Returns:
        What was found, with the page, tables and figures that were written. Runs that failed for
        good are in `failed`.

    Raises:
        UsageError: for wrong input; nothing has been written then.
    """
    options = Options(
        data=data,
        methods=methods,
        twins=twins,
        controls=controls,
        tests=tests,
        stop_early=stop_early,
        strength=strength,
        fields=plan,
    )
    chosen = Engine(
        name=engine, workers=workers, options=dict(engine_options or {}), minutes=minutes
    )
    with heard_by(listener, progress=progress) as heard:
        prepared = prepare(study, out=out, options=options, reuse=reuse)
        chosen.require()
        needs_steps = prepared.orders is None
        cost = cost_of(prepared, engine=chosen, listener=heard) if needs_steps else None
        return run_study(prepared, engine=chosen, cost=cost, listener=heard)


def read_study(folder: str | Path) -> Comparison:
    """What a study has found so far, from its plan and its records alone.

    Args:
        folder: of the study.

    Raises:
        RunError: if it is no study, or a record of it is damaged.
    """
    parts, place = study_parts.load_parts(), StudyFolder(folder)
    results = results_of(place)
    return Comparison(
        path=place.path,
        analysis=parts.analyse(results, place),
        is_over=parts.next_pairs(results) is None,
    )
