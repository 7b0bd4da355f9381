"""Section of a report on classes: which are confused, how each scores, and the mistaken images."""

from collections.abc import Sequence
from html import escape

from sparring.evaluation.catalogue import in_order, title_of
from sparring.evaluation.predictions import Predictions
from sparring.reporting.class_scores import class_table
from sparring.reporting.confusion import Confusion, confusion_of
from sparring.reporting.confusion_matrix import confusion_matrix, count_text
from sparring.reporting.figures import picture
from sparring.reporting.mistakes import Mistaken, shown_mistakes
from sparring.reporting.sections import missing_note, section, swatch
from sparring.reporting.sentences import percent, run_names
from sparring.reporting.summary import RunSummary

MAX_RUNS = 8
"""Most runs whose classes are shown."""
_LEAD = (
    "Which classes the classifier on the features takes for which, from the kept predictions of "
    "the scored images. Mistakes are sorted by how often they happen."
)


def confusion_section(runs: Sequence[RunSummary]) -> str:
    """Section with confusions, scores by class and mistakes of every run, the first one unfolded;
    empty if no run has predictions of single classes."""
    named = list(enumerate(zip(run_names(runs), runs, strict=True)))
    shown = [
        (number, name, content)
        for number, (name, run) in named[:MAX_RUNS]
        if (content := _run(run, number))
    ]
    lost = "".join(missing_note(f"{line}.") for run in runs for line in run.lost_predictions)
    if not shown:
        return section("Classes and mistakes", lost) if lost else ""
    if len(runs) == 1:
        return section("Classes and mistakes", lost + shown[0][2], lead=_LEAD)
    folded = "".join(
        f'<details class="run-classes"{" open" * (place == 0)}>'
        f"<summary>{swatch(number, name)}</summary>{content}</details>"
        for place, (number, name, content) in enumerate(shown)
    )
    more = len(runs) - MAX_RUNS
    if more > 0:
        folded += missing_note(f"{more} more runs are not shown here.")
    return section("Classes and mistakes", lost + folded, lead=_LEAD)


def _run(run: RunSummary, number: int) -> str:
    blocks = [
        (protocol, block)
        for protocol in in_order(run.predictions)
        if (block := _protocol(run, protocol, name=f"run{number}-{protocol}"))
    ]
    return "".join(
        f"<details{' open' * (place == 0)}><summary>{escape(title_of(protocol))}</summary>{block}"
        "</details>"
        for place, (protocol, block) in enumerate(blocks)
    )


def _protocol(run: RunSummary, protocol: str, *, name: str) -> str:
    confusion = confusion_of(run.predictions[protocol])
    if confusion is None:
        return ""
    before = run.start_predictions.get(protocol)
    start = None if before is None else confusion_of(before)
    table = class_table(
        confusion, start, title=f"By class, {title_of(protocol)}", start_name=run.start_name
    )
    images = f"{len(run.predictions[protocol].keys):,} images"
    of = run.records[protocol].test.name if protocol in run.records else ""
    fits = f", means over {confusion.num_fits} fits" if confusion.num_fits > 1 else ""
    return (
        f'<p class="note">{escape(images + (f" of {of}" if of else "") + fits)}</p>'
        f'<div class="confused">{confusion_matrix(confusion, name=name)}'
        f"{_mistakes(run, protocol, confusion)}</div>{table}"
    )


def _mistakes(run: RunSummary, protocol: str, confusion: Confusion) -> str:
    """The most confused pairs, each with its images as far as they were found."""
    found = shown_mistakes(run.predictions, protocol)
    if not found:
        return f'<div class="frequent">{missing_note("No mistakes: all were recognised.")}</div>'
    images, predictions = run.mistakes.get(protocol, {}), run.predictions[protocol]
    cards = "".join(_card(run, protocol, confusion, one) for one in found)
    keys = {predictions.keys[row] for one in found for row in one.rows}
    missing = len(keys - images.keys())
    note = ""
    if missing:
        which = f"{missing} of the {len(keys)} images" if images else "The images"
        place = run.records[protocol].test.name if protocol in run.records else "the scored images"
        note = missing_note(
            f"{which} of these mistakes are not shown: they were not found again in {place} or "
            "among the run's own images. Give them with --data."
        )
    return (
        f'<div class="frequent"><h3>Most frequent mistakes</h3>{note}'
        f'<div class="mistakes">{cards}</div></div>'
    )


def _card(run: RunSummary, protocol: str, confusion: Confusion, one: Mistaken) -> str:
    true, predicted, count = one.pair
    names = confusion.classes[true], confusion.classes[predicted]
    share = count / confusion.images[true]
    pictures = "".join(
        picture(image, text=_words(run.predictions[protocol], row, names))
        for row in one.rows
        if (image := run.mistakes.get(protocol, {}).get(run.predictions[protocol].keys[row]))
        is not None
    )
    strip = f'<div class="strip">{pictures}</div>' if pictures else ""
    number = f"{count_text(count)} of {count_text(float(confusion.images[true]))}"
    return (
        f"<div><p><b>{escape(names[0])}</b> taken for <b>{escape(names[1])}</b> "
        f"<small>{number}, {percent(float(share))}</small></p>{strip}</div>"
    )


def _words(predictions: Predictions, row: int, names: tuple[str, str]) -> str:
    return f"{predictions.keys[row]}: {names[0]}, taken for {names[1]}"
