"""Public functions about an installation and about data: doctor, inspect_data."""

from pathlib import Path
from typing import TYPE_CHECKING

from sparring.api.common import heard_by
from sparring.data.cores import free_cores
from sparring.data.inspection.findings import DataFinding, findings
from sparring.data.inspection.inspecting import LOOKED_AT, inspect_images
from sparring.data.sources.source import ImageData, open_source
from sparring.training.listener import Listener, counter

if TYPE_CHECKING:
    from sparring.command.doctor import Finding


def doctor() -> "list[Finding]":
    """Findings about this installation: versions that fit together, devices, decoding, disk."""
    from sparring.command.doctor import run_checks

    return list(run_checks())


def inspect_data(
    data: ImageData,
    *,
    out: str | Path | None = None,
    limit: int = LOOKED_AT,
    listener: Listener | None = None,
    progress: bool = True,
) -> list[DataFinding]:
    """Findings about images before any training: how they are understood, what cannot be read,
    sizes, duplicates, classes.

    Args:
        data: images, as `train` takes them.
        out: HTML page to write, which shows the images of each finding; None: none.
        limit: largest number of images to decode, drawn at random from a larger set.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        DataError: if there are no images.
    """
    source = open_source(data)
    with heard_by(listener, progress=progress) as heard:
        inspected = inspect_images(
            source,
            limit=limit,
            workers=free_cores(),
            progress=counter("looking at images", heard),
        )
    found = findings(inspected)
    if out is not None:
        # It brings matplotlib, for which no finding should wait.
        from sparring.reporting.data_page import write_data_page

        name = Path(data).name if isinstance(data, str | Path) else "images in memory"
        write_data_page(inspected, found, name=name, out=out)
    return found
