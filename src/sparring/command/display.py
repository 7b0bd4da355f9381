"""Output of commands: progress on standard error, scores on standard output."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from sparring import distributed
from sparring.evaluation.catalogue import headline_of, short_title_of, worse_than_start
from sparring.optim.schedule import Position
from sparring.training.encoder_names import TRAINED, start_among

SHOWN_ROWS = 12
"""Most rows of a protocol's table that is printed; longer tables are in the report only."""


class TerminalDisplay:
    """Listener that shows progress and messages on standard error.

    A bar on a terminal, a few lines in a log; silent on all but the main process.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: ProgressBar | None = None
        self._task = ""
        self._warning: str | None = None
        self._score = ""
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def report(self, line: str) -> None:
        """Print a line of progress; the same line once, such as one about images read twice."""
        if distributed.is_main() and line not in self._told:
            self._told.add(line)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def observe(self, position: Position, record: Mapping[str, float], warning: str | None) -> None:
        """Advance the training bar; in a log, print a line at every monitor pass.

        Each warning is shown once, and so is the first monitor pass at which it no longer holds:
        the embeddings of a network that has hardly learned lie close together.
        """
        if "knn_accuracy" in record:
            self._score = f"  kNN {100 * record['knn_accuracy']:.1f} %"
        state = (
            f"loss {record['loss']:.3f}  {record['images_per_second']:.0f} images/s{self._score}"
        )
        self._move("training", position.step + 1, position.num_steps, state)
        if not self._console.is_terminal and "effective_rank" in record:
            self.report(f"step {position.step + 1:,} of {position.num_steps:,}  {state}")
        if warning is not None and (said := re.sub(r"[\d.]+", "", warning)) != self._warning:
            self._warning = said  # not its numbers, which change at every pass
            self.report(f"warning: {warning}")
        if warning is None and self._warning is not None and "effective_rank" in record:
            self._warning = None
            self.report(f"step {position.step + 1:,}: the warning above no longer holds")

    def count(self, what: str, done: int, total: int) -> None:
        """Advance the bar of a long task."""
        self._move(what, done, total, "")

    def _move(self, what: str, done: int, total: int, state: str) -> None:
        if not distributed.is_main() or not self._console.is_terminal:
            return
        if self._bar is None or what != self._task:
            self.close()
            self._task, self._bar = what, _make_bar(self._console)
            self._bar.add_task(what, total=total, completed=done, state=state)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, state=state)

    def print_scores(self, run: Path, scores: Mapping[str, Any]) -> None:
        """Print the scores beside those of the encoder from which the run started, notes, and the
        next command."""
        out, name = Console(file=sys.stdout), start_among(scores)
        trained, start = scores.get(TRAINED, {}), scores.get(name, {})
        headlines = {
            protocol: value
            for protocol in trained
            if (value := headline_of(protocol, trained[protocol])) is not None
        }
        if headlines:
            table = Table(box=None, pad_edge=False)
            table.add_column(str(scores.get("test", "accuracy")))
            table.add_column("this encoder", justify="right")
            table.add_column(name, justify="right")
            for protocol in headlines:
                table.add_row(
                    short_title_of(protocol),
                    *(_headline(protocol, scored.get(protocol, {})) for scored in (trained, start)),
                )
            out.print(table)
            _print_meaning_of_intervals(out, trained)
        if (worse := worse_than_start(trained, start, name=name)) is not None:
            out.print(f"warning: {worse}", highlight=False, markup=False, soft_wrap=True)
        for protocol in headlines:
            found = {"this encoder": trained[protocol], name: start.get(protocol, {})}
            _print_details(out, protocol, found)
        geometry = trained.get("geometry")
        if geometry:
            shown = "  ".join(
                f"{name.replace('_', ' ')} {value:.3g}"
                for name, value in geometry.items()
                if isinstance(value, float)
            )
            out.print(f"geometry: {shown}", highlight=False, soft_wrap=True)
        out.print(
            f"next: sparring report {run} --out report.html",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _headline(name: str, result: Mapping[str, Any]) -> str:
    """The number of a result with its interval, if it has one; a dash without a number."""
    value = headline_of(name, result)
    if value is None:
        return "-"
    if "interval" not in result:
        return _percent(value)
    low, high = result["interval"]
    return f"{_percent(value)} ({100 * low:.0f} to {100 * high:.0f})"


def _print_meaning_of_intervals(out: Console, trained: Mapping[str, Any]) -> None:
    """Print what the intervals in the table are, and from how many images."""
    numbers = {
        result["test_images"]
        for result in trained.values()
        if isinstance(result, Mapping) and "interval" in result and "test_images" in result
    }
    if numbers:
        counted = " or ".join(f"{number:,}" for number in sorted(numbers))
        images = "image" if numbers == {1} else "images"
        out.print(
            f"in brackets: the 95 % interval that {counted} test {images} allow",
            highlight=False,
            soft_wrap=True,
        )


def _print_details(out: Console, name: str, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the warnings and notes of a protocol, and its table if it is short."""
    lines = [
        f"{kind}: {text}" if kind == "warning" else text
        for kind in ("warning", "note")
        if (text := results["this encoder"].get(kind))
    ]
    for line in lines:
        out.print(f"{short_title_of(name)}: {line}", highlight=False, markup=False, soft_wrap=True)
    for who, result in results.items():
        found = result.get("table")
        for content in found if isinstance(found, list) else [found] if found else []:
            if len(content["rows"]) <= SHOWN_ROWS:
                out.print(
                    f"{short_title_of(name)}, {who}: {content['title']}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
                out.print(_table(content["columns"], content["rows"]))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Table of a result; columns whose name ends in % hold shares."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(
            Text(column.removesuffix(" %")),
            justify="left" if column == columns[0] else "right",
            overflow="fold",
        )
    for row in rows:
        table.add_row(
            *(
                Text(_cell(value, is_share=column.endswith("%")))
                for column, value in zip(columns, row, strict=True)
            )
        )
    return table


def _cell(value: Any, *, is_share: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return _percent(value) if is_share else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _make_bar(console: Console) -> ProgressBar:
    """Progress bar of training that fits 80 columns."""
    return ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=6),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        refresh_per_second=2,
    )
