"""Seeds, test images and draws of labels, from predictions whose variance is known."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from made_studies import made_results, made_study

from sparring.evaluation.predictions import Predictions
from sparring.studies.findings import Source
from sparring.studies.folder import StudyFolder
from sparring.studies.records import RunRecord
from sparring.studies.results import Results
from sparring.studies.statistics.rightness import images_of_pairs, influences
from sparring.studies.statistics.variance import ENDLESS, IMAGES, LABELS, SEEDS, sources_of_variance

Right = npt.NDArray[np.bool_]
ARMS = ("adco", "adco/queue")


def predictions(
    right: Right, *, keys: Sequence[str] | None = None, targets: npt.NDArray[np.int64] | None = None
) -> Predictions:
    """Predictions of three classes that are right as given: (images,) or (fits, images)."""
    num_images = right.shape[-1]
    truth = np.arange(num_images) % 3 if targets is None else targets
    return Predictions(
        keys=keys or [f"image-{number}" for number in range(num_images)],
        classes=["a", "b", "c"],
        targets=truth,
        predicted=np.where(right, truth, (truth + 1) % 3),
        fits=[]
        if right.ndim == 1
        else [
            f"{1 + 9 * (row // 2)} % of the labels, draw {row % 2 + 1}" for row in range(len(right))
        ],
    )


def stored(
    folder: StudyFolder,
    made: Callable[[str, int], Predictions],
    *,
    num_seeds: int,
    score: Callable[[Predictions], float] = lambda found: float(found.is_right.mean()),
) -> Results:
    """A study whose runs have these predictions, in a folder, and scores to match."""
    results = made_results(made_study(seeds=num_seeds))
    records: list[RunRecord] = []
    for record in results.records:
        if record.name.arm in ARMS:
            found = made(record.name.arm, record.name.seed)
            path = folder.path / f"{folder.place(record.name)}.npz"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(found.encoded())
            record = dataclasses.replace(
                record,
                scores={"test": {"knn": score(found), "linear": 0.5}},
                predictions={"test": {"knn": path.name}},
            )
        records.append(record)
    return Results(study=results.study, records=tuple(records))


def sources(results: Results, folder: StudyFolder | None) -> dict[str, Source]:
    contrast = results.study.planned_contrasts()[0]
    found = sources_of_variance(results, contrast, results.primary, folder)
    return {one.name: one for one in found}


def random_right(num_images: int, *, first: float = 0.7) -> Callable[[str, int], Predictions]:
    """Images of different hardness, on which the first arm is better or worse by image."""
    draw = np.random.default_rng(0)
    hard = draw.uniform(0, 1, num_images)
    gain = draw.normal(0, 0.3, num_images)

    def made(arm: str, seed: int) -> Predictions:
        own = np.random.default_rng([ARMS.index(arm), seed])
        level = hard + (gain + first - 0.7) * (arm == ARMS[0])
        return predictions(own.uniform(0, 1, num_images) < level)

    return made


def test_the_spread_over_seeds_is_that_of_the_differences(tmp_path: Path) -> None:
    results = made_results(made_study(seeds=6))
    pairs = results.pairs(*ARMS, results.primary)
    found = sources(results, None)
    assert found[SEEDS].sd == pytest.approx(np.std(pairs.differences, ddof=1))
    assert "6 pairs" in found[SEEDS].what


def test_one_pair_shows_no_spread() -> None:
    found = sources(made_results(made_study(seeds=1)), None)
    assert found[SEEDS].sd is None
    assert found[SEEDS].what == "not known: 1 pair cannot show it"


def test_the_part_of_the_images_is_that_of_a_paired_bootstrap(tmp_path: Path) -> None:
    num_images, num_seeds = 150, 4
    folder, made = StudyFolder(tmp_path), random_right(150)
    results = stored(folder, made, num_seeds=num_seeds)
    found = sources(results, folder)[IMAGES]
    differences = np.mean(
        [
            100.0 * made(ARMS[0], seed).is_right - 100.0 * made(ARMS[1], seed).is_right
            for seed in range(num_seeds)
        ],
        axis=0,
    )
    draw = np.random.default_rng(1)
    means = differences[draw.integers(0, num_images, (20_000, num_images))].mean(axis=1)
    # 20,000 resamples give a standard deviation within 1.5 % with three standard errors.
    assert found.sd == pytest.approx(means.std(), rel=0.015)
    assert found.sd == pytest.approx(differences.std() / num_images**0.5, rel=1e-9)
    assert "the same 150 images for 4 seeds" in found.what


def test_pairing_by_image_leaves_less_than_two_unpaired_test_sets(tmp_path: Path) -> None:
    right = np.random.default_rng(0).uniform(0, 1, 200) < 0.6
    folder = StudyFolder(tmp_path)

    def made(arm: str, seed: int) -> Predictions:
        return predictions(right | (np.arange(200) < 4 * (arm == ARMS[0])))

    found = sources(stored(folder, made, num_seeds=2), folder)[IMAGES]
    unpaired = 100 * (2 * 0.6 * 0.4 / 200) ** 0.5
    assert found.sd is not None
    assert found.sd < unpaired / 4


def test_equal_predictions_have_no_variance(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    right = np.arange(90) % 4 > 0
    results = stored(folder, lambda arm, seed: predictions(right), num_seeds=3)
    found = sources(results, folder)
    assert (found[SEEDS].sd, found[IMAGES].sd, found[ENDLESS].sd) == (0.0, 0.0, 0.0)


def test_images_that_differ_between_seeds_are_matched_by_key(tmp_path: Path) -> None:
    # Seed s is scored on images 20 s .. 20 s + 59 of a pool of 120.
    draw = np.random.default_rng(3)
    pool = draw.uniform(0, 1, (2, 4, 120)) < np.linspace(0.2, 0.9, 120)
    folder = StudyFolder(tmp_path)

    def made(arm: str, seed: int) -> Predictions:
        window = slice(20 * seed, 20 * seed + 60)
        return predictions(
            pool[ARMS.index(arm), seed, window],
            keys=[f"image-{number}" for number in range(120)][window],
        )

    found = sources(stored(folder, made, num_seeds=4), folder)
    differences = 100.0 * pool[0] - 100.0 * pool[1]
    present = np.array([[20 * s <= image < 20 * s + 60 for image in range(120)] for s in range(4)])
    means = []
    for _ in range(20_000):
        weights = np.bincount(draw.integers(0, 120, 120), minlength=120) * present
        means.append(((weights * differences).sum(axis=1) / weights.sum(axis=1)).mean())
    # The closed form is of first order; with 60 images a seed it is within a few percent.
    assert found[IMAGES].sd == pytest.approx(float(np.std(means)), rel=0.05)
    assert "others in part" in found[IMAGES].what
    assert ENDLESS not in found


def test_equal_keys_are_told_apart_by_their_order(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    right = np.array([True, True, False, False])

    def made(arm: str, seed: int) -> Predictions:
        return predictions(right if arm == ARMS[0] else ~right, keys=["a", "a", "b", "b"])

    results = stored(folder, made, num_seeds=2)
    found = images_of_pairs(results, results.study.planned_contrasts()[0], results.primary, folder)
    assert len(influences(found)) == 4
    assert sources(results, folder)[IMAGES].sd == pytest.approx(100 / 2)


def test_mean_per_class_accuracy_is_resampled_by_its_own_weights(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    targets = np.repeat([0, 1, 2], [100, 40, 20])
    right = draw.uniform(0, 1, (2, 160)) < np.array([[0.7], [0.5]])
    folder = StudyFolder(tmp_path)

    def made(arm: str, seed: int) -> Predictions:
        return predictions(right[ARMS.index(arm)], targets=targets)

    def per_class(found: Predictions) -> float:
        return float(np.mean([found.is_right[targets == one].mean() for one in range(3)]))

    found = sources(stored(folder, made, num_seeds=1, score=per_class), folder)[IMAGES]
    differences, means = 100.0 * right[0] - 100.0 * right[1], []
    for _ in range(20_000):
        rows = draw.integers(0, 160, 160)
        means.append(np.mean([differences[rows][targets[rows] == one].mean() for one in range(3)]))
    assert found.sd == pytest.approx(float(np.std(means)), rel=0.05)


@pytest.mark.parametrize("rows", [slice(None), slice(0, 2)])
def test_several_fits_count_as_the_score_counts_them(tmp_path: Path, rows: slice) -> None:
    folder = StudyFolder(tmp_path)
    right = np.random.default_rng(5).uniform(0, 1, (2, 4, 50)) < 0.5
    results = stored(
        folder,
        lambda arm, seed: predictions(right[ARMS.index(arm)]),
        num_seeds=1,
        score=lambda found: float(found.is_right[rows].mean()),
    )
    differences = 100 * (right[0, rows].mean(axis=0) - right[1, rows].mean(axis=0))
    assert sources(results, folder)[IMAGES].sd == pytest.approx(differences.std() / 50**0.5)


def spreads_seen(tmp_path: Path, study: int, *, truth: float) -> tuple[float, float]:
    """Variances over six seeds on 200 images, as seen and without the chance of the images, of an
    arm whose gain varies over seeds by `truth` points."""
    folder, draw = StudyFolder(tmp_path / str(study)), np.random.default_rng(study)
    gains, level = draw.normal(0, truth / 100, 6), draw.uniform(0.2, 0.8, 200)
    right = {
        (arm, seed): draw.uniform(0, 1, 200) < level + gains[seed] * (arm == ARMS[0])
        for seed in range(6)
        for arm in ARMS
    }
    results = stored(folder, lambda arm, seed: predictions(right[arm, seed]), num_seeds=6)
    found = sources(results, folder)
    seen, rest = found[SEEDS].sd, found[ENDLESS].sd
    assert seen is not None
    assert rest is not None
    return seen**2, rest**2


def test_the_spread_over_seeds_without_the_chance_of_the_images_is_right_on_average(
    tmp_path: Path,
) -> None:
    found = [spreads_seen(tmp_path, study, truth=4.0) for study in range(40)]
    seen, rest = np.mean(found, axis=0)
    # Chance adds 2 (1/4 - 0.03) 100^2 / 200 = 22 to the 16 of the seeds. The mean of 40 variances
    # of five degrees of freedom is within 30 % with three standard errors.
    assert seen == pytest.approx(16 + 22, rel=0.3)
    assert rest == pytest.approx(16, rel=0.5)


def broken(tmp_path: Path, change: Callable[[RunRecord], RunRecord]) -> Source:
    folder = StudyFolder(tmp_path)
    results = stored(folder, random_right(30), num_seeds=2)
    records = tuple(change(record) for record in results.records)
    return sources(Results(study=results.study, records=records), folder)[IMAGES]


def test_without_predictions_the_reason_is_given(tmp_path: Path) -> None:
    found = broken(tmp_path, lambda record: dataclasses.replace(record, predictions={}))
    assert found.sd is None
    assert found.what == "not known: no seed has stored predictions of both arms"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    found = broken(
        tmp_path,
        lambda record: dataclasses.replace(
            record, predictions={"test": {"knn": f"gone-{record.name.seed}.npz"}}
        ),
    )
    assert found.sd is None
    assert "gone-0.npz is missing" in found.what


def test_predictions_that_do_not_give_the_score_are_not_used(tmp_path: Path) -> None:
    found = broken(
        tmp_path, lambda record: dataclasses.replace(record, scores={"test": {"knn": 0.123}})
    )
    assert found.sd is None
    assert "do not give its scores by knn" in found.what


def test_arms_scored_on_different_images_are_not_compared(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    right = np.arange(30) % 2 > 0

    def made(arm: str, seed: int) -> Predictions:
        return predictions(right, keys=[f"{arm}-{number}" for number in range(30)])

    found = sources(stored(folder, made, num_seeds=2), folder)[IMAGES]
    assert found.what == "not known: both arms of seed 0 were not scored on the same images"


def test_images_of_several_classes_are_not_right_or_wrong(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    results = stored(
        folder,
        lambda arm, seed: Predictions(
            keys=["a", "b"],
            classes=["x", "y"],
            targets=np.array([[1, 0], [0, 1]]),
            predicted=np.array([[1, 0], [0, 0]]),
        ),
        num_seeds=2,
    )
    found = sources(results, folder)[IMAGES]
    assert found.sd is None
    assert "several classes" in found.what


def test_without_a_folder_no_predictions_are_read() -> None:
    found = sources(made_results(), None)[IMAGES]
    assert (found.sd, found.what) == (None, "not known: no stored predictions were read")


def with_draws(draws: dict[tuple[str, int], tuple[float, ...]]) -> Source:
    results = made_results(made_study(seeds=2))
    records = tuple(
        dataclasses.replace(
            record, draws={"test": {"knn": draws.get((record.name.arm, record.name.seed), ())}}
        )
        for record in results.records
    )
    return sources(Results(study=results.study, records=records), None)[LABELS]


def test_draws_of_labels_are_paired_within_a_seed() -> None:
    # Differences in points: (1, 3) and (2, 2): variances 2 and 0, pooled 1.
    found = with_draws(
        {
            ("adco", 0): (0.51, 0.63),
            ("adco/queue", 0): (0.5, 0.6),
            ("adco", 1): (0.42, 0.72),
            ("adco/queue", 1): (0.4, 0.7),
        }
    )
    assert found.sd == pytest.approx(1.0)
    assert "2 draws with 2 seeds" in found.what


@pytest.mark.parametrize(
    ("draws", "why"),
    [
        ({}, "none: knn draws no labels"),
        ({("adco", 0): (0.5,), ("adco/queue", 0): (0.4,)}, "one draw"),
        ({("adco", 0): (0.5, 0.6), ("adco/queue", 0): (0.4,)}, "unequal numbers of draws"),
    ],
)
def test_draws_that_cannot_show_a_spread_say_why(
    draws: dict[tuple[str, int], tuple[float, ...]], why: str
) -> None:
    found = with_draws(draws)
    assert found.sd is None
    assert why in found.what
