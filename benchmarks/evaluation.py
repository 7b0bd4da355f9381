"""Seconds and accuracy of the kNN and the linear probe against scikit-learn, and faiss where it is installed.

    python benchmarks/evaluation.py [--json evaluation.json] [--repetitions 3]

One torch thread, CPU time of the process. The features are made: overlapping Gaussian classes behind a covariance whose spectrum
falls a hundredfold in deviation, as that of real features does or more. The contestants take turns; the figure is the median, with
the fastest and slowest beside it. The linear contestants fit one penalty on the same standardised rows; the objective that
they reach (lower is better) says how far each has got.
"""

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from sparring.evaluation.logistic import regularisation_path, standardise
from sparring.measures.knn import knn_accuracy, nearest

TRAIN, TEST, CLASSES = 50_000, 10_000, 10
NEIGHBORS = 200
PENALTIES = (1e-2, 1e-4)

Contestant = Callable[[], float | str]
"""Does the work once and returns what it found."""


def features(dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Train features and labels, test features and labels."""
    generator = torch.Generator().manual_seed(0)
    rotations = [torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0] for _ in range(2)]
    mixing = rotations[0] * torch.logspace(0, -2, dim)[:, None] @ rotations[1]
    centres = 0.08 * torch.randn(CLASSES, dim, generator=generator)
    labels = torch.randint(0, CLASSES, (TRAIN + TEST,), generator=generator)
    rows = (centres[labels] + torch.randn(TRAIN + TEST, dim, generator=generator)) @ mixing
    return rows[:TRAIN], labels[:TRAIN], rows[TRAIN:], labels[TRAIN:]


def knn_contestants() -> dict[str, Contestant]:
    """Classification of the test rows, 128 channels; faiss only searches."""
    train, labels, test, truth = features(128)

    def with_sklearn() -> float:
        vote = KNeighborsClassifier(
            NEIGHBORS, metric="cosine", algorithm="brute", weights=lambda d: torch.exp(torch.from_numpy(-d / 0.1)).numpy()
        )
        return float(vote.fit(train.numpy(), labels.numpy()).score(test.numpy(), truth.numpy()))

    def with_faiss() -> str:
        import faiss  # type: ignore[import-not-found]

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(128)
        index.add(F.normalize(train).numpy())
        found = torch.from_numpy(index.search(F.normalize(test).numpy(), NEIGHBORS)[1])
        ours = nearest(train, test[:100], NEIGHBORS)[1]
        return f"{(found[:100].sort().values == ours.sort().values).float().mean():.3f} equal neighbours"

    contestants: dict[str, Contestant] = {"ours": lambda: knn_accuracy(train, labels, test, truth), "scikit-learn": with_sklearn}
    return contestants | ({"faiss": with_faiss} if importlib.util.find_spec("faiss") else {})


def linear_contestants(penalty: float) -> dict[str, Contestant]:
    """One fit at one penalty, 512 channels, scored on the test rows."""
    train, labels, test, truth = features(512)
    fitting, testing = standardise(train, test)

    def verdict(weight: Tensor, bias: Tensor, iterations: int) -> str:
        objective = F.cross_entropy(fitting @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
        share = ((testing @ weight.T + bias).argmax(dim=1) == truth).double().mean()
        return f"objective {objective:.6f}, accuracy {share:.4f}, {iterations} iterations"

    def ours() -> str:
        (probe,) = regularisation_path(fitting, labels, [penalty])
        return verdict(probe.weight, probe.bias, probe.iterations)

    def with_sklearn() -> str:
        model = LogisticRegression(C=1 / (penalty * TRAIN), max_iter=1000).fit(fitting.numpy(), labels.numpy())
        return verdict(torch.tensor(model.coef_), torch.tensor(model.intercept_), model.n_iter_[0])

    return {"ours": ours, "scikit-learn": with_sklearn}


def measure(contestants: dict[str, Contestant], repetitions: int) -> dict[str, dict[str, float | str]]:
    """Median, fastest and slowest CPU seconds, and the result, of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    results: dict[str, float | str] = {}
    for _ in range(repetitions):
        for name, work in contestants.items():
            start = time.process_time()
            results[name] = work()
            seconds[name].append(time.process_time() - start)
    return {
        name: {"seconds": statistics.median(times), "fastest": min(times), "slowest": max(times), "result": results[name]}
        for name, times in seconds.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        f"kNN {TRAIN} x {TEST} x 128, k {NEIGHBORS}": measure(knn_contestants(), arguments.repetitions),
    } | {f"linear {TRAIN} x 512, penalty {penalty}": measure(linear_contestants(penalty), arguments.repetitions) for penalty in PENALTIES}
    for task, rows in found.items():
        print(task)
        for name, row in rows.items():
            print(f"  {name:30} {row['seconds']:7.2f} s  ({row['fastest']:.2f} to {row['slowest']:.2f})  {row['result']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
