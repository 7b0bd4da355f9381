"""Views of 224 pixels from JPEG files per second and core, two views per file: ready for the
device, and complete.

    benchmarks/setup
    python benchmarks/large_views.py [--json large_views.json] [--rounds 5]

One thread each, CPU time, decoding included. *Ready for the device*: random resized crops of one
decoded image, uint8, as the loader hands them to a GPU that does the rest; against lightly's
transform, which makes everything on the CPU. *Complete*: colours, blur and all on the CPU; against
albumentations and lightly. Files: 500 x 375 pixels, JPEG of quality 90, about 50 kB (noise of
several grains).
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from entrants.pictures import write_photographs
from side_by_side import (
    PEERS,
    Worker,
    arguments,
    compared,
    in_words,
    inverse,
    per_cpu_second,
    take_turns,
    write_json,
)
from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.loader import Loader
from sparring.data.views.views import Views, ViewSettings, ViewsSettings
from sparring.seeding import generator

SIZE, BATCH, FILES, PRESET = 224, 32, 64, "mocov2"


def ready(folder: Path, recipes: Sequence[ViewSettings]) -> Callable[[], int]:
    """What the loader does in one epoch."""
    dataset = open_dataset(
        str(folder), DataSettings(path=str(folder), store="never", workers=1), image_size=SIZE
    )
    loader = Loader(dataset, batch_size=BATCH, seed=0, crops=recipes)

    def run() -> int:
        """Both crops of every file."""
        return sum(len(images) for batch in loader.batches(0) for images in batch.images)

    return run


def complete(folder: Path, recipes: Sequence[ViewSettings]) -> Callable[[], int]:
    """The loader, and the views made of its crops."""
    dataset = open_dataset(
        str(folder), DataSettings(path=str(folder), store="never", workers=1), image_size=SIZE
    )
    loader, views = (
        Loader(dataset, batch_size=BATCH, seed=0, crops=recipes),
        Views(recipes, image_size=SIZE),
    )

    def run() -> int:
        """Both views of every file."""
        draws = generator(0, "views")
        return sum(
            len(view)
            for batch in loader.batches(0)
            for view in views(batch.images, generator=draws)
        )

    return run


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    recipes = ViewsSettings(preset=PRESET).resolve(SIZE)
    with tempfile.TemporaryDirectory() as place:
        paths = write_photographs(Path(place), FILES)
        kilobytes = sum(path.stat().st_size for path in paths) / FILES / 1000
        print(f"{FILES} files of {kilobytes:.0f} kB, views as {PRESET}")
        recipe = json.dumps(recipes[0].model_dump())
        peers = {
            name: Worker(PEERS, "views_of_peers.py", name, str(SIZE), recipe, place)
            for name in ("lightly", "albumentations")
        }
        entrants = {
            "ready": per_cpu_second(ready(Path(place), recipes)),
            "complete": per_cpu_second(complete(Path(place), recipes)),
        }
        turns = take_turns(
            entrants | {name: peer.per_cpu_second("views") for name, peer in peers.items()},
            rounds=options.rounds,
        )
        for peer in peers.values():
            peer.close()
    found = {base: compared(turns, base) for base in entrants}
    print(f"{'views per CPU second':38} {'ready for the device / this':26} {'complete / this':20}")
    for name in turns:
        ratios = [in_words(inverse(found[base][name]["ratio"])) for base in entrants]
        print(
            f"{name:15} {in_words(found['ready'][name], '5.0f'):22} {ratios[0]:26} {ratios[1]:20}"
        )
    write_json(options.json, found)


if __name__ == "__main__":
    main()
