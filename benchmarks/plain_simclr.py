"""SimCLR on CIFAR-10 as a plain loop, beside which the library's scores must stand.

    python benchmarks/plain_simclr.py --data cifar10-train.parquet --test cifar10-test.parquet
        [--epochs 100] [--seed 0] [--float32] [--no-compile] [--cpu] [--out FILE.json]

Plain PyTorch and torchvision, written from the formulas. Of sparring only the scores are used (kNN
with 10 neighbours at temperature 0.1, the linear probe to convergence), so that they can be
compared, and the reading of the images. Nothing is scored before the end of the last epoch.

The recipe is that of a public single-file script which reports kNN 83.2 +- 0.2 and linear 85.6
after 100 epochs. Known of it: ResNet-18, batch 512, SGD at 0.06, temperature 0.5, greyscale 0.1.
Not verified, and chosen as is usual beside these: the stem (3 x 3, stride 1, no max-pooling), the
projector (512 - 2,048 - 128 with batch norm), momentum 0.9, weight decay 5e-4 on all weights, a
cosine per step without warm-up, crops of 0.2 to 1 of the area, jitter (0.4, 0.4, 0.4, 0.1) on 80 %
of the views, no blur, both views in one pass, bfloat16, and its own linear probe.

torchvision's transforms draw once for a whole batch, and one call per image would take minutes per
epoch. So every image gets draws of its own by the formulas of torchvision's RandomResizedCrop,
RandomHorizontalFlip, ColorJitter (in an order of its own) and RandomGrayscale, and they are applied
to the batch at once; tests hold the pixels to torchvision's functions, image by image. A crop is
never larger than the result, where bilinear resizing is the same with antialiasing and without.

What it scores and how fast it is on a GPU has not been measured.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from gpu_machine import Machine, arguments, cifar, machine_of, write
from sparring.evaluation.frozen.logistic import linear_probe
from sparring.measures.knn import knn_accuracy

BATCH, RATE, MOMENTUM, DECAY = 512, 0.06, 0.9, 5e-4
TEMPERATURE, GREY = 0.5, 0.1
CROP_AREA, CROP_RATIO, CROP_TRIES = (0.2, 1.0), (3 / 4, 4 / 3), 10
JITTER, JITTER_SHARE = (0.4, 0.4, 0.4, 0.1), 0.8
HIDDEN, DIM = 2048, 128
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""Of CIFAR-10's training images, in [0, 1]."""
LUMA = (0.2989, 0.587, 0.114)
NEIGHBORS, NEIGHBOR_TEMPERATURE = 10, 0.1
PLACES = ("data", "test", "out", "cpu")
"""Options that are not part of the recipe."""


def network() -> nn.Sequential:
    """torchvision's ResNet-18 with a stem for small images, and the projector."""
    backbone = resnet18(weights=None)
    backbone.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    backbone.maxpool = nn.Identity()  # type: ignore[assignment]
    backbone.fc = nn.Identity()  # type: ignore[assignment]
    projector = nn.Sequential(
        nn.Linear(512, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIM)
    )
    return nn.Sequential(backbone, projector)


def nt_xent(embeddings: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy of finding each view's partner among all other views of the batch.

    mean_i -log( exp(z_i.z_p(i) / t) / sum_{j != i} exp(z_i.z_j / t) ), unit rows z

    Args:
        embeddings: (2 n, dim); rows i and i + n are the views of image i.
        temperature: t > 0.
    """
    rows = F.normalize(embeddings.float(), dim=1)
    similarities = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    partners = torch.arange(len(rows), device=rows.device).roll(len(rows) // 2)
    return F.cross_entropy(similarities.masked_fill(itself, -torch.inf), partners)


@dataclass(frozen=True)
class Draws:
    """What happens to each image of a batch, a row or an element per image.

    Attributes:
        box: top, left, height and width of the crop, pixels.
        flip: whether it is mirrored.
        jitter: whether its colours change.
        factors: of brightness, contrast and saturation, and turns of the hue.
        order: in which the four are applied, by their places in `factors`.
        grey: whether it loses its colours.
    """

    box: Tensor
    flip: Tensor
    jitter: Tensor
    factors: Tensor
    order: Tensor
    grey: Tensor


def draws(number: int, size: int, generator: torch.Generator) -> Draws:
    """New draws for so many square images, each for itself, on the generator's device."""

    def uniform(*shape: int) -> Tensor:
        """Numbers in [0, 1)."""
        return torch.rand(*shape, generator=generator, device=generator.device)

    brightness, contrast, saturation, hue = JITTER
    spread = torch.tensor([brightness, contrast, saturation, hue], device=generator.device)
    centre = torch.tensor([1.0, 1.0, 1.0, 0.0], device=generator.device)
    return Draws(
        box=boxes(uniform(4, CROP_TRIES, number), size),
        flip=uniform(number) < 0.5,
        jitter=uniform(number) < JITTER_SHARE,
        factors=centre + (2 * uniform(number, 4) - 1) * spread,
        order=uniform(number, 4).argsort(dim=1),
        grey=uniform(number) < GREY,
    )


def boxes(uniform: Tensor, size: int) -> Tensor:
    """Boxes (images, 4) of random area and aspect ratio: the first try that fits into the image,
    else the whole image.

    Args:
        uniform: (4, tries, images) numbers in [0, 1).
        size: side of the images.
    """
    low, high = CROP_AREA
    area = size * size * (low + (high - low) * uniform[0])
    first, last = (math.log(ratio) for ratio in CROP_RATIO)
    ratio = torch.exp(first + (last - first) * uniform[1])
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width >= 1) & (width <= size) & (height >= 1) & (height <= size)
    chosen = fits.int().argmax(dim=0, keepdim=True)  # the first of the largest
    is_any = fits.any(dim=0)

    def of_try(values: Tensor) -> Tensor:
        """Values of the chosen try, (images,)."""
        return values.gather(0, chosen)[0]

    height = torch.where(is_any, of_try(height), size)
    width = torch.where(is_any, of_try(width), size)
    top = (of_try(uniform[2]) * (size - height + 1)).floor()
    left = (of_try(uniform[3]) * (size - width + 1)).floor()
    return torch.stack([top, left, height, width], dim=1)


def cropped(images: Tensor, box: Tensor, flip: Tensor) -> Tensor:
    """Boxes of images (n, 3, size, size), resized to that size bilinearly, some of them mirrored.

    Nothing outside its box enters a crop.
    """
    size = images.shape[-1]
    place = (torch.arange(size, device=images.device) + 0.5) / size
    top, left, height, width = (box[:, number, None] for number in range(4))
    rows = top + (place * height - 0.5).clamp(min=0).minimum(height - 1)
    across = torch.where(flip[:, None], 1 - place, place)
    columns = left + (across * width - 0.5).clamp(min=0).minimum(width - 1)
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, size, -1),
            rows[:, :, None].expand(-1, -1, size),
        ],
        dim=-1,
    )
    grid = 2 * grid / (size - 1) - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def luma(images: Tensor) -> Tensor:
    """Greyscale images, (n, 1, height, width)."""
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def blended(images: Tensor, other: Tensor | float, share: Tensor) -> Tensor:
    """Share of the images plus the rest of the other, cut off at 0 and 1."""
    return (share * images + (1 - share) * other).clamp(0, 1)


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Images whose hue is turned, by way of hue, saturation and value.

    channel n = v - v s max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6, n = 5, 3, 1 for r, g, b
    """
    red, green, blue = images.unbind(dim=1)
    value, chroma = images.amax(dim=1), images.amax(dim=1) - images.amin(dim=1)
    safe = torch.where(chroma > 0, chroma, 1)
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sixths + 6 * turns[:, None, None]
    channels = []
    for number in (5, 3, 1):
        place = torch.remainder(number + hue, 6)
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, dim=1)


def jittered(images: Tensor, given: Draws) -> Tensor:
    """Images with other colours, each in its own order of brightness, contrast, saturation, hue."""
    brightness, contrast, saturation, _ = given.factors.view(-1, 4, 1, 1, 1).unbind(dim=1)
    found = images
    for turn in range(4):
        which = given.order[:, turn].view(-1, 1, 1, 1)
        grey = luma(found)
        results = (
            blended(found, 0.0, brightness),
            blended(found, grey.mean(dim=(1, 2, 3), keepdim=True), contrast),
            blended(found, grey, saturation),
            turned(found, given.factors[:, 3]),
        )
        for number, result in enumerate(results):
            found = torch.where(which == number, result, found)
    return torch.where(given.jitter.view(-1, 1, 1, 1), found, images)


def view(images: Tensor, given: Draws) -> Tensor:
    """A view of each image.

    Args:
        images: uint8 (n, 3, size, size).
        given: for each of them.
    """
    found = jittered(cropped(images.float() / 255, given.box, given.flip), given)
    found = torch.where(given.grey.view(-1, 1, 1, 1), luma(found), found)
    return normalised(found).contiguous(memory_format=torch.channels_last)


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 1] less the mean and divided by the deviation of each channel."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / torch.tensor(DEVIATION, device=images.device).view(1, 3, 1, 1)


class Plain:
    """The loop.

    Args:
        images: uint8, on the device.
        options: of the command line.
        machine: the device.
    """

    def __init__(self, images: Tensor, options: argparse.Namespace, machine: Machine) -> None:
        torch.manual_seed(options.seed)
        self.images, self.machine, self.epochs = images, machine, options.epochs
        self.batch, self.warmup_epochs = options.batch, options.warmup_epochs
        self.model = network().to(machine.device, memory_format=torch.channels_last)
        self.generator = torch.Generator(machine.device).manual_seed(options.seed)
        self.is_bfloat16 = not options.float32
        is_compiled = not (machine.is_toy or options.no_compile)
        self.forward: Any = torch.compile(self.model) if is_compiled else self.model
        self.view: Any = torch.compile(view) if is_compiled else view
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY
        )

    def train(self) -> Iterator[float]:
        """Mean loss of each epoch."""
        self.model.train()
        per_epoch = len(self.images) // self.batch
        for epoch in range(self.epochs):
            order = torch.randperm(
                len(self.images), generator=self.generator, device=self.generator.device
            )
            losses = []
            for step in range(per_epoch):
                rows = order[step * self.batch : (step + 1) * self.batch]
                self._set_rate(epoch * per_epoch + step, per_epoch)
                losses.append(self._step(self.images[rows]))
            yield float(torch.stack(losses).mean())

    def _set_rate(self, step: int, per_epoch: int) -> None:
        warmup = self.warmup_epochs * per_epoch
        if step < warmup:
            share = (step + 1) / warmup
        else:
            done = (step - warmup) / (self.epochs * per_epoch - warmup)
            share = (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * share

    def _step(self, images: Tensor) -> Tensor:
        size = images.shape[-1]
        with torch.no_grad():
            both = torch.cat(
                [self.view(images, draws(len(images), size, self.generator)) for _ in range(2)]
            )
        kind = self.machine.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.is_bfloat16):
            embeddings = self.forward(both)
        loss = nt_xent(embeddings, temperature=TEMPERATURE)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features of the backbone in float32, (n, 512)."""
        self.model.eval()
        parts = images.to(self.machine.device).split(1000)
        return torch.cat([self.model[0](normalised(part.float() / 255)) for part in parts])


def scores(plain: Plain, labels: Tensor, test: Tensor, truth: Tensor) -> dict[str, float]:
    """kNN and linear accuracy in points."""
    device = plain.machine.device
    train_features, test_features = plain.features(plain.images), plain.features(test)
    labels, truth = labels.to(device), truth.to(device)
    knn = knn_accuracy(
        train_features,
        labels,
        test_features,
        truth,
        num_neighbors=NEIGHBORS,
        temperature=NEIGHBOR_TEMPERATURE,
    )
    linear = linear_probe(train_features, labels, test_features, truth, seed=0).accuracy
    return {"knn": 100 * knn, "linear": 100 * linear}


def main() -> None:
    """Train, score, print and write."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, help="parquet of the training images")
    parser.add_argument("--test", type=Path, help="parquet of the test images")
    parser.add_argument("--epochs", type=int, help="default 100, at toy size 1")
    parser.add_argument("--batch", type=int, help=f"default {BATCH}, at toy size 16")
    parser.add_argument("--warmup-epochs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float32", action="store_true", help="in place of bfloat16")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    options = parser.parse_args()
    machine, start = machine_of(options), time.monotonic()
    options.epochs = options.epochs or (1 if machine.is_toy else 100)
    options.batch = options.batch or (16 if machine.is_toy else BATCH)
    images, labels, words = cifar(options.data, 64 if machine.is_toy else 50_000)
    test, truth, _ = cifar(options.test, 32 if machine.is_toy else 10_000)
    plain = Plain(images.to(machine.device), options, machine)
    began, losses = time.monotonic(), []
    for epoch, loss in enumerate(plain.train(), start=1):
        losses.append(loss)
        spent = time.monotonic() - began
        print(f"  epoch {epoch}: loss {loss:.4f}, {spent:.0f} s", file=sys.stderr, flush=True)
    trained = time.monotonic() - began
    found = {
        **scores(plain, labels, test, truth),
        "losses": losses,
        "seconds of training": trained,
        "seconds": time.monotonic() - start,
    }
    print(
        f"plain SimCLR, {options.epochs} epochs, seed {options.seed}: kNN (k {NEIGHBORS}) "
        f"{found['knn']:.2f}, linear {found['linear']:.2f} on {len(test):,} test images; "
        f"{trained:.0f} s of training, {found['seconds']:.0f} s in all"
    )
    print(f"{machine.facts()['device']}, {words}")
    recipe = {name: value for name, value in vars(options).items() if name not in PLACES}
    write(options.out, machine, found, images=words, recipe=recipe)


if __name__ == "__main__":
    main()
