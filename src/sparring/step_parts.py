"""Names of the parts of a training step, for a profiler; while none runs they cost nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from torch.profiler import record_function

PREFIX = "sparring: "
"""Beginning of the names in a profiler's trace."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_is_named = False


def step_part(
    name: str,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorator: calls of the function are a part of the step of this name in a profiler's trace.

    Args:
        name: name of the part, which may refer to the first argument, as in "update of {0.name}".
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        """The function with a name in the trace."""

        @wraps(function)
        def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
            """Call the function, under its name while a profiler runs."""
            if not _is_named:
                return function(*arguments, **named)
            with record_function(PREFIX + name.format(*arguments[:1])):
                return function(*arguments, **named)

        return call

    return decorate


@contextmanager
def named_parts() -> Iterator[None]:
    """Give the parts their names in traces that are recorded inside this context."""
    global _is_named
    _is_named = True
    try:
        yield
    finally:
        _is_named = False
