"""What a curve of dose and response allows to say, in words."""

from collections.abc import Sequence

from sparring.studies.doses import STRENGTH, Dose, DoseCurve
from sparring.studies.findings import Estimate
from sparring.studies.page.wording import interval_text, points, signed

MISSED = 0.15
"""Share of a target by which the measured dose misses it, from which on a sentence says so."""
LEAST_MISSED = 0.02
"""Nats that a dose has to miss its target by at least, since measurements spread over about as
much."""

ALL = 0.95
"""Mean share of the opponent from which on all of it counts as having played."""


def sentences(
    curve: DoseCurve,
    steps: Sequence[tuple[Dose, Dose, Estimate]],
    *,
    margin: float,
    protocol: str,
) -> str:
    """Where a curve rises, falls or is flat, as far as its pairs can tell; which dose has the
    highest mean; which targets were missed.

    Args:
        curve: to be read.
        steps: differences of its neighbouring doses.
        margin: smallest difference that matters, in points.
        protocol: short title of what the scores are of.
    """
    found = [_course(steps, margin=margin, protocol=protocol), *_highest(curve), *_missed(curve)]
    return " ".join(found)


def setting_title(curve: DoseCurve, *, is_set: bool = False) -> str:
    """Title of the doses of a curve, or with `is_set` of the values of its setting."""
    if curve.is_measured and not is_set:
        return "excess loss, nats per query"
    name = curve.setting.rpartition(".")[2]
    return name[:1].upper() + name[1:] if is_set else name


def named(curve: DoseCurve, dose: Dose) -> str:
    """A dose with the name of its setting, where its unit does not say what it is."""
    leaf = curve.setting.rpartition(".")[2]
    return dose.text if leaf == STRENGTH else f"{leaf} {dose.text}"


def _course(steps: Sequence[tuple[Dose, Dose, Estimate]], *, margin: float, protocol: str) -> str:
    """Where the curve rises, falls or is flat."""
    if not steps:
        return "No two doses have a pair, so nothing can be said of the curve."
    if all(one.interval is None for _, _, one in steps):
        return f"One pair gives no interval, so whether {protocol} rises or falls is not shown."
    told = [
        f"{verb} from {low.text} to {high.text} ({signed(one.value)} {interval_text(one.interval)})"
        for low, high, one in steps
        if (verb := _verb(one, margin))
    ]
    open_steps = [(low, high) for low, high, one in steps if not _verb(one, margin)]
    if not told:
        widest = max(one.interval.high - one.interval.low for _, _, one in steps if one.interval)
        return (
            f"Whether {protocol} rises or falls with the dose cannot be told: every step's "
            f"interval holds zero and differences that matter, the widest spans "
            f"{points(widest)} points."
        )
    text = f"{protocol} {'; it '.join(told)}."
    if open_steps:
        ends = " and ".join(f"from {low.text} to {high.text}" for low, high in open_steps)
        text += f" What it does {ends} cannot be told."
    return text


def _verb(step: Estimate, margin: float) -> str:
    """What a step of the curve does; empty where its interval cannot tell."""
    inside = step.interval
    if inside is None:
        return ""
    if -margin <= inside.low and inside.high <= margin:
        return "is flat"
    if inside.low > 0:
        return "rises"
    return "falls" if inside.high < 0 else ""


def _highest(curve: DoseCurve) -> list[str]:
    """Which dose has the highest mean, and how far it is above the reference."""
    scored = [one for one in curve.doses if one.score is not None]
    if not scored:
        return []
    best = max(scored, key=lambda one: one.score or 0.0)
    reference = next(one for one in curve.doses if one.arm == curve.reference)
    if best.step is None:
        return [
            f"The highest mean is that of {reference.text}, with which the others are compared."
        ]
    inside = "" if best.step.interval is None else f" {interval_text(best.step.interval)}"
    return [
        f"The highest mean is that of {named(curve, best)}: {signed(best.step.value)}{inside} "
        f"points against {named(curve, reference)}."
    ]


def _missed(curve: DoseCurve) -> list[str]:
    """Targets that the measured dose missed, a sentence each."""
    if not curve.is_measured:
        return []
    return [
        f"The target of {one.text} was missed: {one.amount:.3g} nats were measured{_although(one)}."
        for one in curve.doses
        if one.setting is not None
        and one.amount is not None
        and abs(one.amount - one.setting) > max(LEAST_MISSED, MISSED * one.setting)
    ]


def _although(dose: Dose) -> str:
    """Why a dose is below its target, if all of the opponent played."""
    all_played = bool(dose.shares) and min(dose.shares.values()) >= ALL
    return ", although all of the opponent played" if all_played else ""
