"""Images with a class and a domain each.

Layouts: folders `domain/class/image`, or parquet with columns `domain` and `label`.
"""

from pathlib import Path

import numpy as np

from sparring.data.classes import LABEL_COLUMNS, named
from sparring.data.sources.files import Files, files_below
from sparring.data.sources.formats import is_image
from sparring.data.sources.image_source import Relabelled, Wrapped
from sparring.data.sources.parquet import Parquet
from sparring.data.sources.source import ImageData, Labels, Source, open_source
from sparring.errors import DataError

DOMAIN_COLUMN = "domain"
LAYOUTS = (
    f"a folder laid out as domain/class/image, or parquet with the columns '{DOMAIN_COLUMN}' and "
    f"'{LABEL_COLUMNS[0]}'"
)


class DomainSource(Wrapped):
    """Images of another source that come from several domains, such as photos and sketches.

    Args:
        images: images, with their classes as labels.
        domains: domain of each image, an index into the names.
        domain_names: name of each domain.

    Raises:
        DataError: without classes, for an image without a domain, or for a single domain.
    """

    def __init__(self, images: Source, domains: Labels, *, domain_names: tuple[str, ...]) -> None:
        assert len(domains) == len(images)
        super().__init__(images)
        self.domain_names, self._domains = domain_names, domains
        if (domains < 0).any():
            raise DataError(
                f"{int((domains < 0).sum()):,} images have no domain, such as "
                f"{self.key(int(np.argmin(domains)))}; give each one"
            )
        if images.labels() is None:
            reason = f" ({images.labels_missing})" if images.labels_missing else ""
            raise DataError(f"the images of the domains have no classes{reason}; give {LAYOUTS}")
        present = [domain_names[number] for number in np.unique(domains)]
        if len(present) < 2:
            raise DataError(
                f"all images are of the domain '{present[0]}', and holding one out needs at "
                f"least two domains; give {LAYOUTS}"
            )

    def domains(self) -> Labels:
        """Domain of each image, an index into `domain_names`."""
        return self._domains

    def by_domain(self) -> Source:
        """Source of the same images, labelled with their domains."""
        return Relabelled(self._source, self._domains, self.domain_names)


def open_domains(data: ImageData | Source) -> DomainSource:
    """Images with their classes and domains.

    Args:
        data: folder with domains as first-level and classes as second-level folders; parquet file
            or folder of them with columns `domain` and `label`, each of integers (with names in the
            Hugging Face metadata) or of names; or an open source.

    Raises:
        DataError: for anything else, for an image outside its two folders, without classes, or for
            a single domain.
    """
    if isinstance(data, DomainSource):
        return data
    source = open_source(data, part="all")
    if isinstance(source, Parquet):
        return _from_parquet(source)
    if isinstance(data, str | Path) and Path(data).expanduser().is_dir():
        return _from_folder(Path(data).expanduser(), notes=source.notes)
    raise DataError(
        f"{data if isinstance(data, str | Path) else 'images in memory'}: the "
        f"domains are unknown; domains are read from files: give {LAYOUTS}"
    )


def _from_parquet(source: Parquet) -> DomainSource:
    domains, names = source.numbers(DOMAIN_COLUMN)
    if domains is None:
        raise DataError(
            f"the parquet has no column '{DOMAIN_COLUMN}' of integers or names; give {LAYOUTS}"
        )
    if names is None:
        present, places = np.unique(domains[domains >= 0], return_inverse=True)
        domains, names = domains.copy(), tuple(map(str, present))
        domains[domains >= 0] = places
    return DomainSource(source, domains, domain_names=names)


def _from_folder(root: Path, *, notes: tuple[str, ...]) -> DomainSource:
    names = [name for name in files_below(root) if is_image(name)]
    parts = [Path(name).parts for name in names]
    for name, folders in zip(names, parts, strict=True):
        if len(folders) < 3:
            raise DataError(
                f"{root / name} is not inside a domain and a class folder; give {LAYOUTS}"
            )
    domains, domain_names = named([folders[0] for folders in parts])
    classes, class_names = named([folders[1] for folders in parts])
    files = Files(root, names, labels=classes, class_names=class_names)
    files.notes = notes
    return DomainSource(files, domains, domain_names=domain_names)
