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
from jaxtyping import Float, UInt8
from torch import Tensor

from sparring.data.dataset import Dataset, DataSettings, open_dataset
from sparring.data.decode import PixelFormat
from sparring.data.sources.pixel_survey import surveyed_format
from sparring.data.sources.public_sets import (
    PublicSet,
    is_public_set,
    nearest_public_set,
    open_public_set,
)
from sparring.data.sources.sampling import sampled_headers
from sparring.data.sources.source import ImageData, Source, open_source
from sparring.errors import DataError
from sparring.evaluation.classified import Classified, Labelled, classified, positions
from sparring.evaluation.features import (
    FeatureEncoder,
    ReportProgress,
    extract_features,
)
from sparring.evaluation.used_images import (
    Annotated,
    chosen_set,
    classified_sets,
    name_of,
    whole_sets,
)
from sparring.models.encoder import Encoder
from sparring.training.listener import Listener
from sparring.training.scores import ImageSet

if TYPE_CHECKING:
    from sparring.training.settings import RunConfig

Kept = TypeVar("Kept")

ViewPair = Callable[
    [UInt8[Tensor, "batch bands size size"], torch.Generator],
    Sequence[Float[Tensor, "batch bands size size"]],
]
"""Two random views of each image, in [0, 1]; drawn by the generator, which is fresh each time."""


@dataclass(frozen=True)
class EvaluatedEncoder:
    """An encoder under evaluation: the run's, or the one from which the run started."""

    name: str
    """`trained`, `untrained` or `start weights`; the key of its results in scores.json."""
    encoder: FeatureEncoder
    """The encoder in evaluation mode, its gradients off; to train, take `trainable_copy()`."""
    origin: "EvaluatedEncoder | None" = None
    """The encoder from which a trained one started, for protocols that compare both."""

    @property
    def is_trained(self) -> bool:
        """Whether this is the run's trained encoder."""
        return self.name == "trained"

    def trainable_copy(self) -> Encoder:
        """A copy of the encoder that can be trained: in training mode, its gradients on, except
        for layers that were frozen when its network was given."""
        assert isinstance(self.encoder, Encoder)
        copy = deepcopy(self.encoder).train().requires_grad_(True)
        copy.backbone.unfreeze()
        return copy


class EvaluationData:
    """The images of one evaluation, with features and splits that all protocols share.

    Args:
        train: images to learn from, as `open_dataset` takes them, or the name of a public set: its
            training and validation images, or a set that is split, of which the training part is
            taken; None: `test` is parted, a public set as its authors did.
        test: images to score, or the name of a public set: its test images, or a set that is split,
            of which the test part is taken; None: the test part of `train`. Without one, or if all
            are images of `train`, a fifth of each class is held out and scored.
        image_size: side in pixels that the encoder expects.
        seed: of every draw, and of splits of the images to learn from.
        device: where to compute.
        views: makes two views, for the alignment.
        keep: how the images to learn from are kept, and how many of them.
        limit: largest number of test images.
        config: configuration of the run; for protocols that pretrain again.
        folder: where a protocol may keep what it pretrained; None: nowhere.
        root: folder of the public data sets that are given by name.
        listener: receives lines and progress.
        split_seed: draws the images that are scored, where not all are; None: `seed`.
    """

    sets: tuple[ImageSet, ImageSet] | None = None
    """The images that the running protocol learns from and scores, if it opened them itself and
    says so."""

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
        split_seed: int | None = None,
    ) -> None:
        """Keep what is given; images are opened when first asked for."""
        self.train, self.test, self.root = train, test, root
        self.image_size, self.seed, self.device = image_size, seed, torch.device(device)
        self.config, self.folder = config, folder
        self.split_seed = seed if split_seed is None else split_seed
        self.views, self._limit, self._listener = views, limit, listener
        self._keep = keep or DataSettings()
        self._features: dict[tuple[str, bool], Tensor] = {}
        self._named: dict[str, PublicSet] = {}
        self._unreadable: dict[str, int] = {}
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
    def channels(self) -> int:
        """Channels of the images."""
        return self._keep.channels

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Largest numbers of images to learn from and to score, for protocols that open annotated
        images themselves."""
        return self._keep.limit, self._limit

    def open(self, data: ImageData | Source, *, is_test: bool) -> Dataset:
        """Open images as squares of the run's size; at most `limit` of a test set."""
        drawn = {"limit": self._limit, "limit_seed": self.split_seed}
        keep = self._keep.model_copy(update=drawn if is_test else {})
        named = self.named(data)
        if named is not None:
            data = named.test if is_test else named.train_and_validation
        elif isinstance(data, str) and (near := nearest_public_set(data)) is not None:
            raise DataError(f"no such file or folder: {data}; the public set is called '{near}'")
        dataset = open_dataset(
            open_source(data, part="test" if is_test else "train", cache=keep.cache),
            keep,
            image_size=self.image_size,
            progress=self.progress("reading images"),
            report=self.report,
        )
        self._remember_range(dataset.form)
        if dataset.quarantine:
            self._unreadable[dataset.fingerprint] = len(dataset.quarantine)
        return dataset

    @property
    def unreadable_images(self) -> int:
        """Number of images that cannot be read, of all sets opened so far; they are left out."""
        return sum(self._unreadable.values())

    def form(self, source: Source) -> PixelFormat:
        """How the images of a source are read that a protocol opens itself: as those of the run."""
        form = surveyed_format(
            source,
            sampled_headers(source),
            channels=self._keep.channels,
            given=self._keep.given_range,
            report=self.report,
        )
        self._remember_range(form)
        return form

    def _remember_range(self, form: PixelFormat) -> None:
        """Read all sets of the evaluation with the range that was found in the first of them."""
        if form.value_range is not None:
            self._keep = self._keep.model_copy(update={"value_range": form.value_range})

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
        if is_one_set:
            has_test_part = self.named(given) is None and train.source.part
            return train, self.open(given, is_test=True) if has_test_part else train
        assert self.test is not None
        return train, self.open(self.test, is_test=True)

    @property
    def scored_part(self) -> str:
        """Part of the set to learn from that is scored, as no test images are given; empty if it
        has no such part, or before the images are opened."""
        if self.test is not None or "images" not in vars(self):
            return ""
        train, test = self.images
        return test.source.part if test is not train else ""

    @property
    def test_name(self) -> str:
        """Name of the images to score."""
        part = self.scored_part
        return f"{part} part of {name_of(self.train)}" if part else name_of(self.test)

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
        known = classified(*self.images, seed=self.split_seed)
        for note in known.notes:
            self.report(note)
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

    def use(
        self, train: Annotated, train_rows: Sequence[int], test: Annotated, test_rows: Sequence[int]
    ) -> None:
        """Note down the images that a protocol has opened by itself, for `used`.

        Args:
            train: images to learn from.
            train_rows: indices of those that are learned from.
            test: images to score.
            test_rows: indices of those that are scored.
        """
        self.sets = chosen_set(train, train_rows), chosen_set(test, test_rows)

    def used(self, *, classes: bool) -> tuple[ImageSet, ImageSet]:
        """The images that a protocol has learned from and scored, by name and content.

        Args:
            classes: whether it was the images with known classes, or all of both sets.
        """
        found = self.sets
        if found is None and classes and "classes" in vars(self):
            found = self._classified_sets
        elif found is None and "images" in vars(self):
            found = self._whole_sets
        found = found or (ImageSet(), ImageSet())
        learned = name_of(self.train if self.train is not None else self.test)
        return replace(found[0], name=learned), replace(found[1], name=self.test_name)

    @cached_property
    def _classified_sets(self) -> tuple[ImageSet, ImageSet]:
        return classified_sets(self.classes, self._whole_sets)

    @cached_property
    def _whole_sets(self) -> tuple[ImageSet, ImageSet]:
        return whole_sets(*self.images)

    def features(self, evaluated: EvaluatedEncoder) -> Float[Tensor, "images channels"]:
        """An encoder's backbone features of all images to score."""
        return self._extracted(evaluated, is_test=True)

    def train_features(self, evaluated: EvaluatedEncoder) -> Float[Tensor, "images channels"]:
        """An encoder's backbone features of all images to learn from."""
        return self._extracted(evaluated, is_test=False)

    def labelled(self, evaluated: EvaluatedEncoder) -> Labelled:
        """An encoder's features and the classes of the images to learn from and to score."""
        known = self.classes
        train, test = (self._extracted(evaluated, is_test=is_test) for is_test in (False, True))
        return Labelled(
            train_features=train[known.train_rows.to(self.device)],
            train_labels=known.train_labels.to(self.device),
            test_features=test[known.test_rows.to(self.device)],
            test_labels=known.test_labels.to(self.device),
        )

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
