"""A real browser without a screen: Chromium, spoken to through ChromeDriver in the W3C WebDriver protocol, which is
JSON over HTTP.
"""

import contextlib
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the protocol gives elements
ARROW_RIGHT = "\ue014"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]
_SECONDS = 120  # more than any machine needs; a browser that hangs must not hang the tests


class Browser:
    """One window."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, path: str, method: str = "POST", **values: object) -> Any:
        """One command of the protocol, and its answer."""
        body = json.dumps(values).encode() if method == "POST" else None
        request = urllib.request.Request(
            self._address + path, body, {"Content-Type": "application/json"}, method=method
        )
        # No proxy: the driver is on this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_SECONDS) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self.ask("/url", url=page.as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns in the page."""
        return self.ask("/execute/sync", script=script, args=list(arguments))

    def find(self, selector: str) -> str:
        """The first element of a CSS selector, by its reference."""
        return str(self.ask("/element", using="css selector", value=selector)[ELEMENT])

    def press(self, selector: str, keys: str) -> None:
        """Give an element the focus, and type."""
        self.ask(f"/element/{self.find(selector)}/value", text=keys)

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        self.show(selector)
        self.ask(f"/element/{self.find(selector)}/click")

    def show(self, selector: str) -> None:
        """Scroll an element to the middle of the window, at once: pages scroll smoothly by themselves."""
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )

    def drag(self, selector: str, start: float, end: float) -> None:
        """Press the pointer at a share of the width of an element, at half its height, and release it at another."""
        element = self.find(selector)
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )
        width = self.run("return document.querySelector(arguments[0]).clientWidth", selector)
        to = [
            {
                "type": "pointerMove",
                "duration": 50,
                "origin": {ELEMENT: element},
                "x": round((share - 0.5) * width),
                "y": 0,
            }
            for share in (start, end)
        ]
        steps = [to[0], {"type": "pointerDown", "button": 0}, to[1], {"type": "pointerUp", "button": 0}]
        self.ask("/actions", actions=[{"type": "pointer", "id": "mouse", "actions": steps}])

    def pretend(self, command: str, **parameters: object) -> None:
        """A command of Chromium's own protocol: another size of the window, dark colours."""
        self.ask("/goog/cdp/execute", cmd=f"Emulation.{command}", params=parameters)

    def complaints(self) -> list[str]:
        """What stands in the console since the last call."""
        return [str(entry["message"]) for entry in self.ask("/se/log", type="browser")]


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A window for as long as the block lasts; skips where there is no browser.

    folder: an empty one, for the browser's own files.
    """
    programs = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    chromium, driver = next(filter(None, programs), None), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium or no ChromeDriver here: apt-get install chromium chromium-driver")
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, (re.search(r"successfully on port (\d+)", line) for line in process.stdout)))
            address = f"http://127.0.0.1:{found[1]}/session"
            options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={folder}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = Browser(address).ask("", capabilities={"alwaysMatch": wanted})
            window = Browser(f"{address}/{session['sessionId']}")
            try:
                yield window
            finally:
                window.ask("", "DELETE")
        finally:
            process.terminate()
