"""What the browser tests stand on: servers, a cuttable line, a watched page, how to wait."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar, final

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    expect,
    sync_playwright,
)

ROOT: Final = Path(__file__).parent.parent
DEMO: Final = ROOT / "examples" / "demo.py"

PATIENCE: Final = 20.0  # seconds; generous, because it is waited for only by a test that fails
_PAUSE_MS: Final = 20

_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:[0-9]+")

CHROMIUM_OPTIONS: Final = [
    "--no-sandbox",  # root, as in a container, may not use it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

T = TypeVar("T")


@contextmanager
def asyncios_own_loops() -> Generator[None]:
    """Let loops of asyncio be its own, for who drives them in greenlets as Playwright does.

    Where trio-asyncio has been imported, as by the tests of an app with asyncio, a new loop runs in
    trio otherwise.
    """
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())  # pyright: ignore
    yield
    asyncio.set_event_loop_policy(None)  # pyright: ignore[reportDeprecated] - trio-asyncio has nothing newer


@contextmanager
def started_chromium() -> Generator[Browser]:
    """Start a browser, for one module: Playwright's loop would run on under the next."""
    expect.set_options(timeout=PATIENCE * 1000)
    with asyncios_own_loops(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_OPTIONS
        )
        yield browser
        browser.close()


def eventually(page: Page, condition: Callable[[], T], patience: float = PATIENCE) -> T:
    """Ask again and again until the answer is true, and give it."""
    deadline = time.monotonic() + patience
    while not (answer := condition()):
        if time.monotonic() > deadline:
            message = f"still {answer!r} after {patience:g} s"
            raise AssertionError(message)
        page.wait_for_timeout(_PAUSE_MS)  # not time.sleep: the page's events come in meanwhile
    return answer


@final
class Server:
    """A server process, started as a user starts one: ``python -m actorstate run``.

    Args:
        target: what to serve.
        logs: an existing folder for what it prints.
        port: 0 for a free one.
        arguments: others for the command line.
    """

    def __init__(
        self, target: Path, logs: Path, port: int = 0, arguments: Sequence[str] = ()
    ) -> None:
        self._stdout: Final = logs / "stdout"
        self._stderr: Final = logs / "stderr"
        command = [
            sys.executable,
            "-m",
            "actorstate",
            "run",
            str(target.resolve()),
            "--port",
            str(port),
            *arguments,
        ]
        # The address has to arrive although nobody asked for unbuffered output.
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process: Final = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=logs, env=environment
            )
        try:
            self.url: Final = self._read_address()
        except BaseException:
            self._kill()
            raise

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def resident_bytes(self) -> int:
        """How much memory it has now."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def log(self) -> str:
        """What it has written to stderr."""
        return self._stderr.read_text()

    def stop(self, patience: float = PATIENCE) -> int:
        """End it as Ctrl-C does, and give its exit status."""
        self.ask_to_stop(signal.SIGINT)
        return self.wait(patience)

    def ask_to_stop(self, sign: signal.Signals) -> None:
        """Send it a signal, and do not wait for its end."""
        if self._process.poll() is None:
            self._process.send_signal(sign)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end, and give its exit status."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read_address(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            if (found := _ADDRESS.search(self._stdout.read_text())) is not None:
                return found.group()
            time.sleep(_PAUSE_MS / 1000)
        message = f"the server printed no address; it logged:\n{self.log}"
        raise AssertionError(message)


@final
class Line:
    """A TCP line to a server that can be cut and healed, while the server knows nothing of it.

    Args:
        port: of the server, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port: Final = port
        self._sockets: Final[set[socket.socket]] = set()
        self._lock: Final = threading.Lock()
        self._is_cut = False
        self._loses_answers = False
        self._listener: Final = socket.create_server(("127.0.0.1", 0))
        self.url: Final = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def cut(self) -> None:
        """End all connections, and every new one at once."""
        with self._lock:
            self._is_cut = True
            for one in self._sockets:
                _shut(one)

    def lose_answers(self) -> None:
        """Let nothing come back from the server, until the next `cut` and `heal`."""
        self._loses_answers = True

    def heal(self) -> None:
        """Let new connections through."""
        self._loses_answers = False
        self._is_cut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _shut(self._listener)  # closing alone would not wake the thread that accepts
        self.cut()

    @staticmethod
    def _spawn(function: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        with self._listener, suppress(OSError):
            while True:
                self._spawn(self._connect, self._listener.accept()[0])

    def _connect(self, browser: socket.socket) -> None:
        with browser, suppress(OSError), self._connect_server() as server:
            with self._lock:
                if self._is_cut:
                    return
                self._sockets.update({browser, server})
            upwards = self._spawn(_pump, browser, server, lambda: False)
            _pump(server, browser, lambda: self._loses_answers)
            upwards.join()
            with self._lock:
                self._sockets.difference_update({browser, server})

    def _connect_server(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port))


def _pump(source: socket.socket, sink: socket.socket, loses: Callable[[], bool]) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if not loses():
                sink.sendall(data)
    # Either end is the end of both ways: the other pump must not wait for ever.
    _shut(source)
    _shut(sink)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def record(locator: Locator, shown: str = "node.textContent") -> Callable[[], list[str]]:
    """Record what an element shows, now and at every change; give a way to read it.

    So a test can ask what was seen for a moment, and does not have to come in that moment.

    Args:
        locator: the element.
        shown: what is recorded, in JavaScript.
    """
    locator.evaluate(
        f"""node => {{
            const recorded = node.recorded = [{shown}];
            const note = () => {{ if (recorded.at(-1) !== {shown}) recorded.push({shown}); }};
            new MutationObserver(note).observe(
                node, {{ attributes: true, childList: true, characterData: true, subtree: true }});
        }}"""
    )
    return lambda: locator.evaluate("node => node.recorded")


def record_touched(page: Page) -> Callable[[], list[str]]:
    """Record the ids of all nodes that change from now on; give a way to read them.

    A text node goes by the id of its element.
    """
    page.evaluate(
        """() => {
            window.touched = [];
            const nameOf = ({ target }) => (target.id ?? target.parentNode.id) || target.nodeName;
            new MutationObserver((records) => window.touched.push(...records.map(nameOf)))
                .observe(document, {
                    attributes: true, childList: true, characterData: true, subtree: true,
                });
        }"""
    )
    return lambda: page.evaluate("() => window.touched")


@final
class Visitor:
    """Opens pages, and hears what the browser complains of."""

    def __init__(self, chromium: Browser) -> None:
        self._chromium: Final = chromium
        self._contexts: Final[list[BrowserContext]] = []
        self.complaints: Final[list[str]] = []

    def open(
        self,
        url: str,
        *,
        beside: Page | None = None,
        prepare: Callable[[Page], object] | None = None,
    ) -> Page:
        """Open a tab, in the window of another or in a browser profile of its own.

        Args:
            url: what to open.
            beside: a tab in the window where it is opened.
            prepare: called with the tab before anything is loaded.
        """
        page = (beside.context if beside is not None else self._new_context()).new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        if prepare is not None:
            prepare(page)
        page.goto(url)
        eventually(page, lambda: is_connected(page))
        return page

    def expect_complaints(self, *words: str) -> None:
        """Take the complaints so far as expected, if each has one of the words in it."""
        for complaint in self.complaints:
            assert any(word in complaint for word in words), complaint
        self.complaints.clear()

    def leave(self) -> None:
        for context in self._contexts:
            context.close()
        assert self.complaints == [], self.complaints

    def _new_context(self) -> BrowserContext:
        self._contexts.append(self._chromium.new_context())
        return self._contexts[-1]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def assert_content(server: Server, but_for: str = "nothing") -> None:
    """Check that a server ended well and had nothing to complain of but one thing."""
    assert server.stop() == 0
    grave = [line for line in server.log.splitlines() if "ERROR" in line or "WARNING" in line]
    unexpected = [line for line in grave if but_for not in line]
    assert unexpected == [], "\n".join(unexpected)
    assert grave or "Traceback" not in server.log


def is_connected(page: Page) -> bool:
    return page.evaluate("() => actorstate.connected")


def state_of(page: Page) -> dict[str, dict[str, Any]]:
    return page.evaluate("() => actorstate.state")


def version_of(page: Page) -> int:
    return page.evaluate("() => actorstate.version")


def pending(page: Page) -> int:
    """Count the events that the server has not acknowledged."""
    return page.evaluate("() => actorstate.pending")


def token_of(page: Page) -> str:
    return page.evaluate("() => sessionStorage.getItem('actorstate.token')")


def mark(page: Page) -> Locator:
    return page.get_by_role("status")


def toasts(page: Page) -> Locator:
    return page.get_by_role("alert").locator("div")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
