"""Monitoring of the encoder during training: label-free measures, and an online kNN if there are
labels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparring.data.dataset import Dataset
from sparring.data.streams.streamed_dataset import monitored
from sparring.data.views.views import Views
from sparring.errors import DivergedError
from sparring.measures.geometry import collapse_warning, panel
from sparring.measures.knn import FEW_NEIGHBORS, fitting_neighbors, knn_accuracy
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.step_parts import step_part

BATCH = 256


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
    def look(self, encoder: Encoder, device: torch.device) -> tuple[dict[str, float], str | None]:
        """Measures by name, and a warning if the encoder seems to collapse, else None; the encoder
        does not change.

        Raises:
            DivergedError: if a feature or an embedding is not finite.
        """
        was_training = encoder.training
        encoder.eval()
        try:
            features, first, second, rows = self._features_and_views(encoder, device)
        finally:
            encoder.train(was_training)
        if not all(values.isfinite().all() for values in (features, first, second)):
            raise DivergedError(
                "player 'encoder': its features or embeddings of the monitored images are not "
                "finite; try a lower players.encoder.learning_rate or set "
                "players.encoder.clip_norm",
                player="encoder",
            )
        found = panel(first, second, features)
        labels = self._dataset.source.labels_of(rows.numpy())
        if labels is not None and (labels >= 0).sum() >= 2:
            found["knn_accuracy"] = _online_knn(features, torch.from_numpy(labels))
        return found, collapse_warning(found, channels=features.shape[1])

    def _features_and_views(
        self, encoder: Encoder, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features, embeddings of two views, and indices of the images that can be read."""
        features, first, second, found = [], [], [], []
        for number, rows in enumerate(torch.split(self._indices, BATCH)):
            readable, indices = self._dataset.readable(rows)
            if not len(indices):
                continue
            images = readable.to(device)
            found.append(torch.from_numpy(indices))
            features.append(encoder.features(images.float() / 255).cpu())
            views = self._views(images, generator=generator(self._seed, "monitor views", number))
            first.append(encoder(views[0]).cpu())
            second.append(encoder(views[1]).cpu())
        return torch.cat(features), torch.cat(first), torch.cat(second), torch.cat(found)


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
