"""The headline of a study: one or two sentences that its numbers allow."""

from collections.abc import Sequence

from sparring.studies.conclusions import SETTLED, before_claims, numbers, signed_text, yet_small
from sparring.studies.findings import Finding
from sparring.studies.plan import Study
from sparring.studies.progress import Progress
from sparring.studies.statistics.differences import points
from sparring.studies.titles import titles
from sparring.wording import counted


def headline(findings: Sequence[Finding], study: Study, progress: Progress) -> str:
    """What the study found on its main question, and in a second sentence on the next contrast.

    Args:
        findings: the planned contrasts, the primary one first.
        study: the plan.
        progress: of the study.
    """
    if not findings:
        return (
            "No difference between arms is planned: this study has no game with a twin or a "
            "control, and no contrast."
        )
    text = _main(findings[0], study)
    if not progress.is_tested:
        return f"{text} {before_claims(study, progress)}"
    if not progress.is_over:
        number = progress.planned[progress.reached]
        return f"{text} The study goes on to its next look, at {number} pairs."
    others = [one for one in findings[1:] if one.conclusion in SETTLED]
    return f"{text} {others[0].sentence}" if others else text


def _main(finding: Finding, study: Study) -> str:
    """The sentence on the main question: whether the opponent pays, if the second arm has none."""
    game, other = study.arm(finding.contrast.first), study.arm(finding.contrast.second)
    is_of_opponent = game.role == "game" and (other.twin_of == game.name)
    named = titles(study)
    if not is_of_opponent:
        return finding.sentence
    subject, twin = f"{_owner(named[game.name])} opponent", f"its twin {named[other.name]}"
    if finding.conclusion == "too few pairs" or finding.mean is None:
        pairs = counted(len(finding.pairs), "pair")
        return (
            f"Cannot tell whether {subject} pays here: {pairs} so far, and an interval needs two."
        )
    inside = numbers(finding, study)
    shown = signed_text(finding.mean, finding)
    if finding.conclusion == "better":
        return f"{subject} paid here: {shown} over {twin} ({inside}).{yet_small(finding, study)}"
    if finding.conclusion == "worse":
        small = yet_small(finding, study)
        return f"{subject} did not pay here: {shown} against {twin} ({inside}).{small}"
    if finding.conclusion == "no more than the margin":
        return (
            f"{subject} makes no more than {points(study.margin)} of difference here, either way: "
            f"{shown} against {twin} ({inside})."
        )
    pairs = counted(len(finding.pairs), "pair")
    return (
        f"Cannot tell from {pairs} whether {subject} pays here: {shown} against {twin} ({inside})."
    )


def _owner(title: str) -> str:
    return f"{title}'" if title.endswith("s") else f"{title}'s"
