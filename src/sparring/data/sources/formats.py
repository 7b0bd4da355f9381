"""Formats of files in a folder: which are read, and which are passed over and counted."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from PIL import Image

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico"),
)
"""Suffixes, in any case, of the files read from a folder, besides those that need a plug-in."""
HEIF_SUFFIXES, AVIF_SUFFIXES = (".heic", ".heif", ".hif"), (".avif",)
PASSED_OVER = {
    "DICOM": (".dcm", ".dicom"),
    "camera RAW": (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".mrw", ".nef", ".nrw"),
        *(".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"),
    ),
    "video": (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".ogv", ".webm", ".wmv"),
    ),
    "drawings": (".ai", ".cdr", ".eps", ".emf", ".pdf", ".psb", ".psd", ".svg", ".svgz", ".xcf"),
    "arrays": (".h5", ".hdf", ".hdf5", ".mat", ".mha", ".mhd", ".npy", ".npz", ".nrrd", ".zarr"),
    "other images": (
        *(".czi", ".dds", ".exr", ".fit", ".fits", ".hdr", ".jxl", ".jxr", ".lif", ".mpo", ".nd2"),
        *(".nii", ".pcx", ".pfm", ".qoi", ".svs", ".ndpi", ".sgi", ".wdp"),
    ),
    "archives": (".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"),
}
"""Suffixes of files that hold pictures and are not read, by what they are."""


def is_image(name: str) -> bool:
    """Whether a file has the suffix of an image that can be read here."""
    lower = name.lower()
    if lower.endswith(HEIF_SUFFIXES):
        # Imported here because it imports torch, which an index of shards does not need.
        from sparring.data.image_file import reads_heif

        return reads_heif()
    if lower.endswith(AVIF_SUFFIXES):
        return ".avif" in Image.registered_extensions()
    return lower.endswith(IMAGE_SUFFIXES)


def passed_over(names: Iterable[str]) -> tuple[str, ...]:
    """A line about the files of a folder that hold pictures and are not read; none without any.

    Args:
        names: of all files of the folder.
    """
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for name in names:
        if (kind := _kind(name)) is not None:
            kinds[kind] += 1
            examples.setdefault(kind, name)
    if not kinds:
        return ()
    listed = ", ".join(
        f"{count:,} {kind} (such as {examples[kind]})" for kind, count in sorted(kinds.items())
    )
    way = "convert them to JPEG, PNG or TIFF"
    if "HEIC" in kinds:
        way += "; pip install 'sparring[heif]' reads HEIC"
    return (f"passed over in formats that are not read: {listed}; {way}",)


def _kind(name: str) -> str | None:
    """What a file that is not read is; None for images that are read and for all other files."""
    lower = name.lower()
    if is_image(name):
        return None
    if lower.endswith(HEIF_SUFFIXES):
        return "HEIC"
    if lower.endswith(AVIF_SUFFIXES):
        return "AVIF"
    suffix = PurePath(lower).suffix
    return next((kind for kind, suffixes in PASSED_OVER.items() if suffix in suffixes), None)
