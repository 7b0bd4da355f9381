"""Images of predictions that were kept, found again by their keys."""

from collections.abc import Iterable, Sequence

from sparring.data.decode import UnreadableImageError, load
from sparring.data.sources.source import Source
from sparring.errors import SparringError
from sparring.reporting.gallery import Pixels, pixels


def found_images(sources: Iterable[Source], keys: Sequence[str]) -> dict[str, Pixels]:
    """Pixels of images by key; those that are gone or not readable are left out.

    Args:
        sources: looked through in order until all are found; a source that cannot be opened ends
            the search.
        keys: of the images.
    """
    wanted, found = set(keys), dict[str, Pixels]()
    try:
        for source in sources if wanted else ():
            for row in range(len(source)):
                key = source.key(row)
                if key in wanted and (image := _decoded(source, row)) is not None:
                    found[key] = image
                    wanted.discard(key)
            if not wanted:
                break
    except (SparringError, OSError):
        pass
    return found


def _decoded(source: Source, row: int) -> Pixels | None:
    try:
        return pixels(load(source.read, row))
    except UnreadableImageError:
        return None
