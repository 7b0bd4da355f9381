"""Data efficiency: nested sets, all else equal, and a factor that claims no more than was
measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import encoder, evaluated_encoder, state_digest

import games
from sparring.config import merged, toml_text
from sparring.contract import toy
from sparring.data.dataset import Dataset
from sparring.errors import ConfigError
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.features import extract_features
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.evaluation.pretraining_again import data_efficiency as module
from sparring.evaluation.pretraining_again.data_efficiency import (
    DataEfficiencySettings,
    control_config,
    data_efficiency,
)
from sparring.evaluation.pretraining_again.image_saving import saving, saving_sentence
from sparring.evaluation.pretraining_again.pretraining import Pretrained
from sparring.measures.knn import knn_accuracy
from sparring.training.settings import RunConfig

SHARES = (0.25, 0.5, 1.0)


def evaluation_data(
    folder: Path | None = None, *, test: bool = True, **settings: Any
) -> EvaluationData:
    config = games.config("simclr", **merged({"training": {"epochs": 1}}, settings))
    given = (toy.images(), np.arange(64) % 2)
    return EvaluationData(
        given,
        (toy.images(20, seed=1), np.arange(20) % 2) if test else None,
        image_size=16,
        config=config,
        folder=folder,
    )


def settings(**changes: Any) -> DataEfficiencySettings:
    return DataEfficiencySettings.build(
        {"shares": SHARES, "seeds": (0,), **changes}, where="data-efficiency"
    )


@pytest.fixture
def pretrainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Dataset, RunConfig]]:
    """What was handed over to be pretrained on and how, without the pretraining."""
    asked: list[tuple[str, Dataset, RunConfig]] = []

    def noted(
        images: Dataset, place: str, *, config: RunConfig, data: EvaluationData
    ) -> Pretrained:
        asked.append((place, images, config))
        return Pretrained(encoder(seed=len(images)), encoder(seed=config.seed))

    monkeypatch.setattr(module, "pretrained", noted)
    return asked


def test_smaller_sets_lie_within_larger_ones_and_seeds_draw_others(
    pretrainings: list[tuple[str, Dataset, RunConfig]],
) -> None:
    data_efficiency(evaluated_encoder(), evaluation_data(), settings(seeds=(0, 3)))
    sets = {place: set(images.keys) for place, images, _ in pretrainings}
    assert list(sets)[:3] == [
        f"data-efficiency/simclr/seed-0/{count}-images" for count in (16, 32, 64)
    ]
    assert [len(found) for found in sets.values()] == [16, 32, 64] * 2
    for seed in (0, 3):
        small, middle, whole = (
            sets[f"data-efficiency/simclr/seed-{seed}/{count}-images"] for count in (16, 32, 64)
        )
        assert small < middle < whole
    assert (
        sets["data-efficiency/simclr/seed-0/16-images"]
        != sets["data-efficiency/simclr/seed-3/16-images"]
    )
    assert {config.seed for place, _, config in pretrainings if "seed-3" in place} == {3}


@pytest.mark.parametrize(("fixed", "epochs"), [("epochs", [6, 6, 6]), ("steps", [24, 12, 6])])
def test_epochs_or_steps_are_the_same_for_all_sets(
    fixed: str, epochs: list[int], pretrainings: list[tuple[str, Dataset, RunConfig]]
) -> None:
    data_efficiency(evaluated_encoder(), evaluation_data(), settings(fixed=fixed, epochs=6))
    made = {
        place: (config.training.epochs, len(images) // config.training.batch_size)
        for place, images, config in pretrainings
    }
    assert [number for number, _ in made.values()] == epochs
    if fixed == "steps":
        assert {number * steps for number, steps in made.values()} == {24}
        assert [place.endswith("same-steps") for place in made] == [True, True, False]


def test_the_control_plays_on_the_same_images_with_the_same_seeds(
    pretrainings: list[tuple[str, Dataset, RunConfig]],
) -> None:
    result = data_efficiency(
        evaluated_encoder(),
        evaluation_data(encoder={"width": 0.125}),
        settings(seeds=(0, 1), control="mocov2"),
    )
    by_place = {place: (images, config) for place, images, config in pretrainings}
    for place, (images, config) in by_place.items():
        if "/control-mocov2/" not in place:
            other_images, other = by_place[place.replace("/simclr/", "/control-mocov2/")]
            assert other_images.fingerprint == images.fingerprint
            assert (other.method, other.seed, other.encoder, other.training) == (
                "mocov2",
                config.seed,
                config.encoder,
                config.training,
            )
    assert len(by_place) == 12
    # The stand-ins are the same encoders, so the method reaches its control exactly where the
    # control is.
    assert result["factor"]["control"] == "control-mocov2"
    assert result["scores"]["simclr"] == result["scores"]["control-mocov2"]
    assert "simclr" in result["note"]


def test_a_control_is_a_method_with_its_own_defaults_or_a_file(tmp_path: Path) -> None:
    run = games.config("simclr", temperature=0.3, opponent=["perturbation"])
    byol = control_config("byol", run)
    assert (byol.method, byol.opponent, byol.training, byol.encoder) == (
        "byol",
        (),
        run.training,
        run.encoder,
    )
    path = tmp_path / "mine.toml"
    path.write_text(toml_text({"method": "simclr", "temperature": 0.7, "training": {"epochs": 99}}))
    mine = control_config(str(path), run)
    assert (mine.method_settings.model_dump()["temperature"], mine.training) == (0.7, run.training)
    with pytest.raises(ConfigError, match="did you mean 'mocov3'"):
        control_config("mocov", run)
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere.toml"):
        control_config("nowhere.toml", run)


@pytest.mark.parametrize("score", ["knn", "linear"])
def test_the_score_is_that_of_the_protocol_of_its_name(
    score: str, pretrainings: list[tuple[str, Dataset, RunConfig]]
) -> None:
    work = evaluation_data()
    result = data_efficiency(evaluated_encoder(), work, settings(score=score))
    train, test = work.images
    expected = []
    for seed in (16, 32, 64, 0):
        own = encoder(seed=seed)
        features = (
            extract_features(own, train),
            torch.arange(64) % 2,
            extract_features(own, test),
            torch.arange(20) % 2,
        )
        expected.append(
            knn_accuracy(*features, num_neighbors=32)  # the images of each class
            if score == "knn"
            else linear_probe(*features, seed=0).accuracy
        )
    assert result["scores"] == {"simclr": [expected[:3]], "untrained": expected[3:]}
    assert result["accuracy"] == expected[2]
    assert (result["train_images"], result["test_images"]) == (64, 20)


def test_tables_and_curves_show_mean_and_spread_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.1, 0.3, 0.6, 0.3, 0.5, 0.8, 0.05, 0.15])
    monkeypatch.setattr(module, "pretrained", lambda *_, **__: Pretrained(encoder(), encoder()))
    monkeypatch.setattr(module, "_score", lambda *_: next(values))
    result = data_efficiency(evaluated_encoder(), evaluation_data(), settings(seeds=(0, 1)))
    assert (result["accuracy"], result["spread"]) == (
        pytest.approx(0.7),
        pytest.approx(0.1414, abs=1e-4),
    )
    table = result["table"]
    assert table["columns"] == ["share %", "images", "simclr %", "simclr, spread %"]
    assert [row[:3] for row in table["rows"]] == [
        [0.0, 0, pytest.approx(0.1)],
        [0.25, 16, pytest.approx(0.2)],
        [0.5, 32, pytest.approx(0.4)],
        [1.0, 64, pytest.approx(0.7)],
    ]
    lines = result["curves"]["lines"]
    assert lines["simclr"] == [
        [16, pytest.approx(0.2)],
        [32, pytest.approx(0.4)],
        [64, pytest.approx(0.7)],
    ]
    assert lines["untrained"] == [[16, pytest.approx(0.1)], [64, pytest.approx(0.1)]]


def test_the_saving_is_found_seed_by_seed_and_averaged_when_all_get_there() -> None:
    line = [[0.2, 0.4, 0.8], [0.3, 0.5, 0.7]]
    found = saving((0.25, 0.5, 1.0), line, [[0.0, 0.0, 0.4], [0.9, 0.9, 0.6]])
    assert found["shares"] == [pytest.approx(0.5), pytest.approx(2**-0.5)]
    assert found["share"] == pytest.approx((0.5 + 2**-0.5) / 2)
    assert found["range"] == [pytest.approx(0.5), pytest.approx(2**-0.5)]
    assert (found["reached"], found["at_most"]) == (2, False)


def test_a_control_that_is_not_reached_gives_no_factor() -> None:
    found = saving((0.5, 1.0), [[0.2, 0.4], [0.3, 0.5]], [[0.0, 0.45], [0.0, 0.4]])
    assert (found["share"], found["reached"]) == (None, 1)
    assert found["shares"][0] is None
    assert "in 1 of 2 seeds" in saving_sentence("simclr", {"control": "control-byol", **found}, 2)


@pytest.mark.parametrize(("untrained", "is_warned"), [(0.3, False), (0.7, True)])
def test_a_control_that_learned_nothing_is_pointed_out(
    untrained: float, is_warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5, 0.6, 0.8, 0.4, 0.5, 0.6, untrained])
    monkeypatch.setattr(module, "pretrained", lambda *_, **__: Pretrained(encoder(), encoder()))
    monkeypatch.setattr(module, "_score", lambda *_: next(values))
    result = data_efficiency(evaluated_encoder(), evaluation_data(), settings(control="byol"))
    assert result["factor"]["share"] == pytest.approx(0.5)
    assert ("no better than the untrained encoder" in result.get("warning", "")) == is_warned
    assert (
        "simclr on 50% of the images (one seed) equals its control byol on all of them"
        in result["note"]
    )


def test_the_smallest_share_is_only_an_upper_bound() -> None:
    found = saving((0.5, 1.0), [[0.6, 0.7]], [[0.0, 0.55]])
    assert (found["share"], found["at_most"]) == (0.5, True)
    sentence = saving_sentence("simclr", {"control": "control-byol", **found}, 1)
    assert (
        sentence
        == "simclr on at most 50% of the images (one seed) equals its control byol on all of them"
    )


def test_held_out_images_are_not_pretrained_on(
    pretrainings: list[tuple[str, Dataset, RunConfig]],
) -> None:
    work = evaluation_data(test=False)
    result = data_efficiency(evaluated_encoder(), work, settings(shares=(0.5, 1.0)))
    scored = {work.classes.test.keys[row] for row in work.classes.test_rows.tolist()}
    assert len(scored) == 12
    for _, images, _ in pretrainings:
        assert not scored & set(images.keys)
    assert result["images"] == [26, 52]


def test_images_without_a_label_are_pretrained_on_too(
    pretrainings: list[tuple[str, Dataset, RunConfig]],
) -> None:
    work = evaluation_data(test=False)
    work.train = (toy.images(), np.where(np.arange(64) < 20, -1, np.arange(64) % 2))
    data_efficiency(evaluated_encoder(), work, settings(shares=(1.0,)))
    assert {f"image {number}" for number in range(20)} <= set(pretrainings[0][1].keys)


def test_labels_of_the_test_images_change_nothing_but_the_score(tmp_path: Path) -> None:
    found = []
    for number, turned in enumerate((0, 1)):
        work = evaluation_data(tmp_path / str(number))
        work.test = (toy.images(20, seed=1), (np.arange(20) + turned) % 2)
        result = data_efficiency(evaluated_encoder(), work, settings(shares=(1.0,)))
        weights = (
            tmp_path / str(number) / "data-efficiency/simclr/seed-0/64-images/backbone.safetensors"
        ).read_bytes()
        found.append((weights, result["accuracy"]))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(1 - found[1][1])


@pytest.mark.slow
def test_two_evaluations_give_the_same_digits_and_the_second_pretrains_nothing(
    tmp_path: Path,
) -> None:
    own = evaluated_encoder()
    before = state_digest(own.encoder)  # type: ignore[arg-type]
    first = data_efficiency(own, evaluation_data(tmp_path / "a"), settings(shares=(0.5, 1.0)))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    assert (
        data_efficiency(own, evaluation_data(tmp_path / "a"), settings(shares=(0.5, 1.0))) == first
    )
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == written
    assert (
        data_efficiency(own, evaluation_data(tmp_path / "b"), settings(shares=(0.5, 1.0))) == first
    )
    assert state_digest(own.encoder) == before  # type: ignore[arg-type]


@pytest.mark.slow
def test_more_images_of_two_blobs_are_learned_from_than_none(tmp_path: Path) -> None:
    work = evaluation_data(tmp_path, training={"epochs": 20})
    result = data_efficiency(evaluated_encoder(), work, settings(shares=(0.5, 1.0)))
    assert result["accuracy"] >= 0.7
    assert result["accuracy"] > result["scores"]["untrained"][0]


def test_bad_settings_are_said_in_one_line(
    pretrainings: list[tuple[str, Dataset, RunConfig]],
) -> None:
    with pytest.raises(
        ConfigError, match=r"data-efficiency.shares: must contain 1.0, the whole set, got 0.1, 0.5"
    ):
        settings(shares=(0.1, 0.5))
    with pytest.raises(ConfigError, match=r"data-efficiency.shares.0"):
        settings(shares=(0.0, 1.0))
    with pytest.raises(
        ConfigError, match=r"share 0.1 of 64 images: 6 images are fewer than the run's batch of 16"
    ):
        data_efficiency(evaluated_encoder(), evaluation_data(), settings(shares=(0.1, 1.0)))
    with pytest.raises(ConfigError, match="unknown method 'mocov3x'"):
        data_efficiency(evaluated_encoder(), evaluation_data(), settings(control="mocov3x"))
    assert not pretrainings
    assert settings(shares=(1.0, 0.5, 0.5)).shares == (0.5, 1.0)
