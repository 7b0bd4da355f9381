"""Fine-tuning, semi-supervised evaluation and fine-tuning on all labels: what learns, from which
labels, and how often the same."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_encoders import coloured, encoder, evaluated_encoder, state_digest

from public_folders import write_set
from sparring.data.dataset import DataSettings, open_dataset
from sparring.errors import DataError, TrainingError
from sparring.evaluation.catalogue import PROTOCOLS, choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.finetuning.finetune import FinetuneSettings, finetune
from sparring.evaluation.finetuning.finetuning import (
    Classifier,
    FineTuningSettings,
    budget_warning,
    fine_tuned,
    predictions,
)
from sparring.evaluation.finetuning.semi_supervised import SemiSupervisedSettings, semi_supervised
from sparring.evaluation.split import labelled_rows

SHORT = FineTuningSettings(
    steps=4, batch_size=16, backbone_learning_rate=0.05, head_learning_rate=0.2
)
LONG = SHORT.model_copy(update={"steps": 40})
"""Enough for the running statistics of the batch norms, which start at those of no image, to
arrive."""


def tuned(
    settings: FineTuningSettings = SHORT, *, seed: int = 0
) -> tuple[Classifier, Any, torch.Tensor]:
    images, labels = coloured(20)
    dataset = open_dataset((images, labels), DataSettings(), image_size=16)
    targets = torch.from_numpy(labels)
    network = deepcopy(encoder()).requires_grad_(True)
    return (
        fine_tuned(
            network, dataset, torch.arange(60), targets, num_classes=3, settings=settings, seed=seed
        ),
        dataset,
        targets,
    )


def test_a_learnable_set_is_learned_and_rates_of_zero_learn_nothing() -> None:
    classifier, dataset, labels = tuned(LONG)
    assert (predictions(classifier, dataset, torch.arange(60)) == labels).float().mean() > 0.9
    idle, *_ = tuned(
        LONG.model_copy(update={"backbone_learning_rate": 0.0, "head_learning_rate": 0.0})
    )
    assert torch.equal(idle.head.weight, Classifier(encoder(), num_classes=3, seed=0).head.weight)
    assert not idle.training


def test_each_rate_moves_its_own_part() -> None:
    before = dict(encoder().backbone.named_parameters())
    head_only, *_ = tuned(SHORT.model_copy(update={"backbone_learning_rate": 0.0}))
    assert all(
        torch.equal(p, before[name]) for name, p in head_only.encoder.backbone.named_parameters()
    )
    backbone_only, *_ = tuned(SHORT.model_copy(update={"head_learning_rate": 0.0}))
    assert any(
        not torch.equal(p, before[name])
        for name, p in backbone_only.encoder.backbone.named_parameters()
    )
    assert not backbone_only.head.bias.any()


def test_two_runs_give_the_same_bits_and_another_seed_others() -> None:
    assert state_digest(tuned()[0]) == state_digest(tuned()[0]) != state_digest(tuned(seed=1)[0])


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"schedule": "cosine"}, [1.0, 0.5, 0.0]),
        ({"schedule": "steps", "drops": (0.5, 0.9), "drop_factor": 0.1}, [1.0, 0.1, 0.01]),
    ],
)
def test_rates_follow_their_schedule(settings: dict[str, Any], factors: list[float]) -> None:
    from sparring.evaluation.finetuning.finetuning import _optimizer, _set_rates

    tuning = FineTuningSettings(
        steps=100, backbone_learning_rate=0.3, head_learning_rate=2.0, **settings
    )
    optimizer = _optimizer(Classifier(encoder(), num_classes=2, seed=0), tuning)
    for step, factor in zip((0, 50, 99), factors, strict=True):
        _set_rates(optimizer, tuning, step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(
            [0.3 * factor, 2.0 * factor], abs=1e-3
        )


def test_a_loss_that_is_not_finite_is_one_sentence() -> None:
    with pytest.raises(
        TrainingError, match=r"fine-tuning: the loss is .* at step \d+; lower the learning rates"
    ):
        tuned(SHORT.model_copy(update={"backbone_learning_rate": 1e30, "head_learning_rate": 1e30}))


def evaluation_data(**named: Any) -> EvaluationData:
    return EvaluationData(
        coloured(40, noise=10), coloured(20, seed=1, noise=10), image_size=16, **named
    )


FEW = SemiSupervisedSettings(fractions=(0.05, 0.25), draws=3, tuning=SHORT, scratch=SHORT)


def test_few_labels_of_each_class_and_the_smaller_share_within_the_larger() -> None:
    labels = torch.tensor([0] * 90 + [1] * 8 + [2])
    small, large = (labelled_rows(labels, share=share, seed=3) for share in (0.05, 0.5))
    assert torch.bincount(labels[small]).tolist() == [4, 1, 1]
    assert torch.bincount(labels[large]).tolist() == [45, 4, 1]
    assert set(small.tolist()) < set(large.tolist())
    assert (
        small.tolist()
        == labelled_rows(labels, share=0.05, seed=3).tolist()
        == sorted(small.tolist())
    )
    assert small.tolist() != labelled_rows(labels, share=0.05, seed=4).tolist()


def test_semi_supervised_reports_mean_and_spread_over_draws_and_leaves_the_encoder_alone() -> None:
    who, data = evaluated_encoder(), evaluation_data()
    before = state_digest(who.encoder)  # type: ignore[arg-type]
    result = semi_supervised(who, data, FEW)
    assert state_digest(who.encoder) == before  # type: ignore[arg-type]
    assert [row[1] for row in result["table"]["rows"]] == [6, 30]
    for row, draws in zip(result["table"]["rows"], result["draws"].values(), strict=True):
        assert len(draws) == 3
        assert row[2:4] == pytest.approx([np.mean(draws), np.std(draws, ddof=1)])
    assert result["accuracy"] == result["table"]["rows"][0][2]
    assert semi_supervised(who, evaluation_data(), FEW) == result


def test_only_the_drawn_labels_are_used() -> None:
    images, labels = coloured(40)
    chosen = labelled_rows(torch.from_numpy(labels), share=0.25, seed=0)
    rest = np.setdiff1d(np.arange(len(labels)), chosen.numpy())
    wrong = labels.copy()
    wrong[rest] = np.random.default_rng(0).permutation(labels[rest])
    dataset = open_dataset((images, labels), DataSettings(), image_size=16)
    first, second = (
        fine_tuned(
            evaluated_encoder().trainable_copy(),
            dataset,
            chosen,
            torch.from_numpy(given)[chosen],
            num_classes=3,
            settings=SHORT,
            seed=0,
        )
        for given in (labels, wrong)
    )
    assert state_digest(first) == state_digest(second)


@pytest.mark.slow
def test_the_untrained_encoder_learns_by_the_scratch_settings() -> None:
    idle = SHORT.model_copy(update={"backbone_learning_rate": 0.0, "head_learning_rate": 0.0})
    settings = FEW.model_copy(
        update={"tuning": LONG, "scratch": idle, "fractions": (0.25,), "draws": 4}
    )
    # Means of four draws: 0.92 to 1.0, and 0.28. One draw may miss a whole class of the three.
    trained = semi_supervised(evaluated_encoder(), evaluation_data(), settings)
    untrained = semi_supervised(evaluated_encoder(name="untrained"), evaluation_data(), settings)
    assert trained["accuracy"] > untrained["accuracy"] + 0.2
    assert "from scratch" in untrained["note"]
    start = semi_supervised(evaluated_encoder(name="start weights"), evaluation_data(), settings)
    assert (start["accuracy"], start["note"]) == (trained["accuracy"], trained["note"])


def test_lists_of_names_take_the_place_of_draws(tmp_path: Path) -> None:
    images, labels = coloured(8)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "photos" / f"class{label}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    keys = sorted(
        str(path.relative_to(tmp_path / "photos")) for path in (tmp_path / "photos").rglob("*.png")
    )
    others, classes = coloured(8, seed=1)
    test = others, np.array([f"class{label}" for label in classes])
    data = EvaluationData(tmp_path / "photos", test, image_size=16)
    names = tmp_path / "names.txt"
    settings = SemiSupervisedSettings(lists=(str(names),), tuning=SHORT)
    chosen = [next(key for key in keys if key.startswith(f"class{label}")) for label in range(3)]
    names.write_text("\n".join([chosen[0], *(Path(key).name for key in chosen[1:])]))
    assert semi_supervised(evaluated_encoder(), data, settings)["table"]["rows"][0][:2] == [
        str(names),
        3,
    ]
    names.write_text("\n".join(chosen[:2]))
    with pytest.raises(DataError, match="names no image of class class2"):
        semi_supervised(evaluated_encoder(), data, settings)
    names.write_text("other.png\n")
    with pytest.raises(DataError, match=r"none of the 1 names in .* such as class0"):
        semi_supervised(evaluated_encoder(), data, settings)
    names.unlink()
    with pytest.raises(DataError, match=r"cannot read .*names\.txt: No such file"):
        semi_supervised(evaluated_encoder(), data, settings)


@pytest.mark.slow
def test_finetune_learns_from_all_labels_and_its_grid_never_sees_the_test_labels() -> None:
    settings = FinetuneSettings(tuning=LONG, learning_rates=(1e-6, 0.05))
    result = finetune(evaluated_encoder(), evaluation_data(), settings)
    assert result["accuracy"] > 0.9
    assert result["learning_rate"] == 0.05
    assert [row[0] for row in result["table"]["rows"]] == [1e-6, 0.05]
    images, labels = coloured(20, seed=1, noise=10)
    shuffled = EvaluationData(coloured(40, noise=10), (images, (labels + 1) % 3), image_size=16)
    other = finetune(evaluated_encoder(), shuffled, settings)
    assert other["table"] == result["table"]
    assert other["accuracy"] < 0.1


def test_the_grid_is_of_rates_and_of_decays_divided_by_the_rate() -> None:
    from sparring.evaluation.finetuning.finetune import _candidates

    grid = _candidates(
        FinetuneSettings(learning_rates=(0.1, 1.0), weight_decays=(0.0, 1e-4)), SHORT
    )
    assert [(c.backbone_learning_rate, c.head_learning_rate, c.weight_decay) for c in grid] == [
        (0.1, 0.1, 0.0),
        (0.1, 0.1, pytest.approx(1e-3)),
        (1.0, 1.0, 0.0),
        (1.0, 1.0, 1e-4),
    ]
    assert _candidates(FinetuneSettings(), SHORT) == [SHORT]


def test_a_public_set_brings_its_validation_images_and_its_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparring.evaluation.finetuning.finetune import _metric, _parted

    data = EvaluationData(
        None, "flowers102", image_size=16, root=write_set("flowers102", tmp_path, monkeypatch)
    )
    kept, held_out = _parted(data.classes, FinetuneSettings(), seed=0)
    assert data.classes.validation is not None
    assert held_out.tolist() == data.classes.validation.tolist()
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(len(data.classes.train_rows)))
    assert _metric(data, FinetuneSettings()) == "mean-per-class"
    assert _metric(data, FinetuneSettings(metric="top-1")) == "top-1"
    assert _metric(evaluation_data(), FinetuneSettings()) == "top-1"


def test_finetune_can_count_every_class_alike() -> None:
    images, labels = coloured(20, seed=1)
    keep = (labels != 2) | (np.cumsum(labels == 2) <= 2)
    data = EvaluationData(
        coloured(40), (images[keep], np.where(labels[keep] == 2, 0, labels[keep])), image_size=16
    )
    top, mean = (
        finetune(evaluated_encoder(), data, FinetuneSettings(tuning=SHORT, metric=m))
        for m in ("top-1", "mean-per-class")
    )
    assert top["accuracy"] != mean["accuracy"]


def test_an_external_encoder_is_evaluated_too() -> None:
    who = EvaluatedEncoder("resnet", encoder(seed=3))
    assert finetune(who, evaluation_data(), FinetuneSettings(tuning=LONG))["accuracy"] > 0.8


def test_every_draw_has_predictions_whose_mean_is_its_accuracy() -> None:
    data = EvaluationData(coloured(20), coloured(5, seed=1), image_size=16)
    settings = SemiSupervisedSettings(fractions=(0.1, 0.5), draws=2, tuning=SHORT, scratch=SHORT)
    result = semi_supervised(evaluated_encoder(), data, settings)
    found = result["predictions"]
    assert found.fits[0] == "10 % of the labels, draw 1"
    assert found.predicted.shape == (4, 15)
    shares = [share for draws in result["draws"].values() for share in draws]
    assert found.is_right.mean(axis=1) == pytest.approx(shares)
    result = finetune(evaluated_encoder(), data, FinetuneSettings(tuning=SHORT, scratch=SHORT))
    assert result["predictions"].is_right.mean() == pytest.approx(result["accuracy"])
    assert "warning" not in result


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"steps": 8}, "mine.tuning.steps is 4 and mine.scratch.steps 8"),
        ({"batch_size": 8}, "mine.tuning.batch_size is 16 and mine.scratch.batch_size 8"),
        ({"crop_scale": (0.5, 1.0)}, "mine.scratch.crop_scale (0.5, 1.0)"),
        ({"nesterov": True}, "mine.tuning.nesterov is False and mine.scratch.nesterov True"),
        ({"backbone_learning_rate": 0.9, "head_learning_rate": 0.9, "weight_decay": 0.1}, None),
    ],
)
def test_columns_of_unequal_budgets_are_warned_of(
    changed: dict[str, Any], told: str | None
) -> None:
    warning = budget_warning(SHORT, SHORT.model_copy(update=changed), protocol="mine")
    assert ("warning" in warning) == (told is not None)
    assert (told or "") in warning.get("warning", "")


def test_an_unequal_comparison_carries_the_warning_in_its_result() -> None:
    data = EvaluationData(coloured(8), coloured(4, seed=1), image_size=16)
    settings = FinetuneSettings(tuning=SHORT, scratch=SHORT.model_copy(update={"steps": 1}))
    result = finetune(evaluated_encoder(), data, settings)
    assert "finetune.tuning.steps is 4" in result["warning"]


def test_no_variant_of_the_library_compares_unequal_budgets() -> None:
    names = [name for name, protocol in PROTOCOLS.items() if not protocol.is_frozen]
    texts = [f"{n}:{v}" if v else n for n in names for v in ("", *PROTOCOLS[n].variants)]
    pairs = [
        (one.name, one.settings.tuning, one.settings.scratch)
        for one in choose(texts)
        if hasattr(one.settings, "scratch")
    ]
    assert len(pairs) >= 7
    assert {name: budget_warning(*both, protocol=name) for name, *both in pairs} == {
        name: {} for name, *_ in pairs
    }
