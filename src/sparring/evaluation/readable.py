"""Looking at every annotated image before a protocol starts; unreadable ones are left out."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sparring.data.sources.image_source import UnreadableItemError
from sparring.errors import DataError
from sparring.evaluation.data import EvaluationData

Seen = TypeVar("Seen")

_THREADS = 4


def readable(
    rows: Sequence[int], look: Callable[[int], Seen], *, what: str, data: EvaluationData
) -> dict[int, Seen]:
    """Results of looking at each image that can be read, by row; the others are counted in a line.

    Args:
        rows: indices of the images.
        look: reads an image and its annotations; called in several threads.
        what: what the images are called, such as `training images`.
        data: is told of the progress and of what is left out.

    Raises:
        DataError: of `look`, or if no image can be read.
    """

    def seen(row: int) -> Seen | UnreadableItemError:
        """The result of looking at an image, or why it cannot be read."""
        try:
            return look(row)
        except UnreadableItemError as error:
            return error

    found: dict[int, Seen] = {}
    reasons = []
    progress = data.progress(f"checking the {what}")
    with ThreadPoolExecutor(_THREADS, "sparring-checks") as pool:
        try:
            for row, result in zip(rows, pool.map(seen, rows), strict=True):
                if isinstance(result, UnreadableItemError):
                    reasons.append(str(result))
                else:
                    found[row] = result
                if progress is not None:
                    progress(len(found) + len(reasons), len(rows))
        finally:
            pool.shutdown(cancel_futures=True)
    if not reasons:
        return found
    line = f"{len(reasons):,} of the {len(rows):,} {what} cannot be read"
    if not found:
        raise DataError(f"{line}, such as {reasons[0]}")
    data.report(f"{line} and were left out, such as {reasons[0]}")
    return found
