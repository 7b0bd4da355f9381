"""torchvision and timm, imported without PyTorch's compiler, which both would import for one name each.

The compiler and what it needs take longer to import than everything else after torch, and 150 MB (benchmarks/start_up.py); no training uses
them. Here the two names are lent out while torchvision and timm are imported, and ask the compiler when they are used. Where that does not
work, because another version wants more, nothing is saved and nothing lost.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import torch.compiler

_ASKED = "torch._dynamo.utils"


def _is_compile_supported(device_type: str) -> bool:
    """The compiler's own answer."""
    return bool(importlib.import_module(_ASKED).is_compile_supported(device_type))


def _disable(function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """`torch.compiler.disable`, from the first call on."""
    if function is None:
        return functools.partial(_disable, recursive=recursive, **options)

    @functools.cache
    def disabled() -> Callable[..., Any]:
        """By the compiler itself."""
        found: Callable[..., Any] = torch.compiler.disable(function, recursive, **options)  # type: ignore[no-untyped-call]
        return found

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        """The function, not compiled."""
        return disabled()(*given, **named)

    return call


@contextmanager
def _lent_names() -> Iterator[None]:
    lent = ModuleType(_ASKED)
    lent.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    own = torch.compiler.disable
    sys.modules[_ASKED], torch.compiler.disable = lent, _disable  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = own
        if sys.modules.get(_ASKED) is lent:
            del sys.modules[_ASKED]


def _import_both() -> None:
    importlib.import_module("torchvision.io")
    importlib.import_module("timm")


if "torch._dynamo" not in sys.modules:
    with suppress(ImportError, AttributeError), _lent_names():
        _import_both()

import timm  # noqa: E402
import torchvision  # noqa: E402

__all__ = ["timm", "torchvision"]
