"""Debian's Chromium without a window, as a person uses it: pages, keys, themes and widths, over its debugging pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

Theme = Literal["light", "dark"]
SECONDS = 60
"""The longest that anything takes."""
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}
_CONTROL, _SHIFT = 2, 8


class Chromium:
    """A browser.

    :param profile: an empty folder for what it keeps.
    """

    def __init__(self, profile: Path) -> None:
        (own_read, its_write), (its_read, own_write) = _pipe(), _pipe()
        command = [
            "chromium", "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
            # Root has no sandbox; and names lead nowhere, so that nothing that a page asked for would be found.
            "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
        ]  # fmt: skip
        # The pipe is descriptors 3 and 4.
        shell = ["bash", "-c", f'exec 3<&{its_read} 4>&{its_write}; exec "$@"', "chromium", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(its_read, its_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(its_read)
        os.close(its_write)
        self._read, self._write, self._number, self._rest = own_read, own_write, 0, b""
        self.events: deque[Mapping[str, Any]] = deque(maxlen=10_000)
        """What happened, the earliest first."""

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(SECONDS)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, session: str | None = None, **parameters: object) -> Any:
        """Have something done; what comes of it."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._write, sent) :]
        while True:
            answer = self.next_message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def next_message(self) -> Mapping[str, Any]:
        """The next message, an event or an answer; events are kept."""
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], deadline - time.monotonic())
            assert ready, "the browser says nothing"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: Mapping[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def page(self, width: int = 1280, theme: Theme = "light") -> Page:
        """A new page, with cookies of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        page = Page(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page.looks(width, theme)
        return page


class Page:
    """A page of a browser."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Any:
        """Have something done on this page."""
        return self._browser.call(method, self._session, **parameters)

    def looks(self, width: int, theme: Theme) -> None:
        """Be seen on a screen of a width, by somebody who prefers a theme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def go(self, url: str) -> int:
        """Go to an address; the status of the answer, behind all redirections."""
        self.forget()
        self.call("Page.navigate", url=url)
        return self.loaded()

    def forget(self) -> None:
        """Forget what happened until now, before something that leads to another page."""
        self._browser.events.clear()

    def loaded(self) -> int:
        """Wait until a page is there; the status of its answer."""
        while not self._happened("Page.loadEventFired"):
            self._browser.next_message()
        answers = [event["response"]["status"] for event in self._happened("Network.responseReceived")
                   if event["type"] == "Document"]  # fmt: skip
        return int(answers[-1])

    def _happened(self, method: str) -> list[Mapping[str, Any]]:
        return [
            event["params"]
            for event in self._browser.events
            if event["method"] == method and event.get("sessionId") == self._session
        ]

    @property
    def asked(self) -> list[str]:
        """The addresses that the page has asked for since it was gone to."""
        return [event["request"]["url"] for event in self._happened("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """What the browser complained about since then, such as what a policy kept it from."""
        return [event["entry"]["text"] for event in self._happened("Log.entryAdded")]

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives; promises are awaited."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str, *, control: bool = False, shift: bool = False) -> None:
        """Press a key: a letter, or the name of another key."""
        modifiers = (_CONTROL if control else 0) | (_SHIFT if shift else 0)
        code = _KEYS.get(key) or ord(key.upper())
        facts: dict[str, object] = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        if key == "Enter":
            facts["text"] = "\r"
        if control:
            # What a shortcut does is the browser window's; without one it is named.
            facts["commands"] = {"a": ["selectAll"], "c": ["copy"]}.get(key, [])
        self.call("Input.dispatchKeyEvent", type="keyDown", **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    def write(self, text: str) -> None:
        """Type a text."""
        self.call("Input.insertText", text=text)

    def picture(self, file: Path) -> None:
        """Take a picture of all of the page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not among the first descriptors, which the browser has uses for."""
    first, second = os.pipe()
    ends = (fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, 10), fcntl.fcntl(second, fcntl.F_DUPFD_CLOEXEC, 10))
    os.close(first)
    os.close(second)
    return ends


@contextmanager
def browser(profile: Path) -> Iterator[Chromium]:
    """A browser, which ends with the block."""
    made = Chromium(profile)
    try:
        yield made
    finally:
        made.close()
