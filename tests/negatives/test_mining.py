"""Mining: exactly the asked ranks, and never the query's own image."""

import pytest
import torch
from torch import Tensor

from sparring.errors import ConfigError
from sparring.negatives.mining import (
    MiningSettings,
    Pool,
    allowed,
    at_random,
    cosines,
    easiest,
    hardest,
    image_pairs,
    mean_cosine,
    mixed,
    num_available,
    num_chosen,
)
from sparring.negatives.queue import NumberedQueue


def drawn(batch: int, candidates: int, *, seed: int = 0) -> Tensor:
    return torch.rand(batch, candidates, generator=torch.Generator().manual_seed(seed))


def pool(images: list[int] | Tensor, anchors: list[int] | Tensor) -> Pool:
    """Keys that stand at right angles: a query's cosine with candidate c is its entry c."""
    images, anchors = torch.as_tensor(images), torch.as_tensor(anchors)
    return Pool(keys=torch.eye(len(images)), images=images, anchors=anchors)


def everyone(batch: int, candidates: int) -> Pool:
    """A pool in which all may meet."""
    return pool(torch.arange(candidates), torch.arange(candidates, candidates + batch))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("count", "skip"), [(1, 0), (3, 0), (3, 1), (4, 5), (20, 0), (17, 3)])
def test_the_hardest_are_exactly_the_ranks_behind_the_skipped_ones(count: int, skip: int) -> None:
    similarity = drawn(6, 20)
    chosen = hardest(similarity, everyone(6, 20), count=count, skip=skip)
    for row, columns in zip(similarity.tolist(), chosen.tolist(), strict=True):
        ranking = sorted(range(20), key=lambda column: -row[column])
        assert columns == ranking[skip : skip + count]


def test_ranks_are_counted_among_the_allowed_only() -> None:
    others = pool([7, 1, 2, 7, -1, 4], anchors=[7])
    similarity = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.95, 0.5]])
    assert hardest(similarity, others, count=2, skip=1).tolist() == [[2, 5]]
    assert hardest(similarity, others, count=1, skip=0).tolist() == [[1]]


def test_the_easiest_are_the_least_similar_of_the_allowed() -> None:
    similarity = torch.tensor([[0.9, 0.8, -0.7, 0.6, 0.5]])
    assert easiest(similarity, pool([0, 1, 7, 3, 4], anchors=[7]), count=2).tolist() == [[4, 3]]


def test_among_equals_no_candidate_comes_twice() -> None:
    similarity = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.9, 0.1]])
    chosen = hardest(similarity, everyone(1, 6), count=3, skip=1)[0].tolist()
    assert len(set(chosen)) == 3
    assert set(chosen) <= {0, 1, 2, 3}
    assert hardest(similarity, everyone(1, 6), count=3, skip=1)[0].tolist() == chosen


def test_mining_keeps_no_graph() -> None:
    similarity = drawn(2, 4).requires_grad_()
    assert not hardest(similarity, everyone(2, 4), count=2, skip=0).requires_grad


def crowd() -> tuple[Tensor, Pool]:
    """Queries and a pool in which images come several times, some are the queries', and some rows
    are empty."""
    draw = generator()
    query, keys = (
        torch.nn.functional.normalize(
            torch.randn(rows, 8, dtype=torch.float64, generator=draw), dim=1
        )
        for rows in (6, 200)
    )
    return query, Pool(
        keys=keys, images=torch.randint(-1, 40, (200,), generator=draw), anchors=torch.arange(6)
    )


@pytest.mark.parametrize("count", [1, 5, 60])
def test_mining_by_blocks_equals_sorting_the_masked_matrix(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.acceleration.largest._BLOCK_ELEMENTS", 4 * 200)
    query, others = crowd()
    similarity = query @ others.keys.T
    for sign, found in (
        (1, hardest(query, others, count=count, skip=2)),
        (-1, easiest(query, others, count=count)),
    ):
        masked = (sign * similarity).masked_fill(
            ~allowed(others.anchors, others.images), -torch.inf
        )
        skip = 2 if sign == 1 else 0
        assert torch.equal(found, masked.argsort(dim=1, descending=True)[:, skip : skip + count])


def test_the_mean_cosine_is_that_of_the_allowed_pairs() -> None:
    query, others = crowd()
    expected = (query @ others.keys.T)[allowed(others.anchors, others.images)].mean()
    torch.testing.assert_close(mean_cosine(query, others), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [3, 150])
def test_chosen_cosines_and_their_gradient_are_those_of_the_whole_matrix(count: int) -> None:
    query, others = crowd()
    query.requires_grad_()
    columns = torch.stack(
        [torch.randperm(200, generator=generator(row))[:count] for row in range(len(query))]
    )
    found, expected = (
        cosines(query, others.keys, columns),
        (query @ others.keys.T).gather(1, columns),
    )
    torch.testing.assert_close(found, expected)
    weights = drawn(len(query), count).double()
    for ours, plain in zip(
        *(torch.autograd.grad((side * weights).sum(), query) for side in (found, expected)),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain)


def test_a_query_may_meet_every_image_but_its_own_and_no_empty_row() -> None:
    anchors, candidates = torch.tensor([3, 5]), torch.tensor([3, 4, 5, -1, 3])
    assert allowed(anchors, candidates).tolist() == [
        [False, True, True, False, False],
        [True, True, False, False, True],
    ]


def test_the_poorest_query_says_how_many_are_available() -> None:
    draw = generator()
    for _ in range(20):
        anchors = torch.randint(0, 6, (5,), generator=draw)
        candidates = torch.randint(-1, 6, (30,), generator=draw)
        assert num_available(anchors, candidates) == int(
            allowed(anchors, candidates).sum(dim=1).min()
        )
    assert num_available(torch.tensor([1, 2]), torch.tensor([1, 1])) == 0


def test_fewer_are_chosen_where_there_are_fewer() -> None:
    assert num_chosen(20, count=9, skip=1) == 9
    assert num_chosen(10, count=9, skip=1) == 9
    assert num_chosen(9, count=9, skip=1) == 8
    assert num_chosen(2, count=9, skip=1) == 1


@pytest.mark.parametrize(("available", "skip"), [(0, 0), (1, 1), (3, 5)])
def test_nothing_left_to_choose_is_refused_with_what_to_do(available: int, skip: int) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"{available} images beside its own and mining\.skip={skip} .*training\.batch_size",
    ):
        num_chosen(available, count=9, skip=skip)


def test_random_choice_gives_every_allowed_candidate_the_same_chance() -> None:
    chosen = at_random(
        pool([0, 1, 2, 3, 4, -1, 6, 7], anchors=torch.arange(8, 2008)),
        count=3,
        generator=generator(),
    )
    share = torch.bincount(chosen.flatten(), minlength=8) / 2000
    assert share[5] == 0
    # Each of 7 is among the 3 with probability 3/7; standard error over 2,000 queries 0.011.
    torch.testing.assert_close(share[share > 0], torch.full((7,), 3 / 7), rtol=0, atol=0.045)
    assert all(len(set(row)) == 3 for row in chosen.tolist())


def test_random_choice_follows_its_generator_alone() -> None:
    may = everyone(5, 30)
    assert torch.equal(
        at_random(may, count=4, generator=generator(1)),
        at_random(may, count=4, generator=generator(1)),
    )
    assert not torch.equal(
        at_random(may, count=4, generator=generator(1)),
        at_random(may, count=4, generator=generator(2)),
    )


def test_two_processes_draw_the_rows_that_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(10)
    alone = at_random(pool(images, images[:6]), count=4, generator=generator())
    monkeypatch.setattr("sparring.distributed.num_processes", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("sparring.distributed.rank", lambda rank=rank: rank)
        own = slice(3 * rank, 3 * rank + 3)
        assert torch.equal(
            at_random(pool(images, images[own]), count=4, generator=generator()), alone[own]
        )


def two_choices(rows: int, count: int) -> tuple[Tensor, Tensor]:
    """Columns that tell at each place which of two miners chose it."""
    mined = torch.arange(rows * count).view(rows, count)
    return mined, mined + rows * count


def test_a_mixture_at_share_0_is_the_random_choice_and_at_share_1_the_mined_one() -> None:
    mined, random = two_choices(200, 50)
    for share, expected in ((0.0, random), (1.0, mined)):
        assert torch.equal(
            mixed(mined, random, torch.tensor(share), generator=generator()), expected
        )


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_mixture_takes_the_mined_candidate_of_a_place_with_the_given_probability(
    share: float,
) -> None:
    mined, random = two_choices(400, 25)
    is_mined = mixed(mined, random, torch.tensor(share), generator=generator()) == mined
    assert (
        is_mined | (mixed(mined, random, torch.tensor(share), generator=generator()) == random)
    ).all()
    # 10,000 lots: the standard error of their mean is 0.005 at most.
    assert float(is_mined.double().mean()) == pytest.approx(share, abs=0.02)
    # No place and no query is preferred: standard errors 0.025 and 0.1 at most.
    assert is_mined.double().mean(dim=0).sub(share).abs().max() < 0.11
    assert is_mined.double().mean(dim=1).sub(share).abs().max() < 0.45


def test_a_larger_share_keeps_what_a_smaller_one_mined() -> None:
    mined, random = two_choices(20, 30)
    few, many = (
        mixed(mined, random, torch.tensor(share), generator=generator()) == mined
        for share in (0.2, 0.7)
    )
    assert many[few].all()
    assert many.sum() > few.sum() > 0


def test_two_processes_mix_the_rows_that_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    mined, random = two_choices(6, 30)
    share = torch.tensor(0.5)
    alone = mixed(mined, random, share, generator=generator())
    monkeypatch.setattr("sparring.distributed.num_processes", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("sparring.distributed.rank", lambda rank=rank: rank)
        own = slice(3 * rank, 3 * rank + 3)
        assert torch.equal(mixed(mined[own], random[own], share, generator=generator()), alone[own])


def test_pairs_name_the_images_of_query_and_candidate() -> None:
    pairs = image_pairs(
        torch.tensor([7, 8]), torch.tensor([7, 8, 9, 10]), torch.tensor([[1, 3], [2, 0]])
    )
    assert pairs.tolist() == [[7, 8], [7, 10], [8, 9], [8, 7]]


def test_of_very_many_pairs_those_of_the_first_queries_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sparring.negatives.mining.WATCHED", 5)
    chosen = torch.tensor([[1, 2], [0, 2], [0, 1]])
    assert image_pairs(torch.tensor([7, 8, 9]), torch.tensor([7, 8, 9]), chosen).tolist() == [
        [7, 8],
        [7, 9],
        [8, 7],
        [8, 9],
    ]


def test_only_the_pool_with_a_queue_keeps_past_keys() -> None:
    assert [
        MiningSettings(pool=pool, queue_size=50).num_kept for pool in ("batch", "batch2", "queue")
    ] == [0, 0, 50]


def test_a_numbered_queue_moves_keys_and_images_together() -> None:
    opponent = NumberedQueue(7, 2, generator=generator())
    assert opponent.images.tolist() == [-1] * 7
    for first in (0, 5, 10):  # passes the end twice
        numbers = torch.arange(first, first + 5)
        opponent.enqueue(numbers[:, None].repeat(1, 2).float(), numbers)
        filled = opponent.images >= 0
        assert torch.equal(opponent.keys[filled][:, 0], opponent.images[filled].float())
    assert sorted(opponent.images.tolist()) == [8, 9, 10, 11, 12, 13, 14]
    opponent.enqueue(torch.zeros(20, 2), torch.arange(100, 120))
    assert sorted(opponent.images.tolist()) == list(range(113, 120))


def test_a_numbered_queue_gives_what_has_come() -> None:
    opponent = NumberedQueue(7, 2, generator=generator())
    assert len(opponent.filled()[0]) == 0
    opponent.enqueue(torch.ones(5, 2), torch.arange(5))
    assert opponent.filled()[1].tolist() == [0, 1, 2, 3, 4]
    opponent.enqueue(torch.ones(5, 2), torch.arange(5, 10))
    assert len(opponent.filled()[0]) == 7


def test_a_restored_numbered_queue_goes_on_at_its_place() -> None:
    whole, restored = (NumberedQueue(7, 2, generator=generator(seed)) for seed in (0, 1))
    whole.enqueue(torch.ones(5, 2), torch.arange(5))
    restored.load_state_dict(whole.state_dict())
    for opponent in (whole, restored):
        opponent.enqueue(2 * torch.ones(4, 2), torch.arange(10, 14))
    assert torch.equal(whole.keys, restored.keys)
    assert torch.equal(whole.images, restored.images)
