"""The drawn parameters have torchvision's distributions and are independent of one another.

Two-sample tests compare 4,000 draws with 4,000 of torchvision by the Kolmogorov-Smirnov distance.
Its 99.9 % quantile for equal distributions is 1.95 sqrt(2 / 4000) = 0.044; seeds are fixed, so the
tests are deterministic.
"""

from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from sparring.data.views.view_parameters import crop_box, crop_boxes, draw_parameters
from sparring.data.views.view_settings import ViewSettings
from sparring.seeding import generator

DRAWS = 4_000
KS_LIMIT = 0.044
RATIO = (3 / 4, 4 / 3)


def ks_distance(a: Tensor, b: Tensor) -> float:
    """Largest gap between two empirical distribution functions."""
    a, b = a.double().sort().values, b.double().sort().values
    points = torch.cat([a, b])
    shares = [torch.searchsorted(x, points, right=True) / len(x) for x in (a, b)]
    return (shares[0] - shares[1]).abs().max().item()


def our_boxes(height: int, width: int, scale: tuple[float, float], num: int = DRAWS) -> Tensor:
    ones = torch.ones(num, dtype=torch.long)
    return crop_boxes(
        ones * height, ones * width, scale=scale, ratio=RATIO, generator=generator(0, "boxes")
    )


def their_boxes(height: int, width: int, scale: tuple[float, float], num: int = DRAWS) -> Tensor:
    crop = v2.RandomResizedCrop(8, scale=scale, ratio=RATIO)
    image = torch.empty(3, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        drawn = [crop.make_params([image]) for _ in range(num)]
    return torch.tensor(
        [[box[name] for name in ("top", "left", "height", "width")] for box in drawn]
    )


def box_statistics(boxes: Tensor, height: int, width: int) -> dict[str, Tensor]:
    top, left, box_height, box_width = boxes.double().unbind(1)
    return {
        "area": box_height * box_width,
        "ratio": box_width / box_height,
        "top": top,
        "left": left,
        "vertical place": top / (height - box_height).clamp_min(1),
        "horizontal place": left / (width - box_width).clamp_min(1),
    }


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(32, 32, (0.2, 1.0)), (32, 32, (0.08, 1.0)), (375, 500, (0.2, 1.0)), (60, 31, (0.3, 1.0))],
)
def test_boxes_are_distributed_as_those_of_torchvision(
    height: int, width: int, scale: tuple[float, float]
) -> None:
    ours = box_statistics(our_boxes(height, width, scale), height, width)
    theirs = box_statistics(their_boxes(height, width, scale), height, width)
    distances = {name: ks_distance(ours[name], theirs[name]) for name in ours}
    assert all(distance < KS_LIMIT for distance in distances.values()), distances


def test_another_scale_would_fail_the_box_test() -> None:
    ours = box_statistics(our_boxes(32, 32, (0.15, 1.0)), 32, 32)
    theirs = box_statistics(their_boxes(32, 32, (0.08, 1.0)), 32, 32)
    assert ks_distance(ours["area"], theirs["area"]) > KS_LIMIT


@pytest.mark.parametrize(
    ("height", "width"), [(10, 100), (100, 10), (9, 14), (1, 1), (1, 50), (33, 32)]
)
def test_where_no_box_fits_the_fallback_is_that_of_torchvision(height: int, width: int) -> None:
    """A scale above one never fits: every box is the fallback, which is not random."""
    ours, theirs = (
        our_boxes(height, width, (1.5, 1.5), num=3),
        their_boxes(height, width, (1.5, 1.5), num=3),
    )
    assert torch.equal(ours, theirs)


def test_boxes_lie_within_each_image() -> None:
    heights, widths = torch.randint(1, 500, (2, DRAWS), generator=generator(0, "sizes"))
    boxes = crop_boxes(
        heights, widths, scale=(0.08, 1.0), ratio=RATIO, generator=generator(0, "boxes")
    )
    top, left, height, width = boxes.unbind(1)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + height <= heights).all()
    assert (left + width <= widths).all()


def test_a_box_depends_on_its_own_image_only() -> None:
    sides = torch.full((8,), 40)
    mixed = sides.clone()
    mixed[3] = 400
    boxes = [
        crop_boxes(h, sides, scale=(0.2, 1.0), ratio=RATIO, generator=generator(0, "boxes"))
        for h in (sides, mixed)
    ]
    assert (boxes[0] != boxes[1]).any(dim=1).nonzero().flatten().tolist() == [3]


STRONG = ViewSettings(
    brightness=0.8, contrast=0.4, saturation=1.5, hue=0.2, blur=0.3, solarise=0.15
)
SIDES = torch.full((24_000,), 32)
DRAWN = draw_parameters(STRONG, SIDES, SIDES, generator=generator(0, "views"))


def test_factors_are_distributed_as_those_of_torchvision() -> None:
    jitter = v2.ColorJitter(0.8, 0.4, 1.5, 0.2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = [jitter.make_params([]) for _ in range(DRAWS)]
    for name in ("brightness", "contrast", "saturation", "hue"):
        ours = getattr(DRAWN, name)[:DRAWS]
        assert (
            ks_distance(ours, torch.tensor([draw[f"{name}_factor"] for draw in theirs])) < KS_LIMIT
        ), name


def test_blur_widths_are_uniform() -> None:
    uniform = torch.linspace(*STRONG.blur_sigma, DRAWS)
    assert ks_distance(DRAWN.sigma[:DRAWS], uniform) < KS_LIMIT
    assert DRAWN.sigma.aminmax() == (DRAWN.sigma.clamp(*STRONG.blur_sigma)).aminmax()


def test_the_24_orders_are_equally_likely() -> None:
    """Chi-square with 23 degrees of freedom: 99.9 % quantile 49.7."""
    codes = (DRAWN.order * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    assert torch.equal(DRAWN.order.sort(dim=1).values, torch.arange(4).expand_as(DRAWN.order))
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == 24
    expected = len(codes) / 24
    assert ((counts - expected) ** 2 / expected).sum() < 49.7


@pytest.mark.parametrize("name", ["flip", "jitter", "greyscale", "blur", "solarise"])
def test_operations_happen_with_their_probability(name: str) -> None:
    """Within 3.3 standard deviations of the binomial (99.9 %)."""
    probability = getattr(STRONG, name)
    spread = (probability * (1 - probability) / len(SIDES)) ** 0.5
    assert abs(getattr(DRAWN, name).double().mean().item() - probability) < 3.3 * spread


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_zero_and_one_are_certain(probability: float) -> None:
    names = ("flip", "jitter", "greyscale", "blur", "solarise")
    recipe = ViewSettings.build(dict.fromkeys(names, probability))
    drawn = draw_parameters(recipe, SIDES, SIDES, generator=generator(0, "views"))
    assert all((getattr(drawn, name) == bool(probability)).all() for name in names)


def test_parameters_are_independent_of_one_another() -> None:
    """Correlations of 24,000 draws stay below 4.5 standard errors (66 pairs)."""
    names = [field.name for field in fields(DRAWN) if field.name not in ("box", "order")]
    columns = [getattr(DRAWN, name).double() for name in names]
    assert DRAWN.box is not None
    columns += [DRAWN.box[:, 2].double(), (DRAWN.order == 3).double().argmax(dim=1).double()]
    correlation = torch.corrcoef(torch.stack(columns)).fill_diagonal_(0)
    assert correlation.abs().max() < 4.5 / len(SIDES) ** 0.5


def test_parameters_follow_the_generator() -> None:
    again = draw_parameters(STRONG, SIDES, SIDES, generator=generator(0, "views"))
    other = draw_parameters(STRONG, SIDES, SIDES, generator=generator(1, "views"))
    for field in fields(DRAWN):
        assert torch.equal(getattr(DRAWN, field.name), getattr(again, field.name))
        assert not torch.equal(getattr(DRAWN, field.name), getattr(other, field.name))


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 375), (32, 32), (1, 700), (700, 1), (8, 2)]
)
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
def test_the_box_of_one_image_is_what_is_drawn_for_a_batch_of_one(
    height: int, width: int, scale: tuple[float, float]
) -> None:
    sides = torch.tensor([height]), torch.tensor([width])
    for seed in range(200):
        draws = [generator(seed, "box") for _ in range(2)]
        box = crop_box(height, width, scale=scale, ratio=RATIO, generator=draws[0])
        assert box == tuple(
            crop_boxes(*sides, scale=scale, ratio=RATIO, generator=draws[1])[0].tolist()
        )
        assert draws[0].get_state().equal(draws[1].get_state())
