"""Section of a study's page on where the variance of each contrast comes from."""

from collections.abc import Sequence
from html import escape

from sparring.reporting import sections
from sparring.reporting.drawing import Plot
from sparring.reporting.inks import ink_of
from sparring.reporting.scales import Scale
from sparring.reporting.shapes import shortened
from sparring.studies.findings import Finding, Source
from sparring.studies.page.frame import figure, folded
from sparring.studies.page.view import PageView
from sparring.studies.statistics.paired import MIN_PAIRS_CORRELATION, what_pairing_bought

MOST_SAID = 30
"""Most pairs that a figure's description lists."""
_LEAD = (
    "How far the difference of two arms moves from one seed to the next, with other test images, "
    "and with other labelled images. They are not added up: a study's intervals are over seeds."
)


def section(view: PageView) -> str:
    """Sources of variance and pairs of every planned contrast, as HTML; empty without pairs."""
    found = [one for one in view.analysis.findings if len(one.pairs) > 1]
    if not found:
        return ""
    blocks = [_block(view, one) for one in found]
    content = blocks[0]
    if further := "".join(blocks[1:]):
        content += folded(f"The other contrasts ({len(blocks) - 1})", further)
    return sections.section("Where the variance comes from", content, lead=_LEAD)


def _block(view: PageView, finding: Finding) -> str:
    first, second = finding.contrast.first, finding.contrast.second
    title = (
        f'<h3 class="between">{sections.swatch(view.number(first), first)}<span>minus</span>'
        f"{sections.swatch(view.number(second), second)}</h3>"
    )
    sources = view.analysis.variance.get(finding.contrast.name, ())
    figures = [_pairs_figure(view, finding), _differences_figure(finding)]
    if sources:
        figures.insert(0, _sources_figure(finding, sources))
    return (
        f'<div class="contrast">{title}<p>{escape(pairing_sentence(finding))}</p>'
        f'<div class="plots">{"".join(figures)}</div>{_sources_list(sources)}</div>'
    )


def pairing_sentence(finding: Finding) -> str:
    """What pairing by seed bought, with the correlation of the arms."""
    bought = what_pairing_bought(finding.pairs.first, finding.pairs.second)
    if bought is not None:
        return bought.sentence
    if len(finding.pairs) < MIN_PAIRS_CORRELATION:
        return (
            f"What pairing by seed bought shows from {MIN_PAIRS_CORRELATION} pairs on; there are "
            f"{len(finding.pairs)}."
        )
    return "One arm has the same score with every seed, so the arms have no correlation."


def _sources_figure(finding: Finding, sources: Sequence[Source]) -> str:
    """Bars of the standard deviations that are known."""
    known = [one.sd for one in sources if one.sd is not None]
    plot = Plot(
        360,
        48 + 44 * len(sources),
        x=Scale.linear([0.0, *known], label="standard deviation, points", padding=0.02),
        y=Scale(low=len(sources) - 0.5, high=-0.5),
        margins=(8, 14, 40, 8),
    )
    plot.axis("bottom", has_grid=False)
    for row, one in enumerate(sources):
        for tick in plot.x.ticks:
            plot.rule(tick, along="bottom", color="line", across=(row - 0.1, row + 0.5))
        plot.note(plot.left, plot.py(row) - 8, one.name)
        plot.note(plot.width - 4, plot.py(row) - 8, _points(one), anchor="end")
        if one.sd is not None:
            tip = f"{one.name}: {one.sd:.2f} points, {one.what}"
            plot.bar(0, one.sd, row + 0.18, thickness=14, color="line0", tip=tip)
    said = "; ".join(f"{one.name} {_points(one)}" for one in sources)
    name = f"Sources of variance of {finding.contrast.name}"
    return figure(
        "Sources of variance",
        plot.svg(name, f"Standard deviations in points: {said}."),
        note="standard deviations, each of what is said below",
    )


def _sources_list(sources: Sequence[Source]) -> str:
    """Each source with its number and what it is of, in words; empty without sources."""
    if not sources:
        return ""
    items = "".join(
        f"<div><dt>{escape(one.name)}{'' if one.sd is None else f': {_points(one)}'}</dt>"
        f"<dd>{escape(one.what)}</dd></div>"
        for one in sources
    )
    return f'<dl class="sources">{items}</dl>'


def _points(source: Source) -> str:
    if source.sd is None:
        return "none" if source.what.startswith("none") else "not known"
    return f"{source.sd:.2f} points"


def _pairs_figure(view: PageView, finding: Finding) -> str:
    """Scores of both arms, those of a seed joined by a line."""
    pairs, contrast = finding.pairs, finding.contrast
    names = [shortened(name, 150) for name in (contrast.first, contrast.second)]
    plot = Plot(
        360,
        240,
        x=Scale(low=-0.4, high=1.4, ticks=(0.0, 1.0), names=tuple(names)),
        y=Scale.linear([*pairs.first, *pairs.second], label="score, points", padding=0.06),
    )
    plot.axis("bottom", has_grid=False).axis("left")
    said = []
    for seed, one, other in zip(pairs.seeds, pairs.first, pairs.second, strict=True):
        said.append(f"seed {seed}: {one:.1f} and {other:.1f}, difference {one - other:+.1f}")
        plot.line([0, 1], [one, other], color="muted")
        for place, score in ((0, one), (1, other)):
            name = (contrast.first, contrast.second)[place]
            color, _ = ink_of(view.number(name))
            plot.dots([place], [score], color=color, tips=[said[-1]])
    name = f"Scores of {contrast.first} and {contrast.second} by seed"
    return figure(
        "Scores by seed",
        plot.svg(name, f"In points. {_listed(said)}."),
        note="a line joins the two arms of one seed; parallel lines mean that pairing helps",
    )


def _differences_figure(finding: Finding) -> str:
    """Differences of all seeds beside their mean and its interval."""
    pairs, interval = finding.pairs, finding.interval
    differences = [float(value) for value in pairs.differences]
    ends = [interval.low, interval.high] if interval else []
    plot = Plot(
        360,
        max(240, 60 + 15 * len(pairs)),
        x=Scale.linear([0.0, *differences, *ends], label="difference, points", padding=0.06),
        y=Scale.rows(["mean", *(f"seed {seed}" for seed in pairs.seeds)]),
    )
    plot.axis("bottom").axis("left", has_grid=False).rule(0, along="bottom")
    said = [
        f"seed {seed}: {value:+.1f}" for seed, value in zip(pairs.seeds, differences, strict=True)
    ]
    places = [float(row) for row in range(1, len(differences) + 1)]
    plot.dots(differences, places, color="ink", tips=said)
    mean = ""
    if finding.mean is not None and interval is not None:
        mean = f"mean {finding.mean:+.1f}, interval {interval.low:+.1f} to {interval.high:+.1f}"
        plot.interval(interval.low, interval.high, 0, middle=finding.mean, tip=mean)
    name = f"Differences of {finding.contrast.name} by seed"
    return figure(
        "Differences by seed",
        plot.svg(name, f"In points. {_listed([*filter(None, [mean]), *said])}."),
        note="first minus second; above, the mean and its interval",
    )


def _listed(said: Sequence[str]) -> str:
    more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    return f"{'; '.join(said[:MOST_SAID])}{more}"
