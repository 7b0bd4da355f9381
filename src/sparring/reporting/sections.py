"""Sections of a report: functions from runs to HTML.

A section without data says so in a sentence.

Every text that comes from outside passes `escape`.
"""

from collections.abc import Mapping, Sequence
from html import escape

from sparring.config import leaves, toml_text
from sparring.measures.metric import Metric
from sparring.measures.negatives import NEGATIVE_METRICS
from sparring.reporting.dial_figures import DIAL_METRICS
from sparring.reporting.figures import WIDTH, Line, curves_svg
from sparring.reporting.inks import DASHES, NUM_COLORS
from sparring.reporting.pools import unlike_scores
from sparring.reporting.sentences import confounders, run_names
from sparring.reporting.summary import RunSummary
from sparring.training.metrics import METRICS, metrics_of

MEASURES = {
    "effective_rank": ("Effective rank", "directions that carry the features; more is richer"),
    "embedding_std": ("Standard deviation", "1 = spread over the whole sphere, 0 = collapsed"),
    "uniformity": ("Uniformity", "0 = all images alike, -4 = evenly spread"),
    "alignment": ("Alignment", "0 = views of an image coincide; so they do after collapse"),
}
"""Label-free measures: title, and how to read the value."""

ELSEWHERE = frozenset({*NEGATIVE_METRICS, *DIAL_METRICS})
"""Metrics that the negative doctor shows."""
_NOT_CURVES = {"step", "epoch", "seconds"}

_CAPTIONS = {
    "knn_accuracy": "on training images held out of the vote, while training",
    "loss": "lower is better; each method has its own, so do not compare them across methods",
    **{name: reading for name, (_, reading) in MEASURES.items()},
}


def section(title: str, content: str, *, lead: str = "") -> str:
    """Section with a title and an introductory sentence."""
    intro = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{intro}{content}</section>"


def missing_note(text: str) -> str:
    """Sentence shown in place of missing data."""
    return f'<p class="absent">{escape(text)}</p>'


def swatch(number: int | None, name: str, *, palette: str = "run") -> str:
    """Name of a run after its colour; number None is the encoder from which runs started.

    Args:
        number: of the run, or of a line.
        name: what has the colour.
        palette: `run`, or `line` for what is no run.
    """
    color, dashes = (
        ("untrained", "solid")
        if number is None
        else (f"{palette}{number % NUM_COLORS}", DASHES[number % len(DASHES)])
    )
    line = f'<b class="swatch" style="border-top:3px {dashes} var(--{color})"></b>'
    return f'<span class="run">{line}{escape(name)}</span>'


def training(runs: Sequence[RunSummary]) -> str:
    """Curves of score, loss and the opponent while training went on."""
    known = _metrics(runs)
    titled = [name for name in known if known[name].title and name not in ELSEWHERE]
    plots = "".join(_plot(name, runs) for name in titled if name not in MEASURES)
    if not plots:
        return section("Training", missing_note("No curves: metrics.jsonl is empty."))
    others = sorted(
        {name for run in runs for record in run.metrics for name in record}
        - set(titled)
        - _NOT_CURVES
        - ELSEWHERE
    )
    rest = "".join(_plot(name, runs) for name in others)
    more = (
        "<details><summary>Everything else that was recorded</summary>"
        f'<div class="plots">{rest}</div></details>'
        if rest
        else ""
    )
    content = f'{_HINT}{_legend(runs)}<div class="plots">{plots}</div>{more}'
    return section("Training", content)


_HINT = (
    '<p class="note scripted">Point at a curve for its values, or go along it by arrow keys. Drag '
    "over a part to enlarge it; a double click or Esc shows all of it again.</p>"
)


def panel(runs: Sequence[RunSummary]) -> str:
    """Section of the label-free measures: final values beside those of the encoder from which
    the runs started, and curves."""
    table = _panel_table(runs)
    plots = "".join(_plot(name, runs, width=270) for name in MEASURES)
    if not table and not plots:
        return section("Without labels", missing_note("No label-free measures were recorded."))
    note = (
        '<p class="note">While training, on views: of the embeddings, '
        "the effective rank of the features.</p>"
    )
    curves = f'{note}{_legend(runs)}<div class="plots four">{plots}</div>'
    lead = (
        "What can be known without labels: whether the encoder still tells images apart, not "
        "whether it tells the right things apart."
    )
    return section("Without labels", table + (curves if plots else ""), lead=lead)


def _panel_table(runs: Sequence[RunSummary]) -> str:
    columns: list[tuple[str, Mapping[str, object]]] = [
        (swatch(number, name), run.trained["geometry"])
        for number, (name, run) in enumerate(zip(run_names(runs), runs, strict=True))
        if "geometry" in run.trained
    ]
    start = next((run for run in runs if "geometry" in run.start), None)
    if start is not None:
        columns.append((swatch(None, start.start_name), start.start["geometry"]))
    rows = []
    for measure, (title, reading) in MEASURES.items():
        if any(measure in values for _, values in columns):
            cells = "".join(
                f'<td class="number">{_number(values.get(measure))}</td>' for _, values in columns
            )
            rows.append(
                f'<tr><th scope="row">{title}<small>{escape(reading)}</small></th>{cells}</tr>'
            )
    if not rows:
        return ""
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name, _ in columns)
    channels = next((values["channels"] for _, values in columns if "channels" in values), None)
    of = f" ({escape(str(channels))} channels)" if channels else ""
    unlike = "".join(
        f'<p class="warning">{escape(text)}</p>' for text in unlike_scores(runs, "geometry")
    )
    return (
        f'{unlike}<div class="scroll"><table class="panel"><thead><tr>'
        f'<th scope="col">of backbone features{of}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _metrics(runs: Sequence[RunSummary]) -> dict[str, Metric]:
    """Metrics of all runs by name; those with a title are curves that every report shows."""
    general = ["knn_accuracy", "loss"]
    found: dict[str, Metric] = {name: METRICS[name] for name in general}
    for run in runs:
        found |= metrics_of(run.method, run.opponents)
    return found


def _plot(name: str, runs: Sequence[RunSummary], *, width: float = WIDTH) -> str:
    scale = 100.0 if name == "knn_accuracy" else 1.0
    lines = []
    for number, (run_name, run) in enumerate(zip(run_names(runs), runs, strict=True)):
        epochs, values = run.series(name)
        if values:
            lines.append(Line(number, run_name, epochs, [scale * value for value in values]))
    if not lines:
        return ""
    metric = _metrics(runs).get(name, Metric(""))
    title, caption = metric.title or name, _CAPTIONS.get(name, metric.meaning)
    svg = curves_svg(lines, description=f"{title} over epochs", width=width)
    return (
        f"<figure><figcaption><b>{escape(title)}</b><small>{escape(caption)}</small></figcaption>"
        f"{svg}</figure>"
    )


def _legend(runs: Sequence[RunSummary]) -> str:
    if len(runs) == 1:
        return ""
    entries = "".join(swatch(number, name) for number, name in enumerate(run_names(runs)))
    return f'<p class="legend">{entries}</p>'


def provenance(runs: Sequence[RunSummary]) -> str:
    """Section with commands, differing settings, environments, configurations and unreadable
    files."""
    parts = [_commands(runs), _differences(runs), _environments(runs)]
    for name, run in zip(run_names(runs), runs, strict=True):
        if run.config:
            parts.append(
                _details(f"Configuration of {name}", f"<pre>{escape(toml_text(run.config))}</pre>")
            )
    quarantine = max((run.quarantine for run in runs), key=len, default=())
    if quarantine:
        shown = "\n".join(quarantine[:200]) + (
            f"\n... and {len(quarantine) - 200:,} more" if len(quarantine) > 200 else ""
        )
        parts.append(
            _details(f"Unreadable files ({len(quarantine):,})", f"<pre>{escape(shown)}</pre>")
        )
    return section("How this was made", "".join(parts))


def _commands(runs: Sequence[RunSummary]) -> str:
    rows = []
    for number, (name, run) in enumerate(zip(run_names(runs), runs, strict=True)):
        command = run.environment.get("command")
        shown = (
            f"<pre>{escape(str(command))}</pre>"
            if command
            else missing_note("The command was not recorded.")
        )
        rows.append(
            f'<div class="command">{swatch(number, name)} '
            f"<small>{escape(run.path)}</small>{shown}</div>"
        )
    return "".join(rows)


def _differences(runs: Sequence[RunSummary]) -> str:
    different = confounders(runs)
    if not different:
        return ""
    return _details(
        f"Settings in which the runs differ ({len(different)})",
        _columns([(name, values) for name, values in different], run_names(runs)),
    )


def _environments(runs: Sequence[RunSummary]) -> str:
    flat = [dict(leaves(run.environment)) for run in runs]
    names = [
        name
        for name in dict.fromkeys(name for environment in flat for name in environment)
        if name != "command"
    ]
    if not names:
        return missing_note("The environment was not recorded.")
    rows = [(name, [str(environment.get(name, "-")) for environment in flat]) for name in names]
    merged = [(name, values[:1] if len(set(values)) == 1 else values) for name, values in rows]
    return _details("Environment", _columns(merged, run_names(runs)))


def _columns(rows: Sequence[tuple[str, Sequence[str]]], names: Sequence[str]) -> str:
    """Table with a column per run; a single value applies to all runs."""
    head = "".join(
        f'<th scope="col">{swatch(number, name)}</th>' for number, name in enumerate(names)
    )
    body = ""
    for title, values in rows:
        span = f' colspan="{len(names)}"' if len(values) < len(names) else ""
        cells = "".join(f"<td{span}>{escape(value)}</td>" for value in values)
        body += f'<tr><th scope="row">{escape(title)}</th>{cells}</tr>'
    return (
        f'<div class="scroll"><table class="plain"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _details(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
