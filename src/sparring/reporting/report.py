"""The report: one HTML page that needs no other file and no network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from sparring.errors import RunError
from sparring.files import write_atomically
from sparring.reporting import negative_doctor
from sparring.reporting.confusion_section import confusion_section
from sparring.reporting.details import details
from sparring.reporting.page import page_html
from sparring.reporting.picture_sections import picture_sections
from sparring.reporting.pools import unequal_budgets
from sparring.reporting.score_cards import scores
from sparring.reporting.sections import panel, provenance, training
from sparring.reporting.sentences import by_method, evidence, fairness, headline, listed, warnings
from sparring.reporting.summary import RunSummary


def write_report(runs: Sequence[RunSummary], out: str | Path) -> Path:
    """Write the report and return its path.

    Args:
        runs: at least one, in the order of the page; the order gives the colours.
        out: HTML file to write; missing folders are created.

    Raises:
        RunError: without runs.
        StorageError: if the file cannot be written; an older one stays as it is.
    """
    path = Path(out)
    write_atomically(path, report_html(runs).encode("utf-8", "backslashreplace"))
    return path


def report_html(runs: Sequence[RunSummary]) -> str:
    """HTML of the report.

    Raises:
        RunError: without runs.
    """
    if not runs:
        raise RunError("a report needs at least one run; give the --out of a `sparring train`")
    return page_html(
        title=f"{listed(list(by_method(runs)))} - sparring report",
        header=_header(runs),
        body=scores(runs)
        + confusion_section(runs)
        + details(runs)
        + training(runs)
        + panel(runs)
        + negative_doctor.section(runs)
        + picture_sections(runs)
        + provenance(runs),
    )


def _header(runs: Sequence[RunSummary]) -> str:
    trust = " ".join([*evidence(runs), *filter(None, [fairness(runs)])])
    alarms = "".join(
        f'<p class="warning" role="alert">{escape(text)}</p>'
        for text in [*warnings(runs), *filter(None, [unequal_budgets(runs)])]
    )
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _facts(runs)
    )
    clauses = headline(runs)
    ends = [*(";" for _ in clauses[1:]), "." if len(clauses) > 1 else ""]
    title = " ".join(
        f"<span>{escape(clause + end)}</span>" for clause, end in zip(clauses, ends, strict=True)
    )
    return (
        f'<h1>{title}</h1><p class="trust">{escape(trust)}</p>{alarms}'
        f'<dl class="facts">{facts}</dl>'
    )


def _facts(runs: Sequence[RunSummary]) -> list[tuple[str, str]]:
    """Names and values of what was trained on what and for how long.

    Values that differ between runs stand side by side.
    """
    asked = {
        "Images": ("data", "path"),
        "Backbone": ("encoder", "backbone"),
        "Batch": ("training", "batch_size"),
        "Image size": ("training", "image_size"),
    }
    facts = []
    for title, (part, name) in asked.items():
        values = [part_of[name] for run in runs if name in (part_of := run.config.get(part, {}))]
        facts.append((title, _distinct(values)))
    facts.insert(2, ("Steps", _distinct([_length(run) for run in runs])))
    facts.insert(3, ("Started from", _distinct([run.started_from for run in runs])))
    facts.insert(4, ("Encoder", _distinct([run.chosen_by for run in runs])))
    facts.append(("Seeds", _distinct([run.seed for run in runs if run.seed is not None])))
    minutes = [seconds / 60 for run in runs if (seconds := run.last("seconds")) is not None]
    facts.append(
        (
            "Training time",
            " / ".join(f"{value:.0f} min" if value >= 1 else "under 1 min" for value in minutes),
        )
    )
    facts.append(
        (
            "Device",
            _distinct([run.environment["device"] for run in runs if "device" in run.environment]),
        )
    )
    facts.append(
        (
            "Unreadable files",
            _distinct([f"{len(run.quarantine):,}" for run in runs if run.quarantine]),
        )
    )
    return [(title, value) for title, value in facts if value]


def _length(run: RunSummary) -> str:
    """Steps that were made, of those that were planned."""
    training = run.config.get("training", {})
    epochs = None if training.get("num_steps") else training.get("epochs")
    planned, plan = run.planned_steps, f"{epochs} epochs" if epochs is not None else ""
    if run.steps is None:
        return f"{plan} planned" if plan else ""
    if planned is None or planned == run.steps:
        return f"{run.steps:,}{f' ({plan})' if planned and plan else ''}"
    return f"{run.steps:,} of {planned:,}{f' ({plan} planned)' if plan else ''}"


def _distinct(values: Sequence[object]) -> str:
    return " / ".join(dict.fromkeys(str(value) for value in values if value != ""))
