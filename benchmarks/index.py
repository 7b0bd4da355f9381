"""Search over an index: time of the exact search, and faiss beside it, in one run.

    pip install 'sparring[index]'
    python benchmarks/index.py [--rows 1000000] [--dim 128] [--queries 500] [--threads 1]

First, 50,000 rows (the size of CIFAR-10) are each compared with all of them, as duplicates and
outliers do, 11 neighbours each. Then 1,000,000 rows: exact and approximate search of the same
queries take turns, three rounds; the time to build faiss's index is told apart, and so is the
time that all 1,000,000 rows as queries would take at that rate. Rows are made: unit directions
around 2,000 centres. CPU time of one process.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from side_by_side import alternate, compared, in_words
from sparring.indexing import search as searching
from sparring.measures.knn import nearest

NEIGHBORS = 11
CENTRES = 2000


def made_rows(count: int, dim: int) -> Tensor:
    """Directions around random centres, float32."""
    draws = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(CENTRES, dim, generator=draws), dim=1)
    rows = torch.randn(count, dim, generator=draws).mul_(0.06)
    return rows.add_(centres[torch.randint(CENTRES, (count,), generator=draws)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    small = made_rows(50_000, options.dim)
    began = time.process_time()
    searching.search(small, small, NEIGHBORS, how="exact")
    print(f"50,000 x 50,000 x {options.dim}, exact: {time.process_time() - began:.1f} s CPU")

    rows = made_rows(options.rows, options.dim)
    queries = rows[:: len(rows) // options.queries][: options.queries].clone()
    began = time.process_time()
    index = searching._inverted_file(searching._faiss(len(rows), is_asked=True), rows)
    print(f"faiss index of {len(rows):,} rows built in {time.process_time() - began:.1f} s CPU")
    truth = nearest(rows, queries, NEIGHBORS)[0][:, -1:]
    while True:
        found = searching._looked_up(index, queries, NEIGHBORS, None)
        recall = float((found.cosines >= truth - 1e-5).double().mean())
        if recall >= searching.GOOD_RECALL:
            break
        index.nprobe *= 2
    turns = alternate(
        {
            "exact": lambda: searching.search(rows, queries, NEIGHBORS, how="exact"),
            "faiss": lambda: searching._looked_up(index, queries, NEIGHBORS, None),
        },
        rounds=3,
    )
    for name, row in compared(turns, "faiss").items():
        print(f"{name}: {in_words(row)} s CPU for {len(queries)} queries")
    each = {name: min(times) / len(queries) for name, times in turns.items()}
    print(
        f"{index.nprobe} of {index.nlist} lists, recall {recall:.4f}; all rows as queries: exact "
        f"{each['exact'] * len(rows) / 3600:.1f} h, faiss {each['faiss'] * len(rows) / 60:.1f} min"
    )


if __name__ == "__main__":
    main()
