"""Scores of a run for its model card: a table, and the results that the Hub lists."""

from dataclasses import dataclass
from typing import Any

from sparring.evaluation.catalogue import (
    headline_of,
    in_order,
    protocol_of,
    short_title_of,
    title_of,
    worse_than_start,
)
from sparring.formats.settings_shown import without_places
from sparring.training.encoder_names import TRAINED, start_among
from sparring.training.scores import ScoredResult, Scores


@dataclass(frozen=True, kw_only=True)
class CardScore:
    """One score of the trained encoder, beside that of the encoder from which the run started.

    Attributes:
        protocol: its name in scores.json.
        value: the headline, in [0, 1].
        interval: its 95 % interval; None if the protocol gives none.
        start: the same of the encoder from which the run started; None if it was not scored.
        images: number of scored images; None if it is not known.
        test: name of the scored images, without their place.
    """

    protocol: str
    value: float
    interval: tuple[float, float] | None
    start: float | None
    images: int | None
    test: str


def card_scores(scores: Scores) -> list[CardScore]:
    """Scores of a run's present checkpoint that have a headline, in the order of the protocols."""
    shown = scores.present()
    start = shown[start_among(shown)]
    return [
        found
        for name in in_order(shown[TRAINED])
        if (found := _card_score(name, shown[TRAINED][name], start.get(name))) is not None
    ]


def _card_score(name: str, one: ScoredResult, start: ScoredResult | None) -> CardScore | None:
    value = headline_of(name, one.result)
    if value is None:
        return None
    given = one.result.get("interval")
    return CardScore(
        protocol=name,
        value=value,
        interval=(float(given[0]), float(given[1])) if isinstance(given, list | tuple) else None,
        start=None if start is None else headline_of(name, start.result),
        images=one.test.images,
        test=str(without_places(one.test.name)),
    )


def scores_table(scores: Scores) -> str:
    """Markdown table of the scores, and what must be said of them; a sentence if there are none."""
    found = card_scores(scores)
    if not found:
        return "It has not been scored with labels."
    shown = scores.present()
    name = start_among(shown)
    rows = [
        f"| {title_of(one.protocol)} | {_percent(one.value)} | {_interval(one)} | "
        f"{'' if one.start is None else _percent(one.start)} | {_images(one)} |"
        for one in found
    ]
    head = f"| protocol | this encoder | 95 % interval | {name} | scored images |"
    lines = [head, "| --- | ---: | ---: | ---: | --- |", *rows, "", _meaning(found, name)]
    results = [
        {protocol: one.result for protocol, one in shown[encoder].items()}
        for encoder in (TRAINED, name)
    ]
    if worse := worse_than_start(*results, name=name):
        lines += ["", f"**Mind:** {worse}"]
    return "\n".join(lines)


def hub_results(scores: Scores, *, seed: int) -> list[Any]:
    """Scores as `huggingface_hub.EvalResult`, shares in [0, 1]."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-feature-extraction",
            dataset_type="custom",
            dataset_name=one.test or "held-out images",
            metric_type=_metric(one.protocol),
            metric_value=round(one.value, 4),
            metric_name=f"{short_title_of(one.protocol)}, one seed ({seed})",
        )
        for one in card_scores(scores)
    ]


def _metric(name: str) -> str:
    protocol = protocol_of(name)
    return "accuracy" if protocol is None else protocol.headline


def _meaning(found: list[CardScore], start: str) -> str:
    measures = []
    for one in found:
        protocol = protocol_of(one.protocol)
        if protocol is not None and protocol.measure:
            measures.append(f"{title_of(one.protocol)}: {protocol.measure}.")
    return " ".join(
        [
            *dict.fromkeys(measures),
            f"`{start}` is the encoder from which the run started, under the same protocol.",
            "One seed: the intervals are those that the number of scored images allows, and say "
            "nothing about other seeds.",
        ]
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(one: CardScore) -> str:
    if one.interval is None:
        return ""
    low, high = one.interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _images(one: CardScore) -> str:
    name = cell(one.test)
    return name if one.images is None else f"{one.images:,}, {name}"


def cell(text: str) -> str:
    """Text of a cell of a Markdown table, which a vertical bar or a line break would end.

    Example:
        >>> cell("a|b")
        'a\\\\|b'
    """
    return " ".join(text.split()).replace("|", "\\|")
