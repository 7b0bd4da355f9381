"""Tensors of a file that others hand over, read without executing anything that it contains."""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sparring.errors import DataError
from sparring.regular_files import open_regular

States: TypeAlias = dict[str, dict[str, Tensor]]
"""Tensors by name, for each part of a file; the part that has no name is the file itself."""

_DEPTH = 4
"""Parts within parts that are looked at; a Lightning checkpoint has one, DINO's has two."""
_HARMLESS = (
    "argparse",
    "collections",
    "lightning",
    "lightning_fabric",
    "lightly",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "typing",
)
"""Packages whose objects training scripts store beside the weights, as arguments and counts. An
empty object stands in for each; the packages are not imported."""


_OBJECT = re.compile(r"GLOBAL ([\w.]+)")
"""The object in PyTorch's message about one that it does not build."""


class _Ignored:
    """Stands in for an object that is not needed."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        """Keep nothing."""


def read_states(file: Path) -> States:
    """Tensors of a safetensors file, a PyTorch state dict or a checkpoint, on the CPU.

    Args:
        file: recognised by its content, whatever its name ends with.

    Raises:
        DataError: if it cannot be read, holds code, or holds no tensors by name.
    """
    start = _start(file)
    content = _safetensors(file) if start[8:9] == b"{" else _pickled(file)
    states = {part: tensors for part, tensors in _parts(content, "", _DEPTH) if tensors}
    if not states:
        raise DataError(f"{file} holds {_described(content)}, and no weights by name; {_GIVE}")
    return states


_GIVE = "give a state dict: torch.save(network.state_dict(), FILE), or safetensors"


def _start(file: Path) -> bytes:
    """First bytes of a file that may be weights.

    Raises:
        DataError: if it cannot be read, or is plainly something else.
    """
    try:
        with open_regular(file) as opened:
            start = opened.read(512) or b""
    except OSError as error:
        raise DataError(f"cannot read the weights {file}: {error.strerror or error}") from None
    if not start:
        raise DataError(f"the weights {file} are an empty file; download them again")
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise DataError(f"{file} is a web page and no weights; download the file itself")
    if text.startswith(b"version https://git-lfs"):
        raise DataError(f"{file} is a pointer of Git LFS and no weights; run `git lfs pull`")
    return start


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{file} is damaged or no safetensors file ({_line(error)}); download it again"
        ) from None


def _pickled(file: Path) -> Any:
    """Content of a file of `torch.save`; objects other than tensors and plain values are refused,
    or replaced by empty ones where it is known that scripts store them."""
    foreign = _foreign(file)
    refused = [name for name in foreign if name.partition(".")[0] not in _HARMLESS]
    if refused:
        raise _holds_code(file, refused[0])
    stand_ins: list[Any] = [
        (type(f"_Ignored{number}", (_Ignored,), {}), name) for number, name in enumerate(foreign)
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # about formats of old versions of PyTorch
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file lets PyTorch's reader raise
        found = _OBJECT.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if found or foreign:
            raise _holds_code(file, found[1] if found else foreign[0]) from None
        raise _damaged(file, error) from None


def _foreign(file: Path) -> list[str]:
    """Names of the classes and functions in a file of `torch.save` that are not PyTorch's; none for
    files of PyTorch before version 1.6, in which they are refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except Exception:  # an old or damaged file: reading it says why
        return []


def _holds_code(file: Path, name: str) -> DataError:
    return DataError(
        f"{file} holds code or objects ({name}) and not tensors alone, so nothing of it was read; "
        f"{_GIVE}, where you trust the file"
    )


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} is damaged or no file of PyTorch's ({_line(error)}); download it again"
    )


def _line(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # PyTorch's own line is about other arguments
        return "a pickle of another kind than torch.save writes, or a part of one"
    text = (str(error).splitlines() or [""])[0].strip()
    if " " not in text:  # a number or a name, such as the one that a KeyError carries
        return "its content is not in such a form"
    return text if len(text) <= 100 else f"{text[:100]}..."


def _parts(content: Any, name: str, depth: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Parts of a file with the tensors that stand in each under a name."""
    if not isinstance(content, Mapping):
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    yield name, {key: value for key, value in named.items() if _is_readable(value)}
    if depth and "param_groups" not in named:
        for key, value in named.items():
            yield from _parts(value, f"{name}.{key}" if name else key, depth - 1)


def _is_readable(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not value.is_quantized
    )


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        if "param_groups" in content:
            return "the state of an optimiser"
        keys = ", ".join(str(key)[:30] for key in list(content)[:4])
        return f"a dictionary of {keys}" if keys else "an empty dictionary"
    article = "an" if type(content).__name__[0] in "aeiouAEIOU" else "a"
    return f"{article} {type(content).__name__}"
