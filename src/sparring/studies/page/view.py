"""What every section of a study's page is given."""

from dataclasses import dataclass

from sparring.studies.findings import Analysis
from sparring.studies.folder import StudyFolder
from sparring.studies.plan import Study
from sparring.studies.results import Results


@dataclass(frozen=True, kw_only=True)
class PageView:
    """The study that a page shows.

    Attributes:
        analysis: what was found.
        folder: of the study; run folders and predictions in it may be missing.
    """

    analysis: Analysis
    folder: StudyFolder

    @property
    def results(self) -> Results:
        """Plan and records."""
        return self.analysis.results

    @property
    def study(self) -> Study:
        """The plan."""
        return self.results.study

    def number(self, arm: str) -> int:
        """Number of an arm in the plan, which decides its colour and dashes (`sections.swatch`)."""
        return [one.name for one in self.study.arms].index(arm)
