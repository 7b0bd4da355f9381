"""How many neighbours should vote when the classes have few images?

    python benchmarks/knn_small_sets.py --run RUN --data cifar10-train.parquet [--draws 30]

Draws small training sets from the images that the run did not see, scores 2,000 further images of
the same classes by each rule, with the run's encoder and with the untrained one. Prints the mean
accuracy, and the mean over classes, which counts a small class as much as a large one.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch

import sparring
from sparring.data.dataset import DataSettings, open_dataset
from sparring.data.sources.dataset_subset import dataset_subset
from sparring.evaluation.features import extract_features
from sparring.measures.knn import fitting_neighbors, knn_predict
from sparring.seeding import generator
from sparring.training.encoders import load_encoders
from sparring.training.run_folder import RunFolder

PROFILES: dict[str, Sequence[int]] = {
    "10 x 2": [2] * 10,
    "10 x 5": [5] * 10,
    "2 x 10": [10, 10],
    "10 x 10": [10] * 10,
    "10 x 30": [30] * 10,
    "2 x 100": [100, 100],
    "10 x 100": [100] * 10,
    "10 x 500": [500] * 10,
    "3: 150, 49, 1": [150, 49, 1],
    "2: 200, 10": [200, 10],
    "2: 300, 60": [300, 60],
    "3: 100, 50, 20": [100, 50, 20],
    "2: 12, 4": [12, 4],
    "10: 9 x 500, 1": [500] * 9 + [1],
    "10: 5 to 300": [5, 5, 10, 10, 20, 40, 80, 160, 300, 300],
}
RULES: dict[str, Callable[[np.ndarray], int]] = {
    "200": lambda sizes: 200,
    "20": lambda sizes: 20,
    "smallest": lambda sizes: int(sizes.min()),
    "median": lambda sizes: int(np.sort(sizes)[(len(sizes) - 1) // 2]),
    "2 smallest": lambda sizes: 2 * int(sizes.min()),
    "2 median": lambda sizes: 2 * int(np.sort(sizes)[(len(sizes) - 1) // 2]),
    "classes x smallest": lambda sizes: len(sizes) * int(sizes.min()),
    "ours": lambda sizes: fitting_neighbors(
        torch.arange(len(sizes)).repeat_interleave(torch.from_numpy(sizes))
    ),
    "root of images": lambda sizes: round(float(sizes.sum()) ** 0.5),
}
TESTED, SPARE = 2000, 12_000


def main() -> None:
    """Draw, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--draws", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = RunFolder(options.run)
    config = folder.read_config()
    dataset = open_dataset(options.data, DataSettings(), image_size=config.image_size)
    seen = config.data.limit or 0
    unseen = torch.randperm(len(dataset), generator=generator(0, "limit"))[seen : seen + SPARE]
    dataset = dataset_subset(dataset, unseen.numpy())
    labels = np.asarray(dataset.labels)
    for name, encoder in zip(("trained", "untrained"), load_encoders(folder), strict=True):
        features = extract_features(encoder, dataset)
        print(
            f"{name}, sparring {sparring.__version__}\n| images per class | "
            + " | ".join(RULES)
            + " |"
        )
        for profile, sizes in PROFILES.items():
            print(
                f"| {profile} | "
                + " | ".join(scores(features, labels, sizes, options.draws))
                + " |",
                flush=True,
            )


def scores(
    features: torch.Tensor, labels: np.ndarray, sizes: Sequence[int], draws: int
) -> list[str]:
    """Mean accuracy and mean over classes, in per cent, of each rule."""
    found: dict[str, list[tuple[float, float]]] = {rule: [] for rule in RULES}
    for seed in range(draws):
        draw = np.random.default_rng(seed)
        classes = draw.permutation(10)[: len(sizes)]
        train, test = [], []
        for place, (chosen, size) in enumerate(zip(classes, sizes, strict=True)):
            rows = draw.permutation(np.flatnonzero(labels == chosen))
            train += [(row, place) for row in rows[:size]]
            # Test images as frequent as the training images.
            number = round(TESTED * size / sum(sizes))
            test += [(row, place) for row in rows[size : size + max(10, min(number, 600))]]
        rows, places = map(torch.tensor, zip(*train, strict=True))
        asked, truth = map(torch.tensor, zip(*test, strict=True))
        for rule, count in RULES.items():
            k = max(1, min(200, count(np.array(sizes)), len(rows)))
            right = (
                knn_predict(features[rows], places, features[asked], num_neighbors=k) == truth
            ).double()
            per_class = [right[truth == place].mean().item() for place in range(len(sizes))]
            found[rule].append((right.mean().item(), float(np.mean(per_class))))
    return ["{:.1f} / {:.1f}".format(*(100 * np.mean(part, axis=0))) for part in found.values()]


if __name__ == "__main__":
    main()
