"""A headless Chromium, driven over its own debugging protocol on a pipe: pages as people get them.

No driver, no port: the program reads commands from descriptor 3 and answers on 4, JSON documents
with a zero byte between them (https://chromedevtools.github.io/devtools-protocol/). One page at a
time; `View` is what is looked at.
"""

import base64
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig.programs import needed

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class View:
    """How a page is looked at: width in CSS pixels, colour scheme, device pixels per CSS pixel."""

    width: int
    scheme: str = "light"
    scale: float = 1.0
    height: int = 800


@dataclass
class Page:
    """An open page, and what it did: console messages, exceptions, requests."""

    browser: "Browser"
    session: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.browser.call(
            "Runtime.evaluate",
            {"expression": expression, "returnByValue": True, "awaitPromise": True},
            self.session,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, first: str = "", last: str = "") -> bytes:
        """Return a PNG of what a window shows, or from one element to another, edge to edge.

        Args:
            first, last: selectors.
        """
        parameters: dict[str, Any] = {"format": "png"}
        if first:
            top, bottom = (
                self.evaluate(f"document.querySelector('{which}').getBoundingClientRect().{edge}")
                for which, edge in ((first, "top"), (last, "bottom"))
            )
            width = self.evaluate("document.documentElement.clientWidth")
            clip = {"x": 0, "y": top - 8, "width": width, "height": bottom - top + 16, "scale": 1}
            parameters |= {"clip": clip, "captureBeyondViewport": True}
        answer = self.browser.call("Page.captureScreenshot", parameters, self.session)
        return base64.b64decode(answer["data"])


class Browser:
    """One running program; see `browser`."""

    def __init__(self, program: str, profile: Path) -> None:
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()

        def descriptors() -> None:
            reading, writing = os.dup(to_read), os.dup(to_write)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                "--hide-scrollbars",
                "--font-render-hinting=none",
                f"--user-data-dir={profile}",
                "--remote-debugging-pipe",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=descriptors,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self._left = b""
        self._last_id = 0
        self._pages: dict[str, Page] = {}

    def call(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Return the answer to one command; events that come before it are kept."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until_s = time.monotonic() + TIMEOUT_S
        while True:
            told = self._receive(until_s)
            if told.get("id") == self._last_id:
                assert "error" not in told, (method, told)
                answer: dict[str, Any] = told["result"]
                return answer
            self._note(told)

    def wait_for(self, method: str, session: str) -> None:
        """Return once this event has come."""
        until_s = time.monotonic() + TIMEOUT_S
        while True:
            told = self._receive(until_s)
            self._note(told)
            if told.get("method") == method and told.get("sessionId") == session:
                return

    @contextmanager
    def open(self, url: str, view: View) -> Iterator[Page]:
        """Open a page, and close it."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})[
            "sessionId"
        ]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", {}, session)
        metrics = {
            "width": view.width,
            "height": view.height,
            "deviceScaleFactor": view.scale,
            "mobile": False,
        }
        self.call("Emulation.setDeviceMetricsOverride", metrics, session)
        scheme = {"name": "prefers-color-scheme", "value": view.scheme}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]}, session)
        self.call("Page.navigate", {"url": url}, session)
        self.wait_for("Page.loadEventFired", session)
        try:
            yield page
        finally:
            del self._pages[session]
            self.call("Target.closeTarget", {"targetId": target})

    def close(self) -> None:
        """End the program."""
        os.close(self._out)
        os.close(self._in)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _receive(self, until_s: float) -> dict[str, Any]:
        while b"\0" not in self._left:
            left_s = max(0.0, until_s - time.monotonic())
            assert select.select([self._in], [], [], left_s)[0], "the browser does not answer"
            read = os.read(self._in, 1 << 20)
            assert read, "the browser has ended"
            self._left += read
        message, _, self._left = self._left.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        page = self._pages.get(told.get("sessionId", ""))
        if page is None:
            return
        match told.get("method"):
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                page.complaints.append(json.dumps(told["params"]))
            case "Network.requestWillBeSent":
                page.requests.append(told["params"]["request"]["url"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with a fresh profile, and end it."""
    program = needed("chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = Browser(program, Path(profile))
        try:
            yield running
        finally:
            running.close()
