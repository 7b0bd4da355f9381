"""What the images of a study are, by content: where they lie and what they are called by does not
matter."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparring.data.data_settings import DataSettings
from sparring.data.sources.parts import Use
from sparring.data.sources.public_sets import is_public_set
from sparring.data.sources.source import Labels, Source, open_source
from sparring.data.streams.opening_streams import is_stream, open_stream
from sparring.errors import ConfigError, DataError
from sparring.studies.plan import ScoredSet, Study

LABELS = " labels "
"""What stands between the images and the labels in the fingerprint of a test set."""


@dataclass(frozen=True)
class Content:
    """Images by content.

    Attributes:
        fingerprint: equal for equal images and labels.
        count: number of images; None for a stream that does not say it.
        is_labelled: whether they have classes; None if it was not looked up, or takes a read of
            every image.
    """

    fingerprint: str
    count: int | None
    is_labelled: bool | None = None


class Contents:
    """Images of a study, each set opened once.

    Args:
        study: plan of the study.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._known: dict[tuple[str, str], Content] = {}

    def training(self, settings: DataSettings) -> Content:
        """Images to train on.

        Args:
            settings: of a run.

        Raises:
            DataError: if they cannot be opened.
        """
        data = self._study.data
        if is_stream(settings, data):
            return self._once(data, "stream", lambda: _of_stream(data, settings))
        return self._once(data, "train", lambda: _of_source(data, "train"))

    def own_labels(self, settings: DataSettings) -> str:
        """Labels of the images to train on, by content: a held-out fifth, what test sets learn from
        and the monitor's accuracies depend on them. Empty without any, and where they would take a
        read of every image.

        Args:
            settings: of a run.

        Raises:
            DataError: if the images cannot be opened.
        """
        data = self._study.data
        if is_stream(settings, data):
            return ""
        return self._once(data, "labels", lambda: _of_own_labels(data)).fingerprint

    def test(self, scored: ScoredSet) -> tuple[str, str]:
        """Images to be scored and those to learn from, by content; empty: the run's own.

        Raises:
            DataError: if they cannot be opened; the message names the test set.
        """
        found = []
        given: tuple[tuple[str, str, Use], ...] = (
            ("data", scored.data, "test"),
            ("train_data", scored.train_data, "train"),
        )
        for key, data, part in given:
            try:
                found.append(self._labelled(data, part).fingerprint if data else "")
            except DataError as error:
                raise DataError(f"tests, '{scored.name}', {key}: {error}") from None
        return found[0], found[1]

    def is_labelled(self, data: str, part: Use) -> bool | None:
        """Whether images have classes; None if it cannot be told without reading every image.

        Raises:
            DataError: if they cannot be opened.
        """
        return self._labelled(data, part).is_labelled

    def _labelled(self, data: str, part: Use) -> Content:
        return self._once(data, f"labelled {part}", lambda: _of_labelled(data, part))

    def _once(self, data: str, part: str, look: Callable[[], Content]) -> Content:
        if (data, part) not in self._known:
            self._known[data, part] = look()
        return self._known[data, part]


def share_limit(content: Content, share: float, limit: int | None) -> int | None:
    """Number of images of a share, to be drawn; None for all of them.

    Args:
        content: images of the study.
        share: in (0, 1].
        limit: of the arm's own settings, of which the share is then taken.

    Raises:
        ConfigError: if the number of images is not known.
    """
    if share == 1.0:
        return None
    whole = min(limit or content.count or 0, content.count or limit or 0)
    if not whole:
        raise ConfigError(
            f"shares: {share:g} of a stream that does not say how many images it has; set "
            "data.num_images"
        )
    return max(1, round(share * whole))


def _of_stream(data: str, settings: DataSettings) -> Content:
    stream = open_stream(data, settings)
    return Content(f"stream {stream.fingerprint()}", settings.num_images or stream.num_images)


def _of_source(data: str, part: Use) -> Content:
    source = open_source(data, part=part)
    return Content(source.content_fingerprint(), len(source))


def _of_own_labels(data: str) -> Content:
    source = open_source(data, part="train")
    labels = None if source.is_costly else source.labels()
    return Content(_of_labels(source, labels), len(source))


def _of_labelled(data: str, part: Use) -> Content:
    if is_public_set(data):
        return Content(f"public set {data}", None)
    try:
        source = open_source(data, part=part)
    except DataError:
        if not Path(data).expanduser().exists():
            raise
        return Content(_of_files(Path(data).expanduser()), None)  # annotated for a protocol
    labels = None if source.is_costly else source.labels()
    is_labelled = None if source.is_costly else labels is not None and bool((labels >= 0).any())
    fingerprint = f"{source.content_fingerprint()}{LABELS}{_of_labels(source, labels)}"
    return Content(fingerprint, len(source), is_labelled)


def _of_labels(source: Source, labels: Labels | None) -> str:
    """Digest of the labels; empty without any."""
    if labels is None:
        return ""
    digest = hashlib.blake2b(repr(source.class_names).encode(), digest_size=16)
    digest.update(labels.astype("int64").tobytes())
    return digest.hexdigest()


def _of_files(path: Path) -> str:
    """Digest of the names and sizes of files, and of the content of a single one."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(one for one in path.rglob("*") if one.is_file())
    listing = "\0".join(f"{one.relative_to(path)} {one.stat().st_size}" for one in files)
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()
