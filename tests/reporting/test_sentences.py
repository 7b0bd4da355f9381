"""The sentences claim what the numbers allow, and no more."""

import dataclasses

import numpy as np
import pytest

from sparring.reporting.gallery import HardestNegatives, HardNegative, Retrieval
from sparring.reporting.sentences import (
    confounders,
    evidence,
    fairness,
    false_negative_share,
    headline,
    retrieval_share,
    run_names,
    warnings,
)
from sparring.reporting.summary import RunSummary


def run(
    label: str, knn: float | None, *, seed: int = 0, note: str = "", **config: object
) -> RunSummary:
    scores = {} if knn is None else {"knn": {"accuracy": knn, "test_images": 5000}}
    return RunSummary(
        label=label,
        path=f"runs/{label}-{seed}",
        note=note,
        config={"seed": seed, "method": label.lower(), **config},
        trained=scores,
        start={"knn": {"accuracy": 0.287}},
    )


def test_the_headline_names_every_score_and_the_untrained_encoder() -> None:
    runs = [run("AdCo", 0.418), run("MoCo v2", 0.434, note="its control")]
    assert headline(runs) == [
        "AdCo scores 41.8 % kNN",
        "MoCo v2 (its control) 43.4 %",
        "the untrained encoder 28.7 %",
    ]


def test_seeds_of_a_method_are_averaged_with_their_range() -> None:
    runs = [run("AdCo", 0.40, seed=0), run("AdCo", 0.42, seed=1)]
    assert headline(runs)[0] == "AdCo (mean of 2 seeds, 40.0 % to 42.0 %) scores 41.0 % kNN"


def test_without_labels_nothing_is_scored() -> None:
    assert headline([run("AdCo", None)]) == ["AdCo, not scored"]
    assert "no score" in evidence([run("AdCo", None)])[0]


def test_one_seed_is_called_no_evidence() -> None:
    two_methods = evidence([run("AdCo", 0.4), run("MoCo v2", 0.9)])
    assert "no evidence" in two_methods[0]
    assert "no evidence" not in " ".join(evidence([run("AdCo", 0.4)]))
    seeds = [run(label, 0.4, seed=seed) for label in ("AdCo", "MoCo v2") for seed in range(3)]
    assert "no evidence" not in " ".join(evidence(seeds))
    assert "Fewer than three seeds" in evidence(seeds[:5])[0]


def test_the_sampling_error_is_that_of_a_binomial() -> None:
    # 1.96 * sqrt(0.418 * 0.582 / 5000) = 0.01367
    assert "5,000 scored images" in evidence([run("AdCo", 0.418)])[-1]
    assert "about 1.4 points" in evidence([run("AdCo", 0.418)])[-1]


def test_a_gain_within_the_sampling_error_is_called_so() -> None:
    # 1.96 * sqrt(0.3 * 0.7 / 5000) = 0.0127 above the untrained 0.287
    assert (
        "gain of AdCo over the untrained encoder is no larger" in evidence([run("AdCo", 0.299)])[-1]
    )
    assert "gain of" not in " ".join(evidence([run("AdCo", 0.301)]))


def test_a_run_from_weights_is_compared_with_its_start_weights() -> None:
    continued, scratch = run("SimCLR", 0.25, encoder={"weights": "timm"}), run("AdCo", 0.29)
    assert headline([continued])[-1] == "the start weights 28.7 %"
    assert "scored below the start weights by more" in evidence([continued])[-1]
    assert "by the start weights" in warnings([continued])[0]
    assert headline([continued, scratch])[-2:] == [
        "the start weights 28.7 %",
        "the untrained encoder 28.7 %",
    ]
    assert "SimCLR scored below what each run started from" in evidence([continued, scratch])[-2]


def test_settings_that_differ_besides_the_method_are_named() -> None:
    first, second = (
        run("AdCo", 0.4, training={"epochs": 15}, bank={"size": 4}),
        run("MoCo v2", 0.4, seed=1, training={"epochs": 8}),
    )
    assert fairness([first, second]) is not None
    assert "training.epochs" in (fairness([first, second]) or "")
    assert "seed" not in (fairness([first, second]) or "")
    own = dataclasses.replace(
        first, config={**first.config, "form": "symmetric"}
    )  # a setting that only one method has
    assert fairness([own, second]) == fairness([first, second])
    assert ("training.epochs", ["15", "8"]) in confounders([first, second])
    assert ("bank.size", ["4", "-"]) in confounders([first, second])
    assert (
        fairness(
            [
                first,
                dataclasses.replace(second, config={**second.config, "training": {"epochs": 15}}),
            ]
        )
        is None
    )


def test_collapse_and_a_lost_bank_are_reported() -> None:
    healthy = run("AdCo", 0.4)
    collapsed = dataclasses.replace(
        healthy, trained={"geometry": {"warning": "The embeddings have collapsed."}}
    )
    assert warnings([healthy]) == []
    assert warnings([collapsed]) == ["AdCo: The embeddings have collapsed."]
    lost = dataclasses.replace(
        healthy, metrics=({"bank/hardest_cosine": 0.5}, {"bank/hardest_cosine": -0.31})
    )
    assert "-0.31" in warnings([lost])[0]
    assert warnings([dataclasses.replace(healthy, metrics=({"bank/hardest_cosine": 0.5},))]) == []


def test_a_run_that_training_made_worse_carries_a_warning() -> None:
    def scored(after: float, before: float, *, seed: int = 0) -> RunSummary:
        start = {"knn": {"accuracy": before}}
        return dataclasses.replace(run("AdCo", after, seed=seed), start=start)

    assert warnings([scored(0.4, 0.3)]) == []
    assert warnings([scored(0.4, 0.4)]) == []
    assert warnings([scored(0.3, 0.4)]) == [
        "AdCo: training made it worse: kNN 30.0 % against 40.0 % untrained. Too few steps?"
    ]
    two = [scored(0.4, 0.3), scored(0.3, 0.4, seed=1)]
    assert [text.partition(":")[0] for text in warnings(two)] == ["AdCo, seed 1"]


def test_every_run_has_a_name_of_its_own() -> None:
    runs = [run("AdCo", 0.4), run("AdCo", 0.4, seed=1), run("MoCo v2", 0.4)]
    assert run_names(runs) == ["AdCo, seed 0", "AdCo, seed 1", "MoCo v2"]
    twice = [run("AdCo", 0.4), dataclasses.replace(run("AdCo", 0.4), path="elsewhere")]
    assert run_names(twice) == ["AdCo, seed 0, runs/AdCo-0", "AdCo, seed 0, elsewhere"]


def test_shares_count_labelled_pictures_only() -> None:
    image, cosines = np.zeros((4, 4, 3), dtype=np.uint8), np.ones(2, dtype=np.float32)
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    known = Retrieval(
        query=image, neighbours=images, cosines=cosines, same_label=np.array([True, False])
    )
    unknown = Retrieval(query=image, neighbours=images, cosines=cosines)
    assert retrieval_share([known, unknown]) == 0.5
    assert retrieval_share([unknown]) is None
    near = HardNegative(
        cosine=0.5, nearest_images=images, image_cosines=cosines, same_label=np.array([True, False])
    )
    far = dataclasses.replace(near, same_label=np.array([False, True]))
    assert false_negative_share(
        [HardestNegatives(query=image, negatives=(near, far, far, near))]
    ) == pytest.approx(0.5)
    assert false_negative_share([]) is None
