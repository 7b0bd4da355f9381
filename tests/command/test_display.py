"""Output of a command: a bar on a terminal, a few lines in a log, nothing from other processes."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from sparring import distributed
from sparring.command.display import SHOWN_ROWS, TerminalDisplay
from sparring.optim.schedule import Position

MONITOR_RECORD = {
    "loss": 2.8591,
    "images_per_second": 1234.5,
    "effective_rank": 3.0,
    "knn_accuracy": 0.7,
}
RECORD = {"loss": 12.3456, "images_per_second": 12345.6}


def display_on(*, terminal: bool) -> tuple[TerminalDisplay, io.StringIO]:
    display, screen = TerminalDisplay(), io.StringIO()
    display._console = Console(file=screen, force_terminal=terminal, width=80, color_system=None)
    return display, screen


def position(step: int) -> Position:
    return Position(step=step, num_steps=100_000, steps_per_epoch=1000)


def test_log_gets_a_line_at_every_monitor_pass_and_none_between() -> None:
    display, screen = display_on(terminal=False)
    with display:
        for step in range(10):
            display.count("reading images", step, 10)
            display.observe(position(step), RECORD if step < 9 else MONITOR_RECORD, None)
    assert screen.getvalue() == "step 10 of 100,000  loss 2.859  1234 images/s  kNN 70.0 %\n"


def test_a_line_is_told_once() -> None:
    display, screen = display_on(terminal=False)
    with display:
        for line in ("photos is split", "another line", "photos is split"):
            display.report(line)
    assert screen.getvalue() == "photos is split\nanother line\n"


def test_bar_of_a_long_run_fits_eighty_columns() -> None:
    display, screen = display_on(terminal=True)
    with display:
        display.observe(position(0), MONITOR_RECORD, None)
        display.observe(position(99_998), RECORD, None)
    frames = [
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip("\r")
        for line in screen.getvalue().split("\n")
    ]
    last = [frame for frame in frames if frame.strip()][-1].rpartition("\r")[2]
    assert "99999/100000" in last
    assert "loss 12.346  12346 images/s  kNN 70.0 %" in last
    assert len(last.rstrip()) <= 80


def test_each_long_task_gets_its_own_bar() -> None:
    display, screen = display_on(terminal=True)
    with display:
        for what in ("features of the trained encoder", "features of the untrained encoder"):
            display.count(what, 10_000, 10_000)
    assert "features of the untrained encoder" in screen.getvalue()
    assert screen.getvalue().count("\n") >= 2


def test_warning_is_shown_once_until_it_changes() -> None:
    display, screen = display_on(terminal=False)
    for warning in ("collapse", "collapse", None, "collapse", "other"):
        display.observe(position(1), RECORD, warning)
    assert screen.getvalue().splitlines() == ["warning: collapse", "warning: other"]


def test_the_first_look_at_which_a_warning_no_longer_holds_is_told() -> None:
    display, screen = display_on(terminal=False)
    display.observe(position(0), MONITOR_RECORD, "collapse")
    for step, record in ((1, RECORD), (2, MONITOR_RECORD), (3, MONITOR_RECORD)):
        display.observe(position(step), record, None)
    lines = [line for line in screen.getvalue().splitlines() if "kNN" not in line]
    assert lines == ["warning: collapse", "step 3: the warning above no longer holds"]


def test_a_warning_whose_numbers_change_is_shown_once() -> None:
    display, screen = display_on(terminal=False)
    for spread in ("0.094", "0.089"):
        display.observe(position(1), RECORD, f"collapsed: their standard deviation is {spread}")
    assert screen.getvalue().count("collapsed") == 1


def test_a_share_of_few_images_stands_with_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    knn = {"accuracy": 0.75, "interval": [0.3006, 0.9544], "test_images": 4}
    TerminalDisplay().print_scores(
        Path("run"), {"trained": {"knn": knn}, "untrained": {"knn": {"accuracy": 0.5}}}
    )
    shown = capsys.readouterr().out
    assert "75.0 % (30 to 95)" in shown
    assert "the 95 % interval that 4 test images allow" in shown


def test_other_processes_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    for terminal in (True, False):
        display, screen = display_on(terminal=terminal)
        with display:
            display.report("hello")
            display.count("reading images", 1, 2)
            display.observe(position(1), MONITOR_RECORD, "warning")
        assert screen.getvalue() == ""


def test_text_in_brackets_is_shown_as_it_is() -> None:
    display, screen = display_on(terminal=False)
    display.report("photos [red] hold 3 images")
    assert screen.getvalue() == "photos [red] hold 3 images\n"


def test_scores_without_an_untrained_encoder_show_a_dash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    TerminalDisplay().print_scores(
        Path("runs/a"), {"trained": {"knn": {"accuracy": 0.5}}, "test": "photos"}
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["kNN", "50.0", "%", "-"]
    assert lines[-1] == "next: sparring report runs/a --out report.html"


def test_scores_below_those_of_the_untrained_encoder_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = {"knn": {"accuracy": 0.25}, "linear": {"accuracy": 0.75}, "geometry": {"std": 0.1}}
    untrained = {"knn": {"accuracy": 0.5}, "linear": {"accuracy": 0.5}, "geometry": {"std": 0.9}}
    TerminalDisplay().print_scores(Path("a"), {"trained": trained, "untrained": untrained})
    assert capsys.readouterr().out.splitlines()[3] == (
        "warning: training made it worse: kNN 25.0 % against 50.0 % untrained. Too few steps?"
    )
    TerminalDisplay().print_scores(Path("a"), {"trained": trained, "untrained": trained})
    assert "worse" not in capsys.readouterr().out


def test_start_weights_are_called_so_in_the_table_and_in_the_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {"trained": {"knn": {"accuracy": 0.2}}, "start weights": {"knn": {"accuracy": 0.5}}}
    TerminalDisplay().print_scores(Path("a"), scores)
    title, row, warning, _ = capsys.readouterr().out.splitlines()
    assert title.endswith("start weights")
    assert row.split() == ["kNN", "20.0", "%", "50.0", "%"]
    assert warning == (
        "warning: training made it worse: kNN 20.0 % against 50.0 % by the start weights. Too high "
        "a learning rate, or too few steps?"
    )


def test_every_protocol_is_shown_with_its_score_its_note_and_a_short_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [["photo", 0.5, 12], ["sketch [old]", None, 3]]
    trained = {
        "detection": {"ap": 0.312, "warning": "few images"},
        "domains": {
            "accuracy": 0.4,
            "note": "one seed",
            "table": {
                "title": "held out",
                "columns": ["domain", "accuracy %", "images"],
                "rows": rows,
            },
        },
        "linear:adco": {"accuracy": 0.25},
    }
    TerminalDisplay().print_scores(
        Path("runs/a"),
        {"trained": trained, "untrained": {"detection": {"ap": 0.1}}, "test": "photos"},
    )
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["object", "detection", "31.2", "%", "10.0", "%"] in lines
    assert ["linear", "probe", "(adco)", "25.0", "%", "-"] in lines
    assert "object detection: warning: few images" in out
    assert "unseen domain: one seed" in out
    assert ["photo", "50.0", "%", "12"] in lines
    assert ["sketch", "[old]", "-", "3"] in lines


def test_a_long_table_is_left_to_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    table = {
        "title": "per class",
        "columns": ["class", "IoU %"],
        "rows": [[str(number), 0.5] for number in range(SHOWN_ROWS + 1)],
    }
    TerminalDisplay().print_scores(
        Path("runs/a"),
        {"trained": {"segmentation": {"miou": 0.5, "table": table}}, "test": "streets"},
    )
    assert "per class" not in capsys.readouterr().out
