"""Whether the arms of a contrast differ in nothing but what the contrast is about."""

from collections.abc import Iterator, Mapping

from sparring.config import leaves
from sparring.studies.arms import twins_of
from sparring.studies.pairing import SIZE
from sparring.studies.plan import Arm, Contrast, Study
from sparring.training.settings import RunConfig

LENGTH = ("training.epochs", "training.num_steps")
BUDGET = ("training.batch_size", "training.image_size", "data.limit", "data.channels")
_NO_DIFFERENCE = ("seed", "method", "opponent", "data.path", "data.cache")
_SHOWN = 4


def unequal_budgets(study: Study, configs: Mapping[str, RunConfig]) -> Iterator[str]:
    """Sentences on contrasts whose arms have unequal budgets: length, batch, images, encoder,
    views."""
    for contrast in study.planned_contrasts():
        found = _budget_differences(study, contrast, configs)
        if found:
            yield (
                f"{contrast.name}: unequal budgets ({_listed(found)}), so the difference could not "
                "be put down to the methods"
            )


def unequal_twins(study: Study, configs: Mapping[str, RunConfig]) -> Iterator[str]:
    """Sentences on twins that differ from their game in more than what disarms them, or in
    nothing."""
    for arm in study.arms:
        if arm.role != "twin" or not arm.twin_of:
            continue
        found = _differences(configs[arm.twin_of], configs[arm.name])
        if not found:
            yield (
                f"{arm.name} has the settings of {arm.twin_of}, so nothing is disarmed and their "
                "difference is chance"
            )
        known = _disarming(study.arm(arm.twin_of))
        known |= _held_at_zero(configs[arm.name]) if known else set()
        if more := {name: pair for name, pair in found.items() if known and name not in known}:
            yield (
                f"{arm.name} is called a twin of {arm.twin_of} and differs in more than the "
                f"opponent ({_listed(more)}), so the contrast could not show what the opponent adds"
            )


def further_differences(study: Study, configs: Mapping[str, RunConfig]) -> Iterator[str]:
    """Sentences on contrasts, other than of a game and its twin, whose arms differ in settings that
    both have and that are no part of the budget. Arms that differ in one setting alone are compared
    for its sake."""
    for contrast in study.planned_contrasts():
        first, second = (study.arm(name) for name in (contrast.first, contrast.second))
        if first.twin_of == second.name or second.twin_of == first.name:
            continue
        found = _differences(configs[first.name], configs[second.name])
        is_same_game = (first.method, first.opponent) == (second.method, second.opponent)
        if is_same_game and len(found) == 1:
            continue
        budget = _budget_differences(study, contrast, configs)
        own = {*_disarming(first), *_disarming(second)}
        shared = {
            name: pair
            for name, pair in found.items()
            if name not in budget
            and name not in own
            and None not in pair
            and not name.startswith(("views.", *_of_opponents(first, configs)))
        }
        if shared:
            yield (
                f"{contrast.name}: the arms also differ in {_listed(shared)}; part of the "
                "difference may come from there."
            )


def _budget_differences(
    study: Study, contrast: Contrast, configs: Mapping[str, RunConfig]
) -> dict[str, tuple[object, object]]:
    first, second = configs[contrast.first], configs[contrast.second]
    names = BUDGET if study.equal == "time" else (*LENGTH, *BUDGET)
    found = {
        name: pair
        for name, pair in _differences(first, second).items()
        if name in names or name.startswith("encoder.")
    }
    seen = [
        one.method_settings.views.resolve(one.training.image_size or SIZE)
        for one in (first, second)
    ]
    if seen[0] != seen[1]:
        names_of_views = [name for name in _differences(first, second) if name.startswith("views.")]
        counts = (len(seen[0]), len(seen[1]))
        key = names_of_views[0] if names_of_views else "views"
        values = _differences(first, second).get(key, counts)
        found[key] = values
    return found


def _differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[object, object]]:
    """Settings in which two configurations differ, with both values."""
    first, second = (dict(leaves(config.tree())) for config in (one, other))
    return {
        name: (first.get(name), second.get(name))
        for name in dict.fromkeys([*first, *second])
        if name not in _NO_DIFFERENCE and first.get(name) != second.get(name)
    }


def _disarming(game: Arm) -> set[str]:
    """Names of the settings by which an arm's declared twins are disarmed; empty: none are."""
    trees = [tree for _, tree in twins_of(game.method, game.opponent)]
    return {name for tree in trees for name, _ in leaves(tree)}


def _held_at_zero(config: RunConfig) -> set[str]:
    """Names of the settings by which an opponent is held at no strength at all, which is its
    disarmed twin."""
    return {
        name
        for name, value in leaves(config.tree())
        if name.rpartition(".")[2] == "strength" and value == 0
    }


def _of_opponents(arm: Arm, configs: Mapping[str, RunConfig]) -> tuple[str, ...]:
    return tuple(f"{name.replace('-', '_')}." for name in configs[arm.name].opponent)


def _listed(found: Mapping[str, tuple[object, object]]) -> str:
    parts = [f"{name} {first} and {second}" for name, (first, second) in found.items()]
    more = f", and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more
