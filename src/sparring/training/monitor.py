"""Monitoring of the encoder during training: label-free measures, an online kNN if there are
labels, and what the method's negatives are like."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparring.data.dataset import Dataset
from sparring.data.streams.streamed_dataset import monitored
from sparring.data.views.views import Views
from sparring.errors import DivergedError
from sparring.measures.geometry import collapse_warning, panel
from sparring.measures.knn import FEW_NEIGHBORS, fitting_neighbors, knn_accuracy
from sparring.methods.negatives import Negatives
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.step_parts import step_part
from sparring.training.negative_look import Encoded, looked_at, num_encoded

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a look is asked about a method's negatives.

    Attributes:
        negatives: the method's declaration.
        batch_size: images of a step.
        step: number of the step, which names the draws.
    """

    negatives: Negatives
    batch_size: int
    step: int


class Monitor:
    """Monitor of the encoder on a fixed random part of the training images; a fifth of it is held
    out for the kNN.

    Args:
        dataset: training images; their labels are used here and nowhere in training. Of a stream,
            its first images are held in memory.
        views: augmentation, for the alignment measure.
        num_images: number of images to measure on.
        seed: seed of the run.
    """

    def __init__(self, dataset: Dataset, views: Views, *, num_images: int, seed: int) -> None:
        dataset = monitored(dataset, num_images)
        order = torch.randperm(len(dataset), generator=generator(seed, "monitor"))[:num_images]
        self._dataset, self._views, self._seed = dataset, views, seed
        self._indices = order

    def num_labels(self) -> int:
        """Number of these images that have a label."""
        labels = self._dataset.source.labels_of(self._indices.numpy())
        return 0 if labels is None else int((labels >= 0).sum())

    @torch.no_grad()
    @step_part("records")
    def look(
        self, encoder: Encoder, device: torch.device, asked: Asked | None = None
    ) -> tuple[dict[str, float], str | None]:
        """Measures by name, and a warning if the encoder seems to collapse, else None; no network
        changes.

        Args:
            encoder: encoder of the run.
            device: where it is.
            asked: negatives to look at as well; None: there are none.

        Raises:
            DivergedError: if a feature or an embedding is not finite.
        """
        found = self._encoded(encoder, device, asked)
        if not all(values.isfinite().all() for values in found[:3]):
            raise DivergedError(
                "player 'encoder': its features or embeddings of the monitored images are not "
                "finite; try a lower players.encoder.learning_rate or set "
                "players.encoder.clip_norm",
                player="encoder",
            )
        features, first, second, keys, rows = found
        measures = panel(first, second, features)
        labels = self._dataset.source.labels_of(rows.numpy())
        known = None if labels is None else torch.from_numpy(labels)
        if known is not None and (known >= 0).sum() >= 2:
            measures["knn_accuracy"] = _online_knn(features, known)
        warning = collapse_warning(measures, channels=features.shape[1])
        if asked is not None and len(rows) > 1:
            keys = (second, first) if asked.negatives.key is None else keys
            measures |= self._look_at_negatives(asked, device, (first, keys, features, known))
        return measures, warning

    def _encoded(
        self, encoder: Encoder, device: torch.device, asked: Asked | None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...], Tensor]:
        """Features, embeddings of two views, keys of the first images' second and first views (by
        a network of their own, if one is asked for), and indices of the images that can be
        read."""
        key = None if asked is None else asked.negatives.key
        count = 0 if asked is None else self._num_asked(asked, len(self._indices))
        made: list[list[Tensor]] = [[], [], [], []]
        keys: list[list[Tensor]] = [[], []]
        with _as_evaluated([encoder, *([] if key is None else [key])]):
            for number, rows in enumerate(torch.split(self._indices, BATCH)):
                readable, indices = self._dataset.readable(rows)
                if not len(indices):
                    continue
                images = readable.to(device)
                draws = generator(self._seed, "monitor views", number)
                views = self._views(images, generator=draws)
                made[0].append(encoder.features(images.float() / 255).cpu())
                made[1].append(encoder(views[0]).cpu())
                made[2].append(encoder(views[1]).cpu())
                if asked is not None and key is not None and sum(map(len, keys[0])) < count:
                    needed = (views[1], views[0])[: max(1, asked.negatives.views)]
                    for place, view in enumerate(needed):
                        keys[place].append(key(view).cpu())
                made[3].append(torch.from_numpy(indices))
        features, first, second = (torch.cat(parts) for parts in made[:3])
        joined = tuple(torch.cat(parts) for parts in keys if parts)
        return features, first, second, joined, torch.cat(made[3])

    def _num_asked(self, asked: Asked, available: int) -> int:
        return num_encoded(asked.negatives, batch_size=asked.batch_size, available=available)

    def _look_at_negatives(
        self,
        asked: Asked,
        device: torch.device,
        made: tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor | None],
    ) -> dict[str, float]:
        """Measures of the negatives, on the first of the images.

        Args:
            asked: what is asked.
            device: where the networks are.
            made: the encoder's embeddings of the first views, keys of both, features and labels.
        """
        first, keys, features, labels = made
        count, query = self._num_asked(asked, len(first)), asked.negatives.query
        anchors = first[:count]
        if query is not None:
            with _as_evaluated([query]):
                anchors = query(anchors.to(device)).cpu()
        encoded = Encoded(
            query=anchors.float(),
            keys=tuple(rows[:count].float() for rows in keys),
            features=features[:count].float(),
            labels=None if labels is None else labels[:count],
            batch_size=asked.batch_size,
        )
        draws = generator(self._seed, "negatives", asked.step)
        return looked_at(asked.negatives, encoded, draws=draws)


@contextmanager
def _as_evaluated(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Let networks evaluate; afterwards each has the mode that it had."""
    were_training = [network.training for network in networks]
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for network, was_training in zip(networks, were_training, strict=True):
            network.train(was_training)


def _online_knn(features: Float[Tensor, "images channels"], labels: Int[Tensor, "images"]) -> float:
    known = labels >= 0
    features, labels = features[known], labels[known]
    held_out = max(1, len(features) // 5)
    return knn_accuracy(
        features[held_out:],
        labels[held_out:],
        features[:held_out],
        labels[:held_out],
        num_neighbors=fitting_neighbors(labels[held_out:], most=FEW_NEIGHBORS),
    )
