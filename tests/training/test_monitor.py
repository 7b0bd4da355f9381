"""The monitor: it looks, and touches nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import games
from sparring.data.dataset import DataSettings, open_dataset
from sparring.models.backbones import Backbone
from sparring.models.encoder import Encoder
from sparring.training.monitor import Monitor


def monitor(images: np.ndarray | None = None, *, labels: np.ndarray | None = None) -> Monitor:
    """Monitor of forty images, blobs unless others are given."""
    images = games.images(40) if images is None else images
    given = images if labels is None else (images, labels)
    dataset = open_dataset(given, games.config("simclr").data, image_size=games.SIZE)
    return Monitor(dataset, games.augmentation("simclr"), num_images=40, seed=0)


def encoder() -> Encoder:
    return games.game("simclr", encoder={"backbone": "resnet18", "width": 0.0625}).encoder


def linear_encoder() -> Encoder:
    """Encoder that keeps apart what differs, without any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * games.SIZE**2, 64))
        return Encoder(
            Backbone(network, image_size=games.SIZE),
            nn.Linear(64, 16),
            mean=(0.5, 0.5, 0.5),
            std=(0.2, 0.2, 0.2),
        )


def tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_a_look_leaves_the_encoder_as_it_was(training: bool) -> None:
    watched = encoder().train(training)
    before = tensors(watched)
    found, _ = monitor().look(watched, torch.device("cpu"))
    assert found["effective_rank"] > 0
    assert not games.changed(before, tensors(watched))  # among them the statistics of batch norm
    assert watched.training is training
    assert all(module.training is training for module in watched.modules())
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in watched.parameters()
    )


def test_a_look_that_fails_gives_the_encoder_its_mode_back() -> None:
    watched = encoder().train()

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    watched.projector.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        monitor().look(watched, torch.device("cpu"))
    assert watched.training


def test_looking_twice_sees_the_same() -> None:
    watched, looking = encoder(), monitor()
    assert looking.look(watched, torch.device("cpu")) == looking.look(watched, torch.device("cpu"))


def test_a_look_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    monitor().look(encoder(), torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())


def test_embeddings_that_are_all_alike_raise_a_warning() -> None:
    watched = linear_encoder()
    noise = np.random.default_rng(0).integers(
        0, 256, (40, games.SIZE, games.SIZE, 3), dtype=np.uint8
    )
    assert monitor(noise).look(watched, torch.device("cpu"))[1] is None
    with torch.no_grad():
        watched.projector.get_parameter("weight").zero_()
        watched.projector.get_parameter("bias").fill_(1.0)
    found, warning = monitor(noise).look(watched, torch.device("cpu"))
    # Rounding of unit rows in float32.
    assert found["embedding_std"] == pytest.approx(0, abs=1e-6)
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    assert warning is not None
    assert "collapsed" in warning


def test_without_labels_there_is_a_panel_and_no_score() -> None:
    found, _ = monitor().look(encoder(), torch.device("cpu"))
    assert found.keys() == {"alignment", "uniformity", "effective_rank", "embedding_std"}


@pytest.mark.parametrize(("known", "is_scored"), [(0, False), (1, False), (2, True)])
def test_images_of_which_hardly_any_has_a_label_get_no_score(known: int, is_scored: bool) -> None:
    labels = np.where(np.arange(40) < known, 0, -1)
    found, _ = monitor(labels=labels).look(encoder(), torch.device("cpu"))
    assert ("knn_accuracy" in found) is is_scored


def test_the_score_holds_out_a_fifth_that_is_not_among_its_neighbours() -> None:
    # Every image has its own label, so that only a score on the images it learned from could be
    # above zero.
    found, _ = monitor(labels=np.arange(40)).look(encoder(), torch.device("cpu"))
    assert found["knn_accuracy"] == 0


def test_images_of_unknown_class_are_left_out_of_the_score() -> None:
    labels = np.where(np.arange(40) % 3 == 0, -1, 1)
    found, _ = monitor(labels=labels).look(encoder(), torch.device("cpu"))
    assert found["knn_accuracy"] == 1


def test_the_online_knn_scores_no_image_under_the_label_of_another(tmp_path: Path) -> None:
    """Unreadable files of the one class stand before readable ones of the other."""
    for number in range(24):
        is_white, is_cut = number % 4 >= 2, number % 4 == 1
        folder = tmp_path / f"{'white' if is_white or is_cut else 'black'}"
        folder.mkdir(exist_ok=True)
        image = Image.new("RGB", (8, 8), "white" if is_white else "black")
        image.save(folder / f"{number:02d}.png")
    for path in sorted((tmp_path / "white").iterdir())[::3]:
        path.write_bytes(b"")
    data = DataSettings(store="never")
    dataset = open_dataset(tmp_path, data, image_size=games.SIZE, is_training=True)
    watching = Monitor(dataset, games.augmentation("simclr"), num_images=24, seed=0)
    found, _ = watching.look(linear_encoder(), torch.device("cpu"))
    assert len(dataset.quarantine) == 6
    assert found["knn_accuracy"] == 1
