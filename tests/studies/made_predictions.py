"""Stored predictions and images of a made study, for tests of its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from sparring.evaluation.predictions import Predictions
from sparring.files import write_atomically
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunRecord
from sparring.studies.results import Results

CLASSES = ("cat", "dog", "bird")


def made_images(folder: Path, *, per_class: int = 12, size: int = 48, seed: int = 0) -> list[str]:
    """Write coloured noise in a folder per class; the images' keys in the order of a source."""
    draw = np.random.default_rng(seed)
    keys = []
    for number, name in enumerate(sorted(CLASSES)):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            values = draw.integers(0, 120, (size, size, 3))
            values[..., number] += 130
            place = folder / name / f"{index:03d}.png"
            Image.fromarray(values.astype(np.uint8)).save(place)
            keys.append(f"{name}/{place.name}")
    return keys


def with_predictions(
    results: Results,
    folder: StudyFolder,
    keys: list[str],
    *,
    rates: dict[str, float],
    protocol: str = "knn",
    num_fits: int = 0,
) -> Results:
    """The same records with predictions in the folder, right with each arm's rate.

    An image is as hard for all arms and seeds, apart from a part of its own per run.
    """
    hard = np.random.default_rng(1).uniform(size=len(keys))
    records = [
        _with_predictions(
            record, folder, keys, hard=hard, rate=rates[record.name.arm],
            test=results.study.tests[0], protocol=protocol, num_fits=num_fits,
        )
        for record in results.records
    ]  # fmt: skip
    return replace(results, records=tuple(records))


def _with_predictions(
    record: RunRecord,
    folder: StudyFolder,
    keys: list[str],
    *,
    hard: np.ndarray,
    rate: float,
    test: ScoredSet,
    protocol: str,
    num_fits: int,
) -> RunRecord:
    draw = np.random.default_rng([record.name.seed, sum(map(ord, record.name.arm))])
    targets = np.array([CLASSES.index(key.partition("/")[0]) for key in keys])
    shape = (max(1, num_fits), len(keys))
    is_right = 0.6 * hard + 0.4 * draw.uniform(size=shape) < rate
    wrong = (targets + draw.integers(1, len(CLASSES), shape)) % len(CLASSES)
    predicted = np.where(is_right, targets, wrong)
    stored = Predictions(
        keys=keys,
        classes=CLASSES,
        targets=targets,
        predicted=predicted if num_fits else predicted[0],
        fits=[f"draw {number}" for number in range(num_fits)],
    )
    place = f"predictions/{folder.place(record.name)}-{protocol}.npz"
    write_atomically(folder.path / place, stored.encoded())
    return replace(record, predictions={test.name: {protocol: place}})
