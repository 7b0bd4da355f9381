"""From a run folder to its summary with pictures: what the trained and the untrained encoder make
of the same images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.source import ImageData
from sparring.data.views.views import Views
from sparring.methods.method import Method, Step, Wrapper
from sparring.models.split_norm import still_statistics
from sparring.negatives.bank import Bank
from sparring.opponents.generator_pair.album import MOMENTS, Album
from sparring.opponents.perturbed import Perturbed
from sparring.optim.schedule import Progress
from sparring.reporting.gallery import NUM_VIEW_ROWS, EncodedImages, Gallery, make_gallery
from sparring.reporting.summary import RunSummary, read_run
from sparring.seeding import generator
from sparring.training.run_folder import RunFolder
from sparring.training.start import both_methods, online_encoder

IMAGES = 1500
"""Images that pictures are chosen from."""
BATCH = 256
ATTACK_BATCH = 128
"""Images that are attacked together; what is done to one depends on the others."""
END = Progress(step=10**6, num_steps=10**6 + 1, steps_per_epoch=1)
"""Past every warm-up."""


def illustrated(
    folder: RunFolder, data: ImageData | None = None, *, backbone: nn.Module | None = None
) -> RunSummary:
    """Summary of a run with the galleries of its trained and its untrained encoder.

    Args:
        folder: of the run.
        data: images to show; None: the run's own. Without either, or without a checkpoint, there
            are no pictures.
        backbone: the network of your own with which the run was trained, if any.
    """
    summary, config = read_run(folder.path), folder.read_config()
    shown = config.data.path if data is None else data
    if (isinstance(shown, str) and not shown) or not folder.checkpoint.exists():
        return summary
    assert config.training.image_size is not None
    dataset = open_dataset(shown, config.data, image_size=config.training.image_size)
    views = Views(
        config.game.views.resolve(config.training.image_size), image_size=config.training.image_size
    )
    trained, untrained = both_methods(folder, backbone=backbone)
    return replace(
        summary,
        gallery=_gallery(trained, dataset, views, seed=config.seed, shows_opponents=True),
        untrained_gallery=_gallery(
            untrained, dataset, views, seed=config.seed, shows_opponents=False
        ),
    )


@torch.no_grad()
def _gallery(
    method: Method, dataset: Dataset, views: Views, *, seed: int, shows_opponents: bool
) -> Gallery:
    rows = torch.randperm(len(dataset), generator=generator(0, "gallery"))[:IMAGES]
    images = dataset.images(rows)
    shown = views(images[:ATTACK_BATCH], generator=generator(seed, "gallery views"))
    attack = (
        _attack(method, shown) if shows_opponents else None
    )  # before the norms that attacked images go through are left out
    album = _album(method) if shows_opponents else None
    encoder, bank = online_encoder(method), _bank(method)
    parts = [part.float() / 255 for part in torch.split(images, BATCH)]
    features = torch.cat([encoder.features(part) for part in parts])
    labels = None if dataset.labels is None else torch.from_numpy(np.asarray(dataset.labels))[rows]
    sample = EncodedImages(
        images=images,
        features=features,
        labels=labels,
        class_names=dataset.class_names,
        embeddings=None if bank is None else torch.cat([encoder(part) for part in parts]),
        bank=bank,
        views=tuple(view[:NUM_VIEW_ROWS] for view in shown),
        attack=attack,
        album=None if album is None else album.pictures[album.is_taken],
        num_moments=MOMENTS,
    )
    return make_gallery(sample, seed=0)


def _attack(method: Method, views: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Some views and their attacked copies, as in training: with batch statistics, which change
    nothing here."""
    wrapper = _perturbed(method)
    if wrapper is None:
        return None
    step = Step(progress=END, indices=torch.arange(len(views[0])), generator=generator(0, "attack"))
    with torch.enable_grad(), still_statistics(method):
        attacked, _ = wrapper.train().attacked(views, step)
    wrapper.eval()
    return views[0][:NUM_VIEW_ROWS], attacked[:NUM_VIEW_ROWS]


def _perturbed(method: Method) -> Perturbed | None:
    if isinstance(method, Perturbed) or not isinstance(method, Wrapper):
        return method if isinstance(method, Perturbed) else None
    return _perturbed(method.method)


def _album(method: Method) -> Album | None:
    albums = [module for module in method.modules() if isinstance(module, Album)]
    return albums[0] if albums and albums[0].is_taken.any() else None


def _bank(method: Method) -> Tensor | None:
    banks = [module for module in method.modules() if isinstance(module, Bank)]
    return banks[0].vectors.detach() if banks else None
