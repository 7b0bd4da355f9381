"""Pairs of an anchor and its hardest negative, as images."""

import torch
from torch import Tensor

from sparring.data.views.views import Views
from sparring.methods.negatives import Negatives
from sparring.models.encoder import Encoder
from sparring.reporting.gallery import EncodedImages, HardestPair, pixels
from sparring.seeding import generator
from sparring.training.negative_look import Encoded, Met, negatives_met

IMAGES = 256
"""Images among which pairs are looked for; a batch of usual size."""
NUM_PAIRS = 8


@torch.no_grad()
def hardest_pairs(
    negatives: Negatives, encoder: Encoder, sample: EncodedImages, views: Views, *, seed: int
) -> tuple[HardestPair, ...]:
    """The hardest negatives of some images' anchors, each anchor once, the hardest first.

    Args:
        negatives: the method's declaration.
        encoder: trained encoder, which evaluates.
        sample: images, and their features by this encoder.
        views: augmentation.
        seed: seed of the run.
    """
    images = sample.images[:IMAGES]
    if len(images) < 2:
        return ()
    made = views(images, generator=generator(seed, "hardest pairs"))
    anchors = encoder(made[0])
    if negatives.query is not None:
        anchors = negatives.query(anchors)
    key = encoder if negatives.key is None else negatives.key
    encoded = Encoded(
        query=anchors.float(),
        keys=(key(made[1]).float(), key(made[0]).float()),
        features=sample.features[: len(images)].float(),
        labels=None if sample.labels is None else sample.labels[: len(images)],
        batch_size=len(images),
    )
    met = negatives_met(negatives, encoded, draws=generator(seed, "hardest pairs", "choice"))
    return () if met is None else _pairs(met, images, encoded.labels)


def _pairs(met: Met, images: Tensor, labels: Tensor | None) -> tuple[HardestPair, ...]:
    cosines, columns = met.cosines.max(dim=1)
    num_stored = 0 if met.stored is None else met.stored.shape[1]
    found: list[HardestPair] = []
    seen: set[tuple[int, int]] = set()
    for anchor in cosines.argsort(descending=True, stable=True).tolist():
        column = int(columns[anchor])
        other, is_stored = int(met.images[anchor, column]), column < num_stored
        if (other, anchor) in seen and not is_stored:
            continue  # the same two images the other way round
        seen.add((anchor, other))
        found.append(
            HardestPair(
                anchor=pixels(images[anchor]),
                negative=pixels(images[other]),
                cosine=float(cosines[anchor]),
                positive=float(met.positive[anchor]),
                is_stored=is_stored,
                same_label=_is_same(labels, anchor, other),
            )
        )
        if len(found) == NUM_PAIRS:
            break
    return tuple(found)


def _is_same(labels: Tensor | None, first: int, second: int) -> bool | None:
    if labels is None or labels[first] < 0 or labels[second] < 0:
        return None
    return bool(labels[first] == labels[second])
