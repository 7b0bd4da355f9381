"""What a plan leaves out, told by the plan alone: a sentence each, before the first run and beside
the results."""

from collections.abc import Iterator

from sparring.reporting.sentences import listed
from sparring.studies.plan import Study
from sparring.wording import counted


def incomplete(study: Study) -> Iterator[str]:
    """Games that lack one of the two arms that they would be compared with, a sentence each. The
    twin of another game is theirs too where a contrast sets them against it."""
    twins = {arm.name for arm in study.arms if arm.role == "twin"}
    against_twins = {one.first for one in study.contrasts if one.second in twins}
    for arm in study.arms:
        if arm.role != "game":
            continue
        is_twinned = any(other.twin_of == arm.name for other in study.arms)
        if not is_twinned and arm.name not in against_twins:
            yield (
                f"{arm.name} has no disarmed twin in this study, so what its opponent itself adds "
                "is not shown."
            )
        if not arm.control:
            yield (
                f"{arm.name} has no control in this study, so whether it beats training without "
                "an opponent is not shown."
            )


def tuning(study: Study) -> Iterator[str]:
    """Arms that were tuned unequally, or on images that nobody named, a sentence each."""
    most = max(study.arms, key=lambda arm: arm.tuning.trials)
    fewer = [arm for arm in study.arms if arm.tuning.trials < most.tuning.trials]
    if fewer:
        by_trials: dict[int, list[str]] = {}
        for arm in fewer:
            by_trials.setdefault(arm.tuning.trials, []).append(arm.name)
        others = "; ".join(
            f"{listed(names)} with {trials or 'none known'}" for trials, names in by_trials.items()
        )
        yield (
            f"Arms were tuned unequally: {most.name} with {counted(most.tuning.trials, 'trial')}, "
            f"{others}. Part of a difference may be the tuning's."
        )
    for arm in study.arms:
        if arm.tuning.trials and not arm.tuning.images:
            yield (
                f"{arm.name}: the plan does not say on which images its {arm.tuning.trials} trials "
                "were scored, so whether they were test images is not known."
            )
