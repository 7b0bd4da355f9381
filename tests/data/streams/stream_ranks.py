"""Streams opened for tests, and an epoch of them on one of several processes."""

from pathlib import Path
from typing import Any

from hub_sets import shades_of
from sparring import distributed
from sparring.data.data_settings import DataSettings
from sparring.data.loader import Batch
from sparring.data.streams.opening_streams import open_stream, open_streamed
from sparring.data.streams.stream_loader import StreamLoader
from sparring.data.streams.streamed_dataset import StreamedDataset


def opened(
    data: Any, num_images: int, lines: list[str] | None = None, **given: Any
) -> StreamedDataset:
    settings = DataSettings(
        streaming=True, **{"shuffle_buffer": 4, "num_images": num_images, "workers": 2, **given}
    )
    return open_streamed(
        open_stream(data, settings),
        settings,
        image_size=lambda typical: 16,
        report=lambda line: None if lines is None else lines.append(line),
    )


def loader(dataset: StreamedDataset, batch_size: int = 4, **given: Any) -> StreamLoader:
    return StreamLoader(dataset, batch_size=batch_size, seed=0, **given)


def shades(batches: list[Batch]) -> list[int]:
    return [shade for batch in batches for shade in shades_of(batch.images[0])]


def shades_of_a_rank(folder: Path) -> dict[str, Any]:
    """Images of this process in an epoch of streams of 2 and of 3 shards, and the lines told."""
    found: dict[str, Any] = {}
    for name, pattern in (("divided", "two/{000..001}"), ("whole", "three/{000..002}")):
        lines: list[str] = []
        batches = loader(opened(str(folder / f"{pattern}.tar"), 12, lines), 4)
        found[name] = [shades([batch]) for batch in batches.batches(0)]
        found[f"{name} rest"] = [shades([batch]) for batch in batches.batches(0, 1)]
        found[f"{name} line"] = lines[2]
    found["rank"] = distributed.rank()
    return found
