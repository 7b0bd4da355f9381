"""Names of the encoders of a run, in scores and wherever they are shown.

Importing this file does not import torch.
"""

from collections.abc import Iterable

TRAINED = "trained"
"""Name of a run's encoder where encoders are scored."""
UNTRAINED = "untrained"
"""Name of the encoder from which a run started, if its weights were drawn at random."""
START_WEIGHTS = "start weights"
"""Name of the encoder from which a run started, if it had been trained before."""
ENCODERS = (TRAINED, UNTRAINED, START_WEIGHTS)
"""Names of the encoders that are scored: of each run the first, and one of the others."""


def start_name(weights: str | None, started_from: object = None) -> str:
    """Name of the encoder from which a run started: `start weights` if it set `encoder.weights` or
    took the state of another run, else `untrained`. A network of one's own without
    `encoder.weights` counts as untrained, since nothing says what it holds.

    Args:
        weights: the run's `encoder.weights`.
        started_from: what environment.json says of another run whose state it took.
    """
    return UNTRAINED if weights is None and not started_from else START_WEIGHTS


def start_phrase(name: str) -> str:
    """The encoder from which a run started, as sentences call it.

    Args:
        name: see `start_name`.
    """
    return "the start weights" if name == START_WEIGHTS else "the untrained encoder"


def start_among(names: Iterable[str]) -> str:
    """The name of the encoder from which a run started, among the names of its scored encoders."""
    return START_WEIGHTS if START_WEIGHTS in names else UNTRAINED
