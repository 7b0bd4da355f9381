"""Imports without garbage collection: thousands of modules create hundreds of thousands of objects,
nearly all of which stay alive."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from sparring import acceleration


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause garbage collection within the context; objects created in it count as old afterwards.

    Old objects are examined rarely, so the next collection does not go over all of them either.
    Garbage among them is freed at the next full collection. Importing PyTorch, timm and this
    library takes a fifth less time (benchmarks/start_up.py). It does nothing in a process that has
    disabled collection or frozen objects, or that uses no fast paths.
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
