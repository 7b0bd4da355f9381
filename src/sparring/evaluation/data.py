"""What the protocols work on: the evaluated encoders, the image sets and each encoder's features.

One `EvaluationData` serves all protocols and both encoders of one call. Images are opened and
features computed when first asked for, and only once.
"""

from collections.abc import Callable, Hashable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from sparring.data.dataset import Dataset, DataSettings, open_dataset
from sparring.data.sources.public_sets import (
    PublicSet,
    is_public_set,
    nearest_public_set,
    open_public_set,
)
from sparring.data.sources.source import ImageData, Source
from sparring.errors import DataError
from sparring.evaluation.classified import Classified, classified, positions
from sparring.evaluation.features import (
    FeatureEncoder,
    ReportProgress,
    evaluating,
    extract_features,
)
from sparring.models.encoder import Encoder
from sparring.seeding import generator
from sparring.training.listener import Listener

if TYPE_CHECKING:
    from sparring.training.settings import RunConfig

Kept = TypeVar("Kept")

ViewPair = Callable[
    [UInt8[Tensor, "batch 3 size size"]], Sequence[Float[Tensor, "batch 3 size size"]]
]
"""Two random views of each image, in [0, 1]."""

# Alignment is a mean over images: more cost time and change little.
_ALIGNMENT_IMAGES = 1024


@dataclass(frozen=True)
class EvaluatedEncoder:
    """An encoder under evaluation: the run's, or the untrained one from which the run started."""

    name: str
    """`trained` or `untrained`; the key of its results in scores.json."""
    encoder: FeatureEncoder
    """The encoder in evaluation mode, its gradients off; to train, take `trainable_copy()`."""
    origin: "EvaluatedEncoder | None" = None
    """The untrained encoder from which a trained one started, for protocols that compare both."""

    @property
    def is_trained(self) -> bool:
        """Whether this is the run's trained encoder."""
        return self.name == "trained"

    def trainable_copy(self) -> Encoder:
        """A copy of the encoder that can be trained: in training mode, its gradients on."""
        assert isinstance(self.encoder, Encoder)
        return deepcopy(self.encoder).train().requires_grad_(True)


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Features and classes of the rows to learn from and of the rows to score, on the device."""

    train_features: Float[Tensor, "train channels"]
    train_labels: Int[Tensor, "train"]
    test_features: Float[Tensor, "test channels"]
    test_labels: Int[Tensor, "test"]


class EvaluationData:
    """The images of one evaluation, with features and splits that all protocols share.

    Args:
        train: images to learn from, as `open_dataset` takes them, or the name of a public set: its
            training and validation images; None: `test` is parted, a public set as its authors did.
        test: images to score, or the name of a public set: its test images; None, or the same
            images as `train`: a fifth of each class is held out and scored.
        image_size: side in pixels that the encoder expects.
        seed: of every split and draw.
        device: where to compute.
        views: makes two views, for the alignment.
        keep: how the images to learn from are kept, and how many of them.
        limit: largest number of test images.
        config: configuration of the run; for protocols that pretrain again.
        folder: where a protocol may keep what it pretrained; None: nowhere.
        root: folder of the public data sets that are given by name.
        listener: receives lines and progress.
    """

    def __init__(
        self,
        train: ImageData | Source | None,
        test: ImageData | Source | None = None,
        *,
        image_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        views: ViewPair | None = None,
        keep: DataSettings | None = None,
        limit: int | None = None,
        config: "RunConfig | None" = None,
        folder: Path | None = None,
        root: Path | None = None,
        listener: Listener | None = None,
    ) -> None:
        """Keep what is given; images are opened when first asked for."""
        self.train, self.test, self.root = train, test, root
        self.image_size, self.seed, self.device = image_size, seed, torch.device(device)
        self.config, self.folder = config, folder
        self._views, self._keep, self._limit, self._listener = (
            views,
            keep or DataSettings(),
            limit,
            listener,
        )
        self._features: dict[tuple[str, bool], Tensor] = {}
        self._named: dict[str, PublicSet] = {}
        self._kept: dict[Hashable, Any] = {}
        self._told: set[str] = set()

    def progress(self, what: str) -> ReportProgress | None:
        """Progress function of one long piece of work, called with the number done and the total;
        None if nobody listens."""
        listener = self._listener
        return None if listener is None else lambda done, total: listener.count(what, done, total)

    def report(self, line: str) -> None:
        """Tell the listener, if there is one, a line worth reading; the same line once."""
        if self._listener is not None and line not in self._told:
            self._told.add(line)
            self._listener.report(line)

    def once(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The thing of this key, made when first asked for and kept for the other encoder."""
        if key not in self._kept:
            self._kept[key] = make()
        found: Kept = self._kept[key]
        return found

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Largest numbers of images to learn from and to score, for protocols that open annotated
        images themselves."""
        return self._keep.limit, self._limit

    def open(self, data: ImageData | Source, *, is_test: bool) -> Dataset:
        """Open images as squares of the run's size; at most `limit` of a test set."""
        keep = self._keep if not is_test else self._keep.model_copy(update={"limit": self._limit})
        named = self.named(data)
        if named is not None:
            data = named.test if is_test else named.train_and_validation
        elif isinstance(data, str) and (near := nearest_public_set(data)) is not None:
            raise DataError(f"no such file or folder: {data}; the public set is called '{near}'")
        return open_dataset(
            data,
            keep,
            image_size=self.image_size,
            progress=self.progress("reading images"),
            report=self.report,
        )

    def named(self, data: object) -> PublicSet | None:
        """The public set of that name, opened once; None if the data is anything else."""
        if not (isinstance(data, str) and is_public_set(data)):
            return None
        if data not in self._named:
            self._named[data] = open_public_set(data, self.root)
        return self._named[data]

    @property
    def learned(self) -> PublicSet | None:
        """The public set whose images are learned from; None if they are not a public set."""
        return self.named(self.train if self.train is not None else self.test)

    @cached_property
    def images(self) -> tuple[Dataset, Dataset]:
        """Images to learn from and images to score; the same object twice if only one set is
        given."""
        given = self.train if self.train is not None else self.test
        if given is None:
            raise DataError("no images given; name some with --data")
        train = self.open(given, is_test=False)
        is_one_set = self.test is None or (self.train is None and not is_public_set(self.test))
        return train, train if self.test is None or is_one_set else self.open(
            self.test, is_test=True
        )

    @cached_property
    def classes(self) -> Classified:
        """Images with known classes, split into those to learn from and those to score.

        Raises:
            DataError: without labels, or with a single class.
        """
        for named in (self.learned, self.named(self.test)):
            if named is not None and named.presence:
                raise DataError(
                    f"an image of {named.name} shows several classes; only the protocol "
                    "'transfer' scores such a set"
                )
        known = classified(*self.images, seed=self.seed)
        tested = self.named(self.test)
        if tested is not None:
            known = replace(
                known,
                tested_on=f"test images of {tested.name}"
                + (f" ({tested.note})" if tested.note else ""),
            )
        if self.learned is None or self.learned.validation is None:
            return known
        return replace(known, validation=positions(known, self.learned.validation))

    def features(self, evaluated: EvaluatedEncoder) -> Float[Tensor, "images channels"]:
        """An encoder's backbone features of all images to score."""
        return self._extracted(evaluated, is_test=True)

    def train_features(self, evaluated: EvaluatedEncoder) -> Float[Tensor, "images channels"]:
        """An encoder's backbone features of all images to learn from."""
        return self._extracted(evaluated, is_test=False)

    def labelled(self, evaluated: EvaluatedEncoder) -> Labelled:
        """An encoder's features and the classes of the images to learn from and to score."""
        known = self.classes
        train, test = (
            self._extracted(evaluated, is_test=False),
            self._extracted(evaluated, is_test=True),
        )
        return Labelled(
            train_features=train[known.train_rows.to(self.device)],
            train_labels=known.train_labels.to(self.device),
            test_features=test[known.test_rows.to(self.device)],
            test_labels=known.test_labels.to(self.device),
        )

    def view_features(
        self, evaluated: EvaluatedEncoder
    ) -> tuple[Float[Tensor, "sample channels"], Float[Tensor, "sample channels"]] | None:
        """An encoder's features of two views of a sample of the images to score; None if no views
        were given."""
        if self._views is None:
            return None
        dataset, parts = self.images[1], []
        chosen = torch.randperm(len(dataset), generator=generator(self.seed, "alignment"))[
            :_ALIGNMENT_IMAGES
        ]
        with evaluating(evaluated.encoder.modules()):
            for start in range(0, len(chosen), 256):
                first, second = self._views(
                    dataset.images(chosen[start : start + 256].numpy()).to(self.device)
                )
                parts.append(
                    (evaluated.encoder.features(first), evaluated.encoder.features(second))
                )
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _extracted(self, evaluated: EvaluatedEncoder, *, is_test: bool) -> Tensor:
        """An encoder's features of one set, computed when first asked for."""
        train, test = self.images
        key = evaluated.name, is_test and test is not train
        if key not in self._features:
            which = "test" if key[1] else "training" if test is not train else "all"
            progress = self.progress(f"features of the {evaluated.name} encoder, {which} images")
            features = extract_features(
                evaluated.encoder, test if key[1] else train, device=self.device, progress=progress
            )
            self._features[key] = features.to(self.device)
        return self._features[key]
