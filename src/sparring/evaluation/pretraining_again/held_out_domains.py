"""Images of several domains, with one domain held out of pretraining and labels and scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sparring.data.classes import match_classes
from sparring.data.dataset import Dataset
from sparring.data.sources.domains import open_domains
from sparring.errors import ConfigError, DataError, unknown_name
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.split import labelled_rows
from sparring.seeding import derived_seed
from sparring.training.scores import ImageSet


@dataclass(frozen=True, kw_only=True)
class DomainImages:
    """All images with their classes and domains."""

    dataset: Dataset
    classes: Int[Tensor, "images"]
    """Class of each image; -1 where unknown."""
    class_names: tuple[str, ...]
    """Names of the classes by number; empty if they have none."""
    domains: Int[Tensor, "images"]
    domain_names: tuple[str, ...]
    """Names of the domains by number."""


@dataclass(frozen=True, kw_only=True)
class HeldOutDomain:
    """One domain held out: which images are pretrained on, may be labelled, and are scored."""

    name: str
    others: Int[Tensor, "others"]
    """Indices of the images of the other domains: all that pretraining may see."""
    pool: Int[Tensor, "pool"]
    """Indices of the other domains' images of known class: those that may be labelled."""
    cells: Int[Tensor, "pool"]
    """Number of the pair of class and domain of each image of `pool`."""
    targets: Int[Tensor, "images"]
    """Number of each image's class among the classes of the other domains; -1 for any other
    class."""
    num_classes: int
    tested: Int[Tensor, "tested"]
    """Indices of the held-out domain's images of known class."""
    commonest: float
    """Share of the most frequent class among the tested images: the accuracy of always predicting
    it."""
    notes: tuple[str, ...]
    """What a user should read about the classes, a line each."""

    def drawn(self, fraction: float, *, draw: int, seed: int) -> Int[Tensor, "labelled"]:
        """Indices of the images to label: the fraction of each pair of class and domain, at least
        one; smaller fractions are part of larger ones."""
        seed = derived_seed(seed, "domain labels", self.name, draw)
        return self.pool[labelled_rows(self.cells, share=fraction, seed=seed)]


def opened(data: EvaluationData) -> DomainImages:
    """All images of all domains: those given to be scored, else those of the run."""
    is_test = data.test is not None
    given = data.test if is_test else data.train
    if given is None:
        raise DataError("no images given; name some with --data")
    source = open_domains(given)
    # The same images from the same store, once with their classes as labels and once with their
    # domains.
    by_class, by_domain = (
        data.open(view, is_test=is_test) for view in (source, source.by_domain())
    )
    every = ImageSet.of(by_class.content_fingerprint, list(by_class.keys))
    data.sets = every, every
    classes, numbers = by_class.labels, by_domain.labels
    assert classes is not None
    assert numbers is not None
    return DomainImages(
        dataset=by_class,
        classes=torch.from_numpy(np.array(classes)),
        class_names=source.class_names or (),
        domains=torch.from_numpy(np.array(numbers)),
        domain_names=source.domain_names,
    )


def chosen(images: DomainImages, asked: Sequence[str]) -> list[str]:
    """Names of the domains to hold out: those asked for, else all."""
    present = [images.domain_names[number] for number in torch.unique(images.domains).tolist()]
    if len(present) < 2:
        raise DataError(
            f"the images that are used are all of the domain '{present[0]}'; take more of them"
        )
    for name in asked:
        if name not in present:
            raise ConfigError(f"domains.hold_out: {unknown_name('domain', name, present)}")
    return list(dict.fromkeys(asked)) or present


def held_out(images: DomainImages, name: str) -> HeldOutDomain:
    """The case in which one domain is held out of all images.

    Raises:
        DataError: if nothing of it can be scored, if the others show fewer than two classes, or if
            no class is in both.
    """
    is_inside, is_known = images.domains == images.domain_names.index(name), images.classes >= 0
    tested = (is_inside & is_known).nonzero().flatten()
    if not len(tested):
        raise DataError(
            f"no image of the domain '{name}' has a class, so it cannot be scored; leave it "
            "out with domains.hold_out"
        )
    pool = (~is_inside & is_known).nonzero().flatten()
    classes = torch.unique(images.classes[pool])
    if len(classes) < 2:
        raise DataError(
            f"the domains besides '{name}' show fewer than two classes; telling classes apart "
            "needs at least two"
        )
    places = torch.searchsorted(classes, images.classes).clamp_max(len(classes) - 1)
    targets = torch.where(classes[places] == images.classes, places, -1)
    matching = match_classes(
        _names(images, classes),
        _names(images, torch.unique(images.classes[tested])),
        where=(f"domains besides '{name}'", f"images of the domain '{name}'"),
    )
    return HeldOutDomain(
        name=name,
        others=(~is_inside).nonzero().flatten(),
        pool=pool,
        cells=images.domains[pool] * len(classes) + targets[pool],
        targets=targets,
        num_classes=len(classes),
        tested=tested,
        commonest=float(torch.unique(images.classes[tested], return_counts=True)[1].max())
        / len(tested),
        notes=matching.notes,
    )


def _names(images: DomainImages, classes: Int[Tensor, "classes"]) -> list[str]:
    known = images.class_names
    return [known[label] if label < len(known) else str(label) for label in classes.tolist()]
