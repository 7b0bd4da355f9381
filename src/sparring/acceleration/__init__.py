"""Fast paths, and the one switch that turns all of them off.

A fast path computes the same result as a plain implementation, its slow twin, up to rounding. A
test compares each with its twin:

- `view_kernel`: views by tensors, `data.views.views.view_by_tensors`;
- `data.views.static_views`, on accelerators: `view_by_tensors` too;
- `bank_games` and `bank_softmax`: autograd, `objectives.bank_games`;
- `narrow_batch_norm`: `torch.nn.BatchNorm2d`;
- `largest`: `torch.topk`;
- `compiled`: the same networks and functions, without `torch.compile`;
- `working_memory`: new memory at every call;
- `allocator` and `thread_waiting`: defaults of the C library and of OpenMP, with the same numbers.

`SPARRING_ACCELERATION=off` in the environment, or `training.acceleration = false` in a run's
configuration, takes the slow twins everywhere. Importing this package does not import torch.
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
