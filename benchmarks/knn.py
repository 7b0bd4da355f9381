"""The kNN score against faiss's exact search, and against the matrix product that both contain.

    benchmarks/setup
    python benchmarks/knn.py [--json knn.json] [--rounds 5]

50,000 train and 10,000 test rows of 128 made dimensions, 200 neighbours; one thread, CPU time; they
take turns. Ours normalises, searches, votes and scores; faiss searches an index that is there. The
product alone is written block by block into memory that is there.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from entrants.features import features
from side_by_side import PEERS, Worker, arguments, compared, in_words, take_turns, timed, write_json
from sparring.measures.knn import knn_accuracy, nearest

DIM, NEIGHBORS, BLOCK = 128, 200, 320


def products(train: Tensor, test: Tensor) -> None:
    """All products of unit rows."""
    block = torch.empty(BLOCK, len(train))
    for rows in test.split(BLOCK):
        torch.mm(rows, train.T, out=block[: len(rows)])


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    train, labels, test, truth = features(DIM)
    unit_train, unit_test = F.normalize(train), F.normalize(test)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "neighbours.npy"
        faiss = Worker(PEERS, "faiss_search.py", str(DIM), str(NEIGHBORS), str(file))
        theirs = torch.from_numpy(np.load(file))
    entrants = {
        "ours": timed(lambda: knn_accuracy(train, labels, test, truth, num_neighbors=NEIGHBORS)),
        "faiss": lambda: float(faiss.turn()["cpu"]),
        "product": timed(lambda: products(unit_train, unit_test)),
    }
    turns = take_turns(entrants, rounds=options.rounds)
    faiss.close()
    over = {name: compared(turns, name)["ours"]["ratio"] for name in ("faiss", "product")}
    ours = nearest(train, test[: len(theirs)], NEIGHBORS)[1]
    shared = (theirs.sort().values == ours.sort().values).double().mean().item()
    for name, row in compared(turns, "product").items():
        print(f"{name:8} {in_words(row)} s")
    print(
        f"ours over faiss {in_words(over['faiss'])}, over the product "
        f"{in_words(over['product'])}; equal neighbours {shared:.4f}"
    )
    write_json(options.json, {"seconds": turns, "ours over": over, "equal neighbours": shared})


if __name__ == "__main__":
    main()
