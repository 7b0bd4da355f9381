"""Reference of what a run logs, read from the declarations."""

from collections.abc import Mapping

from sparring.measures.metric import Metric
from sparring.measures.negatives import NEGATIVE_METRICS
from sparring.methods import registry
from sparring.training.metrics import METRICS


def metrics() -> str:
    """Every logged number and its meaning: those of all runs, then those of each game."""
    parts = ["## Every run", _table(METRICS)]
    parts += ["## Every run with negatives", "Read in the [negative doctor](../negatives.md)."]
    parts.append(_table(NEGATIVE_METRICS))
    for kind in registry.KINDS:
        for name in registry.shipped(kind):
            own = registry.method_class(name) if kind == "method" else registry.opponent_class(name)
            further = {key: one for key, one in own.metrics.items() if key not in METRICS}
            if further:
                page = f"../methods/{registry.section_of(name) if kind == 'opponent' else name}.md"
                title = f"## {kind.capitalize()} {name}"
                parts += [title, f"What it is: [{name}]({page}).", _table(further)]
    return "\n\n".join(parts)


def _table(shown: Mapping[str, Metric]) -> str:
    """Names and meanings as a table."""
    rows = [f"| `{name}` | {one.meaning} |" for name, one in shown.items()]
    return "\n".join(["| name | meaning |", "| --- | --- |", *rows])
