"""Opening of images with object boxes, in any supported layout."""

from pathlib import Path

from sparring.data.sources.annotations import AnnotatedImages, concatenated
from sparring.data.sources.boxes_parquet import open_boxes_parquet
from sparring.data.sources.coco_json import open_coco
from sparring.data.sources.files import files_below
from sparring.data.sources.parts import require_one_part
from sparring.data.sources.voc_xml import open_voc
from sparring.errors import DataError

ACCEPTED = (
    "a COCO .json, a list of a VOC set such as VOC2007/ImageSets/Main/trainval.txt or its "
    "folder VOC2007, "
    "or a .parquet file with a column 'objects'"
)


def open_detection_images(data: object) -> AnnotatedImages:
    """Images with annotated objects.

    Args:
        data: path of a COCO json, of a VOC list or folder, of a parquet file or a folder of them;
            several such paths, separated by commas, are concatenated; or `AnnotatedImages`.

    Raises:
        DataError: for anything else, or if the data cannot be used.
    """
    if isinstance(data, AnnotatedImages):
        return data
    if not isinstance(data, str | Path):
        raise DataError(
            f"images in memory have no boxes; boxes are read from files: give {ACCEPTED}"
        )
    path = Path(data).expanduser()
    if path.exists():
        return _open(path)
    parts = [Path(part.strip()).expanduser() for part in str(data).split(",")]
    missing = [part for part in parts if not part.exists()]
    if missing:
        raise DataError(f"no such file or folder: {missing[0]}; give {ACCEPTED}")
    return concatenated([_open(part) for part in parts])


def _open(path: Path) -> AnnotatedImages:
    if path.is_dir():
        if (path / "Annotations").is_dir():
            return open_voc(path)
        if tables := [name for name in files_below(path) if name.lower().endswith(".parquet")]:
            require_one_part(path, tables)
            return open_boxes_parquet(path, tables)
        raise DataError(f"{path} holds no annotations; give {ACCEPTED}")
    match path.suffix.lower():
        case ".json":
            return open_coco(path)
        case ".txt":
            return open_voc(path)
        case ".parquet":
            return open_boxes_parquet(path.parent, [path.name])
    raise DataError(f"{path} has no boxes; give {ACCEPTED}")
