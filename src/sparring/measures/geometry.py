"""Label-free measures of how embeddings spread over the sphere, and a collapse warning."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Our thresholds, low enough that only collapse falls below them. A Gaussian cloud has standard
# deviation 1, a collapsed one 0 (SimSiam, figure 2). Features of an untrained ResNet-18 on CIFAR-10
# have 0.15 and a rank of 4 % of their channels.
MIN_EMBEDDING_STD = 0.1
MIN_RANK_SHARE = 0.02


def alignment(view_a: Float[Tensor, "batch dim"], view_b: Float[Tensor, "batch dim"]) -> float:
    """Mean squared distance of two views of the same image, on the unit sphere.

    mean_i ||a_i - b_i||^2, in [0, 4]; 0 = the two views of every image coincide

    Args:
        view_a: embeddings; rows are normalised here.
        view_b: row i shows the same image as row i of `view_a`.

    Source: Wang & Isola 2020, arXiv:2005.10242, eq. 5 with alpha = 2.
    """
    return (
        (F.normalize(view_a, dim=1) - F.normalize(view_b, dim=1)).square().sum(dim=1).mean().item()
    )


@torch.no_grad()
def uniformity(embeddings: Float[Tensor, "batch dim"], *, block_rows: int = 1024) -> float:
    """Log of the mean Gaussian potential over all pairs of rows.

    log mean_{i<j} exp(-2 ||e_i - e_j||^2), in [-8, 0]; 0 = all rows coincide,
    about -4 = spread over a sphere of many dimensions

    Args:
        embeddings: at least two rows; normalised here.
        block_rows: rows compared at once; changes memory, not the value.

    Raises:
        ValueError: for fewer than two rows, which have no pairs.

    Source: Wang & Isola 2020, arXiv:2005.10242, eq. 6 with t = 2.
    """
    count = len(embeddings)
    if count < 2:
        raise ValueError(f"uniformity compares pairs and needs at least 2 rows, got {count}")
    unit = F.normalize(embeddings, dim=1)
    sums = []
    for start in range(0, count, block_rows):
        exponents = (unit[start : start + block_rows] @ unit.T).mul_(4).sub_(4)
        exponents.diagonal(offset=start).fill_(-math.inf)
        sums.append(exponents.logsumexp(dim=(0, 1)).cpu().double())
    return torch.stack(sums).logsumexp(dim=0).item() - math.log(count * (count - 1))


@torch.no_grad()
def effective_rank(features: Float[Tensor, "rows dim"]) -> float:
    """Effective number of directions of the features, between 0 (all zero) and min(rows, dim).

    exp(-sum_k p_k log p_k), p_k = s_k / sum_l s_l, s the singular values (not centred, as in
    RankMe)

    Args:
        features: at least one row; not normalised. Moved to the CPU and to float64.

    Source: Garrido et al. 2023, arXiv:2210.02885, eq. 1; Roy & Vetterli 2007.
    """
    matrix = features.cpu().double()
    smaller = matrix.T @ matrix if len(matrix) > matrix.shape[1] else matrix @ matrix.T
    singular = torch.linalg.eigvalsh(smaller).clamp_min(0).sqrt()
    if not singular.sum() > 0:
        return 0.0
    return float(torch.special.entr(singular / singular.sum()).sum().exp())


def embedding_std(embeddings: Float[Tensor, "batch dim"]) -> float:
    """Standard deviation of the unit embeddings.

    1 for an isotropic cloud around the origin, 0 if all rows coincide.

    sqrt(dim) * mean_d std_i(e_id), unit rows e

    Args:
        embeddings: rows are normalised here.

    Source: Chen & He 2021, arXiv:2011.10566, section 4.1.
    """
    unit = F.normalize(embeddings, dim=1)
    return unit.std(dim=0, correction=0).mean().item() * math.sqrt(unit.shape[1])


def panel(
    view_a: Float[Tensor, "batch dim"],
    view_b: Float[Tensor, "batch dim"],
    features: Float[Tensor, "rows channels"],
) -> dict[str, float]:
    """Label-free measures under the names used in metrics, scores and plots.

    Args:
        view_a: embeddings of one view of each image.
        view_b: embeddings of the other view, in the same order.
        features: backbone outputs for the effective rank; may be of other images.

    Returns:
        `alignment`, `uniformity` and `embedding_std` of the embeddings, `effective_rank` of the
        features.
    """
    return {
        "alignment": alignment(view_a, view_b),
        "uniformity": uniformity(view_a),
        "effective_rank": effective_rank(features),
        "embedding_std": embedding_std(view_a),
    }


def collapse_warning(measures: Mapping[str, float], *, channels: int) -> str | None:
    """Sentence that says how the embeddings have collapsed; None if they have not.

    Args:
        measures: `embedding_std` and `effective_rank`; a missing one is not checked.
        channels: number of feature channels of `effective_rank`.
    """
    std, rank = measures.get("embedding_std"), measures.get("effective_rank")
    if std is not None and not std >= MIN_EMBEDDING_STD:
        return (
            f"The embeddings have collapsed: their standard deviation is {std:.3f} (1 = "
            "spread over the sphere, "
            f"below {MIN_EMBEDDING_STD} = collapsed), so nearly all images look alike to the "
            "encoder."
        )
    least = max(MIN_RANK_SHARE * channels, 1.5)
    if rank is not None and not rank >= least:
        return (
            f"The features have collapsed onto few directions: effective rank {rank:.1f} of "
            f"{channels} (below {least:.1f} = collapsed)."
        )
    return None
