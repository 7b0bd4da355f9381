"""Which ids of masks mean which class: by name, by number, and what 255 means."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from masked_images import COLOURS, evaluation_data
from PIL import Image

from sparring.errors import DataError
from sparring.evaluation.segmentation.mask_classes import MaskSettings
from sparring.evaluation.segmentation.masks import Segmented, open_segmented

NAMES = ("ground", "box", "ball")
CLASSES = np.tile(np.arange(3).repeat(5), (6, 1))
"""Classes of an image of 6 x 15 pixels, a third each."""


class Told:
    """Keeps the lines it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, line: str) -> None:
        self.lines.append(line)

    def count(self, what: str, done: int, total: int) -> None:
        """Progress is not kept."""


def masks(
    root: Path,
    ids: Sequence[int],
    names: Sequence[str] | None = NAMES,
    *,
    count: int = 3,
    classes: npt.NDArray[np.int64] = CLASSES,
) -> Path:
    """A folder of images and masks in which the k-th class has the k-th id; other sizes of `root`
    give other noise."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    draw = np.random.default_rng(len(root.name))
    for number in range(count):
        colours = COLOURS[classes] + draw.normal(0, 5, (*classes.shape, 3))
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(root / f"images/{number}.png")
        mask = np.array(ids, np.uint8)[classes]
        Image.fromarray(mask).save(root / f"masks/{number}.png")
    if names is not None:
        (root / "classes.txt").write_text("\n".join(names))
    return root


def opened(train: Path, test: Path, **settings: object) -> tuple[Segmented, list[str]]:
    told = Told()
    data = evaluation_data(train, test, listener=told)
    return open_segmented(data, MaskSettings.build(settings)), told.lines


def assert_meant(data: Segmented, names: Sequence[str] = NAMES) -> None:
    """Check that masks of both sets, and their pixels, go by the names of the classes."""
    number = {name: place for place, name in enumerate(data.class_names)}
    expected = torch.tensor([number.get(name, data.ignore_index) for name in names])[CLASSES]
    assert torch.equal(data.train_pair(0)[1], expected)
    assert torch.equal(data.test_mask(0), expected)
    for pixels, rows in ((data.train_pixels, 3), (data.test_pixels, 3)):
        for name in names:
            if name in number and number[name] != data.ignore_index:
                assert pixels[number[name]] == rows * 30


def test_names_in_another_order_mean_the_same_classes(tmp_path: Path) -> None:
    train, test = (
        masks(tmp_path / "a", (0, 1, 2)),
        masks(tmp_path / "bc", (2, 0, 1), NAMES[1:] + NAMES[:1]),
    )
    data, lines = opened(train, test)
    assert data.class_names == NAMES
    assert_meant(data)
    assert lines == []


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    train = masks(tmp_path / "a", (0, 1, 2), ("caf\u00e9", "box", "ball"))
    test = masks(tmp_path / "bc", (2, 1, 0), ("ball", "box ", "cafe\u0301"))
    data, lines = opened(train, test)
    assert_meant(data, ("caf\u00e9", "box", "ball"))
    assert lines == []


def test_void_classes_may_have_another_id_in_each_set(tmp_path: Path) -> None:
    train = masks(tmp_path / "a", (0, 1, 2), ("ground", "box", "Void"))
    test = masks(tmp_path / "bc", (1, 2, 0), ("ignore", "ground", "box"))
    data, _ = opened(train, test)
    assert data.class_names == ("ground", "box")
    assert data.ignore_index == data.classes.ignored_id == 2
    assert_meant(data, ("ground", "box", "Void"))


def test_a_class_that_only_the_test_masks_show_is_told_and_counts_as_an_error(
    tmp_path: Path,
) -> None:
    train = masks(tmp_path / "a", (0, 1, 2), ("ground", "box", "void"))
    test = masks(tmp_path / "bc", (2, 1, 0), ("ball", "box", "ground"))
    data, lines = opened(train, test)
    assert data.class_names == NAMES
    assert data.train_pixels.tolist() == [90, 90, 0]
    assert data.test_pixels.tolist() == [90, 90, 90]
    assert torch.equal(data.test_mask(0), torch.from_numpy(CLASSES))
    assert set(data.train_pair(0)[1].unique().tolist()) == {0, 1, data.ignore_index}
    assert data.ignore_index >= 3  # no class has this number
    assert any("do not show 'ball'" in line and "errors" in line for line in lines)


def test_masks_without_a_common_class_are_refused(tmp_path: Path) -> None:
    train = masks(tmp_path / "a", (0, 1, 2))
    test = masks(tmp_path / "bc", (0, 1, 2), ("sky", "sea", "sand"))
    with pytest.raises(
        DataError, match=r"no class is in both sets.*'ground', 'box', 'ball'.*'sky'"
    ):
        opened(train, test)
    numbers = [
        masks(tmp_path / name, ids, None) for name, ids in (("c", (0, 1, 1)), ("de", (2, 3, 3)))
    ]
    with pytest.raises(DataError, match=r"no class is in both sets.*'0', '1'.*'2', '3'"):
        opened(numbers[0], numbers[1])


@pytest.mark.parametrize("which", ["training", "test"])
def test_names_of_one_set_alone_are_taken_for_both_and_told(tmp_path: Path, which: str) -> None:
    names = {"training": NAMES, "test": NAMES} | {which: None}
    train = masks(tmp_path / "a", (0, 1, 2), names["training"])
    data, lines = opened(train, masks(tmp_path / "bc", (0, 1, 2), names["test"]))
    assert_meant(data)
    assert len(lines) == 1
    assert f"the {which} masks name no classes: their ids are taken as those of" in lines[0]


def test_names_of_the_settings_are_those_of_both_sets(tmp_path: Path) -> None:
    train = masks(tmp_path / "a", (0, 1, 2), ("x", "y", "z"))
    test = masks(tmp_path / "bc", (0, 1, 2), ("z", "y", "x"))
    data, lines = opened(train, test, class_names=NAMES)
    assert_meant(data)
    assert lines == []


def test_ids_of_one_name_are_one_class(tmp_path: Path) -> None:
    names = ("ground", "box", "box")
    data, _ = opened(
        masks(tmp_path / "a", (0, 1, 2), names), masks(tmp_path / "bc", (0, 2, 1), names)
    )
    assert data.train_pixels.tolist() == data.test_pixels.tolist() == [90, 180, 0]


@pytest.mark.parametrize("names", [None, ("ground", "box")])
def test_255_is_a_class_where_masks_have_nothing_else_beside_0(
    tmp_path: Path, names: tuple[str, ...] | None
) -> None:
    train, test = (masks(tmp_path / name, (0, 255, 0), names) for name in ("a", "bc"))
    data, lines = opened(train, test)
    assert data.class_names == (names or ("0", "255"))
    assert data.classes.ignored_id is None
    assert data.train_pixels.tolist() == data.test_pixels.tolist() == [180, 90]
    assert data.test_mask(0).unique().tolist() == [0, 1]
    assert len(lines) == 1
    assert "255 is taken as a class; set segmentation.ignore_index=255 if it means no" in lines[0]


def test_names_match_black_and_white_masks_too(tmp_path: Path) -> None:
    train = masks(tmp_path / "a", (0, 255, 0), ("ground", "box"))
    data, _ = opened(train, masks(tmp_path / "bc", (255, 0, 255), ("box", "ground")))
    assert torch.equal(data.test_mask(0), data.train_pair(0)[1])


@pytest.mark.parametrize(
    ("ids", "names", "settings"),
    [
        ((0, 255, 0), None, {"ignore_index": 255}),
        ((0, 255, 0), NAMES, {}),
        ((1, 255, 1), None, {}),
    ],
)
def test_255_is_no_class_otherwise(
    tmp_path: Path, ids: tuple[int, ...], names: tuple[str, ...] | None, settings: dict[str, int]
) -> None:
    train, test = (masks(tmp_path / name, ids, names) for name in ("a", "bc"))
    with pytest.raises(DataError, match=r"show a single class, id \d,.*255 is ignored"):
        opened(train, test, **settings)


def test_unreadable_images_are_left_out_with_their_masks_and_told(tmp_path: Path) -> None:
    train, test = masks(tmp_path / "a", (0, 1, 2), count=4), masks(tmp_path / "bc", (0, 1, 2))
    for path in (train / "images" / "1.png", train / "images" / "2.png", test / "images" / "0.png"):
        path.write_bytes(path.read_bytes()[:80])
    data, lines = opened(train, test)
    assert (data.train_rows, data.test_rows) == ((0, 3), (1, 2))
    assert data.train_pixels.tolist() == data.test_pixels.tolist() == [60, 60, 60]
    assert len(lines) == 2
    assert "2 of the 4 training images and their masks cannot be read and were left out" in lines[0]
    assert "1.png cannot be read" in lines[0]


def test_a_single_set_is_split_without_its_unreadable_images(tmp_path: Path) -> None:
    path = masks(tmp_path / "a", (0, 1, 2), count=6)
    whole = open_segmented(evaluation_data(path, path), MaskSettings())
    for row in (*whole.test_rows, whole.train_rows[0]):
        (path / "images" / f"{row}.png").write_bytes(b"nonsense")
    data, lines = opened(path, path)
    assert sorted(data.train_rows + data.test_rows) == sorted(whole.train_rows[1:])
    assert (len(data.train_rows), len(data.test_rows)) == (3, 1)
    assert len([line for line in lines if "2 of the 6 images and their masks cannot" in line]) == 1


def test_sets_without_a_readable_image_are_refused(tmp_path: Path) -> None:
    train, test = masks(tmp_path / "a", (0, 1, 2)), masks(tmp_path / "bc", (0, 1, 2))
    for path in (test / "images").iterdir():
        path.write_bytes(b"nonsense")
    with pytest.raises(
        DataError, match=r"images to score \(--data\): none of the 3 images looked at can be read"
    ):
        opened(train, test)


def test_everything_is_told_once_for_both_encoders(tmp_path: Path) -> None:
    told = Told()
    paths = [masks(tmp_path / name, (0, 255, 0), None) for name in ("a", "bc")]
    data = evaluation_data(*paths, listener=told)
    first, second = (open_segmented(data, MaskSettings()) for _ in range(2))
    assert first is second
    assert len(told.lines) == 1
