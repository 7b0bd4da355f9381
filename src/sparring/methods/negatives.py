"""Declaration of a method's negatives, so that a run can measure them; nothing here trains."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

Choice: TypeAlias = Literal["all", "hardest", "easiest", "random"]


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """What a method's anchors are pushed away from, at one moment of a run.

    An anchor is an embedding of one view of an image, its positive the embedding of the other view.
    Its candidates are stored vectors, embeddings of the other images of its batch, or both.

    Attributes:
        temperature: divisor of similarities in the weights of the negatives; None: the loss weighs
            all alike.
        stored: vectors in embedding space that stay from step to step, of any length, such as a
            bank or a queue; None: none.
        views: embeddings of each other image of the batch that an anchor meets: 0, 1 (of the
            positive's view) or 2 (of both views).
        is_played: whether an opponent moves or chooses these negatives now; False where they come
            as they are, such as a queue, and in disarmed twins.
        positive_by: whether the stored vector nearest to the positive (`key`) or to the anchor
            (`anchor`) is the anchor's positive instead, and no negative of it; None: neither.
        choice: which of the candidates are the negatives.
        count: number of negatives per anchor, unless all are.
        skip: number of the hardest candidates that `hardest` leaves out.
        query: network from the encoder's embeddings to anchors; None: they are the anchors.
        key: network from images to the positives and to the other images' embeddings; None: the
            encoder.
    """

    temperature: float | None
    stored: Float[Tensor, "stored dim"] | None = None
    views: int = 0
    is_played: bool = False
    positive_by: Literal["key", "anchor"] | None = None
    choice: Choice = "all"
    count: int = 0
    skip: int = 0
    query: nn.Module | None = None
    key: nn.Module | None = None


class Strength(NamedTuple):
    """Two metrics that say how strong an opponent in image space is.

    Attributes:
        metric: name of the metric of what the opponent made.
        beside: name of the metric to read it beside.
        meaning: sentence that says what the two are, and what their difference means.
    """

    metric: str
    beside: str
    meaning: str
