"""Self-supervised visual pretraining in which the encoder trains against worthy opponents.

import sparring
run = sparring.train("photos/", method="adco", out="runs/photos", epochs=100)
encoder = sparring.load("runs/photos")
features = encoder.features(images)     # images: float in [0, 1], (batch, 3, height, width)
"""

from typing import TYPE_CHECKING

from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.api import (
        ResourcePlan,
        Run,
        embed,
        evaluate,
        export,
        load,
        plan,
        report,
        resume,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "ResourcePlan",
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
    if name in __all__:
        from sparring import api

        return getattr(api, name)
    raise AttributeError(f"module 'sparring' has no attribute '{name}'")
