"""Pages opened in headless Chromium, driven over its debugging pipe: errors of the console,
requests to elsewhere, overflow, and what a script answers."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
WIDE, NARROW = 1400, 390
"""Widths of a screen and of a phone, in pixels."""
PATIENCE_SECONDS = 60.0
"""Longest wait for an answer, on a machine that does much else."""


class BrowserError(RuntimeError):
    """The browser did not answer, or answered with an error."""


class Browser:
    """One headless Chromium with one page; use it in a `with` statement.

    Attributes:
        errors: what the console called an error, and exceptions of scripts, since the last `open`.
        requests: addresses that were asked for besides the page and `data:`, since then.
    """

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._number, self._rest, self._session = 0, b"", ""
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        options = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
            "--disable-extensions --disable-background-networking --disable-component-update "
            f"--remote-debugging-pipe --user-data-dir={self._folder.name} about:blank"
        )
        # The browser reads from its descriptor 3 and writes to 4.
        self._process = subprocess.Popen(
            f"exec {CHROMIUM} {options} 3<&{to_browser} 4>&{from_browser}",
            shell=True,
            executable="/bin/bash",
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)

    def __enter__(self) -> Self:
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in pages if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{part}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(BrowserError, OSError):
            self._session = ""
            self.call("Browser.close")
        for pipe in (self._in, self._out):
            os.close(pipe)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def open(self, path: Path, *, width: int = WIDE, height: int = 900, dark: bool = False) -> None:
        """Open a local page at a width and wait until it has loaded."""
        self.errors, self.requests, self._events = [], [], []
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._until(lambda event: event["method"] == "Page.loadEventFired")

    def ask(self, script: str) -> Any:
        """Value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise BrowserError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def move(self, x: float, y: float, *, kind: str = "mouseMoved", held: bool = False) -> None:
        """Move the mouse, or press (`mousePressed`) or release (`mouseReleased`) its left button.

        Args:
            x: pixels from the left of the window.
            y: pixels from its top.
            kind: what happens.
            held: whether the left button is down while the mouse moves.
        """
        button = "left" if held or kind != "mouseMoved" else "none"
        clicks = int(kind != "mouseMoved")
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=clicks,
            buttons=int(held or kind == "mousePressed"),
        )  # fmt: skip

    def press(self, key: str) -> None:
        """Press a key by its name, such as `ArrowRight`."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def picture(self, out: Path) -> Path:
        """Write a picture of the whole page as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        out.write_bytes(base64.b64decode(found["data"]))
        return out

    def overflow(self) -> list[str]:
        """Elements that make the page wider than its window; empty if it fits."""
        found: list[str] = self.ask(
            """(() => {
              const width = document.documentElement.clientWidth;
              if (document.documentElement.scrollWidth <= innerWidth) return [];
              return [...document.querySelectorAll("body *")]
                .filter((one) => one.getBoundingClientRect().right > width + 1)
                .map((one) => `${one.tagName}.${one.className.baseVal ?? one.className}`)
                .concat([`${document.documentElement.scrollWidth} pixels`]);
            })()"""
        )
        return found

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Answer of the browser to a command of its debugging protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda event: event.get("id") == self._number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer.get("result", {})
        return found

    def _until(self, is_wanted: Any) -> dict[str, Any]:
        """The first message that is wanted; others are noted."""
        for event in self._events:
            if is_wanted(event):
                return event
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            for event in self._read(left):
                self._note(event)
                if is_wanted({"method": "", **event}):
                    return event
        raise BrowserError(f"no answer within {PATIENCE_SECONDS:.0f} seconds")

    def _read(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The next message; none if it does not come in time."""
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], seconds)[0]:
                return
            more = os.read(self._in, 1 << 16)
            if not more:
                raise BrowserError("the browser ended")
            self._rest += more
        content, _, self._rest = self._rest.partition(b"\0")
        yield json.loads(content)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what a page must not do."""
        given = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(given["exceptionDetails"])[:2000])
            case "Runtime.consoleAPICalled" if given["type"] in ("error", "assert"):
                self.errors.append(json.dumps(given["args"])[:2000])
            case "Log.entryAdded" if given["entry"]["level"] == "error":
                self.errors.append(json.dumps(given["entry"])[:2000])
            case "Network.requestWillBeSent":
                address = given["request"]["url"]
                is_page = given.get("type") == "Document" and address.startswith("file:")
                if not is_page and not address.startswith(("data:", "about:", "blob:")):
                    self.requests.append(address[:200])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser for several pages."""
    with Browser() as one:
        yield one


def faults(page: Path, *, widths: tuple[int, ...] = (WIDE, NARROW)) -> list[str]:
    """Everything that is wrong with a page when it is opened at some widths, in light and in dark:
    errors of the console, exceptions, requests to elsewhere, overflow to the right.

    Args:
        page: HTML file.
        widths: of the window in pixels.
    """
    found = []
    with browser() as one:
        for width in widths:
            for dark in (False, True):
                one.open(page, width=width, dark=dark)
                one.ask("for (const d of document.querySelectorAll('details')) d.open = true")
                found += [f"{width} pixels: {error}" for error in one.errors]
                found += [f"{width} pixels: asks for {address}" for address in one.requests]
                found += [f"{width} pixels: too wide: {part}" for part in one.overflow()]
    return found
