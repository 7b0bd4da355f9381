"""What the kept studies say of each question, as tables in docs/evidence.md and other pages.

`scripts/write-evidence` writes them between marks in these pages. `studies/questions.toml` has the
questions and the studies that ask them; every number comes from the plans and the kept scores.
"""

import re
import textwrap
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from sparring.studies.analysis import analyse
from sparring.studies.configs import arm_config
from sparring.studies.findings import Analysis, Conclusion, Estimate, Finding
from sparring.studies.folder import StudyFolder
from sparring.studies.history import read_study
from sparring.studies.page.wording import NOTHING, estimate_text
from sparring.studies.plan import Arm, Study
from sparring.studies.results import Results
from sparring.wording import counted

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
PAGES = (ROOT / "docs" / "evidence.md", ROOT / "docs" / "index.md", ROOT / "README.md")
NOT_RUN = "not run"
_SETS = {"cifar10": "CIFAR-10", "fashion": "Fashion-MNIST"}
_OPEN: frozenset[Conclusion] = frozenset({"no evidence", "too few pairs"})
_VERDICTS: Mapping[Conclusion, str] = {
    "better": "above",
    "worse": "below",
    "no more than the margin": "level with",
    "no evidence": "cannot tell",
    "too few pairs": "too few pairs",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A study that asks a question, and what it has found.

    Attributes:
        name: of its folder.
        study: the plan.
        analysis: of its kept runs; None: none are kept.
        games: names of the arms that the question is about.
    """

    name: str
    study: Study
    analysis: Analysis | None
    games: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question and the studies that ask it.

    Attributes:
        title: in words.
        game: short name of what plays.
        asked: its studies, the one that counts most first.
    """

    title: str
    game: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One game of a study beside its twin and its control.

    Attributes:
        game: name of the arm, or a number of games of a study that was not run.
        asked: the study.
        twin: the planned contrast with a disarmed twin; None: none is planned, or nothing was run.
        control: the one with a control, likewise.
    """

    game: str
    asked: Asked
    twin: Finding | None = None
    control: Finding | None = None

    @property
    def pairs(self) -> int:
        """Pairs of the contrast that has most."""
        return max((len(one.pairs) for one in (self.twin, self.control) if one), default=0)

    @property
    def twin_verdict(self) -> str:
        """What the pairs with the twin alone allow to say, in words."""
        return replace(self, control=None).verdict

    @property
    def verdict(self) -> str:
        """What the pairs allow to say, in words."""
        named = (("its twin", self.twin), ("its control", self.control))
        said = {
            name: one.conclusion for name, one in named if one is not None and len(one.pairs) > 0
        }
        if not said:
            return NOT_RUN
        if len(set(said.values())) == 1:
            [conclusion] = set(said.values())
            word, both = _VERDICTS[conclusion], " and ".join(said)
            return word if conclusion in _OPEN else f"{word} {both}"
        parts = [
            f"{name}: {_VERDICTS[one]}" if one in _OPEN else f"{_VERDICTS[one]} {name}"
            for name, one in said.items()
        ]
        return "; ".join(parts)


@cache
def questions(folder: Path = STUDIES) -> tuple[Question, ...]:
    """All questions, in their order; read and analysed once."""
    entries = tomllib.loads((folder / "questions.toml").read_text(encoding="utf-8"))["questions"]
    return tuple(
        Question(
            title=entry["title"],
            game=entry["game"],
            asked=tuple(asked_by(folder, one) for one in entry["studies"]),
        )
        for entry in entries
    )


def asked_by(folder: Path, entry: Mapping[str, Any] | str) -> Asked:
    """A study and what its kept runs say, by its name, or by a table of its name and its games."""
    named = {"name": entry} if isinstance(entry, str) else entry
    place = StudyFolder(folder / named["name"])
    study = read_study(place)
    records = place.read_records() if place.records.is_dir() else []
    results = Results(study=study, records=tuple(records))
    games = [arm.name for arm in study.arms if arm.role == "game"] or [
        one.first for one in study.planned_contrasts()
    ]
    return Asked(
        name=named["name"],
        study=study,
        analysis=analyse(results, place, resamples=0) if records else None,
        games=tuple(named.get("games", games)),
    )


def rows(question: Question) -> list[Row]:
    """A row for every game that was run, and one for each study of which nothing was."""
    found = []
    for asked in question.asked:
        if asked.analysis is None:
            words = asked.games[0] if len(asked.games) == 1 else counted(len(asked.games), "arm")
            found.append(Row(game=words, asked=asked))
            continue
        for game in asked.games:
            twin, control = (_finding(asked.analysis, game, role) for role in ("twin", "control"))
            found.append(Row(game=game, asked=asked, twin=twin, control=control))
    return found


def _finding(analysis: Analysis, game: str, role: str) -> Finding | None:
    """The planned contrast of a game with an arm of this role: the first twin, or the control that
    does best, such as that of the best temperature."""
    study = analysis.results.study
    own = [
        one
        for one in analysis.findings
        if one.contrast.first == game and study.arm(one.contrast.second).role == role
    ]
    made = [one for one in own if one.mean is not None]
    if role == "control" and made:
        return min(made, key=lambda one: one.mean or 0.0)
    return next(iter(own), None)


def whole_table() -> str:
    """Every question, one row for each game of each study."""
    head = ("", "Game", "Study", "Images", "Budget")
    head += ("Pairs", "Minus twin", "Minus control", "Verdict")
    lines = [_line(head), _line(["---"] * 5 + ["---:"] * 3 + ["---"])]
    for number, question in enumerate(questions(), start=1):
        for row in rows(question):
            study = row.asked.study
            cells = [
                str(number),
                row.game,
                f"`{row.asked.name}`",
                _images(study),
                _budget(study, row),
                f"{row.pairs} of {len(study.seeds)}" if row.pairs else f"0 of {len(study.seeds)}",
                _difference(row.twin),
                _difference(row.control),
                row.verdict,
            ]
            lines.append(_line(cells))
    return "\n".join(lines)


def question_list() -> str:
    """The questions, numbered as in the table."""
    return "\n".join(
        textwrap.fill(f"{number}. **{one.game}.** {one.title}", 100, subsequent_indent="   ")
        for number, one in enumerate(questions(), start=1)
    )


def short_table() -> str:
    """One row for each question: the first of its games that was run, or that none was."""
    lines = [_line(("Game", "Setting", "Pairs", "Minus twin", "Minus control", "Verdict"))]
    lines.append(_line(["---"] * 2 + ["---:"] * 3 + ["---"]))
    for question in questions():
        found = rows(question)
        row = next((one for one in found if one.pairs), found[0])
        place = f"{_images(row.asked.study)}, {_budget(row.asked.study, row)}" if row.pairs else ""
        numbers = (_difference(row.twin), _difference(row.control))
        cells = (question.game, place or NOTHING, str(row.pairs), *numbers, row.verdict)
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _difference(finding: Finding | None) -> str:
    if finding is None or finding.mean is None:
        return NOTHING
    return estimate_text(Estimate(value=finding.mean, interval=finding.interval))


def set_name(study: Study) -> str:
    """Name of the set from which a study's images are."""
    stem = Path(study.data).stem
    return next((title for start, title in _SETS.items() if stem.startswith(start)), stem)


def _images(study: Study) -> str:
    """Which images a study trains on: `5,000 of CIFAR-10`."""
    name = set_name(study)
    limit = arm_config(study, study.arms[0]).data.limit
    return f"{limit:,} of {name}" if limit is not None else name


def _budget(study: Study, row: Row) -> str:
    """How long its runs are, on which network and device."""
    arm = _arm(study, row.game)
    config = arm_config(study, arm)
    records = row.asked.analysis.results.records if row.asked.analysis else ()
    devices = {str(one.environment.get("device", "")) for one in records}
    device = "CPU" if "cpu" in devices or study.device == "cpu" else "GPU"
    length = "equal time" if study.equal == "time" else f"{config.training.epochs} epochs"
    return f"{length}, width {config.encoder.width:g}, {device}"


def _arm(study: Study, name: str) -> Arm:
    return next((arm for arm in study.arms if arm.name == name), study.arms[0])


PARTS: Mapping[str, Callable[[], str]] = {
    "table": whole_table,
    "questions": question_list,
    "short": short_table,
}
"""What stands between `<!-- evidence: NAME -->` and `<!-- end -->`."""


def filled(text: str) -> str:
    """A page with its marked parts made anew."""

    def made(found: re.Match[str]) -> str:
        """The part between two marks."""
        return f"{found[1]}\n\n{PARTS[found[2]]()}\n\n<!-- end -->"

    return re.sub(r"(<!-- evidence: (\w+) -->)\n.*?<!-- end -->", made, text, flags=re.S)
