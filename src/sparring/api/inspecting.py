"""Public functions about an installation and about data: doctor, inspect_data."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.api.common import heard_by
from sparring.data.cores import free_cores
from sparring.data.dataset import DataSettings
from sparring.data.inspection.findings import DataFinding, findings, shared_images
from sparring.data.inspection.inspecting import LOOKED_AT, Inspection, inspect_images
from sparring.data.sources.source import ImageData, Source, open_source
from sparring.data.streams.opening_streams import is_stream, open_stream
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
    settings: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    progress: bool = True,
) -> list[DataFinding]:
    """Findings about images before any training: how they are understood, what cannot be read,
    sizes, duplicates, classes, and images that are both learned from and scored.

    Args:
        data: images, as `train` takes them.
        out: HTML page to write, which shows the images of each finding; None: none.
        limit: largest number of images to decode of each part, drawn at random from more.
        settings: of the section `data`, such as {"channels": 1, "value_range": [0, 4095]}.
        listener: told what happens; None: progress is shown on standard error.
        progress: False shows nothing.

    Raises:
        DataError: if there are no images.
    """
    read = DataSettings.build(settings or {}, where="data")
    if is_stream(read, data):
        source: Source = open_stream(data, read).first(limit)
    else:
        source = open_source(data)
    with heard_by(listener, progress=progress) as heard:

        def look(images: Source) -> Inspection:
            """Inspection of one part."""
            return inspect_images(
                images,
                limit=limit,
                channels=read.channels,
                value_range=None if read.value_range == "auto" else read.value_range,
                workers=read.workers or free_cores(),
                progress=counter("looking at images", heard),
            )

        inspected = look(source)
        scored = look(open_source(data, part="test")) if source.part else None
    found = findings(inspected) + ([] if scored is None else [shared_images(inspected, scored)])
    if out is not None:
        # Only a page needs it.
        from sparring.reporting.data_page import write_data_page

        name = Path(data).name if isinstance(data, str | Path) else "images in memory"
        write_data_page(inspected, found, name=name, out=out)
    return found
