"""Logged metrics: their names and meanings, and the file they are written to."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sparring.data.dataset_kinds import Rows
from sparring.data.sources.source import Labels
from sparring.files import not_written, open_without_following, write_atomically
from sparring.measures.metric import Metric
from sparring.measures.negatives import NEGATIVE_METRICS
from sparring.methods import registry
from sparring.methods.method import Method
from sparring.optim.player import Player
from sparring.regular_files import read_text
from sparring.step_parts import step_part
from sparring.strength.findings import dial_alarm
from sparring.training.checkpoint import RESUME

METRICS: Mapping[str, Metric] = {
    "step": Metric("steps made before this one, from 0"),
    "epoch": Metric("passes over the images made so far, as a fraction"),
    "seconds": Metric("time since the run began or was resumed"),
    "loss": Metric("what the encoder minimises, at this step", title="Loss"),
    "learning_rate": Metric("learning rate of the encoder's player"),
    "learning_rate_lowest": Metric(
        "learning rate of the encoder's deepest layer that learns; only with "
        "`players.encoder.layer_decay` below 1"
    ),
    "images_per_second": Metric(
        "images trained per second since the last record, all processes together"
    ),
    "unreadable_images": Metric(
        "images left out so far because they cannot be read, as listed in quarantine.txt"
    ),
    "knn_accuracy": Metric(
        "weighted kNN on held-out labelled training images, in [0, 1]; only where labels exist",
        title="Online kNN, %",
    ),
    "alignment": Metric(
        "mean squared distance of two views' unit embeddings; 0: views coincide", title="Alignment"
    ),
    "uniformity": Metric(
        "log of the mean Gaussian potential of embedding pairs; lower: more spread, about -4 at "
        "best",
        title="Uniformity",
    ),
    "effective_rank": Metric(
        "exponential of the entropy of the features' singular values; low: few directions are used",
        title="Effective rank",
    ),
    "embedding_std": Metric(
        "standard deviation of unit embeddings times sqrt(dim); 1: spread on the sphere, 0: "
        "collapse",
        title="Standard deviation",
    ),
}
"""Metrics of every run; a method and its opponents declare their own in `Method.metrics`. Runs of
methods that declare their negatives have those of `measures.negatives` too."""


def metrics_of(method: str, opponents: Sequence[str]) -> dict[str, Metric]:
    """Metrics of a run by name: the general ones, those of negatives, the method's, and its
    opponents'.

    Args:
        method: name of the method.
        opponents: names of the opponents around it.
    """
    found = {**METRICS, **NEGATIVE_METRICS}
    if registry.is_known("method", method):
        found |= registry.method_class(method).metrics
    for name in opponents:
        if registry.is_known("opponent", name):
            found |= registry.opponent_class(name).metrics
    return found


def learning_rates(players: Mapping[str, Player]) -> dict[str, float]:
    """Learning rates of this step by metric: the encoder's, the lowest of its layers if they differ
    by depth, and those of the other players."""
    encoder = players["encoder"]
    lowest = {"learning_rate_lowest": encoder.learning_rate * encoder.lowest_factor}
    others = {
        f"learning_rate/{name}": player.learning_rate
        for name, player in players.items()
        if name != "encoder"
    }
    is_decayed = encoder.settings.layer_decay < 1
    return {"learning_rate": encoder.learning_rate, **(lowest if is_decayed else {}), **others}


def alarm(method: str, opponents: Sequence[str], record: Mapping[str, float | int]) -> str | None:
    """First warning of an opponent, of the method or of a dial about a record of metrics; None if
    there is none.

    Args:
        method: name of the method.
        opponents: names of the opponents around it.
        record: metrics by name.
    """
    kinds: list[type[Method]] = [
        registry.opponent_class(name) for name in opponents if registry.is_known("opponent", name)
    ]
    if registry.is_known("method", method):
        kinds.append(registry.method_class(method))
    found = next(filter(None, (kind.alarm(record) for kind in kinds)), None)
    return found or dial_alarm(record)


class MetricsFile:
    """File metrics.jsonl: one JSON object per record, appended and flushed.

    Args:
        path: file to write.
        keep_before: on resuming, records from this step on are removed, as they will be written
            again.
    """

    def __init__(self, path: Path, *, keep_before: int) -> None:
        kept = [record for record in read_metrics(path) if record["step"] < keep_before]
        content = "".join(json.dumps(record) + "\n" for record in kept)
        write_atomically(path, content.encode(), advice=RESUME)
        try:
            number = open_without_following(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise not_written(path, error) from None
        self._path, self._file = path, os.fdopen(number, "a", encoding="utf-8")

    @step_part("records")
    def write(self, record: Mapping[str, float]) -> None:
        """Append one record; non-finite values become null.

        Raises:
            StorageError: if the disk is full.
        """
        clean = {name: value if math.isfinite(value) else None for name, value in record.items()}
        try:
            self._file.write(json.dumps(clean) + "\n")
            self._file.flush()
        except OSError as error:
            raise not_written(self._path, error, advice=RESUME) from None

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # `write` has reported what could not be written
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Records of a run, in order; those from the first damaged line on are left out, such as
    one that was cut off by a crash."""
    records = []
    for line in read_text(path, errors="replace").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not _is_record(record):
            break
        records.append(record)
    return records


def _is_record(value: object) -> bool:
    """Whether a line of the file is one of `MetricsFile.write`: a step, and numbers by name."""
    return (
        isinstance(value, dict)
        and type(value.get("step")) is int
        and all(one is None or _is_number(one) for one in value.values())
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def scored(
    metrics: Mapping[str, Tensor | float], labels_of: Callable[[Rows], Labels | None]
) -> dict[str, Tensor | float]:
    """Metrics with pairs of images replaced by the share of pairs that have the same class.

    A method logs the images that its opponent contrasts under a name `.../pairs`: indices in the
    data set, shape (pairs, 2). Labels are used only here, after the step, so that no label reaches
    training.

    Args:
        metrics: metrics of one step.
        labels_of: gives the labels of images of the data set, -1 where unknown. Pairs with an
            unknown label are dropped, and all pairs without labels.
    """
    found = {name: value for name, value in metrics.items() if not name.endswith("/pairs")}
    for name in metrics.keys() - found.keys():
        pairs = metrics[name]
        if not isinstance(pairs, Tensor):
            continue
        if (labels := labels_of(pairs.cpu().flatten().numpy())) is None:
            continue
        classes = torch.from_numpy(labels).view(-1, 2)
        classes = classes[(classes >= 0).all(dim=1)]
        if len(classes):
            found[name.replace("/pairs", "/false_negatives")] = (
                (classes[:, 0] == classes[:, 1]).float().mean()
            )
    return found


@step_part("records")
def plain(metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Metrics as Python numbers, rounded to seven digits."""
    return {name: float(f"{float(value):.7g}") for name, value in metrics.items()}
