"""What the protocols on masks check at the start, and the result that they share."""

import numpy as np
import pytest
import torch
from masked_images import VOID, MaskedImages, evaluation_data, masked_images

from sparring.data.dataset import DataSettings
from sparring.errors import ConfigError, DataError
from sparring.evaluation.data import EvaluationData
from sparring.evaluation.segmentation.masks import MaskSettings, Segmented, open_segmented, shrunk
from sparring.measures.iou import confusion_matrix
from sparring.training.scores import ImageSet


def opened(
    train: MaskedImages | None = None, test: MaskedImages | None = None, **settings: object
) -> Segmented:
    return open_segmented(evaluation_data(train, test), MaskSettings.build(settings))


def recoded(data: MaskedImages, old: int, new: int) -> MaskedImages:
    images, masks = data
    return images, np.where(masks == old, new, masks)


def test_classes_are_counted_up_to_the_highest_id_of_either_set() -> None:
    assert opened().class_names == ("0", "1", "2")
    assert opened(masked_images(4, classes=2), masked_images(4, classes=4, seed=1)).num_classes == 4


def test_pixels_are_counted_by_class_and_the_ignored_id_is_none() -> None:
    train = masked_images(12)
    data = opened(train)
    assert data.train_pixels.tolist() == [int((train[1] == number).sum()) for number in range(3)]
    assert data.ignore_index == VOID


@pytest.mark.parametrize("void", [0, 2])
def test_a_class_named_void_is_ignored(void: int) -> None:
    names = ["ground", "box", "ball"]
    names[void] = "Void"
    train, test = (
        recoded(data, VOID, void) for data in (masked_images(12), masked_images(6, seed=1))
    )
    data = opened(train, test, class_names=names)
    assert data.ignore_index == void
    assert data.num_classes == (
        2 if void == 2 else 3
    )  # the last one needs no output, one in between keeps its id
    if void < data.num_classes:
        assert data.train_pixels[void] == data.test_pixels[void] == 0


def test_the_setting_wins_over_the_name() -> None:
    data = opened(class_names=["void", "box", "ball"], ignore_index=VOID)
    assert data.ignore_index == VOID
    assert data.num_classes == 3


def test_names_of_the_settings_win_and_missing_ones_are_numbers() -> None:
    assert opened(class_names=["ground", "box", "ball"]).class_names == ("ground", "box", "ball")
    assert opened(num_classes=5).class_names == ("0", "1", "2", "3", "4")


def test_a_single_set_is_parted_and_nothing_is_scored_that_was_learned() -> None:
    data = masked_images(10)
    for given in (
        evaluation_data(data, data),
        evaluation_data(data, (data[0].copy(), data[1].copy())),
    ):
        parted = open_segmented(given, MaskSettings())
        assert len(parted.test_rows) == 2
        assert sorted(parted.train_rows + parted.test_rows) == list(range(10))
        assert "held out" in parted.tested_on
    other = open_segmented(evaluation_data(data, data, seed=1), MaskSettings())
    assert other.test_rows != parted.test_rows


def test_two_sets_are_used_whole() -> None:
    data = opened()
    assert (len(data.train_rows), len(data.test_rows)) == (12, 6)
    assert data.tested_on == "all test images"


def test_no_more_images_are_looked_at_than_the_limits_allow() -> None:
    given = evaluation_data(keep=DataSettings(limit=5), limit=2)
    data, again = (open_segmented(given, MaskSettings()) for _ in range(2))
    assert (len(data.train_rows), len(data.test_rows)) == (5, 2)
    assert data.train_rows == again.train_rows == tuple(sorted(set(data.train_rows)))
    assert data.train_pixels.sum() == 5 * 22 * 22


def test_large_images_are_shrunk_and_their_masks_along() -> None:
    data = opened(longer_side=16)
    image, mask = data.train_pair(0)
    assert image.shape == (3, 16, 16)
    assert mask.shape == (16, 16)
    assert set(mask.unique().tolist()) <= {0, 1, 2, VOID}
    assert data.test_image(0).shape == (3, 16, 16)
    assert shrunk(torch.zeros(3, 40, 20, dtype=torch.uint8), 30).shape == (3, 30, 15)
    assert shrunk(torch.zeros(3, 40, 20, dtype=torch.uint8), 40).shape == (3, 40, 20)


def test_a_class_that_training_lacks_is_never_predicted() -> None:
    data = opened(masked_images(4, classes=2), masked_images(4, seed=1))
    logits = torch.zeros(3, 2, 2)
    logits[2] = 10
    logits[1, 0] = 1
    assert data.prediction(logits).tolist() == [[1, 1], [0, 0]]


def test_a_class_that_training_lacks_counts_nothing_and_is_named() -> None:
    data = opened(
        masked_images(4, classes=2), masked_images(4, seed=1), class_names=["ground", "box", "ball"]
    )
    masks = torch.from_numpy(masked_images(4, seed=1)[1])
    result = data.result(
        confusion_matrix(masks.clamp_max(1), masks, num_classes=3, ignore_index=VOID)
    )
    assert result["note"] == "not in the training masks, so counted with an IoU of 0: ball"
    rows = {row[0]: row[1] for row in result["table"]["rows"]}
    assert rows["ground"] == 1
    assert rows["ball"] == 0
    assert result["miou"] == pytest.approx((1 + rows["box"]) / 3)


def test_the_table_has_a_row_for_each_class_of_the_test_masks() -> None:
    data = opened(num_classes=5)
    masks = torch.from_numpy(masked_images(6, seed=1)[1])
    result = data.result(confusion_matrix(masks % 5, masks, num_classes=5, ignore_index=VOID))
    assert result["miou"] == result["pixel_accuracy"] == 1
    assert [row[0] for row in result["table"]["rows"]] == ["0", "1", "2"]
    assert sum(row[2] for row in result["table"]["rows"]) == pytest.approx(1)
    assert "note" not in result


@pytest.mark.parametrize(
    ("train", "settings", "words"),
    [
        (
            masked_images(4),
            {"num_classes": 2},
            "the training masks have the id 2, but the classes are 0 to 1 (and 255: ignored); "
            "set segmentation.num_",
        ),
        (
            masked_images(4),
            {"class_names": ["a", "b"]},
            "the training masks have the id 2, but the classes are 0 to 1",
        ),
        (
            masked_images(4),
            {"ignore_index": 2, "num_classes": 3},
            "have the id 255, but the classes are 0 to 2 (and 2: ignored)",
        ),
        (
            masked_images(4, classes=1),
            {},
            "the training masks show a single class, id 0, and telling classes apart needs at "
            "least two; 255 is ignored",
        ),
        (
            recoded(masked_images(4, classes=1), 0, VOID),
            {},
            "every pixel of the training masks has the id 255, which is ignored; set "
            "segmentation.ign",
        ),
        (
            recoded(masked_images(4), 2, 70_000),
            {},
            "has ids from 0 to 70000; accepted are 0 to 65535",
        ),
        (recoded(masked_images(4), 2, -1), {}, "has ids from -1 to 255; accepted are 0 to 65535"),
    ],
)
def test_unusable_masks_are_refused_in_one_line(
    train: MaskedImages, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(DataError) as error:
        opened(train, **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_test_masks_without_a_class_are_refused() -> None:
    with pytest.raises(DataError, match="every pixel of the test masks has the id 255"):
        opened(masked_images(4), recoded(masked_images(4, classes=1, seed=1), 0, VOID))


def test_names_and_a_number_that_differ_are_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"segmentation.num_classes is 4 and segmentation.class_names has 2 names; "
        r"set one of them only",
    ):
        opened(num_classes=4, class_names=["a", "b"])


def test_images_without_masks_are_refused_and_it_is_told_which() -> None:
    plain = masked_images(4)[0]
    with pytest.raises(
        DataError,
        match=r"^images to learn from \(--train-data\): images of type ndarray "
        r"come without masks; give a folder",
    ):
        open_segmented(evaluation_data(plain), MaskSettings())
    with pytest.raises(DataError, match=r"^images to score \(--data\): images of type ndarray"):
        open_segmented(evaluation_data(None, plain), MaskSettings())


def test_a_single_image_cannot_be_parted() -> None:
    data = masked_images(1)
    with pytest.raises(DataError, match="cannot be both learned from and scored"):
        open_segmented(evaluation_data(data, data), MaskSettings())


def test_a_mask_of_another_size_is_found_before_anything_is_learned() -> None:
    images, masks = masked_images(4)
    with pytest.raises(DataError, match="image 0 has 24 x 24 pixels and its mask 20 x 24"):
        opened((images, masks[:, :, :20]))


def test_the_images_of_a_result_are_known_and_held_out_alike_for_every_seed() -> None:
    def parted(seed: int, split_seed: int | None) -> tuple[ImageSet, ImageSet]:
        data = EvaluationData(
            masked_images(10), None, image_size=32, seed=seed, split_seed=split_seed
        )
        open_segmented(data, MaskSettings())
        return data.used(classes=False)

    train, test = parted(0, 0)
    assert (train.images, test.images) == (8, 2)
    assert train.fingerprint == test.fingerprint
    assert train.rows != test.rows
    assert parted(1, 0) == (train, test)
    assert parted(3, None)[1].rows != test.rows


def test_images_to_learn_from_and_to_score_are_scaled_alike() -> None:
    """12 bits in 16-bit arrays; the images to score are dark, and stay so."""
    (images, masks), (others, other_masks) = masked_images(6), masked_images(3, seed=1)
    bright = (images.astype(np.uint16) * 16, masks)
    dark = (others.astype(np.uint16), other_masks)
    found = opened(bright, dark)
    assert found.train.image(0).max() > 200
    assert found.test.image(0).max() <= 16
