"""Fits of the linear probe against scikit-learn's LogisticRegression: single penalties, and the
whole path of penalties.

    python benchmarks/linear_probe.py [--json linear_probe.json] [--rounds 5]

50,000 train and 10,000 test rows of 512 made dimensions, 10 classes; one thread, CPU time; they
take turns. Both minimise the same penalised mean cross-entropy of the same standardised float32
rows by L-BFGS, each with its default tolerance (scikit-learn may take 1,000 iterations), and go
along the path from fit to fit. The objective that is reached (lower is better) says how far each
has got.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from entrants.features import features
from side_by_side import alternate, arguments, in_words, ratio, spread, write_json
from sparring.evaluation.frozen.logistic import (
    REGULARISATIONS,
    Probe,
    regularisation_path,
    standardise,
)

SINGLE = (1e-1, 1e-2, 1e-4, 1e-6)


def by_sklearn(rows: Tensor, labels: Tensor, penalties: Sequence[float]) -> list[Probe]:
    """Fits from the strongest penalty to the weakest, each starting at the one before."""
    model, found = LogisticRegression(max_iter=1000, warm_start=True), []
    for penalty in penalties:
        model.set_params(C=1 / (penalty * len(rows))).fit(rows.numpy(), labels.numpy())
        weight, bias = (
            torch.tensor(values, dtype=rows.dtype) for values in (model.coef_, model.intercept_)
        )
        found.append(Probe(weight, bias, int(model.n_iter_[0])))
    return found


def objective(probe: Probe, rows: Tensor, labels: Tensor, penalty: float) -> float:
    """What both minimise."""
    logits = torch.addmm(probe.bias, rows, probe.weight.T).double()
    return float(
        F.cross_entropy(logits, labels) + penalty / 2 * probe.weight.double().square().sum()
    )


def measure(penalties: Sequence[float], rounds: int) -> dict[str, Any]:
    """Seconds of both, their ratio, and what each fit has reached."""
    train, labels, test, truth = features(512)
    rows, testing = standardise(train, test)
    last: dict[str, list[Probe]] = {}

    def keeping(
        name: str, fit: Callable[[Tensor, Tensor, Sequence[float]], list[Probe]]
    ) -> Callable[[], None]:
        """The fit as a entrant that leaves its probes."""
        return lambda: last.update({name: fit(rows, labels, penalties)})

    turns = alternate(
        {
            "ours": keeping("ours", regularisation_path),
            "scikit-learn": keeping("scikit-learn", by_sklearn),
        },
        rounds=rounds,
    )
    return {
        "seconds": {name: spread(seconds) for name, seconds in turns.items()},
        "ours over scikit-learn": ratio(turns, "ours", "scikit-learn"),
        "objective": {
            n: [
                objective(p, rows, labels, penalty)
                for p, penalty in zip(found, penalties, strict=True)
            ]
            for n, found in last.items()
        },
        "accuracy": {
            name: [probe.accuracy(testing, truth) for probe in found]
            for name, found in last.items()
        },
        "iterations": {name: [probe.iterations for probe in found] for name, found in last.items()},
    }


def show(title: str, found: dict[str, Any]) -> None:
    """One task's lines."""
    print(f"{title}: ours over scikit-learn {in_words(found['ours over scikit-learn'])}")
    for name, seconds in found["seconds"].items():
        accuracy, reached = (
            " ".join(f"{value:{form}}" for value in found[what][name])
            for what, form in (("accuracy", ".4f"), ("objective", ".5f"))
        )
        print(
            f"  {name:12} {in_words(seconds)} s, accuracy {accuracy}, objective {reached}, "
            f"iterations {found['iterations'][name]}",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    tasks = {f"penalty {penalty:g}": [penalty] for penalty in SINGLE} | {
        "path of seven": list(REGULARISATIONS)
    }
    found = {}
    for title, penalties in tasks.items():
        found[title] = measure(penalties, options.rounds)
        show(title, found[title])
    write_json(options.json, found)


if __name__ == "__main__":
    main()
