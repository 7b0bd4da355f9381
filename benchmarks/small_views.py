"""Views of small images per second and core: ours against our own by tensors, lightly's, kornia's,
albumentations' and torchvision's.

    benchmarks/setup
    python benchmarks/small_views.py [--json small_views.json] [--rounds 7] [--size 32 96]
        [--preset simclr-cifar mocov2]

One thread each, CPU time. Every entrant draws parameters of its own for every sample, from the
same distributions. Ours are equal to torchvision's operations (tests/data/test_views.py); kornia's
crop reads beyond the box and has no antialiasing. Pictures are noise, which no operation is faster
or slower on, and in memory; lightly gets them as PIL images.
"""

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from entrants.pictures import small
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
from sparring.data.views.image_operations import blur_kernel_size
from sparring.data.views.views import (
    Views,
    ViewSettings,
    ViewsSettings,
    draw_parameters,
    view_by_tensors,
)
from sparring.seeding import generator

BATCH = 256
PEERS_OF_SMALL = ("lightly", "kornia", "albumentations")
PER_IMAGE_SAMPLE = 64
"""Pictures per turn where they are made one by one."""


def ours(recipe: ViewSettings, images: torch.Tensor) -> Callable[[], int]:
    """The batch through `Views`."""
    views, draws = Views([recipe], image_size=images.shape[-1]), generator(0, "views")

    def run() -> int:
        """One view of each."""
        views(images, generator=draws)
        return len(images)

    return run


def ours_by_tensors(recipe: ViewSettings, images: torch.Tensor) -> Callable[[], int]:
    """As `ours`, without the compiled kernel."""
    draws = generator(0, "views")
    sides = torch.full((len(images),), images.shape[-1])

    def run() -> int:
        """One view of each."""
        view_by_tensors(
            images,
            draw_parameters(recipe, sides, sides, generator=draws),
            recipe,
            size=images.shape[-1],
        )
        return len(images)

    return run


def torchvision(recipe: ViewSettings, images: torch.Tensor) -> Callable[[], int]:
    """Image by image through torchvision's v2 transforms on uint8 tensors, their fastest form."""
    transform, sample = torchvision_transform(recipe, images.shape[-1]), images[:PER_IMAGE_SAMPLE]

    def run() -> int:
        """One view of each of a few."""
        torch.stack([transform(image) for image in sample])
        return len(sample)

    return run


def torchvision_transform(recipe: ViewSettings, size: int) -> v2.Compose:
    """The recipe in torchvision's words."""
    jitter = v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    blur = v2.GaussianBlur(blur_kernel_size(size), recipe.blur_sigma)
    return v2.Compose(
        [
            v2.RandomResizedCrop(
                size, scale=recipe.crop_scale, ratio=recipe.crop_ratio, antialias=True
            ),
            v2.RandomApply([jitter], p=recipe.jitter),
            v2.RandomGrayscale(recipe.greyscale),
            *([v2.RandomApply([blur], p=recipe.blur)] if recipe.blur else []),
            v2.RandomHorizontalFlip(recipe.flip),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--size", type=int, nargs="+", default=[32])
    parser.add_argument(
        "--preset", nargs="+", default=["simclr-cifar", "mocov2", "simclr-imagenet"]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    print(
        "views per CPU second, one thread: median (lowest to highest); ratio: ours over this, "
        "round by round"
    )
    for size in options.size:
        images = torch.from_numpy(small(BATCH, size)).permute(0, 3, 1, 2).contiguous()
        for preset in options.preset:
            recipe = ViewsSettings(preset=preset).resolve(size)[0]
            workers = {
                name: Worker(PEERS, "views_of_peers.py", name, str(size), recipe.model_dump_json())
                for name in PEERS_OF_SMALL
            }
            makers = {"ours": ours, "ours, by tensors": ours_by_tensors, "torchvision": torchvision}
            entrants = {name: per_cpu_second(make(recipe, images)) for name, make in makers.items()}
            turns = take_turns(
                entrants
                | {name: worker.per_cpu_second("views") for name, worker in workers.items()},
                rounds=options.rounds,
            )
            for worker in workers.values():
                worker.close()
            found[f"{preset} at {size} px"] = rows = compared(turns, "ours")
            print(f"{preset} at {size} px")
            for name, row in rows.items():
                print(
                    f"  {name:17} {in_words(row, '6.0f'):28} "
                    f"{in_words(inverse(row['ratio']), '.1f')}"
                )
    write_json(options.json, found)


if __name__ == "__main__":
    main()
