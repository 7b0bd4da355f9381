"""Tar shards of a million small images: index, first step, memory, and rates beside webdataset's.

    python benchmarks/shards.py [--json shards.json] [--images 1000000] [--shards 100]
        [--folder FOLDER] [--steps 200] [--rounds 3]

JPEG files of 32 x 32 pixels with a class each, written by `webdataset.TarWriter`; FOLDER keeps them
for another run. Runs: SimCLR, ResNet-18 at width 0.0625, batch 128, one thread, in processes of
their own; seconds from the moment at which torch is imported, of the clock and of the CPU, in which
a machine that does other work is felt less. "cold": the index is made, "warm": it is read. "files
not in memory": the operating system was asked to forget them before.

Rates: samples per CPU second and per second of the clock, in turns; ours at random places, and
`webdataset.WebDataset` in the order of its shards through a shuffle buffer of 1,000; bytes alone,
and decoded to pixels, by one thread.
"""

import io
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image

from side_by_side import HERE, OURS, arguments, compared, in_words, take_turns, write_json
from sparring.data.decode import load
from sparring.data.sources.source import open_source

POOL, TAKEN, BUFFER = 500, 20_000, 1_000
"""Different pictures, samples read per turn, and webdataset's shuffle buffer."""


def write_shards(folder: Path, *, images: int, shards: int) -> None:
    """Shards by the webdataset library, of pictures that repeat."""
    draw, pictures = np.random.default_rng(0), []
    for _ in range(POOL):
        buffer = io.BytesIO()
        coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), np.uint8))
        coarse.resize((32, 32)).save(buffer, "JPEG")
        pictures.append(buffer.getvalue())
    for shard, rows in enumerate(np.array_split(np.arange(images), shards)):
        with webdataset.TarWriter(str(folder / f"train-{shard:06}.tar")) as writer:
            for row in rows.tolist():
                picture = pictures[row % POOL]
                writer.write({"__key__": f"{row:08}", "jpg": picture, "cls": row % 10})


def forget(folder: Path) -> None:
    """Ask the operating system to keep none of the shards in memory."""
    for path in folder.glob("*.tar"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(pattern: str, cache: Path, steps: int) -> dict[str, float]:
    """What one process says of its run."""
    done = subprocess.run(
        [OURS, HERE / "entrants" / "shard_run.py", pattern, cache, str(steps)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *os.sys.path])},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rate(read: Callable[[], int], clock: Callable[[], float]) -> Callable[[], float]:
    """Samples per second of a clock."""

    def turn() -> float:
        """One turn."""
        start = clock()
        number = read()
        return number / (clock() - start)

    return turn


def readers(pattern: str) -> dict[str, Callable[[], int]]:
    """Entrants, each of which reads `TAKEN` samples."""
    source = open_source(pattern)
    draw = np.random.default_rng(0)

    def rows() -> Iterator[int]:
        """Random places."""
        yield from draw.integers(0, len(source), TAKEN).tolist()

    def theirs(**decoding: str) -> Callable[[], int]:
        """Samples of the library, from a random shard on."""
        shards = webdataset.WebDataset(pattern, shardshuffle=100, seed=int(draw.integers(1000)))
        shuffled = shards.shuffle(BUFFER)
        found = shuffled.decode("rgb8") if decoding else shuffled
        return lambda: sum(1 for _ in islice(found, TAKEN))

    return {
        "ours, bytes": lambda: sum(len(source.read(row)) > 0 for row in rows()),
        "webdataset, bytes": theirs(),
        "ours, pixels": lambda: sum(load(source.read, row).numel() > 0 for row in rows()),
        "webdataset, pixels": theirs(decode="rgb8"),
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch, "shards")
        if not folder.is_dir():
            folder.mkdir(parents=True)
            write_shards(folder, images=options.images, shards=options.shards)
        pattern = f"{folder}/train-{{000000..{options.shards - 1:06}}}.tar"
        os.environ["SPARRING_CACHE"] = str(cache := Path(scratch, "cache"))
        for name, index, is_forgotten in (
            ("index cold, files not in memory", Path(scratch, "first"), True),
            ("index cold", cache, False),
            ("index warm", cache, False),
            ("index warm, files not in memory", cache, True),
        ):
            os.environ["SPARRING_CACHE"] = str(index)
            if is_forgotten:
                forget(folder)
            found[name] = run(pattern, index, options.steps)
            print(f"{name}:", ", ".join(f"{key} {value:.1f}" for key, value in found[name].items()))
        os.environ["SPARRING_CACHE"] = str(cache)
        for clock in (time.process_time, time.perf_counter):
            entrants = {name: rate(read, clock) for name, read in readers(pattern).items()}
            turns = take_turns(entrants, rounds=options.rounds)
            name = f"samples per second of {clock.__name__}"
            found[name] = {
                kind: compared(
                    {key: turns[key] for key in turns if key.endswith(kind)}, f"webdataset, {kind}"
                )
                for kind in ("bytes", "pixels")
            }
            for kind, entries in found[name].items():
                for key, figures in entries.items():
                    ratio = in_words(figures["ratio"])
                    print(f"{name}, {kind}: {key} {in_words(figures, '.0f')}, ratio {ratio}")
    write_json(options.json, found)


if __name__ == "__main__":
    main()
