"""The bank: learned vectors that serve as negatives, and also as positives in a shared bank."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from sparring import distributed
from sparring.config import Settings
from sparring.measures.metric import Metric
from sparring.objectives.similarity import cosine, unit_rows
from sparring.transfers import filled

WATCHED = 1024
"""Number of entries on which the angle per step is measured; enough for a mean, and cheap at any
size of the bank."""
GOLDEN = 0.6180339887
"""Share of a bank by which the rows taken from it move on at every step, so that all are taken."""
CHUNK = 8192
"""Number of entries compared with the keys at once, which bounds memory at any size of the bank."""


LEARNED_BANK_METRICS = {
    "learning_rate/bank": Metric(
        "learning rate of the bank's player; without effect while `strength` holds the bank"
    ),
    "bank/hardest_cosine": Metric(
        "mean over queries of their largest cosine with the bank; far below 0: the bank is off the "
        "images",
        title="Cosine of the hardest negative",
    ),
    "bank/mass": Metric(
        "mean probability that a query gives to the bank at the encoder's temperature",
        title="Probability given to the bank",
    ),
    "bank/norm_low": Metric("10 % quantile of the norms of stored vectors"),
    "bank/norm_median": Metric("median norm of stored vectors", title="Median norm of the bank"),
    "bank/norm_high": Metric("90 % quantile of the norms of stored vectors"),
    "bank/angle_degrees": Metric(
        "mean angle by which a step turns a vector (first 1,024 of the bank)",
        title="Turn of the bank per step, degrees",
    ),
    "bank/bank_mass": Metric(
        "the same at the bank's temperature: how much the adversary is driven"
    ),
    "bank/key_mass": Metric("mean probability of the true key at the encoder's temperature"),
}
"""Metrics of every learned bank."""

SHARED_BANK_METRICS = {
    "bank/positive_cosine": Metric(
        "mean cosine of queries with the entries chosen as their positives"
    ),
    "bank/positive_mass": Metric(
        "mean probability of the chosen entries at the encoder's temperature"
    ),
    "bank/agreement": Metric(
        "share of images whose two views choose the same entry; chance is 1 / bank.size"
    ),
    "bank/distinct_positives": Metric(
        "distinct entries per choice of this step; near 0: few entries serve all"
    ),
    "bank/usage_perplexity": Metric(
        "how many entries are in use over about an epoch, as if all were used equally; 1 to "
        "bank.size"
    ),
    "bank/busiest_share": Metric(
        "share of choices that fall on the busiest entry over about an epoch"
    ),
    "opponent/positive_gain": Metric(
        "nats per query by which the chosen entries lower the loss as positives, compared with the "
        "images' own keys in their places",
        title="Gain of the chosen positives, nats",
    ),
}
"""Metrics of a bank that supplies positives too."""


def bank_alarm(record: Mapping[str, float | int]) -> str | None:
    """A warning if a record of metrics shows that a bank has drifted away from the images'
    embeddings.

    Args:
        record: metrics by name.
    """
    cosine_of_hardest = record.get("bank/hardest_cosine")
    if cosine_of_hardest is None or cosine_of_hardest >= 0:
        return None
    return (
        "even the hardest negatives point away from the queries (mean cosine "
        f"{cosine_of_hardest:.2f}). The bank is left behind by the images and no longer says "
        "anything about them; a later start (queue_epochs) or a faster bank keeps it near: a "
        "higher players.bank.learning_rate, or bank.turn_degrees where strength holds it"
    )


class BankSettings(Settings):
    """Size and temperature of a bank. The defaults are tuned for small images; the recipes give the
    published values."""

    size: int = Field(default=512, ge=1)
    """Number of vectors K; about 5 % of the number of images, like the released 65,536 for
    ImageNet."""
    temperature: float = Field(default=0.04, gt=0)
    """Temperature of the bank's own objective; the released code uses 0.02, with 0.12 for the
    encoder. A bank that `strength` holds has the encoder's temperature instead."""
    sees_keys: bool = True
    """Whether keys are in the denominator of the bank's softmax, as in the released code. Without
    them the bank always follows the queries."""
    key_views: Literal["one", "all"] = "one"
    """Keys of an image that a bank takes in at a step while it is a queue: `one`, or `all` that the
    step encodes."""
    turn_degrees: float = Field(default=5.0, gt=0, le=45)
    """Angle by which a step turns each of the bank's vectors while `strength` holds it, in degrees;
    the optimiser of `players.bank` is not used then."""


class SharedBankSettings(Settings):
    """Size and temperature of a bank that supplies the positives too."""

    size: int = Field(default=512, ge=1)
    """Number of vectors K; 65,536 in the released code."""
    temperature: float = Field(default=0.04, gt=0)
    """Temperature of the bank's own objective; equal to the encoder's, 0.08, in the published
    recipes. A bank that `strength` holds has the encoder's temperature."""
    key_views: Literal["one", "all"] = "one"
    """Keys of an image that a bank takes in at a step while it is a queue: `one`, or `all` that the
    step encodes."""
    turn_degrees: float = Field(default=5.0, gt=0, le=45)
    """Angle by which a step turns each of the bank's vectors while `strength` holds it, in degrees;
    the optimiser of `players.bank` is not used then."""


class Bank(nn.Module):
    """Bank of unnormalised vectors, first filled with keys, then updated by their own player.

    Beside it stands a queue of as many past keys, which is what the bank would hold without its
    player: the bank's strength is measured against it, and `strength` mixes the two.

    Args:
        size: number of vectors.
        dim: size of an embedding.
        generator: source of the initial values, N(0, 1).

    Source: Hu et al. 2021, arXiv:2011.08435; the filling pass is in the released code.
    """

    past: Tensor

    def __init__(self, size: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(size, dim, generator=generator))
        self.register_buffer("past", self.vectors.detach().clone())
        self.num_filled = 0
        self.num_past = 0
        self.register_load_state_dict_pre_hook(_with_past)  # type: ignore[no-untyped-call]

    @property
    def is_full(self) -> bool:
        """Whether every vector has been overwritten by a key."""
        return self.num_filled >= len(self.vectors)

    @torch.no_grad()
    def fill(self, keys: Float[Tensor, "batch dim"]) -> bool:
        """Overwrite the next vectors, the oldest first, with normalised keys; if there are more
        keys than vectors, keep the last.

        Returns:
            Whether the bank became full by this call.
        """
        was_full = self.is_full
        self.num_filled += _written(self.vectors, keys, first=self.num_filled)
        self.remember(keys)
        return self.is_full and not was_full

    @torch.no_grad()
    def remember(self, keys: Float[Tensor, "batch dim"]) -> None:
        """Write normalised keys into the queue beside the bank alone, over the oldest."""
        self.num_past += _written(self.past, keys, first=self.num_past)

    @torch.no_grad()
    def mixed(self, share: Float[Tensor, ""], step: int) -> Float[Tensor, "bank dim"]:
        """Negatives of equal count, this share of them from the bank and the others from the queue
        beside it.

        Args:
            share: in [0, 1]; 0: the queue, to the bit.
            step: number of the step, which decides the rows of either.
        """
        size = len(self.vectors)
        first = int(step * GOLDEN * size) % size
        rows = (torch.arange(size, device=share.device) + first) % size
        is_bank = rows < (share * size).round()
        return torch.where(is_bank[:, None], self.vectors.detach(), self.past)

    @torch.no_grad()
    def nearest(self, keys: Float[Tensor, "batch dim"]) -> Int[Tensor, "batch"]:
        """Index of the entry with the largest cosine to each key; the first one if several are
        equal."""
        highest = keys.new_full((len(keys),), -torch.inf)
        rows = torch.zeros(len(keys), dtype=torch.long, device=keys.device)
        for start in range(0, len(self.vectors), CHUNK):
            value, row = cosine(keys, self.vectors[start : start + CHUNK]).max(dim=1)
            rows = torch.where(value > highest, start + row, rows)
            highest = torch.maximum(highest, value)
        return rows

    @torch.no_grad()
    def watched(self) -> Float[Tensor, "watched dim"]:
        """Normalised copies of the first entries, to measure the angle by which a step turns
        them."""
        return unit_rows(self.vectors[:WATCHED].detach())

    @torch.no_grad()
    def dynamics(self, before: Float[Tensor, "watched dim"]) -> dict[str, Tensor]:
        """Metrics: norm quantiles over the bank, and the mean angle in degrees from `before` to
        now.

        Args:
            before: `watched` before the step.
        """
        norms = self.vectors.norm(dim=1)
        low, middle, high = torch.quantile(
            norms[:: max(1, len(norms) // 8192)], filled((0.1, 0.5, 0.9), norms)
        )
        # asin of half the chord: acos loses small angles in float32.
        chord = (self.watched() - before).norm(dim=1)
        angle = torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1.0))).mean()
        return {
            "bank/norm_low": low,
            "bank/norm_median": middle,
            "bank/norm_high": high,
            "bank/angle_degrees": angle,
        }

    def get_extra_state(self) -> dict[str, Any]:
        """Numbers of keys written so far, for the checkpoint."""
        return {"num_filled": self.num_filled, "num_past": self.num_past}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_extra_state`'s value."""
        self.num_filled = int(state["num_filled"])
        self.num_past = int(state.get("num_past", self.num_filled))


def _with_past(_: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
    """Let a state of versions without the queue beside the bank have one that equals it."""
    if prefix + "vectors" in state:
        state.setdefault(prefix + "past", unit_rows(state[prefix + "vectors"]))


def _written(rows: Tensor, keys: Tensor, *, first: int) -> int:
    """Number of normalised keys written into rows from a place on, over and over; the last ones if
    there are more keys than rows."""
    keys = keys[-len(rows) :]
    places = (first + torch.arange(len(keys), device=keys.device)) % len(rows)
    rows[places] = unit_rows(keys).to(rows)
    return len(keys)


class Usage(nn.Module):
    """Frequency with which each entry of a bank is chosen as a positive: a moving average over
    about one epoch.

    Args:
        size: number of entries.
    """

    counts: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(size))

    @torch.no_grad()
    def note(self, chosen: Int[Tensor, "*choices"], steps_per_epoch: int) -> dict[str, Tensor]:
        """Count one step's choices, gathered from all processes.

        Returns:
            Distinct entries per choice of this step, the perplexity of the usage (1: one entry
            serves all; size: all serve equally), and the share of choices that fell on the busiest
            entry.
        """
        everyone = distributed.gather(chosen.flatten())
        self.counts.mul_(1 - 1 / max(steps_per_epoch, 2))
        # Unlike `bincount` and `unique`, this has a shape that the host knows.
        tally = torch.zeros_like(self.counts).index_add_(
            0, everyone, self.counts.new_ones(len(everyone))
        )
        self.counts.add_(tally)
        share = self.counts / self.counts.sum()
        return {
            "bank/distinct_positives": (tally > 0).sum() / len(everyone),
            "bank/usage_perplexity": torch.special.entr(share).sum().exp(),
            "bank/busiest_share": share.max(),
        }
