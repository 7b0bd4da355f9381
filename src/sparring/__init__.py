"""Self-supervised visual pretraining in which the encoder trains against worthy opponents.

    import sparring
    run = sparring.train("photos/", method="adco", out="runs/photos", epochs=100)
    encoder = sparring.load("runs/photos")
    features = encoder.features(images)     # images: float in [0, 1], (batch, 3, height, width)

The functions: train, resume, load, compare, read_study, evaluate, embed, neighbours, duplicates,
clusters, outliers, export, report, plan, list_methods, list_protocols, doctor, inspect_data. A
`Study` is the plan of a comparison, of its `Arm`s, `Contrast`s and `ScoredSet`s. What a method of
your own is made of: Method, MethodSettings, MethodLoss, Context, View, Player and their
neighbours; see docs/adding_a_method.md and `sparring.testing`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sparring.acceleration.garbage_collection import paused_collection
from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.api import (
        Clusters,
        Comparison,
        DataFinding,
        Duplicates,
        Embedded,
        Neighbours,
        Outliers,
        ResourcePlan,
        Run,
        clusters,
        compare,
        doctor,
        duplicates,
        embed,
        evaluate,
        export,
        inspect_data,
        list_methods,
        list_protocols,
        load,
        neighbours,
        outliers,
        plan,
        read_study,
        report,
        resume,
        train,
    )
    from sparring.api.games import PlayableGame, make_game
    from sparring.api.transformer import SparringTransformer
    from sparring.config import Settings
    from sparring.data.views.view_settings import ViewsSettings
    from sparring.distributed import JointRows, joint, joint_with_gradient
    from sparring.evaluation.predictions import Predictions
    from sparring.evaluation.protocol import Protocol
    from sparring.loggers.logger import LoggedRun, RunLogger
    from sparring.measures.metric import Metric
    from sparring.methods.about import About, Toy, Twin
    from sparring.methods.method import (
        Context,
        EncoderOnly,
        Method,
        MethodLoss,
        MethodSettings,
        Metrics,
        Pictures,
    )
    from sparring.methods.negatives import Negatives
    from sparring.models.encoder import Encoder
    from sparring.models.heads import PredictorSettings, ProjectorSettings, make_predictor
    from sparring.models.teacher import Teacher
    from sparring.models.view import View
    from sparring.opponents.opponent import Opponent
    from sparring.optim.player import Added, Averaged, Player, PlayerSettings
    from sparring.optim.schedule import Position
    from sparring.studies.plan import Arm, Contrast, ScoredSet, Study
    from sparring.training.listener import Listener

__version__ = "0.1.0"

_PLACES = {
    "sparring.api": (
        "Clusters Comparison DataFinding Duplicates Embedded Neighbours Outliers ResourcePlan Run "
        "clusters compare doctor duplicates embed evaluate export inspect_data list_methods "
        "list_protocols load neighbours outliers plan read_study report resume train"
    ),
    "sparring.api.games": "PlayableGame make_game",
    "sparring.api.transformer": "SparringTransformer",
    "sparring.config": "Settings",
    "sparring.data.views.view_settings": "ViewsSettings",
    "sparring.distributed": "JointRows joint joint_with_gradient",
    "sparring.evaluation.predictions": "Predictions",
    "sparring.evaluation.protocol": "Protocol",
    "sparring.loggers.logger": "LoggedRun RunLogger",
    "sparring.measures.metric": "Metric",
    "sparring.methods.about": "About Toy Twin",
    "sparring.methods.method": (
        "Context EncoderOnly Method MethodLoss MethodSettings Metrics Pictures"
    ),
    "sparring.methods.negatives": "Negatives",
    "sparring.models.encoder": "Encoder",
    "sparring.models.heads": "PredictorSettings ProjectorSettings make_predictor",
    "sparring.models.teacher": "Teacher",
    "sparring.models.view": "View",
    "sparring.opponents.opponent": "Opponent",
    "sparring.optim.player": "Added Averaged Player PlayerSettings",
    "sparring.optim.schedule": "Position",
    "sparring.studies.plan": "Arm Contrast ScoredSet Study",
    "sparring.training.listener": "Listener",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = [
    "About",
    "Added",
    "Arm",
    "Averaged",
    "Clusters",
    "Comparison",
    "Context",
    "Contrast",
    "DataFinding",
    "Duplicates",
    "Embedded",
    "Encoder",
    "EncoderOnly",
    "JointRows",
    "Listener",
    "LoggedRun",
    "Method",
    "MethodLoss",
    "MethodSettings",
    "Metric",
    "Metrics",
    "Negatives",
    "Neighbours",
    "Opponent",
    "Outliers",
    "Pictures",
    "PlayableGame",
    "Player",
    "PlayerSettings",
    "Position",
    "Predictions",
    "PredictorSettings",
    "ProjectorSettings",
    "Protocol",
    "ResourcePlan",
    "Run",
    "RunLogger",
    "ScoredSet",
    "Settings",
    "SparringError",
    "SparringTransformer",
    "Study",
    "Teacher",
    "Toy",
    "Twin",
    "View",
    "ViewsSettings",
    "clusters",
    "compare",
    "doctor",
    "duplicates",
    "embed",
    "evaluate",
    "export",
    "inspect_data",
    "joint",
    "joint_with_gradient",
    "list_methods",
    "list_protocols",
    "load",
    "make_game",
    "make_predictor",
    "neighbours",
    "outliers",
    "plan",
    "read_study",
    "report",
    "resume",
    "train",
]
if not TYPE_CHECKING and find_spec("sklearn") is None:
    # So that `from sparring import *` needs no extra.
    __all__.remove("SparringTransformer")


def __getattr__(name: str) -> object:
    # Torch takes seconds to import; `sparring --help` should not.
    if name == "api" or name in _MODULES:
        with paused_collection():
            module = import_module(_MODULES.get(name, "sparring.api"))
        return module if name == "api" else getattr(module, name)
    raise AttributeError(f"module 'sparring' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
