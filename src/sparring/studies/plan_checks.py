"""What a study could not show because of its plan: refused before the first run, or a caution.

Refused is what makes a study meaningless or dishonest; `allowed` in the plan says that one of these
faults is meant, and makes a caution of it. Everything else is a caution, which stands in the plan's
summary and beside the results.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sparring.errors import ConfigError, unknown_name
from sparring.evaluation.catalogue import choose
from sparring.studies.configs import arm_config, arm_configs
from sparring.studies.contents import Contents
from sparring.studies.contrast_checks import further_differences, unequal_budgets, unequal_twins
from sparring.studies.folder import StudyFolder
from sparring.studies.pairing import fixed_for_all_seeds
from sparring.studies.plan import Allowed, Study
from sparring.studies.plan_gaps import incomplete, tuning
from sparring.studies.records import RunName
from sparring.studies.set_checks import seen_in_training, seen_in_tuning, unlabelled
from sparring.training.settings import RunConfig

SIGN_FLIP_PAIRS, BOOTSTRAP_PAIRS = 6, 10
"""Pairs from which on a study has a sign-flip test, and a bootstrap interval."""


@dataclass(frozen=True)
class _Plan:
    """A plan, and what is looked up for its checks once."""

    study: Study
    configs: Mapping[str, RunConfig]
    contents: Contents


def refusals(study: Study) -> list[str]:
    """Why a plan is refused, a sentence each; empty for a plan that may begin.

    Raises:
        ConfigError: for arms that cannot be configured.
        DataError: for images that cannot be opened.
    """
    _require_clear_names(study)
    plan = _plan(study)
    found = [*_always(plan)]
    for fault, look in _UNLESS_ALLOWED.items():
        if fault not in study.allowed:
            found += [f"{line}; {_MEANT.format(fault)}" for line in look(plan)]
    return list(dict.fromkeys(found))


def cautions(study: Study) -> list[str]:
    """What a plan cannot show, a sentence each, faults that it has on purpose first.

    Raises:
        ConfigError: for arms that cannot be configured.
        DataError: for images that cannot be opened.
    """
    found = [*hidden_cautions(study), *incomplete(study), *_few_pairs(study), *tuning(study)]
    return list(dict.fromkeys(found))


def hidden_cautions(study: Study) -> list[str]:
    """Cautions of a plan that only its images and resolved settings tell.

    They are stored, for outputs that have the plan and the scores alone.

    Raises:
        ConfigError: for arms that cannot be configured.
        DataError: for images that cannot be opened.
    """
    _require_clear_names(study)
    plan = _plan(study)
    found = [
        f"On purpose: {line}."
        for fault, look in _UNLESS_ALLOWED.items()
        if fault in study.allowed
        for line in look(plan)
    ]
    fingerprint = plan.contents.training(arm_config(study, study.arms[0]).data).fingerprint
    found += [
        *further_differences(study, plan.configs),
        *seen_in_training(study, plan.contents, fingerprint),
        *_fixed(plan),
    ]
    return list(dict.fromkeys(found))


def require_sound(study: Study) -> None:
    """Refuse a plan that could not show what it is for.

    Raises:
        ConfigError: with the first reason, and the number of further ones.
        DataError: for images that cannot be opened.
    """
    if found := refusals(study):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(f"this study is not begun: {found[0]}{more}")


def _plan(study: Study) -> _Plan:
    return _Plan(study, arm_configs(study), Contents(study))


def _require_clear_names(study: Study) -> None:
    """Refuse names that no output could tell apart, and those of arms that are not there."""
    folder, places = StudyFolder(""), dict[str, RunName]()
    for share in study.shares:
        if study.shares.count(share) > 1:
            raise ConfigError(f"shares: {share:g} stands twice; name it once")
    for arm in study.arms:
        for share in study.shares:
            name = RunName(arm=arm.name, seed=study.seeds[0] if study.seeds else 0, share=share)
            if (place := folder.place(name)) in places:
                raise ConfigError(
                    f"{places[place]} and {name} would have the same folder, {place}; give one of "
                    "them another name or share"
                )
            places[place] = name
    tests = [one.name for one in study.tests]
    if repeated := [name for name in tests if tests.count(name) > 1]:
        raise ConfigError(f"tests: two are called '{repeated[0]}'; give each a name of its own")
    for contrast in study.contrasts:
        if contrast.first == contrast.second:
            raise ConfigError(f"contrasts: '{contrast.name}' is always 0; name two arms")
    primary = [one.name for one in study.contrasts if one.is_primary]
    if len(primary) > 1:
        raise ConfigError(
            f"contrasts: {' and '.join(primary)} are all primary; let one be the main question"
        )
    _require_known_arms(study)


def _require_known_arms(study: Study) -> None:
    names = [arm.name for arm in study.arms]
    for arm in study.arms:
        for key in ("twin_of", "control"):
            if (name := getattr(arm, key)) and name not in names:
                raise ConfigError(f"arm '{arm.name}', {key}: {unknown_name('arm', name, names)}")


def _always(plan: _Plan) -> Iterator[str]:
    """Faults that nothing can excuse."""
    study = plan.study
    yield from _nothing_to_compare(study)
    yield from _repeated(study)
    yield from _fields_in_settings(study)
    yield from _unbounded_looks(study)
    primary = choose(study.protocols, study.protocol_settings)[0]
    if primary.protocol.labels == "none" or not primary.protocol.headline:
        yield (
            f"the primary protocol {primary.name} gives no score against labels, so no arm could "
            "be called better; put one that does first, such as knn or linear"
        )
    elif primary.protocol.labels == "classes":
        yield from unlabelled(study, plan.contents, protocol=primary.name)


def _nothing_to_compare(study: Study) -> Iterator[str]:
    contrasts = study.planned_contrasts()
    compared = {name for one in contrasts for name in (one.first, one.second)}
    games = [arm.name for arm in study.arms if arm.role == "game" and arm.name not in compared]
    for name in games:
        if study.contrasts:
            yield (
                f"no planned contrast has {name}, so nothing would be said about it; add one to "
                "contrasts, or leave contrasts out for every game minus its twins and its control"
            )
            continue
        yield (
            f"{name} has neither a disarmed twin nor a control, so the study could not show that "
            "its opponent does anything; add --twins, or --controls"
        )
    if not contrasts and not games:
        yield "no two arms are compared; plan a contrast, or add a game with its twin or control"


def _repeated(study: Study) -> Iterator[str]:
    """Values that stand twice in a list of the plan."""
    if repeated := {seed for seed in study.seeds if study.seeds.count(seed) > 1}:
        yield f"seeds: {min(repeated)} stands twice; the same run again is no second pair"
    for name in study.protocols:
        if study.protocols.count(name) > 1:
            yield f"protocols: {name} stands twice; name it once"
            return


def _fields_in_settings(study: Study) -> Iterator[str]:
    """Settings that would replace, for some arm or for all, what the plan itself says."""
    for where, settings in [
        ("settings", study.settings),
        *((f"settings of {arm.name}", arm.settings) for arm in study.arms),
    ]:
        for path, instead in _OWN_FIELDS.items():
            section, _, name = path.rpartition(".")
            tree = settings.get(section, {}) if section else settings
            if isinstance(tree, Mapping) and name in tree:
                yield f"{where}: {path} would go before what the plan says; {instead}"


def _unbounded_looks(study: Study) -> Iterator[str]:
    """Looks without bounds under which claims keep their error rate."""
    looks, pairs = study.looks, len(study.seeds)
    if not looks:
        return
    if list(looks) != sorted(set(looks)):
        yield f"looks: {list(looks)} do not rise; give numbers of pairs such as [5, 8, 12]"
    elif looks[-1] != pairs:
        yield (
            f"looks: the last one is at {looks[-1]} pairs and the study has {pairs}; let the last "
            "look be at the study's end"
        )
    else:
        yield from _refused(lambda: _bounds(study))


def _bounds(study: Study) -> None:
    from sparring.studies.statistics.sequential import bounds

    bounds(study.looks, alpha=study.alpha)


def _refused(call: Callable[[], None]) -> Iterator[str]:
    try:
        call()
    except ConfigError as error:
        yield str(error)


def _one_seed(plan: _Plan) -> Iterator[str]:
    if len(plan.study.seeds) < 2:
        yield (
            "one seed makes one pair, so no interval and no test could tell a difference from "
            "chance; give --seeds 5 or more"
        )


_UNLESS_ALLOWED: Mapping[Allowed, Callable[[_Plan], Iterator[str]]] = {
    "one seed": _one_seed,
    "seen test set": lambda plan: seen_in_tuning(plan.study),
    "unequal budgets": lambda plan: unequal_budgets(plan.study, plan.configs),
    "unequal twins": lambda plan: unequal_twins(plan.study, plan.configs),
}
_OWN_FIELDS = {
    "seed": "it is that of the pair: give seeds, as --seeds 0,1,7",
    "method": "give it as the arm's method",
    "opponent": "give it as the arm's opponent",
    "data.path": "give data, as --data",
    "training.device": "give device, as --device",
}
"""Settings that are fields of the plan, and what to do instead."""
_MEANT = 'if it is meant, write allowed = ["{}"] into the plan'


def _few_pairs(study: Study) -> Iterator[str]:
    """Tests and intervals for which there will be too few pairs."""
    pairs, family = len(study.seeds), max(1, len(study.planned_contrasts()))
    if pairs < 2:
        return
    needed = next(count for count in range(2, 64) if family * 2 ** (1 - count) <= study.alpha)
    needed = max(needed, SIGN_FLIP_PAIRS)
    if pairs < needed:
        over = f" over {family} contrasts" if family > 1 else ""
        yield (
            f"{pairs} pairs: the sign-flip test's least p is {2 ** (1 - pairs):.2g}, so{over} only "
            f"the t test, which takes differences for normal, can claim one; {needed} pairs would "
            "do."
        )
    if pairs < BOOTSTRAP_PAIRS:
        yield f"{pairs} pairs: no bootstrap intervals, which need {BOOTSTRAP_PAIRS}."


def _fixed(plan: _Plan) -> Iterator[str]:
    if found := fixed_for_all_seeds(plan.configs):
        yield (
            f"The same for all seeds: {', '.join(found)}. Runs elsewhere vary more than the seeds "
            "of this study."
        )
