"""Paths of tar shards as users write them: a file, braces, wildcards, several joined by `::`."""

import glob
import os
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from sparring.data.names import shown
from sparring.errors import DataError

SUFFIX = ".tar"
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Ends of the names of archives that can be read in order."""
_UNREAD_SUFFIXES = (".tar.zst",)
MOST_SHARDS = 100_000
"""Most shards that a pattern may name."""
_JOINT, _WILDCARDS = "::", ("{", "*", "?", "[")


def is_shard(name: str) -> bool:
    """Whether a name is that of a tar archive, compressed or not."""
    return name.lower().endswith((SUFFIX, *COMPRESSED_SUFFIXES, *_UNREAD_SUFFIXES))


def is_streamed_shard(data: str) -> bool:
    """Whether a path, a pattern or a URL names tar shards that can be read in order.

    Example:
        >>> is_streamed_shard("https://host/{0..9}.tar.gz?key=1"), is_streamed_shard("a.tar.zst")
        (True, False)
    """
    name = urlsplit(data).path if data.startswith(("http://", "https://")) else data
    return name.lower().endswith((SUFFIX, *COMPRESSED_SUFFIXES))


def is_shard_pattern(data: str) -> bool:
    """Whether a text names tar shards by a pattern, and is not the path of a single one.

    Example:
        >>> is_shard_pattern("a/train-{000000..000146}.tar"), is_shard_pattern("a/train.tar")
        (True, False)
    """
    is_remote = "://" in data or data.startswith("pipe:")
    if is_remote or not is_shard(data):
        return False
    if _JOINT not in data and not any(sign in data for sign in _WILDCARDS):
        return False
    return not os.path.exists(data)  # noqa: PTH110 - Path raises for what is too long to be a path


def absolute_pattern(data: str) -> str:
    """Pattern whose parts do not depend on the working folder."""
    return _JOINT.join(str(Path(part).expanduser().absolute()) for part in data.split(_JOINT))


def shard_paths(data: str) -> list[Path]:
    """Paths that a pattern names, in its order; what a wildcard finds is sorted by name.

    Raises:
        DataError: if it names no shard, or one that is missing; for braces without `braceexpand`.
    """
    found: list[Path] = []
    for pattern in (piece for part in data.split(_JOINT) for piece in braced(part, data)):
        path = str(Path(pattern).expanduser().absolute())
        if any(sign in pattern for sign in _WILDCARDS[1:]) and not Path(path).exists():
            found += map(Path, sorted(glob.glob(path)))  # noqa: PTH207 - the pattern is absolute
        else:
            found.append(Path(path))
    missing = [path for path in found if not path.is_file()]
    if not found:
        raise DataError(f"no file fits {data}; give a pattern of .tar files that are there")
    if missing and len(found) == 1:
        raise DataError(f"{data}: there is no file {shown(str(missing[0]))}; correct the path")
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(found):,} shards of {data} do not exist, such as "
            f"{shown(str(missing[0]))}; give a pattern of those that are there"
        )
    return list(dict.fromkeys(found))


def braced(pattern: str, data: str) -> list[str]:
    """Pattern with each of its braces replaced by what they stand for, in turn.

    Args:
        pattern: path, URL or command.
        data: what the user wrote, for messages.

    Raises:
        DataError: for braces that are not closed or name too many, or without `braceexpand`.
    """
    if "{" not in pattern:
        return [pattern]
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise DataError(
            f"{data}: braces need the package braceexpand; pip install 'sparring[shards]', or give "
            "a folder or a pattern with * instead"
        ) from None
    try:
        found = list(islice(braceexpand(pattern), MOST_SHARDS + 1))
    except ValueError:  # its UnbalancedBracesError
        raise DataError(f"{data}: a brace is not closed; write it like {{000..146}}") from None
    if len(found) > MOST_SHARDS:
        raise DataError(f"{data} names more than {MOST_SHARDS:,} shards; correct the pattern")
    return found
