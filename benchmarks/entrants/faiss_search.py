"""faiss's exact search by inner product on one thread: every test row's nearest train rows per
turn.

    python faiss_search.py DIM NEIGHBORS FILE

The index is made before. FILE takes the neighbours of the first 1,000 test rows, a NumPy array.
"""

import sys
from pathlib import Path

import faiss
import numpy as np
import torch.nn.functional as F

from entrants.features import features
from side_by_side import serve


def main() -> None:
    """Serve."""
    dim, neighbors, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    faiss.omp_set_num_threads(1)
    train, _, test, _ = features(dim)
    index, queries = faiss.IndexFlatIP(dim), F.normalize(test).numpy()
    index.add(F.normalize(train).numpy())
    np.save(file, index.search(queries[:1000], neighbors)[1])

    def turn() -> dict[str, int]:
        """One search."""
        return {"queries": len(index.search(queries, neighbors)[1])}

    serve(turn)


main()
