"""Tiny images of several domains, as folders and as parquet: what the tests of domains share."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sparring.data.sources.arrays import Arrays
from sparring.data.sources.domains import DomainSource

SIZE = 16
DOMAINS, CLASSES = ("ink", "photo", "sketch"), ("cat", "dog", "owl")
COLOURS = np.array([(200, 70, 70), (70, 200, 70), (70, 70, 200)])


def drawn(count: int, label: int, domain: int, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Noisy images (count, size, size, 3) whose colour tells their class, darker or brighter by
    domain."""
    noise = np.random.default_rng((seed, label, domain)).normal(0, 25, (count, SIZE, SIZE, 3))
    return np.clip(COLOURS[label] + 15 * (domain - 1) + noise, 0, 255).astype(np.uint8)


def in_memory(per_cell: int = 8, *, seed: int = 0) -> DomainSource:
    """The images of all cells, in the order of the folders."""
    cells = [(domain, label) for domain in range(len(DOMAINS)) for label in range(len(CLASSES))]
    images = np.concatenate([drawn(per_cell, label, domain, seed=seed) for domain, label in cells])
    labels = np.repeat([CLASSES[label] for _, label in cells], per_cell)
    return DomainSource(
        Arrays(images, labels),
        np.repeat([domain for domain, _ in cells], per_cell),
        domain_names=DOMAINS,
    )


def write_folders(
    root: Path, per_cell: int = 8, *, without: Sequence[tuple[str, str]] = ()
) -> Path:
    """`domain/class/image`, perhaps without some classes in some domains."""
    for domain, domain_name in enumerate(DOMAINS):
        for label, class_name in enumerate(CLASSES):
            if (domain_name, class_name) not in without:
                folder = root / domain_name / class_name
                folder.mkdir(parents=True)
                for number, image in enumerate(drawn(per_cell, label, domain)):
                    Image.fromarray(image).save(folder / f"{number:02}.png")
    return root


def write_parquet(
    path: Path, folders: Path, *, names: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """The files of such folders in one parquet; columns as numbers named in the metadata, or as
    names where none are given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folders.rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    columns = {
        "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    }
    for column, found in {
        "label": [file.parent.name for file in files],
        "domain": [file.parent.parent.name for file in files],
    }.items():
        columns[column] = pa.array(
            [list(names[column]).index(name) for name in found] if names else found
        )
    table = pa.table(columns)
    if names:
        features = {
            column: {"names": list(known), "_type": "ClassLabel"} for column, known in names.items()
        }
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path)
    return path
