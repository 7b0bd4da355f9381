"""Arrays and tensors as sources."""

import numpy as np
import pytest
import torch

from sparring.data.decode import decode
from sparring.data.sources.arrays import Arrays
from sparring.data.sources.source import open_source
from sparring.errors import DataError

CHW = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        CHW,
        CHW.transpose(0, 2, 3, 1),
        torch.from_numpy(CHW),
        CHW / np.float32(255),
        torch.from_numpy(CHW).double() / 255,
    ],
    ids=["channels first", "channels last", "tensor", "float32", "float64 tensor"],
)
def test_every_layout_gives_the_same_pixels(images: np.ndarray | torch.Tensor) -> None:
    source = open_source(images)
    assert len(source) == 6
    assert (decode(source.read(4)).numpy() == CHW[4]).all()


@pytest.mark.parametrize("shape", [(6, 8, 9), (6, 8, 9, 1), (6, 1, 8, 9)])
def test_grey_images_have_three_equal_channels(shape: tuple[int, ...]) -> None:
    image = decode(Arrays(CHW[:, 0].reshape(shape)).read(2))
    assert image.shape == (3, 8, 9)
    assert (image.numpy() == CHW[2, 0]).all()


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((6, 8), np.uint8), r"shape \(6, 8\); accepted"),
        (np.zeros((6, 17, 18, 19), np.uint8), "accepted"),
        (np.zeros((0, 8, 9), np.uint8), "none empty"),
        (np.zeros((6, 8, 9), np.complex64), "type complex64; accepted are numbers"),
        (np.full((6, 8, 9), "x"), "accepted are numbers"),
    ],
)
def test_other_arrays_are_refused_with_what_is_accepted(images: np.ndarray, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_source(images)


@pytest.mark.parametrize(
    "shape", [(6, 5, 8, 9), (6, 8, 9, 5), (6, 2, 8, 9), (6, 4, 16, 16), (6, 16, 16, 4)]
)
def test_the_shorter_axis_holds_the_channels(shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, np.uint8)
    assert Arrays(values).read(0).shape[2] == min(shape[1], shape[3])


def test_a_tuple_carries_labels() -> None:
    labels = open_source((CHW, torch.arange(6))).labels()
    assert labels is not None
    assert labels.tolist() == list(range(6))


def test_labels_may_be_names() -> None:
    source = open_source((CHW, np.array(["b", "a", "b", "a", "a", "b"])))
    assert source.class_names == ("a", "b")


def test_labels_must_be_as_many_as_images() -> None:
    with pytest.raises(DataError, match=r"shape \(5,\) for 6 images"):
        open_source((CHW, np.arange(5)))


def test_fingerprint_notices_one_changed_pixel() -> None:
    changed = CHW.copy()
    changed[5, 2, 7, 8] ^= 1
    assert (
        Arrays(CHW).fingerprint()
        == Arrays(CHW.copy()).fingerprint()
        != Arrays(changed).fingerprint()
    )


def test_squares_of_the_right_size_are_not_copied() -> None:
    images = np.ascontiguousarray(CHW[:, :, :, :8])
    squares = Arrays(images).squares(8)
    assert squares is not None
    assert np.shares_memory(squares, images)
    assert Arrays(images).squares(9) is None
    assert Arrays(CHW).squares(8) is None


def test_labels_may_be_numbers_beside_names_or_unknown() -> None:
    source = open_source((CHW, ["b", None, 3, float("nan"), -1, "b"]))
    labels = source.labels()
    assert source.class_names == ("3", "b")
    assert labels is not None
    assert labels.tolist() == [1, -1, 0, -1, -1, 1]


@pytest.mark.parametrize(
    "labels",
    [np.array([1.0, 2, 0, 1, 2, np.nan]), torch.tensor([1, 2, 0, 1, 2, -100]), [1, 2, 0, 1, 2, ""]],
    ids=["floats", "tensor", "list"],
)
def test_whole_numbers_of_any_type_are_class_numbers(labels: object) -> None:
    source = open_source((CHW, labels))  # type: ignore[arg-type]
    found = source.labels()
    assert source.class_names is None
    assert found is not None
    assert found.tolist() == [1, 2, 0, 1, 2, -1]


def test_measurements_and_one_hot_rows_are_no_labels() -> None:
    with pytest.raises(DataError, match=r"hold 0\.5, which is neither a class number nor a name"):
        open_source((CHW, np.array([0, 1, 0.5, 0, 1, 0])))
    with pytest.raises(DataError, match=r"labels of shape \(6, 2\) for 6 images"):
        open_source((CHW, np.eye(6, 2)))
