"""Names of arms in sentences."""

from collections.abc import Iterable

from sparring.methods import registry
from sparring.studies.plan import Arm, Study


def titles(study: Study, names: Iterable[str] | None = None) -> dict[str, str]:
    """Title of every arm, by its name: the method's, such as `AdCo`, where the arm is called like
    its method, else the arm's name.

    Args:
        study: the plan.
        names: arms that stand side by side: titles if all of them have one, else their names, so
            that no sentence mixes the two; None: every arm alone.

    Example:
        >>> arms = [{"name": "simclr", "method": "simclr"}, {"name": "wide", "method": "simclr"}]
        >>> study = Study(data="photos", arms=arms)
        >>> titles(study), titles(study, ["simclr", "wide"])["simclr"]
        ({'simclr': 'SimCLR', 'wide': 'wide'}, 'simclr')
    """
    found = {arm.name: _title(arm) for arm in study.arms}
    beside = [study.arm(name) for name in names or ()]
    if all(_title(arm) for arm in beside):
        return {name: title or name for name, title in found.items()}
    return {name: name for name in found}


def _title(arm: Arm) -> str:
    """Title of the method of an arm that is called like it; empty for another arm."""
    if arm.name != arm.method or arm.opponent:
        return ""
    if arm.method in registry.variants():
        return registry.variants()[arm.method][1].title
    if not registry.is_known("method", arm.method):
        return ""
    return registry.about("method", arm.method).title
