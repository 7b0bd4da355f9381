"""The robustness protocol: known answers, curves that start at the clean accuracy, and an encoder
that stays as it is."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import coloured, evaluated_encoder, state_digest
from torch import Tensor, nn

from sparring.errors import ConfigError
from sparring.evaluation.catalogue import choose, headline_of
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen.logistic import fitted_probe, linear_probe
from sparring.evaluation.protocol import Result, without_predictions
from sparring.evaluation.robustness.corruptions import corrupted
from sparring.seeding import generator

Images = tuple[np.ndarray, np.ndarray]

QUICK = {
    "grey_levels": [1, 8],
    "steps": 3,
    "corruptions": ["gaussian-noise", "contrast"],
    "severities": [1, 5],
}


class Pixels(nn.Module):
    """Pixels as features: with the probe a linear classifier, whose worst case is known."""

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Means(nn.Module):
    """Mean colour as features, so that noise of small pixels averages out."""

    def features(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def run(
    train: Images, test: Images, who: EvaluatedEncoder, *, seed: int = 0, **settings: Any
) -> Result:
    (chosen,) = choose(["robustness"], {"robustness": {**QUICK, **settings}})
    return chosen(who, EvaluationData(train, test, image_size=train[0].shape[1], seed=seed))


def rounds(**settings: Any) -> Result:
    return run(
        coloured(20, size=8),
        coloured(10, size=8, seed=1),
        evaluated_encoder(image_size=8),
        **settings,
    )


def test_the_result_tells_clean_attacked_and_corrupted_accuracy() -> None:
    result = rounds()
    json.dumps(without_predictions(result), allow_nan=False)
    found = result["predictions"]
    assert found.is_right[0].mean() == pytest.approx(result["clean_accuracy"])
    assert found.is_right[1:].mean() == pytest.approx(result["corruption_accuracy"])
    together = next(row for row in result["table"][0]["rows"] if row[0] == "all of them")[2:]
    assert result["attacked_accuracy"] == pytest.approx(sum(together) / 2)
    means = [sum(values) / 2 for values in result["under_corruption"].values()]
    assert (
        result["corruption_accuracy"]
        == pytest.approx(sum(means) / 2)
        == headline_of("robustness", result)
    )
    assert 0 <= result["attacked_accuracy"] < result["clean_accuracy"] <= 1
    assert result["clean_accuracy"] > 0.6  # a third is chance
    for plot in result["curves"]:
        for points in plot["lines"].values():
            assert points[0] == [0, result["clean_accuracy"]]
            assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert list(result["curves"][1]["lines"]) == ["mean", "noise", "digital"]
    assert result["test_images"] == 30


@pytest.mark.slow
def test_accuracy_never_rises_with_epsilon_and_the_control_hurts_least() -> None:
    result = rounds(grey_levels=[0.5, 2, 8, 32], steps=5)
    for values in result["under_attack"].values():
        assert values == sorted(values, reverse=True)
        assert values[0] <= result["clean_accuracy"]
    under = {name: sum(values) for name, values in result["under_attack"].items()}
    assert under["random-signs"] > under["fgsm"] >= under["apgd-ce"]
    assert under["random-signs"] > under["pgd"]
    assert (
        under["apgd-ce"] <= under["pgd"] + 0.04
    )  # one image of thirty at one level, with five steps, may go either way


def test_a_linear_encoder_loses_exactly_the_images_whose_margin_is_too_small() -> None:
    train, test = (
        coloured(60, classes=2, size=4, noise=400),
        coloured(60, classes=2, size=4, seed=1, noise=400),
    )
    result = run(
        train, test, EvaluatedEncoder("trained", Pixels()), steps=20, grey_levels=[2, 8, 20]
    )
    features, queries = (
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 for images in (train[0], test[0])
    )
    head = fitted_probe(features.flatten(1), torch.from_numpy(train[1]), seed=0)
    labels = torch.from_numpy(test[1])
    towards = ((head.probe.weight[1] - head.probe.weight[0]) / head.scale).view(3, 4, 4) * (
        1 - 2 * labels
    ).view(-1, 1, 1, 1)
    expected = []
    for level in (2, 8, 20):
        worst = (queries + level / 255 * towards.sign()).clamp(0, 1)
        expected.append(
            float((head.logits(worst.flatten(1)).argmax(dim=1) == labels).float().mean())
        )
    assert result["clean_accuracy"] > expected[0] > expected[1] > expected[2] > 0
    for name in ("fgsm", "pgd", "apgd-ce"):
        assert result["under_attack"][name] == pytest.approx(expected)


def test_a_grey_level_is_one_of_255() -> None:
    looked_at: list[Tensor] = []

    class Watched(Pixels):
        def features(self, images: Tensor) -> Tensor:
            looked_at.append(images.detach())
            return super().features(images)

    grey = np.full((2, 4, 4, 3), 128, np.uint8), np.array([0, 1])
    run(
        coloured(10, classes=2, size=4),
        grey,
        EvaluatedEncoder("trained", Watched()),
        attacks=["fgsm"],
        grey_levels=[51],
        corruptions=[],
    )
    furthest = max(
        float((images - 128 / 255).abs().max()) for images in looked_at if len(images) <= 2
    )
    assert furthest == pytest.approx(0.2, abs=1e-6)


def test_clean_accuracy_is_that_of_the_linear_probe_on_all_test_images() -> None:
    train, test = (
        coloured(60, classes=2, size=4, noise=400),
        coloured(60, classes=2, size=4, seed=1, noise=400),
    )
    who = EvaluatedEncoder("trained", Pixels())
    result = run(train, test, who, grey_levels=[1e-9])
    data = EvaluationData(train, test, image_size=4).labelled(who)
    score = linear_probe(
        data.train_features, data.train_labels, data.test_features, data.test_labels, seed=0
    )
    assert result["clean_accuracy"] == pytest.approx(score.accuracy) != 1
    assert all(values == [result["clean_accuracy"]] for values in result["under_attack"].values())


def test_corrupted_accuracy_is_that_of_the_probe_on_corrupted_images() -> None:
    train, test = coloured(30, size=8, noise=90), coloured(30, size=8, seed=1, noise=90)
    result = run(
        train,
        test,
        EvaluatedEncoder("trained", Pixels()),
        attacks=[],
        corruptions=["contrast", "impulse-noise"],
    )
    features, queries = (
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 for images in (train[0], test[0])
    )
    head = fitted_probe(features.flatten(1), torch.from_numpy(train[1]), seed=0)
    for name, accuracies in result["under_corruption"].items():
        for severity, accuracy in zip((1, 5), accuracies, strict=True):
            damaged = corrupted(
                queries, name, severity=severity, generator=generator(0, "corruption", name, 0)
            )
            right = head.logits(damaged.flatten(1)).argmax(dim=1) == torch.from_numpy(test[1])
            assert accuracy == pytest.approx(float(right.float().mean()))


def test_an_encoder_that_averages_noise_away_withstands_it_and_chance_labels_do_not_score() -> None:
    train, test = coloured(40), coloured(40, seed=1)
    kinds = ["gaussian-noise", "shot-noise", "defocus-blur"]
    means = run(
        train,
        test,
        EvaluatedEncoder("trained", Means()),
        attacks=[],
        corruptions=kinds,
        severities=[3],
    )
    assert means["corruption_accuracy"] > 0.9
    shuffled = (train[0], np.random.default_rng(0).permutation(train[1]))
    chance = run(
        shuffled,
        test,
        EvaluatedEncoder("trained", Means()),
        attacks=[],
        corruptions=kinds,
        severities=[3],
    )
    assert chance["clean_accuracy"] < 0.75


def test_encoder_and_batch_norm_stay_as_they_are() -> None:
    who = evaluated_encoder(image_size=8)
    before = state_digest(who.encoder)
    run(coloured(10, size=8), coloured(5, size=8, seed=1), who)
    assert state_digest(who.encoder) == before
    assert not any(module.training for module in who.encoder.modules())
    assert all(
        parameter.grad is None and not parameter.requires_grad
        for parameter in who.encoder.parameters()
    )


@pytest.mark.slow
def test_two_runs_give_the_same_digits_and_another_seed_draws_other_images() -> None:
    assert rounds(images=20) == rounds(images=20)
    looked_at: list[Tensor] = []

    class Watched(Pixels):
        def features(self, images: Tensor) -> Tensor:
            looked_at.append(images)
            return super().features(images)

    train, test = coloured(10, size=4), coloured(10, size=4, seed=1)
    samples = []
    for seed in (0, 0, 1):
        looked_at.clear()
        run(
            train,
            test,
            EvaluatedEncoder("trained", Watched()),
            seed=seed,
            images=7,
            attacks=["pgd"],
            corruptions=[],
        )
        samples.append(next(images for images in looked_at if len(images) == 7))
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_a_sample_of_the_test_images_is_told() -> None:
    result = rounds(images=12, attacks=["fgsm"])
    assert result["test_images"] == 12
    assert result["tested_on"] == "12 images, drawn from all labelled test images"
    assert rounds(images=500, attacks=["fgsm"])["tested_on"] == "all labelled test images"


def test_more_restarts_never_save_an_image() -> None:
    once, thrice = (
        rounds(attacks=["pgd"], steps=1, restarts=count)["under_attack"]["pgd"] for count in (1, 3)
    )
    assert all(more <= less for more, less in zip(thrice, once, strict=True))


def test_a_test_class_that_training_lacks_is_wrong_and_never_attacked() -> None:
    train, test = coloured(20, classes=2, size=8), coloured(10, classes=3, size=8, seed=1)
    result = run(train, test, evaluated_encoder(image_size=8), corruptions=["contrast"])
    assert result["images_of_unseen_classes"] == 10
    assert result["clean_accuracy"] <= 2 / 3


def test_progress_counts_images_under_every_attack_and_corruption() -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    class Listener:
        def report(self, line: str) -> None: ...

        def count(self, what: str, done: int, total: int) -> None:
            told.setdefault(what, []).append((done, total))

    (chosen,) = choose(["robustness"], {"robustness": QUICK})
    train, test = coloured(20, size=8), coloured(10, size=8, seed=1)
    chosen(
        evaluated_encoder(image_size=8),
        EvaluationData(train, test, image_size=8, listener=Listener()),
    )
    assert told["attacks on the trained encoder"][-1] == (4 * 30, 4 * 30)
    assert told["corruptions of the images of the trained encoder"][-1] == (2 * 30, 2 * 30)


def test_either_half_can_be_left_out_but_not_both() -> None:
    only_attacks = rounds(corruptions=[], attacks=["fgsm"])
    assert headline_of("robustness", only_attacks) is None
    assert len(only_attacks["table"]) == 1
    (chosen,) = choose(["robustness:corruptions"])
    assert chosen.settings.model_dump()["attacks"] == ()
    with pytest.raises(ConfigError, match="robustness: attacks and corruptions are both empty"):
        choose(["robustness"], {"robustness": {"attacks": [], "corruptions": []}})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"corruptions": ["fogg"]},
            r"robustness.corruptions: unknown corruption 'fogg'; did you mean 'fog'\?",
        ),
        ({"attacks": ["apgd"]}, r"robustness.attacks: unknown attack 'apgd'; did you mean 'pgd'\?"),
        ({"grey_levels": [0]}, "robustness.grey_levels.0: should be greater than 0"),
        ({"grey_levels": []}, "robustness.grey_levels"),
        ({"severities": [6]}, "robustness.severities.0: should be less than or equal to 5"),
        ({"steps": 0}, "robustness.steps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(["robustness"], {"robustness": setting})


def test_levels_and_severities_are_sorted_and_each_taken_once() -> None:
    (chosen,) = choose(
        ["robustness"], {"robustness": {"grey_levels": [4, 1, 4], "severities": [5, 2]}}
    )
    settings = chosen.settings.model_dump()
    assert (settings["grey_levels"], settings["severities"]) == ((1, 4), (2, 5))
