"""One run of a study, from its order to its record, wherever the call arrives."""

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch

from sparring.api.scoring import evaluate
from sparring.api.training import train
from sparring.errors import RunError, SparringError
from sparring.evaluation.catalogue import choose
from sparring.evaluation.protocol import Chosen
from sparring.files import write_atomically
from sparring.machine_memory import peak_bytes, reset_peak
from sparring.studies.attempts import AttemptLog
from sparring.studies.collecting import RunClock, RunProgress, collected
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunRecord
from sparring.training.checkpoint import newest_checkpoint
from sparring.training.encoder_names import TRAINED
from sparring.training.run_folder import PATIENCE_SECONDS, RunFolder
from sparring.training.scores import read_scores

CHECKPOINT_MINUTES = 1.0
"""Minutes between the checkpoints of a run that asks for nothing else."""
_ALONE = threading.Lock()


def make_run(order: RunOrder) -> RunRecord:
    """The record of a run: trained, scored on every test set, and written into its study.

    A run that was interrupted goes on from its checkpoint to the same bits; what is trained or
    scored already is not done again. One run at a time is made in a process, since PyTorch has one
    state of random draws and one number of threads.

    Args:
        order: what to do.

    Raises:
        SparringError: as `sparring.train` and `sparring.evaluate` raise them.
        KeyboardInterrupt: if a signal stopped the training, which is saved.
    """
    study = StudyFolder(order.study)
    run = RunFolder(study.run(order.name))
    with _ALONE, _threads(order.threads):
        progress = RunProgress.read(run, order.key)
        if not progress.steps:
            _train(order, run, progress)
        for number, test in enumerate(order.tests):
            _score(order, test, run, progress, number=number)
        record = collected(order, progress)
    record = replace(record, attempts=AttemptLog(order).read_as_finished())
    study.write_record(record)
    return record


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let this process compute with so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(order: RunOrder, run: RunFolder, progress: RunProgress) -> None:
    """Train, or go on with the training, and note that it is complete."""
    _require_free(run)
    _reset_peak()
    train(
        order.data or None,
        out=run.path,
        resume_if_exists=True,
        progress=False,
        listener=RunClock(run),
        **_arguments(order),
    )
    _, content = newest_checkpoint(run.checkpoint)
    progress.steps = int(content["step"])
    progress.peak_bytes = _peak()
    progress.scores = {}
    progress.write(run)


def _arguments(order: RunOrder) -> dict[str, Any]:
    """Arguments of `sparring.train` besides images and folder."""
    given = order.train
    settings = given.get("settings") or {}
    own = {**(settings.get("training") or {}), **given}
    often = {} if "checkpoint_minutes" in own else {"checkpoint_minutes": CHECKPOINT_MINUTES}
    return {**given, **often}


def _require_free(run: RunFolder) -> None:
    """Wait for another process in the run folder, such as one on a machine that was lost.

    Raises:
        SparringError: if it does not end soon; the run may be tried again later.
    """
    if run.path.exists():
        try:
            with RunFolder(run.path).locked(patience_seconds=PATIENCE_SECONDS):
                pass
        except RunError as error:
            raise SparringError(str(error)) from None


@dataclass(frozen=True)
class _Asked:
    """A protocol as the plan calls it, and what that means."""

    name: str
    chosen: Chosen


def _score(
    order: RunOrder, test: ScoredSet, run: RunFolder, progress: RunProgress, *, number: int
) -> None:
    """Score the run on one test set by the protocols that are missing, and note each group."""
    found = progress.scores.setdefault(test.name, {})
    for group in _groups([name for name in order.protocols if name not in found]):
        settings = {
            one.chosen.protocol.name: order.protocol_settings[one.chosen.protocol.name]
            for one in group
            if one.chosen.protocol.name in order.protocol_settings
        }
        results = evaluate(
            run.path,
            data=test.data or None,
            train_data=test.train_data or None,
            protocols=[one.name for one in group],
            settings=settings,
            device=str(order.train.get("device") or "auto"),
            progress=False,
        )
        for one in group:
            found[one.name] = {
                **_scores(results, one.chosen),
                "predictions": _keep_predictions(
                    order, run, one, place=f"{number}-{_slug(test.name)}-{_slug(one.name)}"
                ),
            }
        progress.write(run)


def _groups(names: Sequence[str]) -> list[list[_Asked]]:
    """Protocols that are scored in one call: those that share the features of a frozen encoder, and
    each other one alone, so that an interruption costs one of them."""
    asked = [_Asked(name, choose([name])[0]) for name in names]
    frozen = [one for one in asked if one.chosen.protocol.is_frozen]
    return [*([frozen] if frozen else []), *([one] for one in asked if one not in frozen)]


def _scores(results: Mapping[str, Any], chosen: Chosen) -> dict[str, Any]:
    """Headlines of the trained encoder and of its start, and the scores of each draw of labels."""
    trained = results[TRAINED][chosen.name]
    start = next(name for name in results if name not in (TRAINED, "test"))
    headline = chosen.protocol.headline
    return {
        "score": trained.get(headline),
        "start": results[start].get(chosen.name, {}).get(headline),
        "draws": _draws(trained, headline),
    }


def _draws(result: Mapping[str, Any], headline: str) -> list[float]:
    """Scores of several draws of labels whose mean is the headline; empty if there are none."""
    draws = result.get("draws")
    for scores in draws.values() if isinstance(draws, Mapping) else ():
        if len(scores) > 1 and math.isclose(fmean(scores), result[headline], abs_tol=1e-9):
            return list(scores)
    return []


def _keep_predictions(order: RunOrder, run: RunFolder, asked: _Asked, *, place: str) -> str:
    """Copy what the trained encoder was just found to predict into the study.

    Returns:
        The file's path below the study; empty if the protocol predicts nothing.
    """
    latest = [
        one
        for one in read_scores(run).results
        if (one.encoder, one.protocol) == (TRAINED, asked.chosen.name)
    ][-1]
    if not latest.predictions:
        return ""
    study = StudyFolder(order.study)
    path = study.predictions / study.place(order.name) / f"{place}.npz"
    write_atomically(path, (run.path / latest.predictions).read_bytes())
    return str(path.relative_to(study.path))


def _slug(name: str) -> str:
    """Name of a file from any name."""
    return re.sub(r"[^\w.-]+", "-", name)


def _reset_peak() -> None:
    reset_peak()
    if torch.cuda.max_memory_allocated():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    """Peak memory of the training: of the GPU if one was used, else of this process."""
    return int(torch.cuda.max_memory_allocated()) or peak_bytes()
