"""Runs are averaged only if the seed alone tells them apart, and unequal ones are warned of."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sparring.reporting.pools import not_pooled, pools, unequal_budgets, unlike_scores
from sparring.reporting.report import report_html
from sparring.reporting.sentences import evidence, headline
from sparring.reporting.summary import RunSummary
from sparring.training.scores import ImageSet, ScoredResult

PHOTOS = ImageSet.of("photos", ["a.png", "b.png"])
RECORD = ScoredResult(
    encoder="trained",
    protocol="knn",
    step=15,
    settings={"num_neighbors": 200},
    test=PHOTOS,
    version="0.1.0",
)


def run(
    seed: int = 0,
    *,
    label: str = "AdCo",
    step: int = 15,
    training: Mapping[str, Any] | None = None,
    before: float = 0.2,
    record: Mapping[str, Any] | None = None,
    **result: Any,
) -> RunSummary:
    knn = {"accuracy": 0.4 + seed / 100, "test_images": 2, **result}
    return RunSummary(
        label=label,
        path=f"runs/{label}-{seed}-{step}",
        config={
            "seed": seed,
            "method": label,
            "data": {"path": "photos"},
            "training": {"epochs": 3, "batch_size": 8, "image_size": 32, **(training or {})},
        },
        trained={"knn": knn},
        start={"knn": {"accuracy": before}},
        records={"knn": replace(RECORD, step=step, seed=seed, **(record or {}))},
        scored_step=step,
        environment={"planned_steps": 15},
    )


def names(*runs: RunSummary) -> list[tuple[str, int]]:
    return [(pool.name, len(pool.runs)) for pool in pools(runs, "knn")]


def test_runs_that_differ_in_the_seed_alone_are_pooled() -> None:
    here = {"device": "cpu", "log_steps": 1}
    assert names(run(0), run(1), run(2, training=here)) == [("AdCo", 3)]
    assert headline([run(0), run(1)])[0].startswith("AdCo (mean of 2 seeds, 40.0 % to 41.0 %)")
    assert not_pooled([run(0), run(1)], "knn") == []


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (run(1, training={"epochs": 6}), "training.epochs"),
        (run(1, step=30), "steps made (15 and 30)"),
        (run(1, record={"test": ImageSet.of("others", ["a.png"])}), "scored images"),
        (run(1, record={"test": ImageSet.of("photos", ["b.png"])}), "scored images"),
        (run(1, record={"settings": {"num_neighbors": 5}}), "knn.num_neighbors"),
        (run(1, record={"train": PHOTOS}), "images that the classifier learned from"),
        (run(0, training={"device": "cpu"}), "not even the seed"),
    ],
    ids=["epochs", "steps", "other set", "other part", "settings", "learned from", "same seed"],
)
def test_runs_that_differ_in_anything_else_are_not_and_one_line_says_why(
    other: RunSummary, why: str
) -> None:
    runs = [run(0), other]
    assert [count for _, count in names(*runs)] == [1, 1]
    assert len({name for name, _ in names(run(0), replace(other, path="elsewhere"))}) == 2
    (line,) = not_pooled(runs, "knn")
    assert why in line
    assert "mean of" not in " ".join(headline(runs))
    assert line in evidence(runs)


def test_one_seed_at_two_lengths_is_no_mean_of_two_seeds() -> None:
    short, long = run(0), run(0, step=30, training={"epochs": 6})
    clauses = headline([short, long])
    assert clauses[0] == "AdCo, runs/AdCo-0-15 scores 40.0 % kNN"
    assert clauses[1] == "AdCo, runs/AdCo-0-30 40.0 %"


def test_held_out_images_of_version_0_1_were_drawn_by_the_seed() -> None:
    part = {"tested_on": "20 % of the images, held out because training and test are the same"}
    old = [replace(run(seed, **part), records={}) for seed in (0, 1)]
    assert len(pools(old, "knn")) == 2
    whole = [replace(run(seed), records={}) for seed in (0, 1)]
    assert len(pools(whole, "knn")) == 1


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (run(label="MoCo v2", training={"epochs": 100}), "training.epochs (3, 100)"),
        (run(label="MoCo v2", training={"batch_size": 16}), "training.batch_size (8, 16)"),
        (run(label="MoCo v2", training={"image_size": 64}), "training.image_size (32, 64)"),
        (run(label="MoCo v2", step=7), "steps made (15, 7)"),
    ],
)
def test_unequal_budgets_are_warned_of_before_any_number(other: RunSummary, told: str) -> None:
    page = report_html([run(), other])
    assert told in page
    assert page.index('role="alert"') < page.index("<section>")
    assert unequal_budgets([run(), run(1, label="MoCo v2")]) is None


def test_scores_on_other_images_are_called_not_comparable_on_their_card() -> None:
    other = run(label="MoCo v2", record={"test": ImageSet.of("others", ["a.png"])})
    assert unlike_scores([run(), other], "knn") == [
        "Not comparable: these scores differ in scored images."
    ]
    assert "Not comparable" in report_html([run(), other])
    assert "Not comparable" not in report_html([run(), run(label="MoCo v2")])


def test_a_loss_is_striped_to_the_left_of_the_mark_and_said() -> None:
    many = {"test_images": 5000}
    page = report_html([run(before=0.6, **many)])
    assert page.count('<i class="loss"') == 1
    assert "-20.0" in page
    assert "AdCo scored below the untrained encoder by more than that" in page
    gained = report_html([run(before=0.2, **many)])
    assert '<i class="loss"' not in gained
    assert "scored below" not in gained


def test_a_stopped_run_shows_the_steps_it_made_of_those_planned() -> None:
    assert "7 of 15 (3 epochs planned)" in report_html([run(step=7)])
    assert "<dd>15 (3 epochs)</dd>" in report_html([run()])
    old = replace(
        run(), scored_step=None, environment={}, metrics=({"step": 6.0, "epoch": 1.4},)
    )  # version 0.1
    assert "7 of 15 (3 epochs planned)" in report_html([old])


def test_a_result_that_warns_does_so_on_its_card() -> None:
    page = report_html([run(warning="unequal settings")])
    assert '<p class="warning">unequal settings</p><table class="bars">' in page
