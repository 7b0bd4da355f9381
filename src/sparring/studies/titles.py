"""Names of arms in sentences."""

from sparring.methods import registry
from sparring.studies.plan import Arm, Study


def titles(study: Study) -> dict[str, str]:
    """Title of every arm, by its name: the method's where the arm is called like its method, such
    as `AdCo`, else the arm's name.

    Example:
        >>> arms = [{"name": "simclr", "method": "simclr"}, {"name": "wide", "method": "simclr"}]
        >>> titles(Study(data="photos", arms=arms))
        {'simclr': 'SimCLR', 'wide': 'wide'}
    """
    return {arm.name: _title(arm) for arm in study.arms}


def _title(arm: Arm) -> str:
    if arm.name != arm.method or arm.opponent:
        return arm.name
    if arm.method in registry.variants():
        return registry.variants()[arm.method][1].title or arm.name
    if not registry.is_known("method", arm.method):
        return arm.name
    return registry.about("method", arm.method).title or arm.name
