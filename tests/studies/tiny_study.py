"""Orders of real runs on tiny images, a command that makes them, and what two studies must have in
common."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sparring.studies.engines import run_orders
from sparring.studies.folder import StudyFolder
from sparring.studies.orders import RunOrder
from sparring.studies.plan import ScoredSet
from sparring.studies.records import RunName, RunRecord

ARMS: dict[str, dict[str, Any]] = {"adco": {}, "adco/queue": {"disarmed": "queue"}}
SETTINGS: dict[str, Any] = {
    "encoder": {"width": 0.0625},
    "bank": {"size": 32},
    "projector": {"dim": 16},
    "queue_epochs": 0,
    "training": {"log_steps": 1, "monitor_images": 16, "checkpoint_minutes": 0},
}
TRAIN: dict[str, Any] = {"method": "adco", "batch_size": 16, "image_size": 16, "device": "cpu"}
HELD_OUT = ScoredSet(name="held-out fifth", data="")


def tiny_order(
    study: Path, photos: Path, *, arm: str = "adco", seed: int = 0, epochs: int = 2, **more: Any
) -> RunOrder:
    """A run of a second."""
    settings = {**SETTINGS, **ARMS[arm]}
    fields = {"protocols": ("knn",), "tests": (HELD_OUT,), **more}
    return RunOrder(
        name=RunName(arm=arm, seed=seed),
        key=f"{arm} {seed} {epochs}",
        study=str(study),
        data=str(photos),
        train={**TRAIN, "seed": seed, "epochs": epochs, "settings": settings},
        **fields,
    )


def tiny_orders(study: Path, photos: Path, *, seeds: int) -> list[RunOrder]:
    """Runs of a game and its twin."""
    return [tiny_order(study, photos, arm=arm, seed=seed) for seed in range(seeds) for arm in ARMS]


def content(record: RunRecord) -> dict[str, Any]:
    """A record without what differs between two equal runs: times, hosts and memory."""
    tree = asdict(record)
    for name in ("attempts", "seconds", "cpu_seconds", "peak_bytes"):
        del tree[name]
    for name in ("started", "command"):
        del tree["environment"][name]
    for point in tree["curve"]:
        del point["seconds"]
    return tree


def bits(
    study: Path, records: Sequence[RunRecord]
) -> dict[str, tuple[dict[str, Any], bytes, bytes]]:
    """Content of each record, its backbone's weights and its predictions."""
    found = {}
    for record in records:
        weights = StudyFolder(study).run(record.name) / "backbone.safetensors"
        predictions = study / record.predictions["held-out fifth"]["knn"]
        found[str(record.name)] = content(record), weights.read_bytes(), predictions.read_bytes()
    return found


def main() -> None:
    """Make the runs of STUDY on PHOTOS with SEEDS seeds and WORKERS workers."""
    from sparring.api.study_runs import make_run

    study, photos, seeds, workers = sys.argv[1:]
    orders = tiny_orders(Path(study), Path(photos), seeds=int(seeds))
    run_orders(orders, call=make_run, workers=int(workers), retries=20)


if __name__ == "__main__":
    main()
