"""The page is well-formed, self-contained, safe, and complete when parts are missing."""

import dataclasses
import errno
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from sparring.errors import RunError, StorageError
from sparring.reporting.gallery import (
    EmbeddingMap,
    Gallery,
    GeneratedPairs,
    HardestNegatives,
    HardNegative,
    Retrieval,
    ViewRow,
)
from sparring.reporting.report import report_html, write_report
from sparring.reporting.summary import RunSummary

VOID = {"meta", "img", "br", "hr", "input", "link"}
RESOURCES = {"src", "href", "xlink:href", "srcset", "poster", "action", "data", "background"}


class Checker(HTMLParser):
    """HTML parser that checks nesting and collects resources and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.resources: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.resources += [value or "" for name, value in attrs if name in RESOURCES]
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def gallery(
    *, size: int = 8, labels: bool = True, bank: bool = True, count: int = 3, points: int = 20
) -> Gallery:
    rng = np.random.default_rng(0)

    def images(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, (*shape, size, size, 3), dtype=np.uint8)

    flags = np.array([True, False] * 4) if labels else None
    negative = HardNegative(
        cosine=0.77,
        nearest_images=images(3),
        image_cosines=np.ones(3, dtype=np.float32),
        same_label=flags[:3] if flags is not None else None,
    )
    return Gallery(
        views=tuple(ViewRow(original=images(), views=(images(), images())) for _ in range(count)),
        retrievals=tuple(
            Retrieval(
                query=images(),
                neighbours=images(8),
                cosines=np.linspace(1, 0, 8, dtype=np.float32),
                same_label=flags,
            )
            for _ in range(count)
        ),
        embedding_map=EmbeddingMap(
            xy=rng.random((points, 2)).astype(np.float32),
            thumbnails=images(points),
            projection="t-SNE",
            labels=np.arange(points) % 3 if labels else None,
            class_names=("cat & dog", "<b>bird</b>", "'fish\""),
        ),
        bank_hardest=tuple(
            HardestNegatives(
                query=images(),
                negatives=tuple(
                    dataclasses.replace(negative, nearest_images=images(3)) for _ in range(4)
                ),
            )
            for _ in range(count)
        )
        if bank
        else (),
    )


def run(label: str = "AdCo", **changes: object) -> RunSummary:
    scores = {
        "knn": {"accuracy": 0.418, "num_neighbors": 200, "test_images": 5000},
        "linear": {"accuracy": 0.472, "test_images": 5000},
        "geometry": {
            "effective_rank": 47.91,
            "embedding_std": 0.88,
            "uniformity": -3.1,
            "channels": 128,
        },
    }
    whole = RunSummary(
        label=label,
        path=f"runs/{label}",
        config={"method": label, "seed": 0, "data": {"path": "photos"}, "training": {"epochs": 15}},
        metrics=tuple(
            {
                "step": s,
                "epoch": s / 10,
                "seconds": 30.0 * s,
                "loss": 5 - s / 20,
                "knn_accuracy": 0.3,
                "uniformity": -1.0,
                "mine/own": 2.0,
            }
            for s in range(20)
        ),
        trained=scores,
        start={
            "knn": {"accuracy": 0.287},
            "linear": {"accuracy": 0.372},
            "geometry": {"effective_rank": 21.3},
        },
        environment={
            "command": f"sparring train --method {label}",
            "device": "cpu",
            "torch": "2.14",
        },
        quarantine=("bad.jpg\tnot an image",),
        gallery=gallery(),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


BARE = RunSummary(label="AdCo", path="runs/bare")


def test_the_whole_page_is_well_formed_and_shows_every_part() -> None:
    page = Checker(
        report_html([run(), run("MoCo v2", gallery=gallery(bank=False), start_gallery=gallery())])
    )
    for text in [
        "AdCo scores 41.8 % kNN; MoCo v2 41.8 %; the untrained encoder 28.7 %.",
        "+13.1",
        "47.9",
        "Nearest neighbours",
        "Map of the features",
        "The bank's hardest negatives",
        "Views",
        "sparring train --method MoCo v2",
        "not an image",
        "mine/own",
        "0.77",
    ]:
        assert text in page.text, text
    # 3 queries of 1 image, and of 8 neighbours for 3 encoders; 3 bank queries of 13 images; 3 rows
    # of 3 views.
    assert page.tags.count("img") == 3 + 3 * 3 * 8 + 3 * 13 + 3 * 3
    assert page.tags.count("h2") == 9
    assert page.tags.count("script") == 1
    assert "-0.0" not in Checker(report_html([run(start={"knn": {"accuracy": 0.4181}})])).text


@pytest.mark.parametrize(
    "runs",
    [
        [BARE],
        [BARE, run()],
        [run(gallery=None)],
        [run(gallery=gallery(labels=False, bank=False), trained={}, start={})],
        [run(gallery=Gallery())],
        [run(metrics=(), environment={}, config={}, quarantine=())],
        [run(start={})],
        [run(metrics=({"step": 0.0, "loss": 1.0},))],
        [run(trained={"knn": {"accuracy": 0.0}}, start={"knn": {"accuracy": 0.0}})],
        [run(f"method {number}") for number in range(9)],
        [run(), run()],
    ],
    ids=[
        "bare",
        "bare beside whole",
        "no pictures",
        "no labels",
        "empty gallery",
        "no files",
        "no untrained",
        "one look",
        "zero",
        "many",
        "twins",
    ],
)
def test_missing_parts_leave_a_whole_page(runs: list[RunSummary]) -> None:
    page = Checker(report_html(runs))
    assert "AdCo" in page.text or "method 8" in page.text
    assert not re.search(r"\b(nan|inf|None(?! of these runs))\b", page.text)


def test_missing_parts_are_named() -> None:
    page = Checker(report_html([BARE])).text
    for sentence in [
        "No scores:",
        "No curves:",
        "No label-free measures",
        "No pictures were made",
        "The command was not recorded",
    ]:
        assert sentence in page
    assert (
        "None of these runs has a learned bank"
        in Checker(report_html([run(gallery=gallery(bank=False))])).text
    )


def test_the_page_loads_nothing() -> None:
    page = report_html([run(start_gallery=gallery())])
    resources = Checker(page).resources
    assert resources
    assert all(resource.startswith(("data:", "#")) for resource in resources)
    loads = re.findall(r"url\(\s*['\"]?([^)]{0,9})", page)
    assert loads
    assert all(load.startswith("data:") for load in loads)
    assert "@import" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_every_text_from_outside_is_escaped() -> None:
    evil = '<script>alert("1")</script>$style \' & </style>'
    nasty = run(
        evil,
        path=evil,
        note=evil,
        config={"method": evil, "data": {"path": evil}, evil: evil},
        environment={"command": evil, evil: evil},
        quarantine=(evil,),
        metrics=({"step": 1.0, "epoch": 1.0, evil: 1.0},),
        trained={
            "knn": {"accuracy": 0.5},
            "geometry": {"warning": evil, "channels": evil, "embedding_std": evil},
        },
        gallery=dataclasses.replace(
            gallery(),
            embedding_map=dataclasses.replace(
                gallery().embedding_map, projection=evil, class_names=(evil,) * 3
            ),  # type: ignore[type-var]
        ),
    )
    page = report_html([nasty, run(evil)])
    checked = Checker(page)
    assert checked.tags.count("script") == checked.tags.count("style") == 1
    assert page.count("<script") == 1  # the page's own
    assert evil in checked.text


def test_a_collapse_warning_comes_first() -> None:
    warned = run(trained={"geometry": {"warning": "The embeddings have collapsed."}})
    page = report_html([warned])
    assert "The embeddings have collapsed." in page
    assert page.index('class="warning"') < page.index("<section>")
    assert 'class="warning"' not in report_html([run()])


def test_the_same_runs_give_the_same_page() -> None:
    assert report_html([run()]) == report_html([run()])


@pytest.mark.slow
def test_pages_of_large_noisy_images_stay_below_five_megabytes(tmp_path: Path) -> None:
    heavy = gallery(size=224, count=8, points=600)
    runs = [run(str(number), gallery=heavy) for number in range(5)]
    path = write_report(
        [*runs, run("last", start_gallery=heavy)], tmp_path / "deep" / "report.html"
    )
    assert path.stat().st_size < 5e6


def test_pictures_of_three_runs_and_the_untrained_encoder_are_shown_at_most() -> None:
    small = gallery(count=1, points=4)
    runs = [run(str(number), gallery=small, start_gallery=small, metrics=()) for number in range(5)]
    assert report_html(runs).count('<div class="map"') == 4


def test_no_run_or_no_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="at least one run"):
        write_report([], tmp_path / "report.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_report([run()], tmp_path / "file" / "report.html")


def test_full_disk_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report([run()], tmp_path / "report.html")
    before = path.read_bytes()

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match="full; free some space and run the command again"):
        write_report([run(), run()], path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_generated_pairs_are_shown_one_above_the_other_by_time() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 8, 8, 3), dtype=np.uint8)
    moments = tuple(
        GeneratedPairs(share=share, first=pictures[0], second=pictures[1]) for share in (0.0, 0.125)
    )
    page = Checker(
        report_html(
            [run(gallery=Gallery(generated_pairs=moments)), run("control", gallery=Gallery())]
        )
    )
    assert "Generated pairs" in page.text
    assert "0 %" in page.text
    assert "12 %" in page.text
    assert page.tags.count("img") == 2 * 12 * 2
    assert "Generated pairs" not in Checker(report_html([run()])).text


def test_identical_pairs_are_warned_about_before_any_number() -> None:
    config = {"method": "simclr", "opponent": ["generator-pair"]}
    crowded = ({"step": 0.0, "generator_pair/crowding": 0.9, "generator_pair/crowding_real": 0.3},)
    shown = run(metrics=crowded, config=config)
    assert "generated images are alike" in Checker(report_html([shown])).text
    near = ({"step": 0.0, "generator_pair/crowding": 0.45, "generator_pair/crowding_real": 0.3},)
    shown = run(metrics=near, config=config)
    assert "generated images are alike" not in Checker(report_html([shown])).text
