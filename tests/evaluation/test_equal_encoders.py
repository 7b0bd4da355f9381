"""Two equal encoders have equal results in every protocol: both see the same draws."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders
import torch
from torch import nn

import rectangles
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.domains import DomainSource
from sparring.data.views.view_settings import ViewSettings
from sparring.data.views.views import Views
from sparring.evaluation.catalogue import PROTOCOLS, choose
from sparring.evaluation.data import EvaluatedEncoder, EvaluationData
from sparring.evaluation.protocol import Result, evaluate
from sparring.models.encoder import Encoder

SIZE = 16
TUNING = {"steps": 3, "batch_size": 8}
DETECTOR = {
    "steps": 2,
    "batch_size": 2,
    "min_size": (96,),
    "max_size": 128,
    "test_size": 96,
    "channels": 16,
    "hidden": 32,
    "regions": 32,
    "proposals": 50,
    "precise_steps": 1,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "semi-supervised": {"fractions": (0.25,), "draws": 2, "tuning": TUNING, "scratch": TUNING},
    "finetune": {"tuning": TUNING, "scratch": TUNING},
    "linear:adco": {"recipe": {"epochs": 2}},
    "transfer": {"candidates": 3},
    "verdict": {
        "draws": 1,
        "share": 0.5,
        "tuning": TUNING,
        "scratch": TUNING,
        "whole_budget": False,
    },
    "robustness": {
        "grey_levels": [8],
        "steps": 2,
        "corruptions": ["gaussian-noise", "impulse-noise"],
        "severities": [3],
    },
    "domains": {
        "pretrain": "run",
        "fractions": (0.5,),
        "draws": 1,
        "fine_tune_from": 0.01,
        "tuning": TUNING,
        "scratch": TUNING,
    },
    "detection": DETECTOR,
    "instance-segmentation": DETECTOR,
    "segmentation": {"steps": 2, "batch_size": 2, "head_channels": 8},
    "pixel-probe": {},
}
"""Settings that take little time, equal for the trained and the untrained encoder."""


def random_encoder() -> Encoder:
    """An encoder that draws while it learns."""
    encoder = tiny_encoders.encoder(image_size=SIZE, small_images=False)
    encoder.backbone.network.act1 = nn.Sequential(nn.ReLU(), nn.Dropout(0.3))
    return encoder.eval()


def in_domains() -> DomainSource:
    images, labels = tiny_encoders.coloured(16)
    domains = torch.arange(len(images)) % 2
    return DomainSource(Arrays(images, labels), domains.numpy(), domain_names=("ink", "photo"))


def masked(count: int, seed: int) -> tuple[Any, Any]:
    images, _ = tiny_encoders.coloured(count, classes=2, size=24, seed=seed)
    masks = torch.zeros(len(images), 24, 24, dtype=torch.long)
    masks[:, 6:18, 6:18] = 1
    return images, masks.numpy()


def data_for(labels: str, folder: Path) -> tuple[Any, Any]:
    """Images to learn from and to score, with the labels that a protocol needs."""
    match labels:
        case "boxes" | "outlines":
            train, test = (
                rectangles.write_coco(folder / str(seed), rectangles.scenes(count, seed=seed))
                for count, seed in ((6, 1), (3, 2))
            )
            return train, test
        case "masks":
            return masked(4, 0), masked(2, 1)
        case "domains":
            return in_domains(), None
        case _:
            return tiny_encoders.coloured(12), tiny_encoders.coloured(6, seed=1)


def results(
    name: str, folder: Path, *, carried: torch.Generator | None = None
) -> dict[str, Result]:
    """Results of one protocol on two equal encoders, called one after the other.

    Args:
        name: protocol, perhaps with a variant.
        folder: folder to write images to.
        carried: generator of all views, in the place of a fresh one each time.
    """
    (chosen,) = choose([name], {name.partition(":")[0]: SETTINGS.get(name, {})})
    train, test = data_for(chosen.protocol.labels, folder)
    recipe = ViewSettings(crop_scale=(0.2, 1.0))
    augment = Views([recipe, recipe], image_size=SIZE)
    data = EvaluationData(
        train,
        test,
        image_size=SIZE,
        seed=3,
        views=lambda images, draws: augment(images, generator=carried or draws),
    )
    first = random_encoder()
    untrained = EvaluatedEncoder("untrained", deepcopy(first))
    encoders = [EvaluatedEncoder("trained", first, untrained), untrained]
    found = evaluate(encoders, data, [chosen])
    return {who: by_protocol[name] for who, by_protocol in found.items() if by_protocol}


SLOW = {"detection", "instance-segmentation", "linear", "linear:adco", "pixel-probe", "robustness"}
NAMES = [name for name, protocol in PROTOCOLS.items() if not protocol.is_joint]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in [*NAMES, "linear:adco"]
    ],
)
def test_equal_encoders_have_equal_results(name: str, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    trained, untrained = (
        {key: value for key, value in result.items() if key != "note"}  # who learned how
        for result in results(name, tmp_path).values()
    )
    assert trained == untrained
    assert torch.equal(torch.get_rng_state(), state), "it draws from the global generator"


@pytest.mark.slow
def test_the_verdict_gives_equal_encoders_equal_rows(tmp_path: Path) -> None:
    rows = results("verdict", tmp_path)["trained"]["table"]["rows"]
    by_way: dict[str, list[Any]] = {}
    for who, way, accuracy, *_ in rows:
        by_way.setdefault("tuned" if "probe" not in way else way, []).append((who, accuracy))
    assert all(len({accuracy for _, accuracy in found}) == 1 for found in by_way.values()), rows


def test_a_generator_carried_from_one_encoder_to_the_other_would_be_found(tmp_path: Path) -> None:
    found = results("geometry", tmp_path, carried=torch.Generator().manual_seed(0))
    assert found["trained"] != found["untrained"]
