"""Writing of results into the run folder, each with what it is of and with its predictions."""

import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from sparring.errors import RunError
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.predictions import Predictions
from sparring.evaluation.protocol import PREDICTIONS, Chosen, Result, without_predictions
from sparring.files import write_atomically
from sparring.training.encoder_names import TRAINED, UNTRAINED
from sparring.training.keep_best import chosen_by
from sparring.training.run_folder import RunFolder
from sparring.training.scores import ScoredResult, add_result, read_scores


class ScoreRecord:
    """The results of one evaluation of a run.

    Attributes:
        shown: results so far as scores.json shows them, by encoder and protocol.

    Args:
        folder: of the run.
        protocols: those that are evaluated.
        step: number of steps that the trained encoder has learned.
        start: name of the encoder from which the run started.
        seed: of the evaluation.
    """

    def __init__(
        self,
        folder: RunFolder,
        protocols: Sequence[Chosen],
        *,
        step: int,
        seed: int,
        start: str = UNTRAINED,
    ) -> None:
        self.shown: dict[str, dict[str, Any]] = {TRAINED: {}, start: {}}
        self._folder, self._seed = folder, seed
        self._steps = {TRAINED: step, start: 0}
        self._chosen = {one.name: one for one in protocols}
        self._chosen_by = {TRAINED: chosen_by(folder), start: ""}

    def keep(self, data: EvaluationData, encoder: str, protocol: str, result: Result) -> None:
        """Write a result into scores.json, and its predictions beside it.

        Args:
            data: what the protocol worked on.
            encoder: `trained`, or the name of the start.
            protocol: its name, perhaps with a variant.
            result: what it found, with its predictions if it has any.

        Raises:
            RunError: if scores.json is damaged.
            StorageError: if a file cannot be written.
        """
        chosen = self._chosen[protocol]
        train, test = data.used(classes=chosen.protocol.labels in ("classes", "tags"))
        one = ScoredResult(
            encoder=encoder,
            protocol=protocol,
            step=self._steps[encoder],
            settings=chosen.settings.model_dump(mode="json"),
            seed=self._seed,
            train=train,
            test=test,
            chosen_by=self._chosen_by[encoder],
            version=version("sparring"),
            time=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            result=without_predictions(result),
        )
        found = result.get(PREDICTIONS)
        if isinstance(found, Predictions):
            path = self._folder.predictions / f"{one.file_name}.npz"
            write_atomically(path, found.encoded())
            one = replace(one, predictions=str(path.relative_to(self._folder.path)))
        add_result(self._folder, one, step=self._steps[TRAINED])
        self.shown[encoder][protocol] = one.shown()


def predictions_of(
    folder: RunFolder, protocol: str, *, encoder: str, test: str | None
) -> Predictions:
    """Stored predictions of the present checkpoint; see `sparring.Run.predictions`."""
    scores = read_scores(folder)
    there = [
        one
        for one in scores.results
        if one.predictions and (one.encoder != TRAINED or one.step == scores.step)
    ]
    found = [
        one
        for one in there
        if (one.protocol, one.encoder) == (protocol, encoder) and test in (None, one.test.name)
    ]
    if not found:
        accepted = [f"{one.protocol} ({one.encoder}, {one.test.name})" for one in there]
        raise RunError(
            f"{folder.path} has no predictions of '{protocol}' ({encoder}"
            f"{', ' + test if test else ''}) for its checkpoint; "
            + (f"there are {', '.join(dict.fromkeys(accepted))}" if accepted else "there are none")
            + "; use `sparring evaluate`"
        )
    return Predictions.read(folder.path / found[-1].predictions)
