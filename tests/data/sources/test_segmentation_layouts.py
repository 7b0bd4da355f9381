"""Every layout of images with masks gives the same pairs; errors take one line."""

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from sparring.data.sources.segmentation_images import SegmentationImages
from sparring.data.sources.segmentation_layouts import VOC_CLASSES, open_segmentation_images
from sparring.errors import DataError

NAMES = ("sky", "road", "void")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3)).astype(np.uint8)
MASKS = np.random.default_rng(1).integers(0, 3, (3, 8, 10)).astype(np.uint8)


def png(values: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def save(values: npt.NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def folder(root: Path) -> Path:
    for number in range(3):
        save(IMAGES[number], root / "images" / "street" / f"{number}.png")
        save(MASKS[number], root / "masks" / "street" / f"{number}.png")
    return root


def voc(root: Path, *, masks: str = "SegmentationClass") -> Path:
    for number in range(3):
        save(IMAGES[number], root / "JPEGImages" / f"2007_{number}.jpg")
        save(MASKS[number], root / masks / f"2007_{number}.png")
    listed = root / "ImageSets" / "Segmentation" / "train.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("2007_2\n2007_0\n\n")
    return listed


def parquet(
    path: Path, *, image: str = "image", mask: str = "mask", names: tuple[str, ...] | None = None
) -> Path:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {mask: MASKS, image: IMAGES}
    table = pa.table(
        {
            name: pa.array([{"bytes": png(value), "path": "x.png"} for value in values])
            for name, values in columns.items()
        }
    )
    if names is not None:
        features = {mask: {"_type": "Image", "names": list(names)}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path)
    return path


def assert_pairs(
    data: SegmentationImages, rows: tuple[int, ...] = (0, 1, 2), *, exact: bool = True
) -> None:
    assert len(data) == len(rows)
    for place, row in enumerate(rows):
        assert np.array_equal(data.checked_mask(place).numpy(), MASKS[row])
        if exact:
            assert np.array_equal(data.image(place).permute(1, 2, 0).numpy(), IMAGES[row])


def test_two_folders_are_paired_by_name(tmp_path: Path) -> None:
    data = open_segmentation_images(folder(tmp_path))
    assert_pairs(data)
    assert data.class_names is None
    assert data.key(1) == "street/1.png"


def test_a_list_of_names_beside_the_folders_names_the_classes(tmp_path: Path) -> None:
    folder(tmp_path).joinpath("classes.txt").write_text("sky\nroad\nvoid\n")
    assert open_segmentation_images(tmp_path).class_names == NAMES


def test_names_are_one_a_line_and_an_empty_line_is_a_number(tmp_path: Path) -> None:
    names = folder(tmp_path) / "classes.txt"
    names.write_bytes("\ufeffsky \n\nvoid\n\n\n".encode())
    assert open_segmentation_images(tmp_path).class_names == ("sky", "1", "void")
    names.write_bytes(b"\xff\xfe")
    assert f"cannot read {names}" in refusal(tmp_path)


def test_masks_without_an_image_are_counted(tmp_path: Path) -> None:
    save(MASKS[0], folder(tmp_path) / "masks" / "street" / "9.png")
    data = open_segmentation_images(tmp_path)
    assert_pairs(data)
    assert len(data.notes) == 1
    assert "1 of 4 masks have no image and are not used, such as street/9.png" in data.notes[0]


def test_two_images_of_one_mask_are_told(tmp_path: Path) -> None:
    save(IMAGES[1], folder(tmp_path) / "images" / "street" / "1.bmp")
    data = open_segmentation_images(tmp_path)
    assert len(data) == 4
    assert "1 images share their mask" in data.notes[0]
    assert "street/1.bmp" in data.notes[0]


def test_names_of_images_and_masks_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    save(IMAGES[0], tmp_path / "images" / "cafe\u0301.png")
    save(MASKS[0], tmp_path / "masks" / "caf\u00e9.png")
    assert_pairs(open_segmentation_images(tmp_path), (0,))


def test_a_voc_list_may_name_images_with_spaces(tmp_path: Path) -> None:
    listed = voc(tmp_path)
    for path in (
        tmp_path / "JPEGImages" / "2007_1.jpg",
        tmp_path / "SegmentationClass" / "2007_1.png",
    ):
        path.rename(path.with_stem("my photo"))
    listed.write_text("my photo\n2007_2\n")
    assert_pairs(open_segmentation_images(listed), (1, 2), exact=False)


def test_parquet_files_with_other_names_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", names=NAMES)
    parquet(tmp_path / "b.parquet", names=NAMES[::-1])
    assert "name the ids of their masks differently" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask"), [("image", "mask"), ("pixel_values", "label"), ("image", "annotation")]
)
def test_a_parquet_file_has_a_column_of_images_and_one_of_masks(
    tmp_path: Path, image: str, mask: str
) -> None:
    data = open_segmentation_images(
        parquet(tmp_path / "a.parquet", image=image, mask=mask, names=NAMES)
    )
    assert_pairs(data)
    assert data.class_names == NAMES


def test_a_folder_of_parquet_files_is_one_set(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    parquet(tmp_path / "b.parquet")
    assert_pairs(open_segmentation_images(tmp_path), (0, 1, 2, 0, 1, 2))


@pytest.mark.parametrize("masks", ["SegmentationClass", "SegmentationClassAug"])
def test_a_list_of_voc_gives_its_images_in_its_order(tmp_path: Path, masks: str) -> None:
    data = open_segmentation_images(voc(tmp_path / "VOC2012", masks=masks))
    assert_pairs(data, (2, 0), exact=False)
    assert data.class_names == VOC_CLASSES
    assert len(VOC_CLASSES) == 21


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_arrays_are_taken_as_they_are(dtype: type) -> None:
    assert_pairs(open_segmentation_images((IMAGES, MASKS.astype(dtype))))
    assert_pairs(
        open_segmentation_images((torch.from_numpy(IMAGES), torch.from_numpy(MASKS.astype(dtype))))
    )


def test_the_fingerprint_changes_with_a_mask() -> None:
    changed = MASKS.copy()
    changed[0, 0, 0] += 1
    assert (
        open_segmentation_images((IMAGES, MASKS)).fingerprint()
        == open_segmentation_images((IMAGES, MASKS.copy())).fingerprint()
    )
    assert (
        open_segmentation_images((IMAGES, MASKS)).fingerprint()
        != open_segmentation_images((IMAGES, changed)).fingerprint()
    )


def refusal(data: object) -> str:
    with pytest.raises(DataError) as error:
        open_segmentation_images(data)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_image_without_a_mask_is_named(tmp_path: Path) -> None:
    (folder(tmp_path) / "masks" / "street" / "1.png").unlink()
    assert "1 of 3 images have no mask in" in refusal(tmp_path)
    assert "such as street/1.png; add the masks or remove them" in refusal(tmp_path)


def test_a_voc_image_without_a_mask_is_named(tmp_path: Path) -> None:
    listed = voc(tmp_path)
    listed.write_text("2007_1\n2007_9\n")
    assert "1 of 2 images have no mask" in refusal(listed)
    assert "2007_9" in refusal(listed)


def test_folders_without_masks_are_refused(tmp_path: Path) -> None:
    save(IMAGES[0], tmp_path / "images" / "0.png")
    (tmp_path / "masks").mkdir()
    assert "masks holds no .png masks; give a folder with images/ and masks/" in refusal(tmp_path)


def test_plain_images_are_refused_with_what_is_accepted(tmp_path: Path) -> None:
    save(IMAGES[0], tmp_path / "0.png")
    assert (
        f"{tmp_path} holds no images with masks; give a folder with images/ and masks/"
        in refusal(tmp_path)
    )
    assert "images of type ndarray come without masks" in refusal(IMAGES)
    assert "no such file or folder" in refusal(tmp_path / "nothing")


def test_a_parquet_file_without_masks_tells_its_columns(tmp_path: Path) -> None:
    assert "has the columns other, image; segmentation needs 'image' and 'mask'" in refusal(
        parquet(tmp_path / "a.parquet", mask="other")
    )


def test_the_folder_of_voc_asks_for_one_of_its_lists(tmp_path: Path) -> None:
    voc(tmp_path)
    assert "is a VOC folder; name one of its lists, such as" in refusal(tmp_path)


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    listed = voc(tmp_path)
    listed.write_text("\n")
    assert "lists no images" in refusal(listed)


@pytest.mark.parametrize("masks", [MASKS[:2], MASKS[..., None], MASKS / 2])
def test_arrays_that_are_no_masks_are_refused(masks: npt.NDArray[np.generic]) -> None:
    assert "give whole numbers of shape (N, H, W)" in refusal((IMAGES, masks))


def test_the_camvid_files_are_read(shared_data: Path) -> None:
    data = open_segmentation_images(shared_data / "camvid-240x180-val.parquet")
    assert len(data) == 101
    assert data.image(0).shape == (3, 180, 240)
    assert set(data.checked_mask(0).unique().tolist()) <= set(range(12))
