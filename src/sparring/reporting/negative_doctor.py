"""The negative doctor: what a run's negatives were like over training, and what to do about it.

Figures, the hardest pairs as images, and findings with advice; docs/negatives.md says how to read
them. Every text that comes from outside passes `escape`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TypeAlias

from sparring.methods import registry
from sparring.methods.method import Method
from sparring.methods.negatives import Strength
from sparring.reporting.band_figure import Curve, band_figure
from sparring.reporting.dial_figures import dial_findings, dial_plots, no_dial
from sparring.reporting.figures import picture
from sparring.reporting.gallery import HardestPair
from sparring.reporting.inks import DASHES, NUM_COLORS
from sparring.reporting.negative_findings import (
    LATE_LOOKS,
    NegativeFinding,
    findings,
    looks,
    verdict,
)
from sparring.reporting.sections import missing_note, swatch
from sparring.reporting.sections import section as section_of
from sparring.reporting.sentences import run_names
from sparring.reporting.summary import RunSummary

Look: TypeAlias = Mapping[str, float]

TITLE = "Negative doctor"
FINDINGS_NOTE = (
    f"Findings are on means over the last {LATE_LOOKS} looks, those alone at which as much was "
    "played as at the last."
)
"""Why the numbers of findings are not those of the last look."""
LEAD = (
    "What every anchor was pushed away from, as the looks of the monitor saw it: how hard, beside "
    "random play of equal size; how many in effect; how many likely false; and what to do about it."
    f" {FINDINGS_NOTE}"
)
HARDNESS_CAPTION = (
    "cosine with the anchor: line at the 99 % quantile, band from the median to the hardest; grey "
    "and dashed: random play of equal size"
)
SHARES = {
    "effective_number": (
        "Effective number, %",
        "of all negatives, by the entropy of their weights",
    ),
    "false_by_label": ("Likely false, %", "of the hardest 1 %: those of the anchor's class"),
    "false_by_neighbours": (
        "Likely false by features, %",
        "of the hardest 1 %: mutual nearest neighbours of the anchor; needs no labels",
    ),
    "used": (
        "Bank or queue in use, %",
        "of its vectors: those among the hardest 1 % of any anchor",
    ),
}
"""Measures that are shown as shares of what there is: title and caption."""


def section(runs: Sequence[RunSummary]) -> str:
    """Section of the negatives of all runs; a sentence for each run that has none to show."""
    seen = [looks(run.metrics) for run in runs]
    blocks = "".join(
        _block(name, number, run, seen[number])
        for number, (name, run) in enumerate(zip(run_names(runs), runs, strict=True))
    )
    return section_of(TITLE, f'<div class="doctor">{blocks}{_shares(runs, seen)}</div>', lead=LEAD)


def _block(name: str, number: int, run: RunSummary, seen: Sequence[Look]) -> str:
    """Findings, hardness and pairs of one run."""
    title = f"<h3>{swatch(number, name)}</h3>"
    strength = strengths_html(run.method, run.opponents, run.metrics)
    held = dial_findings(run.metrics)
    if not held and (why := no_dial(run.method, run.opponents)):
        strength += missing_note(why)
    figure = dial_plots(name, run.metrics, number=number)
    if not seen:
        told = f'{findings_html(held)}<div class="plots">{figure}</div>' if held else ""
        return title + missing_note(nothing_seen(run.method)) + told + strength
    found = (*held, *findings(run.metrics, run.config))
    figure = hardness_plot(name, seen, number=number) + figure
    pairs = () if run.gallery is None else run.gallery.hardest_pairs
    return (
        f'{title}{findings_html(found)}{strength}<div class="plots">{figure}</div>'
        f"{pairs_html(pairs)}"
    )


def hardness_plot(name: str, seen: Sequence[Look], *, number: int) -> str:
    """Figure of the hardness of the negatives over training, beside that of random play.

    Args:
        name: of the run or arm.
        seen: looks at negatives, in order.
        number: of the run or arm, which gives its colour.
    """
    return _plot(
        "Hardness of the negatives",
        HARDNESS_CAPTION,
        hardness_curves(seen, color=f"run{number % NUM_COLORS}"),
        description=f"Hardness of the negatives of {name} over {_unit(seen)}s",
        unit=_unit(seen),
    )


def _unit(seen: Sequence[Look]) -> str:
    """Unit of `place`."""
    return "epoch" if seen and "epoch" in seen[0] else "step"


def nothing_seen(method: str) -> str:
    """Sentence that says why a run of this method has no look at its negatives."""
    if not registry.is_known("method", method):
        return f"Nothing to show: the method {method} is not installed here, or declared nothing."
    if not declares_negatives(method):
        return (
            f"Nothing to show: {method} has no negatives, or does not declare them "
            "(Method.negatives)."
        )
    return (
        "Nothing to show: no look at the negatives was recorded. Runs of earlier versions have "
        "none, nor have those that ended before their first look."
    )


def declares_negatives(method: str) -> bool:
    """Whether a method is known here and declares its negatives."""
    if not registry.is_known("method", method):
        return False
    return registry.method_class(method).negatives is not Method.negatives


def findings_html(found: Sequence[NegativeFinding]) -> str:
    """Verdict and findings as a list, those that ask for something first."""
    items = "".join(
        f"<li{kind}>{escape(one.text)}{f'<b>{escape(one.advice)}</b>' if one.advice else ''}</li>"
        for one in sorted(found, key=lambda one: not one.is_problem)
        for kind in [' class="problem"' if one.is_problem else ""]
    )
    return f'<p>{escape(verdict(found))}</p><ul class="remarks">{items}</ul>'


def strengths_of(method: str, opponents: Sequence[str]) -> list[Strength]:
    """Declared strengths of the opponents of a run, as far as they are known here."""
    kinds: list[type[Method]] = [
        registry.opponent_class(name) for name in opponents if registry.is_known("opponent", name)
    ]
    if registry.is_known("method", method):
        kinds.append(registry.method_class(method))
    return [strength for kind in kinds for strength in kind.strengths]


def strengths_html(
    method: str, opponents: Sequence[str], records: Sequence[Mapping[str, float | None]]
) -> str:
    """Sentences on opponents in image space: their last numbers, and what they mean."""
    lines = []
    for strength in strengths_of(method, opponents):
        made, beside = (
            next((r[name] for r in reversed(records) if r.get(name) is not None), None)
            for name in (strength.metric, strength.beside)
        )
        if made is not None:
            against = "" if beside is None else f" beside {beside:.3f}"
            text = f"{strength.metric} {made:.3f}{against}: {strength.meaning}."
            lines.append(f"<li>{escape(text)}</li>")
    return f'<ul class="remarks">{"".join(lines)}</ul>' if lines else ""


def hardness_curves(seen: Sequence[Look], *, color: str) -> list[Curve]:
    """The 99 % quantile of hardness with a band from the median to the hardest; the same of random
    play where it was measured.

    Args:
        seen: looks at negatives, in order.
        color: variable of the page.
    """
    curves = [_hardness("random_", seen, name="random play", color="untrained")]
    curves.append(_hardness("", seen, name="99 % quantile", color=color))
    return [curve for curve in curves if curve is not None]


def _hardness(prefix: str, seen: Sequence[Look], *, name: str, color: str) -> Curve | None:
    measures = [f"negatives/{prefix}{one}" for one in ("higher", "median", "hardest")]
    kept = [look for look in seen if all(one in look for one in measures)]
    if not kept:
        return None
    middle, low, high = ([look[one] for look in kept] for one in measures)
    return Curve(
        name=name,
        color=color,
        x=[place(look) for look in kept],
        y=middle,
        band=(low, high),
        dashes="dashed" if prefix else "solid",
    )


def place(look: Look) -> float:
    """Epochs made by a look; steps where no epoch was recorded."""
    return look.get("epoch", look["step"])


def share(look: Look, measure: str) -> float | None:
    """A measure of `SHARES` in percent of what there is; None if it was not measured."""
    value = look.get(f"negatives/{measure}")
    if value is None:
        return None
    return 100 * value / (look["negatives/number"] if measure == "effective_number" else 1.0)


def _shares(runs: Sequence[RunSummary], seen: Sequence[Sequence[Look]]) -> str:
    """Figures that show all runs together, one per measure."""
    figures = ""
    for measure, (title, caption) in SHARES.items():
        curves = []
        for number, name in enumerate(run_names(runs)):
            points = [
                (place(look), value)
                for look in seen[number]
                if (value := share(look, measure)) is not None
            ]
            if points:
                curves.append(
                    Curve(
                        name=name,
                        color=f"run{number % NUM_COLORS}",
                        x=[x for x, _ in points],
                        y=[y for _, y in points],
                        dashes=DASHES[number % len(DASHES)],
                    )
                )
        figures += _plot(title, caption, curves, description=f"{title} over epochs")
    return f'<div class="plots">{figures}</div>' if figures else ""


def _plot(
    title: str, caption: str, curves: Sequence[Curve], *, description: str, unit: str = "epoch"
) -> str:
    if not curves:
        return ""
    return (
        f"<figure><figcaption><b>{escape(title)}</b><small>{escape(caption)}</small></figcaption>"
        f"{band_figure(curves, title=title, description=description, x_label=unit)}</figure>"
    )


def pairs_html(pairs: Sequence[HardestPair]) -> str:
    """The hardest pairs as images, each with its cosines; empty without pairs."""
    if not pairs:
        return ""
    shown = "".join(_pair(pair) for pair in pairs)
    note = (
        "The hardest pairs among some images: anchor (framed) and hardest negative, or the image "
        "that a stored vector resembles most; their cosine, and that of the anchor's positive."
    )
    return f'<p class="note">{note}</p><div class="hardpairs">{shown}</div>'


def _pair(pair: HardestPair) -> str:
    mark, words = "", ""
    if pair.same_label is not None:
        mark = "same" if pair.same_label else "other"
        words = ", same class" if pair.same_label else ", other class"
    what = "image nearest to the stored vector" if pair.is_stored else "hardest negative"
    return (
        f"<span>{picture(pair.anchor, text='anchor', style='query')}"
        f"{picture(pair.negative, text=what + words, style=mark)}"
        f"<small>{pair.cosine:.2f}, own {pair.positive:.2f}{words}</small></span>"
    )
