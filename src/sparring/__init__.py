"""Self-supervised visual pretraining in which the encoder trains against worthy opponents.

import sparring
run = sparring.train("photos/", method="adco", out="runs/photos", epochs=100)
encoder = sparring.load("runs/photos")
features = encoder.features(images)     # images: float in [0, 1], (batch, 3, height, width)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from sparring.acceleration.garbage_collection import paused_collection
from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.api import Plan, Run, embed, evaluate, export, load, plan, report, resume, train

__version__ = "0.1.0"
__all__ = [
    "Plan",
    "Run",
    "SparringError",
    "embed",
    "evaluate",
    "export",
    "load",
    "plan",
    "report",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    # Torch takes seconds to import; `sparring --help` should not.
    if name == "api" or name in __all__:
        with paused_collection():
            api = import_module("sparring.api")
        return api if name == "api" else getattr(api, name)
    raise AttributeError(f"module 'sparring' has no attribute '{name}'")
