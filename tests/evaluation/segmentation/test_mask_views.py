"""Crops keep image and mask together."""

import pytest
import torch
from torch import Tensor

from sparring.evaluation.segmentation.mask_views import MaskViews, resized_mask

IGNORED = 9
FILL = torch.tensor([0.1, 0.2, 0.3])


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(*, crop: int = 24, scale: tuple[float, float] = (0.5, 2.0)) -> MaskViews:
    return MaskViews(crop=crop, scale=scale, fill=FILL, ignore_index=IGNORED)


def quarters(height: int = 40, width: int = 32) -> tuple[Tensor, Tensor]:
    """An image whose red tells the id of each of its four quarters."""
    mask = torch.zeros(height, width, dtype=torch.long)
    mask[height // 2 :] += 2
    mask[:, width // 2 :] += 1
    return (mask / 4).expand(3, -1, -1), mask


@pytest.mark.parametrize("seed", range(20))
def test_every_pixel_keeps_its_id(seed: int) -> None:
    image, mask = quarters()
    view, ids = views()(image, mask, generator=draws(seed))
    known = ids != IGNORED
    off = ((view[0] * 4 - ids).abs() > 0.5) & known
    # Between two quarters one interpolated pixel may belong to either; anywhere else none may.
    borders = torch.zeros_like(off)
    borders[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    borders[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    borders[1:] |= ids[1:] != ids[:-1]
    borders[:-1] |= ids[1:] != ids[:-1]
    assert not (off & ~borders).any()
    assert off.sum() <= 0.5 * borders.sum()


def test_a_mask_that_is_not_mirrored_along_would_be_noticed() -> None:
    image, mask = quarters()
    found = [views(scale=(1, 1))(image, mask, generator=draws(seed)) for seed in range(20)]
    assert any(((view[0].flip(-1) * 4 - ids).abs() > 0.5).sum() > 100 for view, ids in found)


def test_at_scale_one_a_crop_of_the_whole_image_is_the_image_or_its_mirror() -> None:
    image, mask = (
        torch.rand(3, 24, 24, generator=draws()),
        torch.randint(0, 4, (24, 24), generator=draws()),
    )
    mirrored = 0
    for seed in range(20):
        view, ids = views(scale=(1, 1))(image, mask, generator=draws(seed))
        flips = not torch.equal(ids, mask)
        mirrored += flips
        torch.testing.assert_close(view.flip(-1) if flips else view, image)
        assert torch.equal(ids.flip(-1) if flips else ids, mask)
    assert 4 <= mirrored <= 16


def test_beyond_the_image_come_the_fill_and_the_ignored_id() -> None:
    image, mask = torch.ones(3, 10, 24), torch.zeros(10, 24, dtype=torch.long)
    view, ids = views(scale=(1, 1))(image, mask, generator=draws(3))
    outside = ids == IGNORED
    assert outside.sum() == 14 * 24
    torch.testing.assert_close(view[:, outside], FILL[:, None].expand(3, 14 * 24))
    assert (view[:, ~outside] == 1).all()


def test_the_scale_says_how_much_larger_the_image_appears() -> None:
    mask = torch.arange(40 * 40).view(40, 40)
    image = torch.zeros(3, 40, 40)
    _, large = views(crop=20, scale=(2, 2))(image, mask, generator=draws())
    _, small = views(crop=20, scale=(0.5, 0.5))(image, mask, generator=draws())
    assert len(large.unique()) == 10 * 10
    assert small.max() - small.min() > 38 * 40


def test_every_place_of_the_image_is_reached() -> None:
    mask = torch.arange(9 * 9).view(9, 9)
    seen = torch.cat(
        [
            views(crop=4, scale=(1, 1))(torch.zeros(3, 9, 9), mask, generator=draws(seed))[
                1
            ].flatten()
            for seed in range(200)
        ]
    )
    assert set(seen.tolist()) == set(range(81))


def test_one_seed_gives_one_view() -> None:
    image, mask = quarters()
    first, second = (views()(image, mask, generator=draws(5)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_resized_mask_has_the_id_at_the_centre_of_each_pixel() -> None:
    mask = torch.tensor([[0, 0, 0, 1, 1, 1], [2, 2, 2, 255, 255, 255]])
    assert resized_mask(mask, (2, 2)).tolist() == [[0, 1], [2, 255]]
    assert torch.equal(resized_mask(resized_mask(mask, (4, 12)), (2, 6)), mask)
