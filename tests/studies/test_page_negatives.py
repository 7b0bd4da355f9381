"""The negative doctor of a study's page: every arm, over its seeds, from the records."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_analyses import made_analysis
from made_studies import made_results, made_study

from sparring.studies.folder import StudyFolder
from sparring.studies.page.negatives import arm_looks, section, seed_band
from sparring.studies.page.view import PageView
from sparring.studies.plan import Study
from sparring.studies.records import RunRecord
from sparring.studies.results import Results

HOSTILE = '<script>alert("1")</script>&'
VOID = {"img", "br"}


class Nesting(HTMLParser):
    """Parser that fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def look(step: int, *, higher: float, is_played: float = 1.0) -> dict[str, float]:
    """A record of a look at the negatives of a bank."""
    numbers = {
        "number": 639.0,
        "stored": 512.0,
        "is_played": is_played,
        "effective_number": 300.0,
        "positive": 0.9,
        "median": 0.3,
        "high": 0.6,
        "higher": higher,
        "hardest": 0.93,
        "random_median": 0.3,
        "random_high": 0.6,
        "random_higher": 0.8,
        "random_hardest": 0.9,
        "false_by_label": 0.12,
        "same_class": 0.1,
        "false_by_neighbours": 0.02,
        "used": 0.9,
        "random_used": 0.9,
    }
    return {"step": step, **{f"negatives/{name}": value for name, value in numbers.items()}}


def with_looks(record: RunRecord) -> RunRecord:
    """The record with three looks; the bank is harder by 0.1 than in its twin, plus its seed."""
    lead = 0.1 if record.name.arm == "adco" else 0.0
    rows = tuple(
        look(step, higher=0.8 + lead + 0.001 * record.name.seed, is_played=float(lead > 0))
        for step in (99, 199, 299)
    )
    config: dict[str, Any] = {
        "method": "adco",
        "temperature": 0.2,
        "bank": {"size": 512},
        "players": {"bank": {"learning_rate": 0.047}},
        "training": {"batch_size": 64},
    }
    return replace(record, opponent=rows, config=config)


def view(
    folder: Path, *, arms: tuple[str, ...] = ("adco", "adco/queue"), study: Study | None = None
) -> PageView:
    """View of a study in which these arms have looks."""
    made = made_results(study or made_study(seeds=3))
    records = tuple(with_looks(one) if one.name.arm in arms else one for one in made.records)
    results = Results(study=made.study, records=records)
    return PageView(analysis=made_analysis(results), folder=StudyFolder(folder))


def test_arms_stand_side_by_side_and_findings_follow(tmp_path: Path) -> None:
    page = section(view(tmp_path))
    Nesting(page)
    for text in (
        "The bank is harder than random keys (0.901 against 0.800",
        "No opponent plays: the bank is as hard as random keys (0.801 against 0.800",
        "Negatives of adco minus those of its twin adco/queue, at the 99 % quantile of the "
        "cosine: +0.100 (+0.100 to +0.100 over 3 pairs).",
        "Harder than random play",
        "Findings are on means over the last 3 looks",
        "adco, 19,200 images: 0.901 cosine (0.9 to 0.902)",
        "mocov2: Nothing to show: no look at the negatives was recorded",
        "<desc>Hardness of the negatives of adco over steps. ",
        "<desc>Hardness of the negatives of adco/queue over steps. ",
    ):
        assert text in page, text


def test_a_band_is_the_mean_over_seeds_between_the_lowest_and_the_highest(tmp_path: Path) -> None:
    arm = arm_looks(view(tmp_path))[0]
    band = seed_band(arm, lambda one: one.get("negatives/higher"))
    assert band is not None
    assert band.images == [6400, 12800, 19200]  # 64 images a step
    assert band.mean == pytest.approx([0.901] * 3)
    assert band.low == pytest.approx([0.9] * 3)
    assert band.high == pytest.approx([0.902] * 3)
    assert band.seeds == 3
    assert seed_band(arm, lambda one: one.get("negatives/unknown")) is None


def test_a_study_whose_records_are_older_says_so_once_for_all_arms(tmp_path: Path) -> None:
    page = section(view(tmp_path, arms=()))
    assert page.count("no look at the negatives was recorded") == 1
    assert "adco, adco/queue, mocov2: Nothing to show" in page
    assert "<svg" not in page


def test_a_study_without_runs_or_negatives_shows_nothing(tmp_path: Path) -> None:
    arms = [{"name": "byol", "method": "byol"}, {"name": "vicreg", "method": "vicreg"}]
    assert section(view(tmp_path, arms=(), study=made_study(seeds=2, arms=arms))) == ""


def test_a_run_folder_that_is_there_gives_the_looks_that_a_record_lacks(tmp_path: Path) -> None:
    shown = view(tmp_path, arms=("adco",))
    record = next(one for one in shown.results.records if one.name.arm == "adco/queue")
    folder = tmp_path / "runs" / "queue"
    folder.mkdir(parents=True)
    lines = [look(step, higher=0.7, is_played=0.0) for step in (9, 19)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = replace(record, folder="runs/queue")
    records = tuple(kept if one is record else one for one in shown.results.records)
    analysis = made_analysis(Results(study=shown.study, records=records))
    page = PageView(analysis=analysis, folder=shown.folder)
    assert [len(seen) for seen in arm_looks(page)[1].runs.values()] == [2]
    assert f"sparring report {folder}</pre>" in section(page)  # for the hardest pairs
    assert "sparring report" not in section(shown)


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    arms = [
        {"name": HOSTILE, "method": "adco"},
        {"name": f"{HOSTILE}/queue", "method": HOSTILE, "role": "twin", "twin_of": HOSTILE},
    ]
    for having in ((HOSTILE, f"{HOSTILE}/queue"), (HOSTILE,), ()):
        page = section(view(tmp_path, arms=having, study=made_study(seeds=2, arms=arms)))
        Nesting(page)
        assert "<script>" not in page
        assert "&lt;script&gt;" in page


def test_runs_with_different_numbers_of_looks_are_averaged_over_what_all_have(
    tmp_path: Path,
) -> None:
    shown = view(tmp_path)
    first = shown.results.records[0]
    assert first.name.arm == "adco"
    shorter = replace(first, opponent=first.opponent[:1])
    records = (shorter, *shown.results.records[1:])
    analysis = made_analysis(Results(study=shown.study, records=records))
    Nesting(section(PageView(analysis=analysis, folder=shown.folder)))


def test_opponents_in_image_space_stand_beside_their_twins(tmp_path: Path) -> None:
    arms = [
        {"name": "clae", "method": "simclr", "opponent": ["perturbation"]},
        {"name": "signs", "method": "simclr", "opponent": ["perturbation"], "role": "twin"},
    ]
    made = made_results(made_study(seeds=2, arms=arms))
    losses = {"clae": 2.5, "signs": 2.1}
    records = tuple(
        replace(one, opponent=({"step": 9, "perturbation/loss": losses[one.name.arm]},))
        for one in made.records
    )
    analysis = made_analysis(Results(study=made.study, records=records))
    page = section(PageView(analysis=analysis, folder=StudyFolder(tmp_path)))
    Nesting(page)
    assert "perturbation/loss 2.500: loss on the attacked images" in page
    assert "perturbation/loss 2.100: loss on the attacked images" in page
