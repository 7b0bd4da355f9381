"""Every game, its controls and its disarmed twins on one set of real images at an equal budget;
prints the table of docs/log/games-and-controls.md.

    python benchmarks/games_and_controls.py --data cifar10-train.parquet --test cifar10-test.parquet
        --out STUDY [--only caco acssl/random simclr+perturbation ...] [--seeds 0 1]
        [--images 10000] [--epochs 10] [--table]

Each run takes the small recipe of its method, and of its opponent, at width 0.125 on 10,000 images,
one torch thread; a part of a run that a recipe gives in epochs of 15 is scaled to the epochs asked
for. A generator that learns the images first does so once for all runs: let one run come first.
Finished runs are kept, so that several processes, each with other names, can share a folder, and
--table only prints. Scores are those of `sparring evaluate`: kNN and linear probe on all test
images, last checkpoint.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from sparring import api
from sparring.config import Tree, merged
from sparring.methods import registry

RECIPE_EPOCHS = 15
METHODS, OPPONENTS = registry.shipped("method"), registry.shipped("opponent")


def twins_of(kind: registry.Kind, name: str) -> list[str]:
    """Names of the controls that an introduction declares."""
    return [twin.name for twin in registry.about(kind, name).twins]


AROUND = [f"{method}+{opponent}" for opponent in OPPONENTS for method in METHODS]
"""Every method with an opponent around it; simclr+perturbation is clae."""
RUNS = [
    *METHODS,
    *(f"{method}/{twin}" for method in METHODS for twin in twins_of("method", method)),
    *AROUND,
    *(f"{pair}/{twin}" for pair in AROUND for twin in twins_of("opponent", pair.partition("+")[2])),
]


def settings(name: str, *, epochs: int, images: int) -> Tree:
    """What differs from the method's small recipe."""
    name, _, twin = name.partition("/")
    method, _, opponent = name.partition("+")
    tree: Tree = {
        "data": {"limit": images},
        "encoder": {"width": 0.125},
        "training": {"epochs": epochs, "monitor_epochs": 5, "checkpoint_minutes": 60.0},
    }
    recipe = api.find_recipe(f"{method}-small")
    if "queue_epochs" in registry.method_class(method).settings_class.model_fields:
        tree["queue_epochs"] = recipe["queue_epochs"] * epochs / RECIPE_EPOCHS
    disarmed = {"disarmed": twin} if twin else {}
    if not opponent:
        return merged(tree, disarmed)
    pairing = registry.about("opponent", opponent).pairing
    assert pairing is not None, f"{opponent} has no recipe"
    section = registry.section_of(opponent)
    small = api.find_recipe(f"{pairing.name}-small")[section]
    return merged(tree, {"opponent": [opponent], section: merged(small, disarmed)})


def play(name: str, seed: int, arguments: argparse.Namespace) -> None:
    """Train and score one run, unless it is there."""
    folder = arguments.out / f"{name.replace('/', '-')}-{seed}"
    if (folder / "study.json").exists():
        return
    recipe = f"{name.partition('/')[0].partition('+')[0]}-small"
    changes = settings(name, epochs=arguments.epochs, images=arguments.images)
    start, cpu = time.monotonic(), time.process_time()
    run = api.train(arguments.data, out=folder, recipe=recipe, settings=changes, seed=seed)
    cost = {"wall_seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}
    scores = api.evaluate(run, data=arguments.test, protocols=("knn", "linear", "geometry"))
    (folder / "study.json").write_text(
        json.dumps({"name": name, "seed": seed, "epochs": arguments.epochs, **cost, **scores})
    )


def percent(scores: dict[str, Any], protocol: str) -> float:
    """Accuracy of a protocol in percent."""
    return 100 * float(scores[protocol]["accuracy"])


def table(folder: Path) -> str:
    """Markdown, a line for each name: every seed's kNN and linear accuracy, their means, and the
    time."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/study.json")):
        record = json.loads(path.read_text())
        found.setdefault(record["name"], []).append(record)
    lines = [
        "| run | seeds | kNN | mean | linear | mean | CPU s | wall s |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for name in [name for name in RUNS if name in found]:
        records = sorted(found[name], key=lambda record: record["seed"])
        cells = [name, ", ".join(str(record["seed"]) for record in records)]
        for protocol in ("knn", "linear"):
            values = [percent(record["trained"], protocol) for record in records]
            cells += [
                ", ".join(f"{value:.1f}" for value in values),
                f"{sum(values) / len(values):.1f}",
            ]
        cells += [
            ", ".join(f"{record[key]:.0f}" for record in records)
            for key in ("cpu_seconds", "wall_seconds")
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Play what is asked for, and print the table of what is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--test")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=RUNS, default=RUNS)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.table:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for name in arguments.only:
                play(name, seed, arguments)
    print(table(arguments.out))


if __name__ == "__main__":
    main()
