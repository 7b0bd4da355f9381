"""A page's view of a made study, and a parser that checks a section's HTML."""

from html.parser import HTMLParser

from sparring.studies.findings import Analysis, Finding, Source
from sparring.studies.folder import StudyFolder
from sparring.studies.page.view import PageView
from sparring.studies.plan import Contrast
from sparring.studies.results import Results
from sparring.studies.statistics.paired import correlation, mean_interval

VOID = {"img", "br", "hr", "input"}


class Checked(HTMLParser):
    """HTML parser that checks nesting and keeps elements and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def view_of(
    results: Results,
    folder: StudyFolder,
    *,
    variance: dict[str, tuple[Source, ...]] | None = None,
) -> PageView:
    """View with a finding for each planned contrast."""
    folder.path.mkdir(parents=True, exist_ok=True)
    analysis = Analysis(
        results=results,
        findings=tuple(_finding(results, one) for one in results.study.planned_contrasts()),
        further=(),
        attributions=(),
        variance=variance or {},
        headline="",
        cautions=(),
    )
    return PageView(analysis=analysis, folder=folder)


def _finding(results: Results, contrast: Contrast) -> Finding:
    pairs = results.pairs(contrast.first, contrast.second, results.primary)
    differences = pairs.differences
    is_known = len(pairs) > 1
    return Finding(
        contrast=contrast,
        measure=results.primary,
        pairs=pairs,
        mean=float(differences.mean()) if len(pairs) else None,
        sd=float(differences.std(ddof=1)) if is_known else None,
        interval=mean_interval(differences) if is_known else None,
        p=None,
        p_holm=None,
        bootstrap=None,
        p_sign_flip=None,
        probability=None,
        p_equivalence=None,
        correlation=correlation(pairs.first, pairs.second),
        looks=(),
        conclusion="no evidence",
        sentence="",
        power="",
    )
