"""Imports without searches for garbage: thousands of modules make hundreds of thousands of objects,
nearly all of which stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from sparring import acceleration


@contextmanager
def paused_collection() -> Iterator[None]:
    """Python looks for no garbage meanwhile, and takes what was made as old afterwards.

    Old objects are searched seldom, so the first search after does not go over all of them either.
    Nothing is lost: what is garbage is found at the next full search. Importing PyTorch, timm and
    this library takes a fifth less time (benchmarks/start_up.py). A process that has turned
    collection off, or frozen objects, is left alone, and so is one without fast paths.
    """
    if not (acceleration.is_on() and gc.isenabled() and gc.get_freeze_count() == 0):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        gc.enable()
