"""The plain loop of SimCLR: its formulas beside torchvision's functions and slow loops, and a toy
run."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE = 32


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("plain_simclr")


@pytest.fixture
def images() -> Tensor:
    """Twenty images in [0, 1]; the last one is black, the one before grey."""
    found = torch.rand(20, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    found[-1] = 0
    found[-2] = found[-2, :1]
    return found


def draws(plain: ModuleType, number: int) -> object:
    return plain.draws(number, SIZE, torch.Generator().manual_seed(1))


def test_a_crop_is_that_of_torchvision_with_antialiasing(plain: ModuleType, images: Tensor) -> None:
    given = draws(plain, len(images))
    found = plain.cropped(images, given.box, given.flip)
    assert 0 < given.flip.sum() < len(images)
    for image, box, flip, mine in zip(images, given.box, given.flip, found, strict=True):
        whole = V.resized_crop(image, *box.int().tolist(), [SIZE, SIZE], antialias=True)
        # Both interpolate in float32; the grid is rounded on its way to [-1, 1] and back.
        torch.testing.assert_close(mine, V.hflip(whole) if flip else whole, rtol=0, atol=1e-4)


def test_boxes_lie_in_the_image_and_have_the_asked_areas(plain: ModuleType) -> None:
    top, left, height, width = draws(plain, 2000).box.T
    assert min(top.min(), left.min()) == 0
    assert max((top + height).max(), (left + width).max()) == SIZE
    share = height * width / SIZE**2
    assert 0.17 < share.min() < 0.25, "a side is rounded by half a pixel at most"
    assert share.max() > 0.9
    assert (width / height).max() < 1.5
    assert (width / height).min() > 1 / 1.5


def test_where_no_try_fits_the_whole_image_is_taken(plain: ModuleType) -> None:
    uniform = torch.full((4, 10, 1), 0.999)  # nearly the whole area at the ratio of 4 to 3
    assert plain.boxes(uniform, SIZE).tolist() == [[0, 0, SIZE, SIZE]]
    uniform[:, 7] = 0.0
    ((_, _, height, width),) = plain.boxes(uniform, SIZE).tolist()
    assert (height, width) == (17, 12), "the first try that fits: a fifth at 3 to 4"


def test_colours_change_as_those_of_torchvision_in_the_order_of_each_image(
    plain: ModuleType, images: Tensor
) -> None:
    given = draws(plain, len(images))
    found = plain.jittered(images, given)
    apply = (V.adjust_brightness, V.adjust_contrast, V.adjust_saturation, V.adjust_hue)
    assert len({tuple(order) for order in given.order.tolist()}) > 10
    assert 0 < given.jitter.sum() < len(images)
    for number, image in enumerate(images):
        expected = image
        for operation in given.order[number].tolist() if given.jitter[number] else ():
            expected = apply[operation](expected, float(given.factors[number, operation]))
        # Two ways to the same hue in float32.
        torch.testing.assert_close(found[number], expected, rtol=0, atol=1e-5)


def test_a_view_without_colours_is_grey(plain: ModuleType, images: Tensor) -> None:
    given = draws(plain, len(images))
    pixels = (255 * images).to(torch.uint8)
    found = plain.view(pixels, given) * torch.tensor(plain.DEVIATION).view(1, 3, 1, 1)
    found = found + torch.tensor(plain.MEAN).view(1, 3, 1, 1)
    spread = found.amax(dim=1) - found.amin(dim=1)
    is_grey = spread.amax(dim=(1, 2)) < 1e-6
    assert given.grey.sum() > 0
    assert is_grey[given.grey].all()
    assert not is_grey[:-2][~given.grey[:-2]].any()


def test_the_loss_is_that_of_a_loop_over_all_views(plain: ModuleType) -> None:
    embeddings = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
    rows = [row / row.norm() for row in embeddings]
    total = 0.0
    for i, row in enumerate(rows):
        odds = [float(torch.exp(row @ other / 0.5)) for other in rows]
        total -= float(torch.tensor(odds[(i + 3) % 6] / (sum(odds) - odds[i])).log())
    assert float(plain.nt_xent(embeddings, temperature=0.5)) == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.slow
def test_a_toy_run_trains_scores_and_writes(
    plain: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["plain_simclr", "--cpu", "--epochs", "2", "--out", str(out)])
    plain.main()
    found = json.loads(out.read_text())
    assert len(found["found"]["losses"]) == 2
    assert 0 <= found["found"]["knn"] <= 100
    assert 0 <= found["found"]["linear"] <= 100
    assert found["recipe"]["batch"] == 16
    assert "kNN (k 10)" in capsys.readouterr().out
