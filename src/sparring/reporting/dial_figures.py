"""An opponent's excess loss in a report: curves beside the target, and findings."""

from collections.abc import Mapping, Sequence
from html import escape

from sparring.methods import registry
from sparring.methods.method import Method
from sparring.reporting.band_figure import Curve, band_figure
from sparring.reporting.inks import NUM_COLORS
from sparring.reporting.negative_findings import NegativeFinding
from sparring.strength.dial import INNER_METRICS, STRENGTH_METRICS
from sparring.strength.findings import INNER, OUTER, dial_finding, dial_states

DIAL_METRICS = frozenset({*STRENGTH_METRICS, *INNER_METRICS})
"""Names of the metrics that these figures show."""
EXCESS_CAPTION = (
    "nats per query that the opponent adds to the encoder's loss above its disarmed twin on the "
    "same step"
)
TARGET_CAPTION = "; grey and dashed: where it is held"
SHARE_CAPTION = (
    "share of the opponent that plays, %; 0: its disarmed twin, 100: all that it has; moved so "
    "that the excess loss stays at its target"
)


def dial_findings(records: Sequence[Mapping[str, float | None]]) -> tuple[NegativeFinding, ...]:
    """Findings about the excess loss of a run's opponents at its end; empty without a dial.

    Args:
        records: lines of metrics.jsonl.
    """
    now = {
        name: value
        for record in records
        for name, value in record.items()
        if name in DIAL_METRICS and value is not None
    }
    found = map(dial_finding, dial_states(now))
    return tuple(
        NegativeFinding(text=_sentence(one.text), advice=_sentence(one.advice)) for one in found
    )


def dial_plots(name: str, records: Sequence[Mapping[str, float | None]], *, number: int) -> str:
    """Figures of the excess loss beside its target, and of the share that plays, over training;
    empty without a dial.

    Args:
        name: of the run.
        records: lines of metrics.jsonl.
        number: of the run, which gives its colour.
    """
    color, figures = f"run{number % NUM_COLORS}", ""
    for start, whose in ((OUTER, ""), (INNER, " of the opponent inside")):
        excess = _curve(records, f"{start}excess_loss", name="excess loss", color=color)
        target = _curve(
            records, f"{start}target", name="target", color="untrained", dashes="dashed"
        )
        share = _curve(records, f"{start}share", name="share", color=color, factor=100.0)
        caption = EXCESS_CAPTION + (TARGET_CAPTION if target is not None else "")
        figures += _figure(f"Excess loss{whose}, nats", caption, [target, excess], name)
        figures += _figure(f"Share{whose} that plays, %", SHARE_CAPTION, [share], name)
    return figures


def no_dial(method: str, opponents: Sequence[str]) -> str:
    """Sentence on a run whose excess loss was not measured; empty if nothing plays in it.

    Args:
        method: name of the method.
        opponents: names of the opponents around it.
    """
    if not registry.is_known("method", method):
        return ""
    if registry.method_class(method).nats is Method.nats:
        return f"{method}: no dial: its loss is no negative log-likelihood."
    if not opponents and not registry.about("method", method).twins:
        return ""
    return f"{method}: no excess loss was recorded: its opponent did not play, or has no dial."


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}." if clause else ""


def _curve(
    records: Sequence[Mapping[str, float | None]],
    metric: str,
    *,
    name: str,
    color: str,
    dashes: str = "solid",
    factor: float = 1.0,
) -> Curve | None:
    points = [
        (place, factor * value)
        for record in records
        if (value := record.get(metric)) is not None
        and (place := record.get("epoch", record.get("step"))) is not None
    ]
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    return Curve(name=name, color=color, x=xs, y=ys, dashes=dashes)


def _figure(title: str, caption: str, curves: Sequence[Curve | None], name: str) -> str:
    shown = [curve for curve in curves if curve is not None]
    if not shown:
        return ""
    description = f"{title} of {name} over epochs"
    return (
        f"<figure><figcaption><b>{escape(title)}</b><small>{escape(caption)}</small></figcaption>"
        f"{band_figure(shown, title=title, description=description, reaching=[0.0])}</figure>"
    )
