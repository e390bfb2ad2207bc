"""What a browser lets in and what not: tokens, other sites; and what it does as a server stops."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import (
    Server,
    Visitor,
    assert_content,
    eventually,
    is_connected,
    press,
    state_of,
    token_of,
)
from playwright.sync_api import Browser, Page

from actorstate.web.tokens import Mint

SITE = """
from actorstate import App, State, button, heading, vstack

class Vault(State, root=True):
    opened: int = 0

    def open(self):
        self.opened += 1

app = App(root=Vault)
app.add_page(vstack(heading(f"Opened {Vault.opened}"), button("Open", on_click=Vault.open)))
"""


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vault")
    (folder / "vault.py").write_text(SITE)
    with Server(folder / "vault.py", folder) as server:
        yield server
    assert_content(server)


def test_a_page_with_a_token_of_another_server_begins_anew_on_the_same_socket(
    visitor: Visitor, vault: Server
) -> None:
    foreign = Mint(b"another server's").mint()
    planted = f"sessionStorage['actorstate.token'] = {json.dumps(foreign)}"
    plant = f"sessionStorage.planted ??= ({planted})"
    page = visitor.open(vault.url, prepare=lambda tab: tab.add_init_script(plant))
    page.get_by_role("heading", name="Opened 0").wait_for()
    token = token_of(page)
    assert token != foreign
    press(page, "Open")
    page.get_by_role("heading", name="Opened 1").wait_for()
    page.reload()
    page.get_by_role("heading", name="Opened 1").wait_for()
    assert token_of(page) == token
    assert state_of(page) == {"vault": {"opened": 1}}


# ---- the pages of another site ------------------------------------------------------------------


class OtherSite(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another site</title><h1>Look here</h1>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        pass


@contextmanager
def other_site() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherSite) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()
        thread.join()


@pytest.fixture
def elsewhere(chromium: Browser) -> Iterator[Page]:
    """A page of another site, which may do all that a page may."""
    context = chromium.new_context()
    with other_site() as url:
        page = context.new_page()
        page.goto(url)
        yield page
        context.close()


OPEN_SOCKET = """([address, token]) => new Promise((resolve) => {
    const socket = new WebSocket(`${address}/_actorstate/ws`, "actorstate.v1");
    socket.onopen = () => socket.send(JSON.stringify({ t: "hello", token, instance: "evil" }));
    socket.onmessage = ({ data }) => resolve(JSON.parse(data).t);
    socket.onclose = ({ code }) => resolve(code);
})"""


def open_socket(page: Page, address: str, token: str | None) -> str | int:
    return page.evaluate(OPEN_SOCKET, [address.replace("http", "ws"), token])


def test_the_page_of_another_site_cannot_open_the_socket(
    visitor: Visitor, vault: Server, elsewhere: Page
) -> None:
    page = visitor.open(vault.url)
    press(page, "Open")
    page.get_by_role("heading", name="Opened 1").wait_for()
    token = token_of(page)
    assert open_socket(elsewhere, vault.url, None) == 1006
    assert open_socket(elsewhere, vault.url, token) == 1006  # not even with a token in its hands
    by_another_name = vault.url.replace("127.0.0.1", "localhost")
    assert open_socket(elsewhere, by_another_name, token) == 1006
    assert open_socket(page, vault.url, None) == "welcome"  # it was not for want of trying


def test_the_page_of_a_site_that_is_allowed_can(tmp_path: Path, elsewhere: Page) -> None:
    """So it is the origin that counts, and nothing else that keeps the others away."""
    (tmp_path / "vault.py").write_text(SITE)
    origin = elsewhere.evaluate("() => location.origin")
    with Server(tmp_path / "vault.py", tmp_path, arguments=["--allowed-origin", origin]) as server:
        assert open_socket(elsewhere, server.url, None) == "welcome"


def test_another_site_cannot_read_a_page_nor_run_its_client_nor_show_it_in_a_frame(
    vault: Server, elsewhere: Page
) -> None:
    fetched = "url => fetch(url).then(() => 'read', () => 'refused')"
    assert elsewhere.evaluate(fetched, vault.url) == "refused"
    loaded = """url => new Promise((resolve) => {
        const script = document.createElement("script");
        script.onload = () => resolve("run");
        script.onerror = () => resolve("refused");
        script.src = url;
        document.head.append(script);
    })"""
    assert elsewhere.evaluate(loaded, vault.url + "/_actorstate/client.js") == "refused"
    complaints = list[str]()
    elsewhere.on("console", lambda message: complaints.append(message.text))
    elsewhere.evaluate(
        """url => {
            const frame = document.createElement("iframe");
            frame.src = url;
            document.body.append(frame);
        }""",
        vault.url,
    )
    eventually(elsewhere, lambda: any("frame-ancestors" in text for text in complaints))
    assert [frame.get_by_text("Opened").count() for frame in elsewhere.frames[1:]] == [0]


# ---- a server that stops ------------------------------------------------------------------------


RECORD_DELAYS = """
window.delays = [];
Math.random = () => 0.25;
const later = window.setTimeout;
window.setTimeout = (work, delay, ...args) => {
    window.delays.push(delay);
    return later(work, delay, ...args);
};
"""


def test_a_page_comes_back_to_the_next_server_at_a_moment_of_its_own(
    visitor: Visitor, tmp_path: Path
) -> None:
    """Any within a second, as chance wants: here it wants a quarter."""
    (tmp_path / "vault.py").write_text(SITE)
    with Server(tmp_path / "vault.py", tmp_path) as first:
        page = visitor.open(first.url, prepare=lambda tab: tab.add_init_script(RECORD_DELAYS))
        press(page, "Open")
        page.get_by_role("heading", name="Opened 1").wait_for()
        page.evaluate("() => { delays.length = 0; }")
        first.ask_to_stop(signal.SIGTERM)
        eventually(page, lambda: not is_connected(page))
        assert 250 in page.evaluate("() => delays")
        assert first.wait() == 0
    with Server(tmp_path / "vault.py", tmp_path, port=first.port):
        eventually(page, lambda: is_connected(page))
        press(page, "Open")
        page.get_by_role("heading", name="Opened 2").wait_for()
    visitor.expect_complaints("WebSocket connection to")
