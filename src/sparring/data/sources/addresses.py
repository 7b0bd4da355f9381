"""Data that are named by an address and not by a path: sets of the Hugging Face Hub, tar shards
behind a URL, and the output of a command."""

from pathlib import Path
from typing import Any

from sparring.errors import DataError

HUB, COMMAND = "hf:", "pipe:"
SCHEMES = (HUB, "http://", "https://", COMMAND)
"""Beginnings of an address."""


def is_address(data: object) -> bool:
    """Whether data are named by an address, which is no path.

    Example:
        >>> is_address("hf:uoft-cs/cifar10"), is_address("photos")
        (True, False)
    """
    return isinstance(data, str) and data.startswith(SCHEMES)


def is_command(data: object) -> bool:
    """Whether data are the output of a command, which reading them would run."""
    return isinstance(data, str) and data.startswith(COMMAND)


def stored_address(address: str) -> str:
    """Address as a configuration stores it: a local folder after `hf:` by its whole path."""
    name, separator, split = address.removeprefix(HUB).partition("#")
    folder = Path(name).expanduser()
    if address.startswith(HUB) and name and folder.is_dir():
        return f"{HUB}{folder.resolve()}{separator}{split}"
    return address


def no_shard(address: str) -> DataError:
    """Error for an address that is neither a set of the Hub nor that of a tar shard."""
    name = "/".join(address.partition("datasets/")[2].split("/")[:2])
    if "huggingface.co/" in address or address.startswith(f"{HUB}//"):
        return DataError(
            f"{address}: a set of the Hugging Face Hub is given as {HUB}{name or 'NAME'}"
        )
    return DataError(
        f"{address} is no tar shard, by its name; download it and give the file or folder"
    )


def is_iterable_dataset(data: Any) -> bool:
    """Whether data are an `IterableDataset` of the library `datasets`."""
    kind = type(data)
    return kind.__name__ == "IterableDataset" and kind.__module__.startswith("datasets.")
