"""Summary of one run for a report: the files of its folder, and its pictures if any."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from sparring.config import Tree, read_toml
from sparring.errors import RunError
from sparring.evaluation.predictions import Predictions
from sparring.methods import registry
from sparring.regular_files import read_text
from sparring.reporting.gallery import Gallery, Pixels
from sparring.training.encoder_names import TRAINED, start_among, start_name
from sparring.training.metrics import read_metrics
from sparring.training.run_folder import RunFolder
from sparring.training.scores import ScoredResult, read_scores

Score: TypeAlias = Mapping[str, Any]
"""Result of one protocol, in the form of `evaluation.protocol`."""

Record: TypeAlias = Mapping[str, float | None]
"""One line of metrics.jsonl; None for a value that was not finite."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run as a report shows it. Missing parts are empty."""

    label: str
    """Short name in headlines, tables and legends; usually the method's."""
    path: str
    """Run folder as the user gave it."""
    note: str = ""
    """Purpose of the run, such as `the control of AdCo`."""
    config: Tree = field(default_factory=dict)
    metrics: tuple[Record, ...] = ()
    trained: Mapping[str, Score] = field(default_factory=dict)
    """Scores of the trained encoder by protocol."""
    start: Mapping[str, Score] = field(default_factory=dict)
    """Scores of the encoder from which the run started, by protocol."""
    records: Mapping[str, ScoredResult] = field(default_factory=dict)
    """What each result of the trained encoder is of, by protocol."""
    scored_step: int | None = None
    """Steps of the checkpoint beside the scores; None without scores."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    quarantine: tuple[str, ...] = ()
    """Unreadable files, each with the reason after a tab."""
    gallery: Gallery | None = None
    start_gallery: Gallery | None = None
    no_pictures: str = ""
    """Why there are no galleries; empty if nothing stood in their way."""
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    """What was predicted of each image by the trained encoder, by protocol."""
    start_predictions: Mapping[str, Predictions] = field(default_factory=dict)
    """What was predicted of them by the encoder from which the run started, by protocol."""
    lost_predictions: tuple[str, ...] = ()
    """Sentences about predictions that cannot be read any more."""
    mistakes: Mapping[str, Mapping[str, Pixels]] = field(default_factory=dict)
    """Images that a classifier got wrong, by protocol and by key, as far as they were found."""

    @property
    def start_name(self) -> str:
        """Name of the encoder from which the run started: `untrained` or `start weights`."""
        weights = self.config.get("encoder", {}).get("weights")
        return start_name(weights, self.environment.get("started_from"))

    @property
    def seed(self) -> int | None:
        """Seed of the run; None if the configuration has none."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.config.get("method", ""))

    @property
    def opponents(self) -> list[str]:
        """Names of the opponents around the method."""
        return _opponents(self.config)

    @property
    def steps(self) -> int | None:
        """Steps that were made; None if that was not recorded."""
        last = self.last("step")
        recorded = None if last is None else int(last) + 1
        return recorded if self.scored_step is None or self.chosen_by else self.scored_step

    @property
    def chosen_by(self) -> str:
        """How the scored encoder was chosen among the run's; empty for the last one."""
        return next((one.chosen_by for one in self.records.values() if one.chosen_by), "")

    @property
    def planned_steps(self) -> int | None:
        """Steps of the whole run; None if they are not known."""
        planned, training = self.environment.get("planned_steps"), self.config.get("training", {})
        for known in (planned, training.get("num_steps")):
            if isinstance(known, int):
                return known
        # A run of version 0.1 has recorded its epochs, to four digits.
        step, epoch, epochs = self.last("step"), self.last("epoch"), training.get("epochs")
        if step is None or not epoch or not isinstance(epochs, int):
            return None
        return epochs * round((step + 1) / epoch)

    @property
    def started_from(self) -> str:
        """Run and step from which this one started; empty for none."""
        found = self.environment.get("started_from")
        if not isinstance(found, dict):
            return ""
        return f"{found.get('run')} at step {found.get('step')}"

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Epochs and values of a metric; steps where no epoch was recorded."""
        points = [
            (float(position), float(value))
            for record in self.metrics
            if (value := record.get(name)) is not None
            and (position := record.get("epoch", record.get("step"))) is not None
        ]
        return [x for x, _ in points], [y for _, y in points]

    def names(self) -> set[str]:
        """Names of all metrics that were recorded."""
        return {name for record in self.metrics for name in record}

    def last(self, name: str) -> float | None:
        """Last finite value of a metric; None if there is none."""
        return next(
            (value for record in reversed(self.metrics) if (value := record.get(name)) is not None),
            None,
        )


def read_run(folder: str | Path, *, label: str | None = None, note: str = "") -> RunSummary:
    """Summary of a run folder, without pictures.

    Args:
        folder: folder that `sparring train --out` wrote.
        label: name to show; the method's by default.
        note: purpose of the run.

    Raises:
        RunError: if the folder has no config.toml.
    """
    path = Path(folder)
    RunFolder(path).require()
    config = read_toml(path / "config.toml")
    scores = read_scores(RunFolder(path))
    present = scores.present()
    quarantine = path / "quarantine.txt"
    predictions, lost = _predictions(path, present[TRAINED])
    start_predictions, lost_too = _predictions(path, present[start_among(present)])
    lines = read_text(quarantine, errors="replace").split("\n") if quarantine.is_file() else []
    return RunSummary(
        label=label or _title(config, path.name),
        path=str(folder),
        note=note,
        config=config,
        metrics=tuple(read_metrics(path / "metrics.jsonl")),
        trained={name: one.shown() for name, one in present[TRAINED].items()},
        start={name: one.shown() for name, one in present[start_among(present)].items()},
        records=present[TRAINED],
        scored_step=scores.step,
        environment=RunFolder(path).read_environment(),
        quarantine=tuple(line for line in lines if line.strip()),
        predictions=predictions,
        start_predictions=start_predictions,
        lost_predictions=(*lost, *lost_too),
    )


def _predictions(
    folder: Path, results: Mapping[str, ScoredResult]
) -> tuple[dict[str, Predictions], list[str]]:
    """Kept predictions by protocol, and a sentence for each file that cannot be read."""
    found, lost = {}, []
    for protocol, one in results.items():
        try:
            if one.predictions:
                found[protocol] = Predictions.read(folder / one.predictions)
        except RunError as error:
            lost.append(str(error))
    return found, lost


def _title(config: Tree, name: str) -> str:
    """Title of the method, with the opponents around it."""
    return " + ".join([method_title(str(config.get("method", name))), *_opponents(config)])


def _opponents(config: Tree) -> list[str]:
    found = config.get("opponent", ())
    return list(map(str, found)) if isinstance(found, list) else []


def method_title(name: str) -> str:
    """Name of a method as papers print it.

    Example:
        >>> method_title("mocov2"), method_title("my-game")
        ('MoCo v2', 'my-game')
    """
    if not registry.is_known("method", name):
        return name.rpartition(":")[2]
    about = registry.about("method", name)
    return about.title or about.name
