"""What a comparison found, and where it is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparring.studies.findings import Analysis, Finding
from sparring.studies.page.arm_numbers import arm_cost, arm_score, start_score
from sparring.studies.page.arm_table import start_title
from sparring.studies.plan import Study
from sparring.studies.records import RunRecord
from sparring.studies.results import Results


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """Scores of an arm on the primary measure, in points (percent of accuracy).

    Attributes:
        arm: its name.
        seeds: seeds with a finished run.
        mean: over the seeds; None without a finished run.
        sd: standard deviation over the seeds; None for fewer than two.
        seconds: mean time of training.
        failed: runs that have been given up.
    """

    arm: str
    seeds: int
    mean: float | None
    sd: float | None
    seconds: float | None
    failed: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a study found.

    Attributes:
        path: folder of the study.
        analysis: every number and sentence.
        is_over: whether no further run would be made.
        files: what was written: the page first, then tables and figures.
    """

    path: Path
    analysis: Analysis
    is_over: bool
    files: tuple[Path, ...] = ()

    @property
    def study(self) -> Study:
        """The plan."""
        return self.results.study

    @property
    def results(self) -> Results:
        """Plan and records; `results.scores(arm, measure)` gives an arm's scores by seed."""
        return self.analysis.results

    @property
    def headline(self) -> str:
        """The answer, as the numbers allow it."""
        return self.analysis.headline

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Planned contrasts on the primary measure, the primary one first."""
        return self.analysis.findings

    @property
    def failed(self) -> list[RunRecord]:
        """Runs that have been given up."""
        return self.results.failed

    def arms(self) -> list[ArmScore]:
        """Scores of all arms on the primary measure, in the order of the plan."""
        return [self._arm(arm.name) for arm in self.study.arms]

    def start(self) -> ArmScore | None:
        """Scores of the encoders from which the runs started, one per seed; None without any."""
        found = start_score(self.results, self.results.primary)
        if found.mean is None:
            return None
        return ArmScore(
            arm=start_title(self.results),
            seeds=len(found.scores),
            mean=found.mean,
            sd=found.sd,
            seconds=None,
            failed=0,
        )

    def _arm(self, name: str) -> ArmScore:
        measure = self.results.primary
        found = arm_score(self.results, name, measure)
        cost = arm_cost(self.results, name, measure)
        return ArmScore(
            arm=name,
            seeds=len(found.scores),
            mean=found.mean,
            sd=found.sd,
            seconds=None if cost is None else cost.seconds,
            failed=sum(one.name.arm == name for one in self.failed),
        )

    def tree(self) -> Mapping[str, Any]:
        """The answer as plain values, which `--json` prints."""
        return {
            "study": str(self.path),
            "headline": self.headline,
            "is_over": self.is_over,
            "arms": [asdict(one) for one in self.arms()],
            "findings": [_finding(one) for one in self.findings],
            "further": [_finding(one) for one in self.analysis.further],
            "cautions": list(self.analysis.cautions),
            "failed": [
                {"run": str(one.name), "why": one.attempts[-1].outcome if one.attempts else ""}
                for one in self.failed
            ],
            "files": [str(path) for path in self.files],
        }


def _finding(finding: Finding) -> dict[str, Any]:
    """A finding as plain values; its pairs by seed."""
    pairs = finding.pairs
    tree = {
        name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
        for name in finding.__dataclass_fields__
        if name not in ("contrast", "pairs", "looks")
        for value in (getattr(finding, name),)
    }
    return {
        "contrast": finding.contrast.name,
        "pairs": [
            {"seed": seed, "first": float(first), "second": float(second)}
            for seed, first, second in zip(pairs.seeds, pairs.first, pairs.second, strict=True)
        ],
        "looks": [asdict(look) for look in finding.looks],
        **tree,
    }
