"""From a run folder to its summary with pictures: what the trained and the untrained encoder make of the same images."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sparring.comparison.gallery import NUM_VIEW_ROWS, Gallery, Sample, make_gallery
from sparring.comparison.summary import RunSummary, read_run
from sparring.data.dataset import Dataset, open_dataset
from sparring.data.source import ImageData
from sparring.data.views import Views
from sparring.methods.method import Method
from sparring.opponents.bank import Bank
from sparring.seeding import generator
from sparring.training.run_folder import RunFolder
from sparring.training.start import both_methods, online_encoder

IMAGES = 1500
"""Images that pictures are chosen from."""
BATCH = 256


def illustrated(folder: RunFolder, data: ImageData | None = None, *, backbone: nn.Module | None = None) -> RunSummary:
    """Summary of a run with the galleries of its trained and its untrained encoder.

    Args:
        folder: of the run.
        data: images to show; None: the run's own. Without either, or without a checkpoint, there are no pictures.
        backbone: the network of your own with which the run was trained, if any.
    """
    summary, config = read_run(folder.path), folder.read_config()
    shown = config.data.path if data is None else data
    if (isinstance(shown, str) and not shown) or not folder.checkpoint.exists():
        return summary
    assert config.training.image_size is not None
    dataset = open_dataset(shown, config.data, image_size=config.training.image_size)
    views = Views(config.game.views.resolve(config.training.image_size), image_size=config.training.image_size)
    trained, untrained = both_methods(folder, backbone=backbone)
    return replace(
        summary,
        gallery=_gallery(trained, dataset, views, seed=config.seed),
        untrained_gallery=_gallery(untrained, dataset, views, seed=config.seed),
    )


@torch.no_grad()
def _gallery(method: Method, dataset: Dataset, views: Views, *, seed: int) -> Gallery:
    rows = torch.randperm(len(dataset), generator=generator(0, "gallery"))[:IMAGES]
    images = dataset.images(rows)
    encoder, bank = online_encoder(method), _bank(method)
    parts = [part.float() / 255 for part in torch.split(images, BATCH)]
    features = torch.cat([encoder.features(part) for part in parts])
    labels = None if dataset.labels is None else torch.from_numpy(np.asarray(dataset.labels))[rows]
    sample = Sample(
        images=images,
        features=features,
        labels=labels,
        class_names=dataset.class_names,
        embeddings=None if bank is None else torch.cat([encoder(part) for part in parts]),
        bank=bank,
        views=tuple(views(images[:NUM_VIEW_ROWS], generator=generator(seed, "gallery views"))),
    )
    return make_gallery(sample, seed=0)


def _bank(method: Method) -> Tensor | None:
    banks = [module for module in method.modules() if isinstance(module, Bank)]
    return banks[0].vectors.detach() if banks else None
