"""Settings of a run's images: which ones, how they are read, and where they are kept."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sparring.config import Settings
from sparring.data.pixel_format import MOST_CHANNELS

SMALL_PIXELS = 96
"""Longer side in pixels up to which images are stored; also up to twice the image size. A random
crop of the stored square loses little there."""
STORE_BYTES = 8 * 2**30
"""Largest store in bytes that `store="auto"` makes."""


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError('expected [low, high] with low < high, or "auto"')
    return pair


class DataSettings(Settings):
    """Which images to use, how their values are read, and how they are stored."""

    path: str = ""
    """Folder, parquet file or folder, .tar file, folder or pattern of them, list, or `hf:NAME`;
    empty if the images are passed in memory."""
    streaming: bool = False
    """Whether the images are read in order and never kept: sets of the Hugging Face Hub, and tar
    shards behind a URL, from a command, or compressed. Nothing can then be found by its number."""
    num_images: int | None = Field(default=None, ge=1)
    """Number of images of an epoch with `streaming`; None: as the set says. A smaller number than
    the stream's ends epochs early, a larger one begins the stream again."""
    shuffle_buffer: int = Field(default=2048, ge=1)
    """Most images that wait in memory, encoded, to leave in random order with `streaming`; at most
    512 MiB per process. More of them mix better."""
    store: Literal["auto", "device", "memory", "disk", "never", "always"] = "auto"
    """Where the images are kept, decoded once to squares. disk (or always): in a memory-mapped
    cache. memory: in memory, and no file is written. device: as disk, and in training they are
    moved to the training device; every process holds all of them. never: files are decoded whenever
    they are needed, and views are cropped from the whole image. auto: disk if the images are small,
    and for evaluation; on CUDA moved to the device if they take at most a quarter of the memory
    that is free once the networks are there. Of more than 100,000 images in tar shards, auto keeps
    none, so that training starts at once."""
    stored_size: int | None = Field(default=None, ge=8)
    """Side in pixels of the decoded squares of which views are cropped in training, such as 256 for
    views of 224; None: the image size."""
    cache: str | None = None
    """Folder of that cache; None: `sparring` in the user's cache folder. The environment variable
    SPARRING_CACHE overrides both."""
    max_bad_share: float = Field(default=0.5, ge=0, le=1)
    """Share of unreadable images, in [0, 1], above which the run stops."""
    workers: int = Field(default=0, ge=0)
    """Decoding threads; 0: one per core that this process may use, at most 8."""
    limit: int | None = Field(default=None, ge=1)
    """Number of images to use, drawn at random by `limit_seed`. With `streaming`: the first ones of
    the first shards. None: all images."""
    limit_seed: int | None = Field(default=None, ge=0)
    """Seed by which `limit` draws; None: the run's seed, which is then stored here. A run
    folder with a limit and without this setting is an older one, whose images were drawn with
    0."""
    channels: int = Field(default=3, ge=1, le=MOST_CHANNELS)
    """Channels of every image: 3 for colours, 1 for grey, 4 keeps transparency; otherwise the bands
    or pages of TIFF files, or the channels of arrays."""
    value_range: Literal["auto"] | Annotated[tuple[float, float], AfterValidator(_rising)] = "auto"
    """Values that become black and white, [low, high], in images of more than 8 bits or of
    fractions; auto: from a sample of the images, and then stored with the run."""

    @model_validator(mode="after")
    def _streams_alone_need_a_length(self) -> Self:
        if self.num_images is not None and not self.streaming:
            raise ValueError(
                f"num_images={self.num_images} is for streaming=true, whose epochs need a length; "
                "limit uses fewer images of other data"
            )
        return self

    def is_decoded_once(
        self, typical: int, num_images: int, kept_size: int, *, most: int | None = None
    ) -> bool:
        """Whether images for training are decoded once, and not whenever they are needed.

        Args:
            typical: typical longer side of the images' files in pixels.
            num_images: number of images.
            kept_size: side in pixels of the squares to keep.
            most: number of images up to which "auto" decodes them once; see `Source.most_decoded`.
        """
        if self.store == "auto" and most is not None and num_images > most:
            return False
        if self.store == "auto":
            return suits_store(typical, num_images, kept_size, channels=self.channels)
        return self.store != "never"

    @property
    def given_range(self) -> tuple[float, float] | None:
        """The range of values; None if it is to be found."""
        return None if self.value_range == "auto" else self.value_range


def suits_store(typical: int, num_images: int, image_size: int, *, channels: int = 3) -> bool:
    """Whether `store="auto"` decodes images once, given the typical longer side of their files."""
    is_small = typical <= max(2 * image_size, SMALL_PIXELS)
    return is_small and fits_store(num_images, image_size, channels)


def fits_store(num_images: int, image_size: int, channels: int) -> bool:
    """Whether `store="auto"` makes a store of so many images."""
    return num_images * channels * image_size**2 <= STORE_BYTES
