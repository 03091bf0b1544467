"""A headless Chromium that tests drive, through pipes and in its own protocol: no driver needed."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
IN_BROWSER = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
SAFE = ("--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--hide-scrollbars", "--force-color-profile=srgb")  # fmt: skip
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


class Tab:
    """One page: what it is told, and what it says.

    requests  the addresses that the page asked for
    errors    what its scripts threw
    """

    def __init__(self, to: int, of: int) -> None:
        self.to, self.of = os.fdopen(to, "wb"), os.fdopen(of, "rb")
        self.last, self.session, self.rest = 0, None, b""
        self.requests: list[str] = []
        self.errors: list[str] = []

    def open(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Tells the browser something, and waits for its answer."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while (answer := self.read()).get("id") != self.last:
            self.note(answer)
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        return answer["result"]

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            part = self.of.read1(1 << 20)
            assert part, "the browser is gone"
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def note(self, event: dict[str, Any]) -> None:
        facts = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            details = facts["exceptionDetails"]
            self.errors.append(details.get("exception", details).get("description", "unknown"))

    def go(self, page: Path, fragment: str = "") -> None:
        """Opens a file, and waits until all its charts are drawn."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.as_uri() + fragment)
        self.wait("document.readyState == 'complete'")
        self.run(TWO_FRAMES)  # what comes into view has been noticed then
        self.wait("!window.report || window.report.isDrawn()")

    def run(self, code: str) -> Any:
        """What an expression of JavaScript is; a promise is waited for."""
        found = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, code: str) -> None:
        """Until an expression is true: within the time that a test has."""
        wait_for(lambda: self.run(code))

    def size(self, width: int, height: int, **more: Any) -> None:
        facts = {"deviceScaleFactor": 1, "mobile": width < 600} | more
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **facts)

    def media(self, scheme: str = "light", kind: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=kind, features=features)

    def without_scripts(self, is_off: bool = True) -> None:
        self.call("Emulation.setScriptExecutionDisabled", value=is_off)

    def hover(self, selector: str) -> None:
        """Moves the mouse onto the middle of an element."""
        self.mouse("mouseMoved", *self.place(selector))

    def click(self, selector: str) -> None:
        x, y = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)

    def mouse(self, kind: str, x: float, y: float) -> None:
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def place(self, selector: str) -> tuple[float, float]:
        it = f"document.querySelector({json.dumps(selector)})"
        for _ in range(2):  # what is drawn as it comes into view moves the others
            self.run(f"{it}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
            self.run(TWO_FRAMES)
            self.wait("!window.report || window.report.isDrawn()")
        code = f"(r => [r.x + r.width / 2, r.y + r.height / 2])({it}.getBoundingClientRect())"
        x, y = self.run(code)
        return x, y

    def press(self, key: str) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        facts = {"key": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def picture(self, path: Path, is_whole: bool = False) -> None:
        """A screenshot, of what is seen or of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, which ends with the block."""
    (to_read, to), (of, of_write) = os.pipe(), os.pipe()

    def place_pipes() -> None:  # the protocol's numbers
        os.dup2(to_read, 100), os.dup2(of_write, 101)
        os.dup2(100, 3), os.dup2(101, 4)

    words = [CHROMIUM, *SAFE, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        words, close_fds=False, preexec_fn=place_pipes,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read), os.close(of_write)
    tab = Tab(to, of)
    try:
        tab.open()
        yield tab
    finally:
        tab.session = None
        with suppress(OSError, AssertionError):
            tab.call("Browser.close")
        process.wait()
