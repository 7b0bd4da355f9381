"""p-values of several contrasts, adjusted so that the family keeps its error rate."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values by Holm's step-down method, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, and none is smaller than one before it.
    Rejecting what is at most alpha claims any false difference with a probability of at most alpha,
    however the contrasts depend on each other.

    Args:
        p_values: one per contrast, in [0, 1]; None for one that cannot be tested, which stays None
            and does not count among the m.

    Raises:
        ValueError: for a p-value outside [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    known = {number: p for number, p in enumerate(p_values) if p is not None}
    for p in known.values():
        if not 0 <= p <= 1:
            raise ValueError(f"p-values lie between 0 and 1, got {p}")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, number in enumerate(sorted(known, key=known.__getitem__)):
        largest = max(largest, min(1.0, (len(known) - place) * known[number]))
        adjusted[number] = largest
    return adjusted
