"""Linear probes of the papers: what they see, how they move, what they report."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import coloured, evaluated_encoder, state_digest
from torch import Tensor

from sparring.errors import ConfigError, TrainingError
from sparring.evaluation.catalogue import PROTOCOLS, choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.frozen.epoch_probe import EpochRecipe, LinearHead, probe_accuracies
from sparring.evaluation.frozen.linear import LinearSettings, linear
from sparring.models.encoder import Encoder

PLAIN: dict[str, Any] = {"epochs": 3, "batch_size": 16, "crop_scale": None}


def evaluation_data(**named: Any) -> EvaluationData:
    return EvaluationData(coloured(20), coloured(10, seed=1), image_size=16, **named)


def recipe(**changes: Any) -> EpochRecipe:
    return EpochRecipe(**{**PLAIN, **changes})


def by_hand(
    data: EvaluationData, who: EvaluatedEncoder, *, settings: EpochRecipe, batch: int
) -> float:
    """The same probe written out: momentum SGD with the schedule of the formula, on features
    without augmentation."""
    from sparring.seeding import generator

    known, features = data.classes, data.labelled(who)
    head = LinearHead(features.train_features.shape[1], num_classes=3, seed=data.seed)
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    velocities = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for epoch in range(settings.epochs):
        wave = (
            1
            + torch.cos(
                torch.tensor(torch.pi * epoch / settings.epochs, dtype=torch.float64)
            ).item()
        ) / 2
        rate = (
            settings.final_learning_rate
            + (settings.learning_rate - settings.final_learning_rate) * wave
        )
        order = torch.randperm(
            len(known.train_rows), generator=generator(data.seed, "probe order", epoch)
        )
        for chosen in order.split(batch):  # type: ignore[no-untyped-call]
            inputs, labels = features.train_features[chosen], known.train_labels[chosen]
            errors = (F.softmax(inputs @ weight.T + bias, dim=1) - F.one_hot(labels, 3)) / len(
                labels
            )
            for value, gradient, velocity in zip(
                (weight, bias),
                (errors.T @ inputs, errors.sum(0, keepdim=True)),
                velocities,
                strict=True,
            ):
                velocity.mul_(0.9).add_(gradient)
                value.sub_(rate * velocity)
    predicted = (features.test_features @ weight.T + bias).argmax(1)
    return (predicted == features.test_labels).double().mean().item()


@pytest.mark.parametrize(("rate", "epochs"), [(1.0, 1), (0.05, 4)])
def test_the_probe_is_the_formula(rate: float, epochs: int) -> None:
    data, who = evaluation_data(), evaluated_encoder()
    settings = recipe(learning_rate=rate, final_learning_rate=rate / 10, epochs=epochs)
    assert probe_accuracies(who, data, settings) == [
        pytest.approx(by_hand(data, who, settings=settings, batch=16))
    ]


def test_rates_of_a_reference_batch_grow_with_the_actual_one() -> None:
    data, who = evaluation_data(), evaluated_encoder()
    for batch, nominal, expected in ((16, 256, 1.6), (16, 16, 0.1), (60, 256, 25.6 / 60)):
        scaled = recipe(
            learning_rate=expected,
            final_learning_rate=expected,
            reference_batch=nominal,
            batch_size=batch,
        )
        plain = recipe(
            learning_rate=expected * batch / nominal,
            final_learning_rate=expected * batch / nominal,
            batch_size=batch,
        )
        assert probe_accuracies(who, data, scaled) == probe_accuracies(who, data, plain)


def test_lars_scales_the_bias_too_and_moves_a_zero_bias_by_the_plain_rate() -> None:
    from sparring.evaluation.frozen.epoch_probe import _optimizer

    head = LinearHead(4, num_classes=3, seed=0)
    optimizer = _optimizer(head, recipe(optimizer="lars", learning_rate=0.5))
    gradient = torch.tensor([[1.0, -2.0, 2.0]])
    head.weight.grad, head.bias.grad = torch.zeros_like(head.weight), gradient.clone()
    optimizer.step()
    assert torch.allclose(head.bias.detach(), -0.5 * gradient)  # norm 0: no scale
    head.bias.grad = gradient.clone()
    optimizer.step()
    trusted = 0.001 * 1.5 / 3.0  # norms 1.5 of the bias and 3 of the gradient
    assert torch.allclose(
        head.bias.detach(), -0.5 * gradient - 0.5 * (0.9 * gradient + trusted * gradient)
    )


def test_the_encoder_is_left_alone_and_two_runs_give_the_same_digits() -> None:
    who = evaluated_encoder()
    assert isinstance(who.encoder, Encoder)
    before = state_digest(who.encoder)
    first = probe_accuracies(
        who, evaluation_data(), recipe(crop_scale=(0.3, 1.0), learning_rate=0.5)
    )
    assert state_digest(who.encoder) == before
    assert (
        probe_accuracies(who, evaluation_data(), recipe(crop_scale=(0.3, 1.0), learning_rate=0.5))
        == first
    )


def test_without_augmentation_each_image_is_seen_once_and_with_it_in_every_epoch() -> None:
    seen: list[int] = []
    who = evaluated_encoder()
    original = who.encoder.features

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return original(images)

    who.encoder.features = counted  # type: ignore[method-assign]
    probe_accuracies(who, evaluation_data(), recipe())
    assert sum(seen) == 30 + 90  # the test rows once for the head; both sets once for the features
    seen.clear()
    probe_accuracies(who, evaluation_data(), recipe(crop_scale=(0.5, 1.0)))
    assert sum(seen) == 30 + 3 * 60


def test_embeddings_are_the_projectors_output_at_unit_length() -> None:
    from sparring.evaluation.frozen.epoch_probe import _inputs

    who = evaluated_encoder()
    images = torch.rand(5, 3, 16, 16)
    embeddings = _inputs(who, images, recipe(input="embeddings"))
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1.0] * 5)
    assert not torch.allclose(embeddings, _inputs(who, images, recipe()))


def test_the_last_epoch_is_reported_unless_the_option_says_best() -> None:
    data, who = evaluation_data(), evaluated_encoder()
    last = linear(who, data, LinearSettings(recipe=recipe(learning_rate=30.0, epochs=6)))
    best = linear(
        who, data, LinearSettings(recipe=recipe(learning_rate=30.0, epochs=6, report="best"))
    )
    assert best["last_accuracy"] == last["accuracy"] <= best["accuracy"]
    assert "whose labels chose it" in best["note"]
    assert "note" not in last


@pytest.mark.parametrize("variant", PROTOCOLS["linear"].variants)
@pytest.mark.slow
def test_every_variant_of_the_papers_runs_and_tells_the_classes_apart(variant: str) -> None:
    # A handful of images makes few steps, which need other rates.
    epochs, rate = {"caco": (100, 100.0), "adco": (30, 0.5), "clae": (30, 0.02)}[
        variant.partition("-")[0]
    ]
    changes = {"epochs": epochs, "learning_rate": rate, "final_learning_rate": rate / 10}
    (chosen,) = choose([f"linear:{variant}"], {"linear": {"recipe": changes}})
    assert isinstance(chosen.settings, LinearSettings)
    assert linear(evaluated_encoder(), evaluation_data(), chosen.settings)["accuracy"] > 0.8


def test_the_published_numbers_stand_in_the_variants() -> None:
    def of(variant: str) -> dict[str, Any]:
        (chosen,) = choose([f"linear:{variant}"])
        assert isinstance(chosen.settings, LinearSettings)
        assert chosen.settings.recipe is not None
        return chosen.settings.recipe.model_dump()

    adco, caco, clae = of("adco"), of("caco"), of("clae")
    assert (
        adco["learning_rate"],
        adco["final_learning_rate"],
        adco["epochs"],
        adco["batch_size"],
    ) == (10.0, 0.01, 100, 256)
    assert caco["learning_rate"] * 4096 / caco["reference_batch"] == pytest.approx(0.4)
    assert (caco["optimizer"], caco["final_learning_rate"], caco["epochs"], caco["batch_size"]) == (
        "lars",
        0.0,
        100,
        4096,
    )
    assert (clae["optimizer"], clae["learning_rate"], clae["epochs"], clae["crop_scale"]) == (
        "adam",
        3e-4,
        1000,
        None,
    )
    assert (of("clae-uel")["input"], of("clae-uel")["batch_size"]) == ("embeddings", 128)


def test_bad_rates_and_losses_that_are_not_finite_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"linear\.recipe\.learning_rate: .*greater than 0"):
        choose(["linear:adco"], {"linear": {"recipe": {"learning_rate": -1}}})
    with pytest.raises(TrainingError, match=r"lower linear\.recipe\.learning_rate"):
        probe_accuracies(
            evaluated_encoder(),
            evaluation_data(),
            recipe(learning_rate=1e38, final_learning_rate=1e38),
        )
