"""Section of the scores: a card for each protocol, with a bar for each run.

Every text that comes from outside passes `escape`.
"""

from collections.abc import Sequence
from html import escape

from sparring.evaluation.catalogue import protocol_of, title_of
from sparring.reporting.inks import NUM_COLORS
from sparring.reporting.pools import unlike_scores
from sparring.reporting.sections import missing_note, section, swatch
from sparring.reporting.sentences import (
    accuracy,
    certainty,
    percent,
    run_names,
    scored_protocols,
    start_of,
)
from sparring.reporting.summary import RunSummary, Score


def scores(runs: Sequence[RunSummary]) -> str:
    """Section with a card per protocol: bars from the score of the encoder from which a run started
    to that of the trained one."""
    cards = [_score_card(protocol, runs) for protocol in scored_protocols(runs)]
    if not cards:
        return section(
            "Scores",
            missing_note(
                "No scores: the images have no labels, or have not been evaluated yet "
                "(sparring evaluate)."
            ),
        )
    lead = (
        f"The vertical mark is the score of {start_of(runs)} under the same protocol. A bar to its "
        "right is what pretraining added; a striped one to its left is what it lost. Higher "
        "scores are better."
    )
    return section("Scores", f'<div class="cards">{"".join(cards)}</div>', lead=lead)


def _score_card(protocol: str, runs: Sequence[RunSummary]) -> str:
    rows = []
    before_all = [accuracy(run.start, protocol) for run in runs]
    trained = [accuracy(run.trained, protocol) for run in runs]
    top = max(value for value in (*before_all, *trained) if value is not None) * 1.04 or 1.0
    for number, (name, before, after) in enumerate(
        zip(run_names(runs), before_all, trained, strict=True)
    ):
        if after is not None:
            gain = "" if before is None else f"{round(100 * (after - before), 1) + 0.0:+.1f}"
            rows.append(
                _bar(
                    swatch(number, name),
                    after,
                    gain=gain,
                    color=f"run{number % NUM_COLORS}",
                    start=before,
                    top=top,
                )
            )
    starts: dict[tuple[str, float], str] = {}
    for name, run, before in zip(run_names(runs), runs, before_all, strict=True):
        if before is not None:
            starts.setdefault((run.start_name, round(before, 4)), name)
    for (start, value), name in starts.items():
        rows.append(
            _bar(
                swatch(None, f"{start}, {name}" if len(starts) > 1 else start),
                value,
                gain="",
                color="untrained",
                start=None,
                top=top,
            )
        )
    note = _protocol_note(
        protocol,
        next(run.trained[protocol] for run in runs if accuracy(run.trained, protocol) is not None),
    )
    title = f'<h3>{escape(title_of(protocol))}</h3><p class="note">{escape(note)}</p>'
    unlike = "".join(f'<p class="warning">{escape(text)}</p>' for text in _unlike(protocol, runs))
    return f'<div>{title}{unlike}<table class="bars">{"".join(rows)}</table></div>'


def _unlike(protocol: str, runs: Sequence[RunSummary]) -> list[str]:
    """Warnings that the scores of a card are not of like and like; none if they are."""
    scored = [run for run in runs if accuracy(run.trained, protocol) is not None]
    told = [str(text) for run in scored if (text := run.trained[protocol].get("warning"))]
    return list(dict.fromkeys([*unlike_scores(scored, protocol), *told]))


def _bar(name: str, value: float, *, gain: str, color: str, start: float | None, top: float) -> str:
    """Row of a score: a bar from the start to the value, striped where that is a loss.

    Args:
        name: HTML of whose score it is.
        value: the score, in [0, 1].
        gain: text of the difference.
        color: name of the bar's colour.
        start: score of the encoder from which the run started; None: the bar begins at 0.
        top: score at the right end.
    """
    left, right = sorted(100 * end / top for end in (start or 0.0, value))
    is_loss = start is not None and value < start
    kind, fill = (' class="loss"', "") if is_loss else ("", f"background:var(--{color})")
    mark = "" if start is None else f'<b style="left:{100 * start / top:.1f}%"></b>'
    return (
        f'<tr><th scope="row">{name}</th><td class="number">{percent(value)}</td>'
        f'<td class="number gain">{escape(gain)}</td>'
        f'<td class="track"><i{kind} style="left:{left:.1f}%;width:{max(right - left, 0.6):.1f}%;'
        f'{fill}"></i>{mark}</td></tr>'
    )


def _protocol_note(protocol: str, score: Score) -> str:
    held_out = "held-out " if "held out" in str(score.get("tested_on")) else ""
    images = (
        f"{score['test_images']:,} {held_out}images"
        if isinstance(score.get("test_images"), int)
        else "images"
    )
    if score.get("test") and not held_out:
        images += f" of {score['test']}"
    if protocol in ("knn", "linear"):
        neighbors = f"their {score.get('num_neighbors', '')} nearest training images"
        how = neighbors if protocol == "knn" else "logistic regression"
        return f"frozen features: share of {images} classified rightly by {how}{certainty(score)}"
    entry = protocol_of(protocol)
    measure = f"{entry.measure}, on {images}" if entry is not None else images
    return (
        measure
        if entry is None
        else f"{'frozen features' if entry.is_frozen else 'the network learns too'}: {measure}"
    )
