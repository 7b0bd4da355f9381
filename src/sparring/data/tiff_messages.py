"""Messages of libtiff, which it would write to standard error, kept with the image they are about.

Handlers are set once, in the copy of libtiff that Pillow has loaded. libtiff calls them in the
thread that decodes, so each message finds its image. What other code decodes is told as before.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from PIL import _imaging  # noqa: F401  (loads libtiff)

from sparring.data.pixel_format import UnreadableImageError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_BEGINNINGS = (b"II", b"MM")
_LONGEST = 300

_heard = threading.local()


def with_messages(
    read: Callable[Concatenate[bytes, _Arguments], _Result],
) -> Callable[Concatenate[bytes, _Arguments], _Result]:
    """A function of the content of an image whose error holds libtiff's first message about it."""

    @wraps(read)
    def reading(
        content: bytes, /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        """Call the function, and listen meanwhile if the image is a TIFF."""
        if content[:2] not in _BEGINNINGS:
            return read(content, *arguments, **named)
        with _caught() as messages:
            try:
                return read(content, *arguments, **named)
            except UnreadableImageError as error:
                if not messages:
                    raise
                raise UnreadableImageError(f"{error}; libtiff: {messages[0]}") from None

    return reading


@contextmanager
def _caught() -> Iterator[list[str]]:
    """Messages of libtiff in this thread, within the context."""
    _set_handlers()
    before, _heard.messages = getattr(_heard, "messages", None), []
    try:
        yield _heard.messages
    finally:
        _heard.messages = before


@cache
def _set_handlers() -> list[object]:
    """Set the handlers of every libtiff that is loaded; what is returned must live on."""
    try:
        maps = Path("/proc/self/maps").read_bytes().splitlines()
    except OSError:  # not Linux: the messages are written as before
        return []
    places = {os.fsdecode(line.split(maxsplit=5)[5]) for line in maps if line.count(b"/")}
    kept: list[object] = []
    for place in sorted(path for path in places if Path(path).name.startswith("libtiff")):
        library = ctypes.CDLL(place)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(library, name)
            set_handler.argtypes, set_handler.restype = [_Handler], _Handler
            handler = _Listener()
            handler.previous = set_handler(handler.function)
            kept.append(handler)
    return kept


class _Listener:
    """Handler of messages, which passes on what this module does not listen to."""

    def __init__(self) -> None:
        self.function = _Handler(self._hear)
        self.previous: Callable[..., None] | None = None
        self._form = ctypes.CDLL(None).vsnprintf
        self._form.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_void_p,  # a va_list; a pointer, or passed as one, on the usual machines
        ]

    def _hear(self, module: bytes | None, form: bytes, values: int) -> None:
        messages = getattr(_heard, "messages", None)
        if messages is None:
            if self.previous:
                self.previous(module, form, values)
            return
        text = ctypes.create_string_buffer(_LONGEST)
        self._form(text, _LONGEST, form, values)
        messages.append(" ".join(text.value.decode("utf-8", "replace").split()))
