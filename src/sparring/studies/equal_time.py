"""Equal training time, converted into steps before the first run.

A run in the middle of which the time is up would end its schedule nowhere, and would not repeat.
So the seconds of a step are measured for every arm beforehand, on one machine, and each arm gets
the number of steps that take as long as the reference arm's, at whose end its schedules end. The
reference is the second arm of the primary contrast, which keeps its length; without a contrast, the
control of the first game. What comes before the first step, such as a generator that learns the
images, is not in it.
"""

from collections.abc import Mapping

from sparring.errors import ConfigError
from sparring.studies.plan import Study


def reference_arm(study: Study) -> str:
    """Name of the arm whose training time all others get.

    Raises:
        ConfigError: if nothing says which.
    """
    contrasts = study.planned_contrasts()
    if contrasts:
        return contrasts[0].second
    control = next((arm.control for arm in study.arms if arm.control), "")
    if not control:
        raise ConfigError(
            f"equal = '{study.equal}' needs an arm whose time all others get: the second one of "
            "the primary contrast; plan a contrast, or add a twin or a control"
        )
    return control


def steps_of_arms(
    study: Study, step_seconds: Mapping[str, float], *, reference_steps: int
) -> dict[str, int]:
    """Steps of each arm that take as long as the reference arm's.

    Args:
        study: plan of the study.
        step_seconds: measured seconds of a step of each arm, by its name.
        reference_steps: steps of the reference arm.

    Raises:
        ConfigError: if an arm was not measured, or its time is no positive number.

    Example:
        >>> arms = [{"name": name, "method": name} for name in ("adco", "mocov2")]
        >>> contrast = {"first": "adco", "second": "mocov2"}
        >>> study = Study(data="photos", arms=arms, contrasts=[contrast], equal="time")
        >>> steps_of_arms(study, {"adco": 0.25, "mocov2": 0.2}, reference_steps=1000)
        {'adco': 800, 'mocov2': 1000}
    """
    for arm in study.arms:
        seconds = step_seconds.get(arm.name)
        if seconds is None or not 0 < seconds < float("inf"):
            raise ConfigError(
                f"equal = '{study.equal}' needs the seconds of a step of {arm.name}, got "
                f"{seconds}; measure them before the first run"
            )
    whole = reference_steps * step_seconds[reference_arm(study)]
    return {arm.name: max(1, round(whole / step_seconds[arm.name])) for arm in study.arms}
