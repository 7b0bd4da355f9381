"""A small study on photos of two colours, for tests of orders and of the plan's history."""

from pathlib import Path

import tiny
from sparring.studies.plan import Study

SETTINGS = {
    "encoder": {"width": 0.0625},
    "projector": {"dim": 8, "hidden": 8},
    "training": {"monitor_images": 8, "batch_size": 4, "image_size": 16},
    "data": {"store": "memory"},
}


def photos(folder: Path, *, name: str = "photos", per_class: int = 8) -> Path:
    """A folder of photos of two colours."""
    return tiny.write_photos(folder / name, per_class=per_class)


def small_study(data: Path, **fields: object) -> Study:
    """A game, its twin and its control on the photos."""
    tree = {
        "data": str(data),
        "seeds": 2,
        "epochs": 3,
        "settings": SETTINGS,
        "protocols": ["knn"],
        "arms": [
            {"name": "adco", "method": "adco", "control": "mocov2"},
            {
                "name": "adco/queue",
                "method": "adco",
                "settings": {"disarmed": "queue"},
                "role": "twin",
                "twin_of": "adco",
            },
            {"name": "mocov2", "method": "mocov2", "role": "control"},
        ],
        **fields,
    }
    return Study.build(tree)


def changed(study: Study, **fields: object) -> Study:
    """The study with other values of some fields."""
    return Study.build({**study.tree(), **fields})
