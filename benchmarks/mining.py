"""Hard-negative mining as ACSSL does it, against the matrix product that it cannot do without.

    python benchmarks/mining.py [--json mining.json] [--rounds 9]

256 queries, 65,536 candidates of 128 dimensions, the 256 hardest behind the first. One torch
thread, CPU time. Three take turns: the product alone, into memory that is there; ours, unit
embeddings in and columns out; and the plain way: product, mask, `torch.topk`. Before, both are held
to each other.
"""

import torch
from torch import Tensor

from side_by_side import alternate, arguments, compared, in_words, write_json
from sparring.negatives.mining import Pool, allowed, hardest
from sparring.objectives.similarity import unit_rows

BATCH, CANDIDATES, DIM = 256, 65_536, 128
COUNT, SKIP = 256, 1


def material() -> tuple[Tensor, Pool]:
    """Queries and a pool whose first keys show their images, as a batch's do."""
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(BATCH, DIM, generator=draw)
    near = 0.3 * query[torch.randint(0, BATCH, (CANDIDATES,), generator=draw)]
    keys = unit_rows(near + torch.randn(CANDIDATES, DIM, generator=draw))
    return unit_rows(query), Pool(
        keys=keys, images=torch.arange(CANDIDATES), anchors=torch.arange(BATCH)
    )


def plainly(query: Tensor, pool: Pool) -> Tensor:
    """The whole matrix, masked and searched."""
    similarity = query @ pool.keys.T
    ranked = (
        similarity.masked_fill(~allowed(pool.anchors, pool.images), -torch.inf)
        .topk(SKIP + COUNT, dim=1)
        .indices
    )
    return ranked[:, SKIP:]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=9).parse_args()
    torch.set_num_threads(1)
    query, pool = material()
    block = torch.empty(BATCH, CANDIDATES)
    equal = (
        (
            hardest(query, pool, count=COUNT, skip=SKIP).sort().values
            == plainly(query, pool).sort().values
        )
        .double()
        .mean()
        .item()
    )
    entrants = {
        "product": lambda: torch.mm(query, pool.keys.T, out=block),
        "ours": lambda: hardest(query, pool, count=COUNT, skip=SKIP),
        "product, mask, topk": lambda: plainly(query, pool),
    }
    found = compared(alternate(entrants, rounds=options.rounds), "product")
    for name, row in found.items():
        print(f"{name:20} {in_words(row, '.3f')} s  over the product {in_words(row['ratio'])}")
    print(f"share of equal columns {equal:.6f}")
    write_json(options.json, {"entrants": found, "equal columns": equal})


if __name__ == "__main__":
    main()
