"""Sets of the Hugging Face Hub, by the library `datasets`: `hf:NAME[:CONFIG][@REVISION][#SPLIT]`.

`datasets` is an optional dependency, imported on first use. It downloads into its own cache. Code
of a set is never run.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sparring.data.sources.addresses import HUB, is_command, no_shard
from sparring.data.sources.hub_dataset import open_hub_object
from sparring.data.sources.image_source import Source
from sparring.data.sources.parts import PARTS, Use, column_layout
from sparring.data.sources.shard_paths import is_streamed_shard
from sparring.errors import DataError, unknown_name

GRAMMAR = "hf:NAME[:CONFIG][@REVISION][#SPLIT]"
WELL_KNOWN = (
    *("uoft-cs/cifar10", "uoft-cs/cifar100", "ylecun/mnist", "zalando-datasets/fashion_mnist"),
    *("ILSVRC/imagenet-1k", "zh-plus/tiny-imagenet", "ethz/food101"),
)
"""Sets that a wrong name is compared with, besides those in the cache."""
_ADDRESS = re.compile(
    r"(?P<name>[^:@#]+)(:(?P<config>[^@#]+))?(@(?P<revision>[^#]+))?(#(?P<split>.+))?"
)


@dataclass(frozen=True)
class HubAddress:
    """Parts of an address; None: as the set says.

    Attributes:
        name: set on the Hub, or a local folder.
        config: configuration of the set.
        revision: branch, tag or commit.
        split: split of the set.
    """

    name: str
    config: str | None = None
    revision: str | None = None
    split: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the name is that of a folder, there or not."""
        return self.name.startswith(("/", "./", "../", "~")) or Path(self.name).is_dir()


def parsed_address(text: str) -> HubAddress:
    """Parts of an address.

    Raises:
        DataError: if it does not follow the grammar.

    Example:
        >>> parsed_address("hf:uoft-cs/cifar10:plain_text#test").split
        'test'
    """
    given = text.removeprefix(HUB)
    if given.startswith("//"):
        raise no_shard(text)
    folder, _, split = given.partition("#")
    if Path(folder).expanduser().is_dir() and folder:
        return HubAddress(folder, split=split or None)
    found = _ADDRESS.fullmatch(given)
    if found is None:
        raise DataError(
            f"{text} is no set of the Hugging Face Hub; write {GRAMMAR}, such as "
            "hf:uoft-cs/cifar10 or hf:uoft-cs/cifar10:plain_text#train"
        )
    return HubAddress(**found.groupdict())


def open_address(address: str, *, part: Use) -> Source:
    """Images of an address, with random access.

    Args:
        address: see `is_address`.
        part: as for `open_source`.

    Raises:
        DataError: if the address has no random access, or the set cannot be opened.
    """
    if address.startswith(HUB):
        return open_hub(address, use=part)
    if not (is_command(address) or is_streamed_shard(address)):
        raise no_shard(address)
    raise DataError(
        f"{address} can only be read in order: train on it with --set data.streaming=true and "
        "--set data.num_images=N; to score, embed or show its images, download them and give the "
        "folder"
    )


def hub_builder(text: str) -> Any:
    """The library's builder of a set, which has downloaded no images yet.

    Args:
        text: address.

    Raises:
        DataError: without the library, offline, or for a set or configuration that is not there.
    """
    datasets, address = _library(text), parsed_address(text)
    name = str(Path(address.name).expanduser()) if address.is_local else address.name
    if address.is_local and not Path(name).is_dir():
        what = "a file, given without hf:" if Path(name).is_file() else "no folder"
        raise DataError(f"{text}: {address.name} is {what}; correct the path")
    if not address.is_local and name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
        raise DataError(_no_such_set(text, datasets, name))
    load = datasets.load_dataset_builder
    # Since version 4 the library runs no code of sets, and has no argument to forbid it.
    safe = "trust_remote_code" in inspect.signature(load).parameters
    with explained(text):
        return load(
            name,
            address.config,
            revision=address.revision,
            **({"trust_remote_code": False} if safe else {}),
        )


def open_hub(text: str, *, use: Use = "train") -> Source:
    """Images of a set that the library downloads into its cache, unless they are there.

    Args:
        text: address.
        use: what the images are wanted for, which chooses the split if the address names none.

    Raises:
        DataError: as `hub_builder`, and for a split that is not there, or without images.
    """
    builder, split = hub_builder(text), parsed_address(text).split
    with explained(text):
        builder.download_and_prepare()
        names = [str(name) for name in builder.info.splits]
    opened: dict[str, Source] = {}

    def source_of(name: str) -> Source:
        """Images of a split, opened once."""
        if name not in opened:
            with explained(text):
                opened[name] = open_hub_object(builder.as_dataset(split=name), use=use, where=text)
        return opened[name]

    if use == "all" and split is None and len(names) > 1:
        with explained(text):
            return open_hub_object(builder.as_dataset(), use=use, where=text)
    chosen = chosen_split(text, names, use=use)
    if use == "test" and split is None:
        chosen = _labelled(names, chosen, source_of)
    source = source_of(chosen)
    if split is None and (note := split_note(text, names, chosen)):
        source.notes += (note,)
        source.part = column_layout([chosen]).parts[0]
    return source


def chosen_split(text: str, names: Sequence[str], *, use: Use) -> str:
    """Split that an address names, or the one that suits a use.

    To learn from: train, else validation. To be scored: test, else validation.

    Args:
        text: address.
        names: splits of the set.
        use: what the images are wanted for.

    Raises:
        DataError: if there is no such split, or the set does not say which one it is.
    """
    asked = parsed_address(text).split
    if asked is not None:
        if asked not in names:
            raise DataError(f"{text}: {unknown_name('split', asked, names)}")
        return asked
    if len(names) == 1:
        return names[0]
    parts = dict(zip(column_layout(names).parts, names, strict=True))
    wanted = PARTS if use == "train" else PARTS[::-1]
    found = [parts[part] for part in wanted if part in parts]
    if not found:
        raise DataError(
            f"{text} has the splits {', '.join(names)}, and none is called train or test; name "
            f"one: {text}#{names[0]}"
        )
    return found[0]


def split_note(text: str, names: Sequence[str], chosen: str) -> str:
    """Line about the split that was chosen; empty if there is no other."""
    if len(names) == 1:
        return ""
    return (
        f"{text} has the splits {', '.join(names)}: only {chosen} is used here; another one is "
        f"named as in {text}#{next(name for name in names if name != chosen)}"
    )


def _labelled(names: Sequence[str], chosen: str, source_of: Any) -> str:
    """First of the splits to be scored that has labels, as a test split may hold none."""
    parts = dict(zip(column_layout(names).parts, names, strict=True))
    for part in ("test", "validation"):
        if part in parts:
            labels = source_of(parts[part]).labels()
            if labels is not None and (labels >= 0).any():
                return str(parts[part])
    return chosen


@contextmanager
def explained(text: str) -> Iterator[None]:
    """Errors of the library as one line each.

    Args:
        text: address that is being opened.

    Raises:
        DataError: with what would do.
    """
    datasets = _library(text)
    try:
        yield
    except DataError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        if "gated" in str(error):
            raise DataError(
                f"{text} is gated: ask for access on its page, then log in with `hf auth login` or "
                "set HF_TOKEN"
            ) from None
        raise DataError(_no_such_set(text, datasets, parsed_address(text).name)) from None
    except ConnectionError as error:
        raise DataError(_offline(text, datasets, error)) from None
    except ValueError as error:
        raise DataError(f"{text}: {_of_value(text, str(error))}{_local_hint(text)}") from None
    except (FileNotFoundError, OSError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{text} cannot be opened: {_first_line(error)}{_local_hint(text)}"
        ) from None


def _library(text: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{text}: sets of the Hugging Face Hub need the library datasets; "
            "pip install 'sparring[hub]'"
        ) from None
    return datasets


def _no_such_set(text: str, datasets: Any, name: str) -> str:
    return (
        f"{text}: there is no such set on the Hugging Face Hub, or it is private (log in with "
        f"`hf auth login` or set HF_TOKEN){_meant(name, [*_cached(datasets), *WELL_KNOWN])}"
    )


def _meant(name: str, known: Sequence[str]) -> str:
    """Nearest of the known names as a question; empty without a near one."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean 'hf:{near[0]}'?" if near and near[0] != name else ""


def _local_hint(text: str) -> str:
    """Advice for a folder that the library does not read."""
    is_local = parsed_address(text).is_local and "#" not in text
    return "; a folder of images, lists or tar shards is given without hf:" if is_local else ""


def _offline(text: str, datasets: Any, error: Exception) -> str:
    name = parsed_address(text).name
    near = get_close_matches(name, _cached(datasets), n=1, cutoff=0.5)
    hint = f"; the cache holds 'hf:{near[0]}'" if near else _meant(name, WELL_KNOWN)
    is_meant = datasets.config.HF_HUB_OFFLINE
    reason = "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set" if is_meant else _first_line(error)
    return (
        f"{text} is not in the cache of datasets, and the Hub cannot be reached ({reason}); "
        f"download it once with a connection, or give a local folder{hint}"
    )


def _cached(datasets: Any) -> list[str]:
    """Names of the sets in the library's cache."""
    folder = Path(datasets.config.HF_DATASETS_CACHE)
    if not folder.is_dir():
        return []
    return [path.name.replace("___", "/") for path in folder.iterdir() if path.is_dir()]


def _of_value(text: str, message: str) -> str:
    """The library's message about a configuration, with the nearest name."""
    asked, available = parsed_address(text).config, re.search(r"Available: \[(.*)\]", message)
    if asked is not None and available is not None:
        return unknown_name("configuration", asked, re.findall(r"'([^']*)'", available.group(1)))
    if "Config name is missing" in message:
        names = re.findall(r"'([^']*)'", message.partition("[")[2])
        shown = f": {', '.join(names)}; write hf:NAME:{names[0]}" if names else ""
        return f"the set has several configurations{shown}"
    return message.splitlines()[0]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
