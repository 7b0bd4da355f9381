"""Running protocols on encoders."""

from collections.abc import Callable, Sequence

from sparring.evaluation.choice import Chosen
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Result

Done = Callable[[str, str, Result], None]
"""Called with the evaluated's name, the protocol's and the result, as soon as there is one."""


def evaluate(
    encoders: Sequence[EvaluatedEncoder],
    data: EvaluationData,
    protocols: Sequence[Chosen],
    *,
    done: Done | None = None,
) -> dict[str, dict[str, Result]]:
    """Result of every protocol on every evaluated: {evaluated: {protocol: result}}.

    Args:
        encoders: unchanged afterwards; the first is the run's encoder.
        data: the images.
        protocols: in the order to run.
        done: hears of each result at once, so that a later failure costs none of them.

    Raises:
        DataError: if a protocol needs labels that are missing or show a single class.
    """
    if any(chosen.entry.labels == "classes" for chosen in protocols):
        _ = data.classes  # before the minutes that features take
    results: dict[str, dict[str, Result]] = {evaluated.name: {} for evaluated in encoders}
    for chosen in protocols:
        for evaluated in encoders[:1] if chosen.entry.is_joint else encoders:
            result = chosen(evaluated, data)
            results[evaluated.name][chosen.name] = result
            if done is not None:
                done(evaluated.name, chosen.name, result)
    return results
