"""Fast paths, and the one switch that turns all of them off.

A fast path computes what a slow one computes, up to rounding; a test holds each to its slow twin.
`SPARRING_ACCELERATION=off` in the environment, or `training.acceleration = false` in a run's
configuration, selects the slow twins everywhere. Importing this package does not import torch.
"""

import os

_OFF = ("off", "0", "false", "no")
_is_wanted = True


def is_on() -> bool:
    """Whether this process may take fast paths."""
    return _is_wanted and os.environ.get("SPARRING_ACCELERATION", "on").lower() not in _OFF


def allow(is_wanted: bool) -> None:
    """Allow or forbid fast paths in this process; the environment can only forbid them.

    Args:
        is_wanted: False selects the slow twin of every fast path from now on.
    """
    global _is_wanted
    _is_wanted = is_wanted
