"""Running protocols on contestants."""

from collections.abc import Callable, Sequence

from sparring.evaluation.choice import Chosen
from sparring.evaluation.data import Contestant, Material
from sparring.evaluation.protocol import Result

Done = Callable[[str, str, Result], None]
"""Called with the contestant's name, the protocol's and the result, as soon as there is one."""


def evaluate(
    contestants: Sequence[Contestant],
    material: Material,
    protocols: Sequence[Chosen],
    *,
    done: Done | None = None,
) -> dict[str, dict[str, Result]]:
    """Result of every protocol on every contestant: {contestant: {protocol: result}}.

    Args:
        contestants: unchanged afterwards; the first is the run's encoder.
        material: the images.
        protocols: in the order to run.
        done: hears of each result at once, so that a later failure costs none of them.

    Raises:
        DataError: if a protocol needs labels that are missing or show a single class.
    """
    if any(chosen.entry.labels == "classes" for chosen in protocols):
        _ = material.classes  # before the minutes that features take
    results: dict[str, dict[str, Result]] = {contestant.name: {} for contestant in contestants}
    for chosen in protocols:
        for contestant in contestants[:1] if chosen.entry.is_joint else contestants:
            result = chosen(contestant, material)
            results[contestant.name][chosen.name] = result
            if done is not None:
                done(contestant.name, chosen.name, result)
    return results
