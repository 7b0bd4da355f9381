"""Results of the robustness protocol: mean accuracies, tables and curves."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from sparring.evaluation.protocol import Result, curves, table
from sparring.evaluation.robustness.corruptions import CORRUPTIONS

_TITLES = {
    "random-signs": "random signs (control)",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "apgd-ce": "APGD-CE",
}


def attack_result(
    survived: Mapping[str, Bool[Tensor, "levels sample"]], levels: Sequence[float], *, clean: float
) -> Result:
    """Accuracy under each attack and under all of them together; nothing without attacks.

    Args:
        survived: by attack, which images are still classified rightly at each level.
        levels: grey levels of 255, rising.
        clean: accuracy on the images as they are.
    """
    if not survived:
        return {}
    accuracies = {
        _TITLES[name]: [share(right) for right in found] for name, found in survived.items()
    }
    together = [share(right) for right in torch.stack(list(survived.values())).all(dim=0)]
    rows: list[list[str | float]] = [
        [name, clean, *values] for name, values in {**accuracies, "all of them": together}.items()
    ]
    return {
        "attacked_accuracy": _mean(together),
        "grey_levels": list(levels),
        "under_attack": dict(zip(survived, accuracies.values(), strict=True)),
        "table": table(
            ["attack", "clean %", *(f"{level:g} %" for level in levels)],
            rows,
            title="Accuracy under attack, by the largest change of a pixel in grey levels of 255",
        ),
        "curves": curves(
            {name: _points(levels, values, clean) for name, values in accuracies.items()},
            title="Accuracy under attack",
            x="largest change of a pixel, grey levels of 255",
            y="accuracy, %",
        ),
    }


def corruption_result(
    damaged: Mapping[str, Sequence[float]], severities: Sequence[int], *, clean: float
) -> Result:
    """Accuracy under each corruption, each group of them and all; nothing without corruptions.

    Args:
        damaged: by corruption, accuracy at each severity.
        severities: rising.
        clean: accuracy on the images as they are.
    """
    if not damaged:
        return {}
    groups: dict[str, list[Sequence[float]]] = {}
    for name, values in damaged.items():
        groups.setdefault(CORRUPTIONS[name].group, []).append(values)
    lines = {group: _means(members) for group, members in groups.items()}
    everything = _means(list(damaged.values()))
    rows: list[list[str | float]] = [
        [name, *values, _mean(values)] for name, values in {**damaged, "mean": everything}.items()
    ]
    return {
        "corruption_accuracy": _mean(everything),
        "severities": list(severities),
        "under_corruption": {name: list(values) for name, values in damaged.items()},
        "table": table(
            ["corruption", *(f"{severity} %" for severity in severities), "mean %"],
            rows,
            title="Accuracy under corruption, by severity",
        ),
        "curves": curves(
            {
                name: _points(severities, values, clean)
                for name, values in {"mean": everything, **lines}.items()
            },
            title="Accuracy under corruption",
            x="severity, 0 = clean",
            y="accuracy, %",
        ),
    }


def _points(
    places: Sequence[float], values: Sequence[float], clean: float
) -> list[tuple[float, float]]:
    return [
        (0.0, clean),
        *((float(place), value) for place, value in zip(places, values, strict=True)),
    ]


def _means(lists: Sequence[Sequence[float]]) -> list[float]:
    """Mean of several lists at each position."""
    return [_mean(values) for values in zip(*lists, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def share(flags: Bool[Tensor, "images"]) -> float:
    """Share of the flags that are set, in [0, 1]."""
    return flags.double().mean().item()
