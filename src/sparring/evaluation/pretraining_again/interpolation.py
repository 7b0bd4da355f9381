"""Where a measured curve reaches a value: interpolation without extrapolation."""

import math
from collections.abc import Sequence


def isotonic(values: Sequence[float]) -> list[float]:
    """The rising sequence nearest to the values in the sum of squares; neighbours out of order get
    their mean.

    Source: Ayer et al. 1955, pool-adjacent-violators.

    Example:
        >>> isotonic([1.0, 3.0, 2.0, 4.0])
        [1.0, 2.5, 2.5, 4.0]
    """
    blocks: list[tuple[float, int]] = []  # sum and number of values
    for value in values:
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] > blocks[-1][0] * blocks[-2][1]:
            total, count = blocks.pop()
            blocks[-1] = blocks[-1][0] + total, blocks[-1][1] + count
    return [total / count for total, count in blocks for _ in range(count)]


def smallest_x_reaching(points: Sequence[tuple[float, float]], height: float) -> float | None:
    """Smallest x at which a curve reaches a value; None if it does not.

    The curve is made to rise first (`isotonic`): more images do not harm, so a dip is noise, and
    neither a lucky point nor an unlucky one decides alone. Between two points y is linear in log x.
    Where the first point is high enough already its x is the answer, and the truth is at most that.

    Args:
        points: (x, y) with x > 0, rising.
        height: y to reach.

    Example:
        >>> round(smallest_x_reaching([(0.1, 0.0), (1.0, 1.0)], 0.5), 4)
        0.3162
    """
    rising = isotonic([y for _, y in points])
    places = [math.log(x) for x, _ in points]
    for number, y in enumerate(rising):
        if y >= height:
            if number == 0:
                return points[0][0]
            before = rising[number - 1]
            share = (height - before) / (y - before)
            return math.exp(places[number - 1] + share * (places[number] - places[number - 1]))
    return None
