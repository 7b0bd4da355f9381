"""The factor by which a method saves images: the share with which it equals its control on all."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sparring.evaluation.pretraining_again.interpolation import smallest_x_reaching
from sparring.evaluation.protocol import Result, spread

Line: TypeAlias = list[list[float]]
"""Scores of one method: for each seed, one per share."""


def saving(shares: Sequence[float], line: Line, control: Line) -> Result:
    """Share of the images with which a method reaches the score of its control on all of them, seed
    by seed.

    Args:
        shares: rising, the last 1.
        line: scores of the method.
        control: scores of the control, of the same seeds and shares.

    Returns:
        `shares`: of each seed, None where the method does not get there; `share`: their mean, None
        if any seed does not; `range`: smallest and largest of those that do; `reached`: number of
        those; `at_most`: some seed gets there with the smallest share measured, so that the truth
        may be less.
    """
    found = [
        smallest_x_reaching(list(zip(shares, own, strict=True)), other[-1])
        for own, other in zip(line, control, strict=True)
    ]
    reached = [share for share in found if share is not None]
    return {
        "shares": found,
        "share": spread(reached)[0] if len(reached) == len(found) else None,
        "range": [min(reached), max(reached)] if reached else None,
        "reached": len(reached),
        "at_most": any(share == shares[0] for share in reached),
    }


def saving_sentence(run: str, factor: Mapping[str, Any], seeds: int) -> str:
    """Sentence about the images that a method saves.

    Args:
        run: name of the method.
        factor: result of `saving`, and the name of the `control`.
        seeds: number of seeds.
    """
    control = factor["control"].removeprefix("control-")
    if factor["share"] is None:
        return (
            f"{run} reaches its control {control} on all images in {factor['reached']} of {seeds} "
            "seeds"
        )
    low, high = factor["range"]
    most = "at most " if factor["at_most"] else ""
    over = f" ({low:.0%} to {high:.0%} over {seeds} seeds)" if seeds > 1 else " (one seed)"
    return (
        f"{run} on {most}{factor['share']:.0%} of the images{over} equals its control {control} "
        "on all of them"
    )
