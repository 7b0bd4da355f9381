"""From a run folder to its summary with pictures: what the trained encoder and its start make
of the same images."""

from dataclasses import replace

import torch
from torch import nn

from sparring.data.dataset import Dataset, open_dataset
from sparring.data.sources.addresses import is_command
from sparring.data.sources.source import ImageData
from sparring.data.views.views import Views
from sparring.errors import DataError
from sparring.methods.method import Context, Method, Pictures
from sparring.models.encoder import Encoder
from sparring.models.view import as_views
from sparring.optim.schedule import Position
from sparring.reporting.gallery import (
    NUM_VIEW_ROWS,
    EncodedImages,
    Gallery,
    HardestPair,
    make_gallery,
)
from sparring.reporting.hardest_pairs import IMAGES as PAIR_IMAGES
from sparring.reporting.hardest_pairs import hardest_pairs
from sparring.reporting.mistakes import mistake_images
from sparring.reporting.summary import RunSummary, read_run
from sparring.seeding import generator
from sparring.training.encoders import load_encoder, load_encoders
from sparring.training.opening import own_images
from sparring.training.run import load_method
from sparring.training.run_folder import RunFolder

IMAGES = 1500
"""Images that pictures are chosen from."""
BATCH = 256
ATTACK_BATCH = 128
"""Images that are attacked together; what is done to one depends on the others."""
END = Position(step=10**6, num_steps=10**6 + 1, steps_per_epoch=1)
"""Past every warm-up."""


def illustrated(
    folder: RunFolder, data: ImageData | None = None, *, backbone: nn.Module | None = None
) -> RunSummary:
    """Summary of a run with the galleries of its trained encoder and of that from which it started.

    Args:
        folder: of the run.
        data: images to show; None: the run's own. Without either, or without a checkpoint, there
            are no pictures.
        backbone: the network of your own with which the run was trained, if any.
    """
    summary, config = read_run(folder.path), folder.read_config()
    summary = replace(summary, mistakes=mistake_images(summary, data))
    own = config.data.path
    if (data is None and (not own or is_command(own))) or not folder.checkpoint.exists():
        return summary
    try:
        shown = own_images(config, limit=IMAGES) if data is None else data
    except DataError as error:  # scores and curves need no images
        return replace(summary, no_pictures=str(error))
    assert config.training.image_size is not None
    size = config.image_size
    # As for training, so that a few images of many are read, and not all of them.
    dataset = open_dataset(shown, config.data, image_size=size, is_training=True)
    trained, start = load_encoders(folder, backbone=backbone)
    patch_size = trained.backbone.patch_size
    recipes = config.method_settings.views.resolve(size, patch_size=patch_size)
    views = Views(recipes, image_size=size)
    method = load_method(folder, backbone=backbone)
    return replace(
        summary,
        gallery=_gallery(trained, method, dataset, views, seed=config.seed),
        start_gallery=_gallery(start, None, dataset, views, seed=config.seed),
    )


@torch.no_grad()
def hardest_pairs_of(folder: RunFolder) -> tuple[HardestPair, ...]:
    """The hardest pairs of a run among a few of its own images; empty if its images, its checkpoint
    or its negatives are missing.

    Args:
        folder: of the run.
    """
    config = folder.read_config()
    own = config.data.path
    if not own or is_command(own) or not folder.checkpoint.exists():
        return ()
    method = load_method(folder)
    negatives = None if method is None else method.negatives(END)
    if negatives is None:
        return ()
    size = config.image_size
    shown = own_images(config, limit=PAIR_IMAGES)
    dataset = open_dataset(shown, config.data, image_size=size, is_training=True)
    encoder = load_encoder(folder)
    recipes = config.method_settings.views.resolve(size, patch_size=encoder.backbone.patch_size)
    order = torch.randperm(len(dataset), generator=generator(0, "gallery"))[:PAIR_IMAGES]
    images, rows = dataset.readable(order)
    sample = EncodedImages(
        images=images,
        features=encoder.features(images.float() / 255),
        labels=None if dataset.labels is None else torch.from_numpy(dataset.labels[rows]),
        class_names=dataset.class_names,
    )
    views = Views(recipes, image_size=size)
    return hardest_pairs(negatives, encoder, sample, views, seed=config.seed)


@torch.no_grad()
def _gallery(
    encoder: Encoder, method: Method | None, dataset: Dataset, views: Views, *, seed: int
) -> Gallery:
    """Pictures by an encoder; those of the opponents, if there is a method that has them."""
    images, rows = dataset.readable(
        torch.randperm(len(dataset), generator=generator(0, "gallery"))[:IMAGES]
    )
    shown = views(images[:ATTACK_BATCH], generator=generator(seed, "gallery views"))
    pictures = Pictures()
    if method is not None:
        context = Context(
            position=END,
            indices=torch.arange(len(shown[0])),
            generator=generator(0, "attack"),
        )
        pictures = method.pictures(as_views(shown), context)
    parts = [part.float() / 255 for part in torch.split(images, BATCH)]
    features = torch.cat([encoder.features(part) for part in parts])
    labels = None if dataset.labels is None else torch.from_numpy(dataset.labels[rows])
    bank, changed = pictures.negatives, pictures.changed
    sample = EncodedImages(
        images=images,
        features=features,
        labels=labels,
        class_names=dataset.class_names,
        keys=tuple(dataset.keys[row] for row in rows.tolist()),
        embeddings=None if bank is None else torch.cat([encoder(part) for part in parts]),
        bank=bank,
        views=tuple(view[:NUM_VIEW_ROWS] for view in shown),
        attack=None
        if changed is None
        else (changed[0][:NUM_VIEW_ROWS], changed[1][:NUM_VIEW_ROWS]),
        album=pictures.pairs,
        num_moments=pictures.num_moments,
    )
    gallery = make_gallery(sample, seed=0)
    if method is None:
        return gallery
    negatives = method.negatives(END)
    pairs = () if negatives is None else hardest_pairs(negatives, encoder, sample, views, seed=seed)
    return replace(gallery, hardest_pairs=pairs)
