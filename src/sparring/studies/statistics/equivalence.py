"""Whether a difference is no more than a margin: two one-sided tests.

"No evidence of a difference" says that the data cannot tell; "no more than the margin" says that
they can, and that the difference does not matter.
"""

import math

from scipy import special

from sparring.studies.statistics.differences import Values, as_differences, mean_of, sd_of


def equivalence_p(differences: Values, margin: float) -> float | None:
    """p-value of the claim that the mean difference lies within (-margin, margin).

    The larger one of two one-sided t tests, one against each end. The claim is made where p is at
    most alpha. Equal differences give 0 if they lie within the margin, else 1.

    Args:
        differences: one per pair.
        margin: smallest difference that matters, positive, in the unit of the differences.

    Returns:
        None for fewer than two pairs.

    Raises:
        ValueError: if the margin is not positive.

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15.

    Example:
        >>> round(equivalence_p([0.1, -0.1, 0.2, 0.0], 0.5), 4)
        0.003
    """
    if not margin > 0 or math.isinf(margin):
        raise ValueError(f"margin must be positive, got {margin}; 0.5 points is usual")
    values = as_differences(differences)
    if len(values) < 2:
        return None
    mean, sd = mean_of(values), sd_of(values)
    if sd == 0:
        return float(abs(mean) >= margin)
    # Of the two ends the nearer one has the larger p.
    t = (margin - abs(mean)) * math.sqrt(len(values)) / sd
    return float(special.stdtr(len(values) - 1, -t))
