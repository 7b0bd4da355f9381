"""What is logged: every name with its meaning, and the file it goes to."""

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sparring.training.checkpoint import not_written, write_atomically

METRICS: dict[str, str] = {
    "step": "steps made before this one, from 0",
    "epoch": "passes over the images made so far, as a fraction",
    "seconds": "time since the run began or was resumed",
    "loss": "what the encoder minimises, at this step",
    "learning_rate": "of the encoder's player",
    "learning_rate/bank": "of the bank's player",
    "mining/hardness": "mean cosine of queries with the negatives that were mined for them",
    "mining/hardness_of_all": (
        "mean cosine of queries with all candidates; the gap to mining/hardness is what mining adds"
    ),
    "mining/positive": "mean cosine of queries with their own keys",
    "mining/false_negatives": (
        "share of mined pairs whose two images are of one class; only where labels exist, which "
        "training never sees"
    ),
    "perturbation/loss_before": (
        "loss of anchor and attacked image where the attack begins, both through the attacked "
        "images' norms"
    ),
    "perturbation/loss": (
        "loss of anchor and attacked image that is trained, the anchor through the clean norms"
    ),
    "learning_rate/generator": "of the generators' player",
    "learning_rate/discriminator": "of their judge's player",
    "generator_pair/similarity": "S: mean cosine of a pair's embeddings, without augmentation",
    "generator_pair/floor": "how far S may fall, at this step",
    "generator_pair/hardness": (
        "contrastive loss of generated pairs among real images, which the generators raise"
    ),
    "generator_pair/hardness_weight": (
        "weight of hardness in the generators' loss, after its rise and the clipping"
    ),
    "generator_pair/realism": (
        "mean verdict of the judge on generated images; higher: more real to it"
    ),
    "generator_pair/judge": (
        "hinge loss of the judge; 0: it tells all apart by a margin, 2: it cannot tell"
    ),
    "generator_pair/crowding": "mean cosine of different generated images of one generator",
    "generator_pair/crowding_real": "the same of the batch's images",
    "generator_pair/frechet": (
        "Frechet distance of generated from real images on random features, as measured last (not "
        "FID)"
    ),
    "generator_pair/frechet_real": (
        "the same of one half of the real images from the other: as good as it gets"
    ),
    "images_per_second": "images trained per second since the last record, all processes together",
    "knn_accuracy": (
        "weighted kNN on held-out labelled training images, in [0, 1]; only where labels exist"
    ),
    "alignment": "mean squared distance of two views' unit embeddings; 0: views coincide",
    "uniformity": (
        "log of the mean Gaussian potential of embedding pairs; lower: more spread, about -4 at "
        "best"
    ),
    "effective_rank": (
        "exponential of the entropy of the features' singular values; low: few directions are used"
    ),
    "embedding_std": (
        "standard deviation of unit embeddings times sqrt(dim); 1: spread on the sphere, 0: "
        "collapse"
    ),
    "bank/hardest_cosine": (
        "mean over queries of their largest cosine with the bank; far below 0: the bank is off "
        "the images"
    ),
    "bank/mass": "mean probability that a query gives to the bank at the encoder's temperature",
    "bank/bank_mass": "the same at the bank's temperature: how much the adversary is driven",
    "bank/key_mass": "mean probability of the true key at the encoder's temperature",
    "bank/positive_cosine": "mean cosine of queries with the entries chosen as their positives",
    "bank/positive_mass": "mean probability of the chosen entries at the encoder's temperature",
    "bank/agreement": (
        "share of images whose two views choose the same entry; chance is 1 / bank.size"
    ),
    "bank/distinct_positives": (
        "distinct entries per choice of this step; near 0: few entries serve all"
    ),
    "bank/usage_perplexity": (
        "how many entries are in use over about an epoch, as if all were used equally; 1 to "
        "bank.size"
    ),
    "bank/busiest_share": "share of choices that fall on the busiest entry over about an epoch",
    "bank/norm_low": "10 % quantile of the norms of stored vectors",
    "bank/norm_median": "median norm of stored vectors",
    "bank/norm_high": "90 % quantile of the norms of stored vectors",
    "bank/angle_degrees": "mean angle by which a step turns a vector (first 1,024 of the bank)",
}


class MetricsFile:
    """metrics.jsonl: one JSON object per record, appended and flushed.

    Args:
        path: file to write.
        keep_before: on resuming, records of this step and later are dropped: they will be written
            again.
    """

    def __init__(self, path: Path, *, keep_before: int) -> None:
        kept = [record for record in read_metrics(path) if record["step"] < keep_before]
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
        self._path, self._file = path, path.open("a")

    def write(self, record: Mapping[str, float]) -> None:
        """Append one record; values that are not finite become null.

        Raises:
            StorageError: if the disk is full.
        """
        clean = {name: value if math.isfinite(value) else None for name, value in record.items()}
        try:
            self._file.write(json.dumps(clean) + "\n")
            self._file.flush()
        except OSError as error:
            raise not_written(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(
            OSError
        ):  # what `write` could not put on the disk has been reported
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Records of a run in order; a last line that was cut off by a crash is left out."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def scored(
    metrics: Mapping[str, Tensor | float], labels: Tensor | None
) -> dict[str, Tensor | float]:
    """Metrics in which pairs of images are replaced by the share of pairs that show one class.

    A method names the images that its opponent set against each other as `.../pairs`, numbers of
    the data set, shape (pairs, 2). Labels meet them here, after the step, so that no label reaches
    training.

    Args:
        metrics: of one step.
        labels: of the data set, -1 where unknown; None: pairs are dropped, as are pairs of which
            one label is unknown.
    """
    found = {name: value for name, value in metrics.items() if not name.endswith("/pairs")}
    for name in metrics.keys() - found.keys():
        pairs = metrics[name]
        if labels is None or not isinstance(pairs, Tensor):
            continue
        classes = labels[pairs.cpu()]
        classes = classes[(classes >= 0).all(dim=1)]
        if len(classes):
            found[name.replace("/pairs", "/false_negatives")] = (
                (classes[:, 0] == classes[:, 1]).float().mean()
            )
    return found


def plain(metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Metrics as numbers, rounded to seven digits."""
    return {name: float(f"{float(value):.7g}") for name, value in metrics.items()}
