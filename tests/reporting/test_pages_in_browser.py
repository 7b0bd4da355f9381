"""The report and the page of a data set in a real browser: no error, no request, no overflow, and
what the script adds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from browser import Browser, browser, faults, needs_browser
from sparring.evaluation.predictions import Predictions
from sparring.reporting.gallery import EmbeddingMap, Gallery, Retrieval, ViewRow
from sparring.reporting.mistakes import shown_mistakes
from sparring.reporting.report import write_report
from sparring.reporting.summary import RunSummary

pytestmark = [needs_browser, pytest.mark.slow]

NAMES = tuple(f"class with a name of some length {number}" for number in range(12))


def predictions() -> Predictions:
    draws = np.random.default_rng(0)
    targets = draws.integers(0, 12, 400)
    said = np.where(draws.random(400) < 0.6, targets, draws.integers(0, 12, 400))
    keys = tuple(f"photos/{number:04d}.jpg" for number in range(400))
    return Predictions(keys=keys, classes=NAMES, targets=targets, predicted=said)


def gallery() -> Gallery:
    draws = np.random.default_rng(1)

    def images(*shape: int) -> np.ndarray:
        return draws.integers(0, 256, (*shape, 32, 32, 3), dtype=np.uint8)

    return Gallery(
        views=(ViewRow(original=images(), views=(images(), images())),),
        retrievals=(
            Retrieval(
                query=images(), neighbours=images(8), cosines=np.linspace(1, 0, 8, dtype=np.float32)
            ),
        ),
        embedding_map=EmbeddingMap(
            xy=draws.random((300, 2)).astype(np.float32),
            thumbnails=images(300),
            projection="t-SNE",
            labels=np.arange(300) % 12,
            class_names=NAMES,
            keys=tuple(f"photos/{number:04d}.jpg" for number in range(300)),
        ),
    )


def summary(label: str) -> RunSummary:
    kept = {"knn": predictions(), "linear": predictions()}
    rows = [row for one in shown_mistakes(kept, "knn") for row in one.rows]
    pixels = np.zeros((32, 32, 3), np.uint8)
    return RunSummary(
        label=label,
        path="runs/" + "long-name-" * 12,
        config={"method": label, "data": {"path": "/data/" + "deep/" * 30}},
        metrics=tuple(
            {"step": s, "epoch": s / 10, "loss": 5 - s / 20, "knn_accuracy": s / 60}
            for s in range(50)
        ),
        trained={"knn": {"accuracy": 0.5}, "linear": {"accuracy": 0.6}},
        start={"knn": {"accuracy": 0.3}},
        predictions=kept,
        start_predictions=kept,
        mistakes={"knn": {kept["knn"].keys[row]: pixels for row in rows}},
        gallery=gallery(),
        environment={"command": "sparring train " + "x" * 300},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [summary("adco"), replace(summary("simclr"), gallery=None)]
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def opened(page: Path) -> Iterator[Browser]:
    with browser() as one:
        one.open(page, height=1200)
        yield one


def centre(one: Browser, selector: str) -> tuple[float, float]:
    x, y = one.ask(
        f"""(() => {{
          const found = document.querySelector({selector!r});
          found.scrollIntoView({{ block: "center" }});
          const box = found.getBoundingClientRect();
          return [box.left + box.width / 2, box.top + box.height / 2];
        }})()"""
    )
    return x, y


TIP = "document.querySelector('.tip').textContent"


def test_the_report_is_free_of_errors_requests_and_overflow(page: Path) -> None:
    assert faults(page) == []


def test_faults_are_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<body><img src="https://nowhere.invalid/a.png"><div style="width:2000px">x</div>'
        "<script>console.error('told'); missing()</script>"
    )
    found = "\n".join(faults(bad, widths=(390,)))
    for text in ("told", "missing is not defined", "asks for https://nowhere.invalid", "too wide"):
        assert text in found


def test_curves_say_their_values_at_the_nearest_place(opened: Browser) -> None:
    opened.move(*centre(opened, "svg.plot[data-frame]"))
    text = opened.ask(TIP)
    assert text.startswith("epoch 2.")
    assert "adco: " in text
    assert "simclr: " in text


def test_curves_are_enlarged_by_dragging_and_whole_again_by_escape(opened: Browser) -> None:
    x, y = centre(opened, "svg.plot[data-frame]")
    view = "document.querySelector('svg.plot .frame').getAttribute('viewBox')"
    whole = opened.ask(view)
    opened.move(x - 40, y)
    opened.move(x - 40, y, kind="mousePressed")
    opened.move(x + 40, y, held=True)
    opened.move(x + 40, y, kind="mouseReleased")
    assert opened.ask(view) != whole
    assert opened.ask("document.querySelector('.back').hidden") is False
    opened.ask("document.querySelector('svg.plot[data-frame]').focus()")
    opened.press("Escape")
    assert opened.ask(view) == whole


def test_arrow_keys_go_along_a_curve(opened: Browser) -> None:
    opened.ask("document.querySelector('svg.plot[data-frame]').focus()")
    opened.press("Home")
    assert opened.ask(TIP).startswith("epoch 0\n")
    opened.press("ArrowRight")
    assert opened.ask(TIP).startswith("epoch 0.1\n")


def test_pictures_are_shown_larger_with_their_names(opened: Browser) -> None:
    opened.move(*centre(opened, ".mistakes img"))
    assert ".jpg: class with a name" in opened.ask(TIP)
    assert opened.ask("document.querySelector('.tip img').getBoundingClientRect().width") > 150
    opened.press("Escape")
    assert opened.ask(TIP) == ""


def test_the_map_names_the_nearest_image_and_its_class(opened: Browser) -> None:
    opened.move(*centre(opened, ".map i"))
    key, name = opened.ask(TIP).split("\n")
    number = int(key.removeprefix("photos/").removesuffix(".jpg"))
    assert name == NAMES[number % 12]


def test_classes_are_sorted_by_a_column(opened: Browser) -> None:
    column = "[...document.querySelectorAll('.sortable')][0].tBodies[0].rows"
    values = f"[...{column}].map((row) => Number(row.cells[2].firstChild.textContent))"
    opened.ask("document.querySelectorAll('.sortable thead button')[2].click()")
    falling = opened.ask(values)
    assert falling == sorted(falling, reverse=True)
    opened.ask("document.querySelectorAll('.sortable thead button')[2].click()")
    assert opened.ask(values) == sorted(falling)


def test_the_confusion_matrix_has_two_orders(opened: Browser) -> None:
    heads = (
        "[...document.querySelector('.confusion').tBodies[0].rows]"
        ".map((row) => row.cells[0].textContent)"
    )
    diagonal = (
        "[...document.querySelector('.confusion').tBodies[0].rows]"
        ".every((row, n) => row.cells[n + 1].classList.contains('hit'))"
    )
    before = opened.ask(heads)
    assert opened.ask(diagonal)
    opened.ask("document.querySelector('.by-class').click()")
    assert opened.ask(heads) == list(NAMES)
    assert opened.ask(diagonal)
    opened.ask("document.querySelector('.by-class').click()")
    assert opened.ask(heads) == before


def test_the_page_is_whole_without_its_script(page: Path, opened: Browser) -> None:
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(page)
        hidden = "getComputedStyle(document.querySelector('.scripted')).display"
        assert opened.ask(hidden) == "none"
        assert opened.ask("document.querySelectorAll('.confusion td b').length") > 20
        assert opened.ask("document.querySelectorAll('svg.plot title').length") > 1
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)
