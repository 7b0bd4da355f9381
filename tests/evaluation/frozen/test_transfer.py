"""Linear transfer against scikit-learn, its honesty towards the test images, its metrics, and the
public sets."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny_encoders import coloured, encoder, evaluated_encoder, state_digest
from torch import Tensor, nn

import public_folders
from public_folders import write_set
from sparring.data.dataset import DataSettings
from sparring.errors import ConfigError, DataError
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen import transfer as module
from sparring.evaluation.frozen.knn import KnnSettings, knn
from sparring.evaluation.frozen.logistic import Probe, standardise
from sparring.evaluation.frozen.transfer import TransferSettings, transfer
from sparring.evaluation.protocol import Result, without_predictions
from sparring.measures.average_precision import area_average_precision
from tiny import Command

SIZE = 16
FEW = {"candidates": 6}
Images = tuple[np.ndarray, np.ndarray]


class Colours(nn.Module):
    """Mean and deviation of each colour as features."""

    def features(self, images: Tensor) -> Tensor:
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


class Blind(nn.Module):
    """The same features for every image."""

    def features(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), 4)


def run(
    train: Any,
    test: Any,
    network: Any = None,
    *,
    seed: int = 0,
    root: Path | None = None,
    **settings: Any,
) -> Result:
    evaluation_data = EvaluationData(train, test, image_size=SIZE, seed=seed, root=root)
    return transfer(
        EvaluatedEncoder("trained", network or Colours()),
        evaluation_data,
        TransferSettings(**{**FEW, **settings}),
    )


def noisy(per_class: int, *, seed: int, classes: int = 4) -> Images:
    """Images whose colours overlap: `tiny_encoders.coloured`, each shifted as a whole."""
    images, labels = coloured(per_class, classes=classes, seed=seed)
    shift = np.random.default_rng(seed + 100).normal(0, 45, (len(images), 1, 1, 3))
    return np.clip(images + shift, 0, 255).astype(np.uint8), labels


class Spy:
    """Remembers every fit: rows, penalties and what came out."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.fits: list[tuple[int, Sequence[float], list[Probe]]] = []
        inner = module.regularisation_path

        def path(
            features: Tensor, targets: Tensor, penalties: Sequence[float], **named: Any
        ) -> list[Probe]:
            self.fits.append(
                (len(features), penalties, inner(features, targets, penalties, **named))
            )
            return self.fits[-1][2]

        patch.setattr(module, "regularisation_path", path)


def test_the_classifier_is_scikit_learns_at_the_chosen_penalty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, test, spy = noisy(40, seed=0), noisy(30, seed=1), Spy(monkeypatch)
    result = run(train, test)
    data = EvaluationData(train, test, image_size=SIZE).labelled(
        EvaluatedEncoder("trained", Colours())
    )
    rows, others = standardise(data.train_features.double(), data.test_features.double())
    oracle = LogisticRegression(C=1 / result["penalty"], tol=1e-9, max_iter=10_000).fit(
        rows.numpy(), train[1]
    )
    (final,) = spy.fits[-1][2]
    logits = others.float() @ final.weight.T + final.bias
    np.testing.assert_allclose(
        logits.softmax(1).numpy(), oracle.predict_proba(others.numpy()), atol=2e-3
    )
    assert result["accuracy"] == pytest.approx(oracle.score(others.numpy(), test[1]), abs=1 / 120)
    assert 0.5 < result["accuracy"] < 0.99


def test_the_penalty_is_that_of_the_summed_loss_in_both_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spy = Spy(monkeypatch)
    result = run(noisy(40, seed=0), noisy(10, seed=1), candidates=45)
    (few, path, _), (all_rows, (last,), _) = spy.fits
    assert (few, all_rows) == (128, 160)
    assert [penalty * few for penalty in path] == pytest.approx(np.logspace(5, -6, 45).tolist())
    assert last * all_rows == pytest.approx(result["penalty"])
    assert len(result["curves"]["lines"]["validation"]) == 45
    best = max(value for _, value in result["curves"]["lines"]["validation"])
    assert result["validation_score"] == best
    assert result["penalty"] == pytest.approx(
        10 ** max(x for x, value in result["curves"]["lines"]["validation"] if value == best)
    )


def test_nothing_is_chosen_by_the_test_images() -> None:
    train, test = noisy(40, seed=0), noisy(30, seed=1)
    real, shuffled = run(train, test), run(train, (test[0], np.roll(test[1], 7)))
    for key in ("penalty", "validation_score", "iterations"):
        assert real[key] == shuffled[key]
    assert shuffled["score"] < 0.5 < real["score"]


def test_a_learnable_set_is_learned_and_labels_of_other_images_are_not() -> None:
    train, test = coloured(30, seed=0), coloured(30, seed=1)
    assert run(train, test)["score"] > 0.95
    draw = np.random.default_rng(0)
    assert run((train[0], draw.permutation(train[1])), test)["score"] < 0.7


def test_two_runs_give_the_same_digits_and_another_seed_other_validation_images() -> None:
    train, test = noisy(40, seed=0), noisy(30, seed=1)
    assert run(train, test, seed=3) == run(train, test, seed=3)
    assert run(train, test, seed=3)["curves"] != run(train, test, seed=4)["curves"]


def test_the_encoder_is_left_to_the_bit() -> None:
    network, train = encoder(image_size=SIZE), coloured(8)
    before = state_digest(network)
    result = run(train, coloured(6, seed=1), network)
    assert state_digest(network) == before
    assert not network.training
    json.dumps(without_predictions(result), allow_nan=False)


def test_progress_and_a_result_that_shows_what_it_looked_at() -> None:
    told: list[tuple[str, int, int]] = []

    class Listener:
        def report(self, line: str) -> None: ...

        def count(self, what: str, done: int, total: int) -> None:
            told.append((what, done, total))

    evaluation_data = EvaluationData(
        coloured(10), coloured(5, seed=1), image_size=SIZE, listener=Listener()
    )
    result = transfer(evaluated_encoder(image_size=SIZE), evaluation_data, TransferSettings(**FEW))
    assert ("penalties, trained encoder", 6, 6) in told
    assert (result["train_images"], result["test_images"]) == (30, 15)
    assert result["table"]["columns"] == ["class", "test images", "accuracy %"]
    assert sum(row[1] for row in result["table"]["rows"]) == 15


def test_mean_per_class_weighs_small_classes_alike() -> None:
    images, labels = coloured(40, classes=4)
    keep = np.concatenate(
        [np.flatnonzero(labels == label)[:count] for label, count in enumerate((40, 10, 10, 10))]
    )
    train = images[keep], labels[keep]
    test_images, test_labels = coloured(30, classes=4, seed=1)
    chosen = np.concatenate(
        [np.flatnonzero(test_labels == label)[:count] for label, count in enumerate((30, 5, 5, 5))]
    )
    test = test_images[chosen], test_labels[chosen]
    for metric, score in (("top-1", 30 / 45), ("mean-per-class", 1 / 4)):
        result = run(
            train, test, Blind(), metric=metric
        )  # what sees nothing names the largest class
        assert result["accuracy"] == pytest.approx(30 / 45)
        assert result["mean_per_class_accuracy"] == pytest.approx(1 / 4)
        assert (result["metric"], result["score"]) == (metric, pytest.approx(score))
        assert result["table"]["rows"][-1][2] == 1
    assert run(train, test, Blind())["metric"] == "top-1"


def test_the_penalty_is_chosen_by_the_metric() -> None:
    images, labels = noisy(60, seed=0, classes=3)
    rows = np.concatenate(
        [np.flatnonzero(labels == label)[:count] for label, count in enumerate((60, 12, 12))]
    )
    train = images[rows], labels[rows]
    scores = [
        run(train, noisy(10, seed=1, classes=3), metric=metric)
        for metric in ("top-1", "mean-per-class")
    ]
    curves = [dict(map(tuple, result["curves"]["lines"]["validation"])) for result in scores]
    assert (
        curves[0][5.0] > 0.6 > 0.34 > curves[1][5.0]
    )  # the strongest penalty names the largest class


def test_every_class_that_training_lacks_counts_as_a_class_of_its_own() -> None:
    images, labels = coloured(30, classes=4)
    known = labels < 2
    test_images, test_labels = coloured(10, classes=4, seed=1)
    result = run((images[known], labels[known]), (test_images, test_labels))
    alone = run(
        (images[known], labels[known]), (test_images[test_labels < 2], test_labels[test_labels < 2])
    )
    assert alone["accuracy"] == alone["mean_per_class_accuracy"] == 1
    assert result["images_of_unseen_classes"] == 20
    assert (result["accuracy"], result["mean_per_class_accuracy"]) == (1 / 2, 1 / 2)
    uneven = np.concatenate(
        [
            np.flatnonzero(test_labels < 2),
            np.flatnonzero(test_labels == 2)[:1],
            np.flatnonzero(test_labels == 3)[:1],
        ]
    )
    result = run((images[known], labels[known]), (test_images[uneven], test_labels[uneven]))
    assert (result["accuracy"], result["mean_per_class_accuracy"]) == (
        pytest.approx(20 / 22),
        1 / 2,
    )


def test_a_best_penalty_at_the_end_of_the_grid_is_told() -> None:
    train, test = coloured(20), coloured(10, seed=1)
    assert "raise transfer.strongest" in run(train, test, weakest=1e-3, strongest=1e-2)["note"]
    assert "note" not in run(noisy(40, seed=0), noisy(10, seed=1), Colours(), candidates=23)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"metric": "11-point-mAP"},
            "these images show one class each; choose auto, top-1 or mean-per-class",
        ),
        ({"metric": "area-mAP"}, "transfer.metric=area-mAP"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(coloured(5), coloured(5, seed=1), **settings)


def test_settings_out_of_range_are_refused() -> None:
    for values in (
        {"weakest": 1.0, "strongest": 1.0},
        {"candidates": 1},
        {"weakest": 0},
        {"validation_share": 1},
        {"metric": "accuracy"},
    ):
        with pytest.raises(ConfigError, match=r"transfer|weakest must be below strongest"):
            TransferSettings.build(values, where="transfer")


@pytest.mark.parametrize(
    "name",
    [
        "cifar10",
        "cifar100",
        "dtd",
        "stanford_cars",
        "sun397",
        "fgvc_aircraft",
        "food101",
        "oxford_pets",
    ],
)
def test_public_sets_are_learned_and_scored_by_their_convention(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    result = run(None, name, root=write_set(name, tmp_path, monkeypatch))
    # 0.9 to 1.0: two validation images may like too strong a penalty.
    assert result["score"] > 0.75
    assert result["metric"] == (
        "mean-per-class" if name in ("fgvc_aircraft", "oxford_pets") else "top-1"
    )
    assert result["tested_on"].startswith(f"test images of {name}")
    assert ("drawn by the seed 0" in result["tested_on"]) == (name == "sun397")
    has_official = name in ("dtd", "fgvc_aircraft")
    assert result["validated_on"].startswith("official" if has_official else "20%")
    assert [rows for rows, _, _ in spy.fits] == [6 if has_official else 8, 10]


def test_official_validation_images_are_found_among_those_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_set("dtd", tmp_path, monkeypatch)
    (root / "dtd/dtd/images/banded/banded_train0000.jpg").write_bytes(b"no image")
    evaluation_data = EvaluationData(None, "dtd", image_size=SIZE, root=root)
    known = evaluation_data.classes
    assert known.validation is not None
    keys = [known.train.keys[int(known.train_rows[row])] for row in known.validation]
    assert len(known.train_rows) == 9
    assert len(keys) == 4
    assert all("_val" in key for key in keys)


def test_other_protocols_take_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_set("dtd", tmp_path, monkeypatch)

    def sizes(train: Any, test: Any) -> tuple[int, int, str]:
        result = knn(
            EvaluatedEncoder("trained", Colours()),
            EvaluationData(train, test, image_size=SIZE, root=root),
            KnnSettings(),
        )
        return result["train_images"], result["test_images"], result["tested_on"]

    assert sizes(None, "dtd") == sizes("dtd", "dtd") == (10, 8, "test images of dtd")
    assert sizes("dtd", None)[:2] == (
        8,
        2,
    )  # a fifth of the images to learn from; the test images stay unseen
    folder = tmp_path / "own"
    for source, name in (("banded", "banded"), ("zigzagged", "zigzagged")):
        (folder / name).mkdir(parents=True)
        for path in sorted((root / "dtd/dtd/images" / source).glob("*_train*")):
            (folder / name / path.name).write_bytes(path.read_bytes())
    assert sizes(folder, "dtd")[:2] == (6, 8)
    # The folder holds training images of the set: a part of them is held out.
    assert sizes("dtd", folder)[:2] == (8, 2)
    with pytest.raises(
        DataError, match="no such file or folder: cifar-10; the public set is called 'cifar10'"
    ):
        sizes(None, "cifar-10")


def voc(root: Path) -> Path:
    public_folders.voc2007(root, counts=(24, 24, 40))
    return root


def test_voc_is_scored_class_by_class_without_what_is_only_difficult(tmp_path: Path) -> None:
    result = run(None, "voc2007", root=voc(tmp_path))
    rows = {row[0]: row[1:] for row in result["table"]["rows"]}
    assert len(rows) == 20
    assert rows["aeroplane"] == [20, 1, 1]
    assert rows["bicycle"] == [20, 1, 1]
    assert rows["bird"] == rows["cow"] == [0, None, None]
    assert (
        result["score"] == result["map_11_point"] == result["map_area"] == 1
    )  # over the two classes that the test images show
    assert (result["metric"], result["validated_on"]) == (
        "11-point-mAP",
        "official validation images",
    )
    assert (result["train_images"], result["test_images"]) == (48, 40)
    json.dumps(without_predictions(result), allow_nan=False)
    found = result["predictions"]
    assert found.targets.shape == found.predicted.shape == found.scores.shape
    assert np.array_equal(found.predicted, found.scores > 0)
    assert len(found.keys) == len(found.targets)


def test_voc_labels_of_other_images_are_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = voc(tmp_path)
    lists = root / "VOCdevkit/VOC2007/ImageSets/Main"
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("aeroplane", "bicycle"):
            images, flags = zip(
                *(line.split() for line in (lists / f"{name}_{part}.txt").read_text().splitlines()),
                strict=True,
            )
            lines = [
                f"{image} {flag}\n"
                for image, flag in zip(images, draw.permutation(flags), strict=True)
            ]
            (lists / f"{name}_{part}.txt").write_text("".join(lines))
    assert run(None, "voc2007", root=root, candidates=3)["map_area"] < 0.9
    assert run(None, "voc2007", Blind(), root=root, candidates=3)["map_area"] == pytest.approx(0.5)


def test_a_difficult_object_counts_neither_way(tmp_path: Path) -> None:
    root = voc(tmp_path)
    lists = root / "VOCdevkit/VOC2007/ImageSets/Main"
    before = run(None, "voc2007", root=root, metric="area-mAP", candidates=3)
    # Half of the test images with a bicycle show none that counts: as negatives they would stand
    # above all others.
    lines = (lists / "bicycle_test.txt").read_text().splitlines()
    lines[20:] = [
        line.replace(" 1", " 0").replace(" -1", "-1") if line.endswith(" 1") else line
        for line in lines[20:]
    ]
    (lists / "bicycle_test.txt").write_text("\n".join(line.replace("-1", " -1") for line in lines))
    after = run(None, "voc2007", root=root, metric="area-mAP", candidates=3)
    assert after["table"]["rows"][1] == ["bicycle", 10, 1, 1]
    assert before["penalty"] == after["penalty"]
    assert after["score"] == after["map_area"] == 1


def test_the_score_of_a_class_is_the_measure_of_its_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    inner = module.average_precisions

    def remember(logits: Tensor, presence: Tensor, metric: str) -> list[float | None]:
        seen[:] = [logits, presence]
        return inner(logits, presence, metric)

    monkeypatch.setattr(module, "average_precisions", remember)
    result = run(
        None,
        "voc2007",
        evaluated_encoder(image_size=SIZE).encoder,
        root=voc(tmp_path),
        candidates=3,
    )
    logits, presence = seen
    assert presence.shape == logits.shape == (40, 20)
    assert result["table"]["rows"][0][3] == pytest.approx(
        area_average_precision(logits[:, 0], presence[:, 0] == 1)
    )


@pytest.mark.parametrize(
    "store", ["always", "never"]
)  # found unreadable before the features, or on the way
def test_unread_images_of_voc_are_left_out(
    store: Literal["always", "never"], tmp_path: Path
) -> None:
    root = voc(tmp_path)
    (root / "VOCdevkit/VOC2007/JPEGImages/000050.jpg").write_bytes(b"no image")
    (root / "VOCdevkit/VOC2007/JPEGImages/000003.jpg").write_bytes(b"no image")
    evaluation_data = EvaluationData(
        None, "voc2007", image_size=SIZE, root=root, keep=DataSettings(store=store)
    )
    result = transfer(
        EvaluatedEncoder("trained", Colours()), evaluation_data, TransferSettings(candidates=3)
    )
    assert (result["train_images"], result["test_images"]) == (47, 39)
    assert {row[0]: row[1] for row in result["table"]["rows"]}["bicycle"] == 19


def test_voc_has_no_single_classes_and_no_other_partner(tmp_path: Path) -> None:
    root = voc(tmp_path)
    with pytest.raises(
        DataError, match="an image of voc2007 shows several classes; only the protocol 'transfer'"
    ):
        _ = EvaluationData(None, "voc2007", image_size=SIZE, root=root).classes
    for train, test in ((coloured(5), "voc2007"), ("voc2007", coloured(5)), ("voc2007", None)):
        with pytest.raises(DataError, match="give --data voc2007 and no --train-data"):
            run(train, test, root=root)
    with pytest.raises(
        ConfigError,
        match=r"transfer\.metric=top-1: these images show several classes each; "
        r"choose auto, 11-point-mAP",
    ):
        run(None, "voc2007", root=root, metric="top-1")


def test_the_command_takes_a_name_and_a_root(
    command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_set("cifar100", tmp_path / "sets", monkeypatch)
    done = command(
        *(
            "evaluate",
            run,
            "--data",
            "cifar100",
            "--root",
            root,
            "--protocol",
            "knn,linear,transfer",
            "--device",
            "cpu",
        ),
        *("--set", "transfer.candidates=5", "--json"),
    )
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    for name in ("trained", "untrained"):
        for protocol in ("knn", "linear", "transfer"):
            assert scores[name][protocol]["tested_on"] == "test images of cifar100"
            assert (
                scores[name][protocol]["train_images"],
                scores[name][protocol]["test_images"],
            ) == (10, 8)
    missing = command(
        "evaluate",
        run,
        "--data",
        "flowers102",
        "--root",
        tmp_path / "sets",
        "--protocol",
        "transfer",
        "--device",
        "cpu",
    )
    assert missing.code == 2
    assert missing.error.startswith("flowers102 is incomplete in")
