"""Views per second and core: ours against torchvision's per-image transforms with the same distributions.

    python benchmarks/views.py [--json views.json] [--repetitions 7]

One torch thread, CPU time of the process (a neighbour on the machine does not slow it, shared cache and memory still do). The
contestants take turns within each repetition; the figure is the median, with the slowest and fastest repetition beside it. The
images are noise, which no operation is faster or slower on. Contestants that are not installed (kornia, lightly) are left out.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from sparring.data.image_operations import blur_kernel_size
from sparring.data.views import Views, ViewSettings, ViewsSettings
from sparring.seeding import generator

BATCH = 256
SIZES = (32, 96)
PRESETS = ("mocov2-small", "simclr-cifar", "mocov2", "simclr-imagenet", "byol")
PER_IMAGE_SAMPLE = 32
"""Images the slow per-image contestants get per repetition."""

Rate = dict[str, float]
Contestant = Callable[[], int]
"""Makes views once and returns how many."""


def ours(recipe: ViewSettings, images: Tensor) -> Contestant:
    """The batch through `Views`."""
    views, draws = Views([recipe], image_size=images.shape[-1]), generator(0, "views")

    def run() -> int:
        views(images, generator=draws)
        return len(images)

    return run


def torchvision_per_image(recipe: ViewSettings, images: Tensor) -> Contestant:
    """Image by image through torchvision's v2 transforms on uint8 tensors, their fastest form."""
    transform = _torchvision_transform(recipe, images.shape[-1])
    sample = images[:PER_IMAGE_SAMPLE]

    def run() -> int:
        torch.stack([transform(image) for image in sample])
        return len(sample)

    return run


def _torchvision_transform(recipe: ViewSettings, size: int) -> v2.Compose:
    jitter = v2.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue)
    steps: list[torch.nn.Module] = [
        v2.RandomResizedCrop(size, scale=recipe.crop_scale, ratio=recipe.crop_ratio, antialias=True),
        v2.RandomApply([jitter], p=recipe.jitter),
        v2.RandomGrayscale(recipe.greyscale),
    ]
    if recipe.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(blur_kernel_size(size), recipe.blur_sigma)], p=recipe.blur))
    if recipe.solarise:
        steps.append(v2.RandomSolarize(128, p=recipe.solarise))
    return v2.Compose([*steps, v2.RandomHorizontalFlip(recipe.flip), v2.ToDtype(torch.float32, scale=True)])


def lightly_per_image(recipe: ViewSettings, images: Tensor) -> Contestant:
    """Lightly's SimCLRTransform on PIL images, without its normalisation; it makes two views per call."""
    from lightly.transforms import SimCLRTransform  # type: ignore[import-not-found]

    transform = SimCLRTransform(
        input_size=images.shape[-1],
        cj_prob=recipe.jitter,
        cj_bright=recipe.brightness,
        cj_contrast=recipe.contrast,
        cj_sat=recipe.saturation,
        cj_hue=recipe.hue,
        min_scale=recipe.crop_scale[0],
        random_gray_scale=recipe.greyscale,
        gaussian_blur=recipe.blur,
        normalize=None,
    )
    sample = [tv.to_pil_image(image) for image in images[:PER_IMAGE_SAMPLE]]

    def run() -> int:
        for image in sample:
            transform(image)
        return 2 * len(sample)

    return run


CONTESTANTS: dict[str, Callable[[ViewSettings, Tensor], Contestant]] = {
    "ours": ours,
    "torchvision": torchvision_per_image,
}
if importlib.util.find_spec("lightly"):
    CONTESTANTS["lightly"] = lightly_per_image


def rates(contestants: dict[str, Contestant], repetitions: int) -> dict[str, Rate]:
    """Median, lowest and highest views per CPU second of each, taking turns; the first round is not counted."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions + 1):
        for name, run in contestants.items():
            start = time.process_time()
            num_views = run()
            seen[name].append(num_views / (time.process_time() - start))
    return {
        name: {"median": statistics.median(values[1:]), "low": min(values[1:]), "high": max(values[1:])} for name, values in seen.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repetitions", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"views per second and core, batch {BATCH}, torch {torch.__version__}")
    print(f"{'side':>4} {'preset':16} {'contestant':12} {'median':>8} {'low':>8} {'high':>8} {'ours /':>7}")
    rows = []
    for size in SIZES:
        images = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8, generator=generator(0, "images"))
        for preset in PRESETS:
            recipe = ViewsSettings(preset=preset).resolve(size)[0]
            measured = rates({name: make(recipe, images) for name, make in CONTESTANTS.items()}, arguments.repetitions)
            for name, rate in measured.items():
                ratio = measured["ours"]["median"] / rate["median"]
                rows.append({"side": size, "preset": preset, "contestant": name, **rate, "ours_over_this": ratio})
                figures = " ".join(f"{rate[key]:8.0f}" for key in ("median", "low", "high"))
                print(f"{size:4} {preset:16} {name:12} {figures} {ratio:6.1f}x")
    if arguments.json:
        arguments.json.write_text(json.dumps({"batch": BATCH, "torch": torch.__version__, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
