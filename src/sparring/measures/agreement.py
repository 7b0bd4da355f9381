"""Agreement of two ways to divide the same things into groups."""

import numpy as np
import numpy.typing as npt


def normalized_mutual_information(
    first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]
) -> float:
    """Mutual information of two groupings over the mean of their entropies, in [0, 1].

    1 for the same grouping under any names, 0 for independent ones; 1 if both are a single group.

    NMI = 2 I(A; B) / (H(A) + H(B))

    Args:
        first: group of each thing.
        second: group of each thing in the other way; as many, at least one.

    Source: Strehl and Ghosh 2002, with the arithmetic mean, as scikit-learn has it.

    Example:
        >>> normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([7, 7, 3, 3]))
        1.0
        >>> normalized_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
        0.0
    """
    rows = np.unique(first, return_inverse=True)[1]
    columns = np.unique(second, return_inverse=True)[1]
    joint = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(joint, (rows, columns), 1 / len(rows))
    entropies = _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0))
    if entropies == 0:
        return 1.0
    shared = max(0.0, entropies - _entropy(joint.ravel()))
    return float(min(1.0, 2 * shared / entropies))


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())
