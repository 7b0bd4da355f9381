"""The two passes over a bank equal a plain softmax in float64, whether weights are kept or
recomputed."""

import pytest
import torch
from torch import Tensor

from sparring.acceleration import bank_softmax
from sparring.acceleration.bank_softmax import read, tangents
from sparring.objectives.similarity import cosine, unit_rows

FIRST, SECOND = 0.12, 0.02
ENTRIES, QUERIES = 37, 4


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Unit queries, a bank of vectors of different lengths, and a weight per query."""
    draw = torch.Generator().manual_seed(0)
    centre = torch.randn(1, 6, dtype=torch.float64, generator=draw)
    query, bank = (
        centre + 0.3 * torch.randn(count, 6, dtype=torch.float64, generator=draw)
        for count in (QUERIES, ENTRIES)
    )
    lengths = 0.5 + torch.rand(ENTRIES, 1, dtype=torch.float64, generator=draw)
    return (
        unit_rows(query).to(dtype),
        (bank * lengths).to(dtype),
        torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=dtype),
    )


def plain_tangents(q: Tensor, bank: Tensor, share: Tensor, temperature: float) -> Tensor:
    """Tangents from the formula, with the whole matrix of probabilities."""
    unit = unit_rows(bank)
    picked = (cosine(q, bank) / temperature).softmax(dim=1).T @ (q * share[:, None])
    return (picked - (picked * unit).sum(dim=1, keepdim=True) * unit) / bank.norm(
        dim=1, keepdim=True
    )


@pytest.fixture(
    params=[0, 20, ENTRIES], ids=["nothing kept", "part kept", "all kept"], autouse=True
)
def kept_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of bank vectors whose weights are kept; chunks of 8, the last of 5."""
    monkeypatch.setattr(bank_softmax, "CHUNK", 8)
    monkeypatch.setattr(bank_softmax, "KEPT", request.param * QUERIES)
    return int(request.param)


@pytest.mark.parametrize("order", ["drawn", "rising", "falling"])
@pytest.mark.parametrize("temperatures", [(FIRST, SECOND), (SECOND, FIRST), (0.5, 0.002)])
def test_both_passes_equal_a_plain_softmax(order: str, temperatures: tuple[float, float]) -> None:
    q, bank, share = inputs()
    rising = cosine(q[:1], bank)[0].argsort()
    bank = {"drawn": bank, "rising": bank[rising], "falling": bank[rising.flip(0)]}[order]
    reading, cosines = read(q, bank, temperatures=temperatures), cosine(q, bank)
    expected = {
        "first sum": (reading.log_sums[0], (cosines / temperatures[0]).logsumexp(dim=1)),
        "second sum": (reading.log_sums[1], (cosines / temperatures[1]).logsumexp(dim=1)),
        "hardest": (reading.hardest, cosines.amax(dim=1)),
        "picked": (reading.picked, (cosines / temperatures[0]).softmax(dim=1) @ unit_rows(bank)),
        "tangents": (
            tangents(reading, q, bank, share),
            plain_tangents(q, bank, share, temperatures[1]),
        ),
    }
    for name, (found, plain) in expected.items():
        # 1e-9: rounding of 1e-16 in a cosine is amplified by 1 / 0.002; a wrong term would be far
        # larger.
        torch.testing.assert_close(
            found, plain, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_weights_beyond_the_kept_ones_make_the_same_gradient(
    kept_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, bank, share = inputs(torch.float32)
    found = tangents(read(q, bank, temperatures=(FIRST, SECOND)), q, bank, share)
    monkeypatch.setattr(bank_softmax, "KEPT", 1 << 24)
    everything = tangents(read(q, bank, temperatures=(FIRST, SECOND)), q, bank, share)
    # Rounding of float32, amplified by 1 / 0.02.
    torch.testing.assert_close(
        found, everything, rtol=1e-5, atol=1e-6 * float(everything.abs().max())
    )


def test_no_more_is_kept_than_allowed(kept_rows: int) -> None:
    q, bank, _ = inputs()
    assert read(q, bank, temperatures=(FIRST, SECOND)).weights.numel() == kept_rows * QUERIES


def test_a_pass_leaves_the_result_of_an_earlier_one_unchanged() -> None:
    q, bank, share = inputs()
    reading = read(q, bank, temperatures=(FIRST, SECOND))
    found, picked = tangents(reading, q, bank, share), reading.picked
    before = found.clone(), picked.clone()
    read(q.flip(1), bank.flip(0), temperatures=(FIRST, SECOND))
    assert torch.equal(found, before[0])
    assert torch.equal(picked, before[1])


def test_a_repeated_pass_gives_the_same_bits() -> None:
    q, bank, share = inputs(torch.float32)
    first, second = (
        tangents(read(q, bank, temperatures=(FIRST, SECOND)), q, bank, share) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_far_away_banks_keep_their_softmax_in_float32() -> None:
    # exp(-1 / 0.002) is zero in float32: only relative to the largest cosine is anything left.
    q = torch.tensor([[1.0, 0.0]])
    bank = torch.tensor([[-1.0, 0.01], [-1.0, 0.0]] * 10)
    reading = read(q, bank, temperatures=(0.002, 0.002))
    expected = (cosine(q.double(), bank.double()) / 0.002).logsumexp(dim=1)
    torch.testing.assert_close(reading.log_sums[0].double(), expected, rtol=1e-6, atol=0)
    assert reading.picked.isfinite().all()
    assert tangents(reading, q, bank, torch.ones(1)).abs().max() > 0


def test_a_vector_of_no_length_stays_finite() -> None:
    q, bank, share = inputs(torch.float32)
    bank[3] = 0.0
    reading = read(q, bank, temperatures=(FIRST, SECOND))
    assert reading.picked.isfinite().all()
    assert tangents(reading, q, bank, share).isfinite().all()
