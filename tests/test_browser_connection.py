"""How a page keeps its connection: signs of life, coming back, and who goes by the same token."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, final

import pytest
from browser import (
    Server,
    Visitor,
    assert_content,
    eventually,
    is_connected,
    mark,
    pending,
    press,
    token_of,
)
from playwright.sync_api import Page, WebSocketRoute, expect

LAB: Final = """
from actorstate import App, State, button, heading, vstack

class Lab(State):
    count: int = 0

    def add(self):
        self.count += 1

def page():
    return vstack(heading(Lab.count), button("Add one", on_click=Lab.add))

app = App()
app.add_page(page)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("connection")
    (folder / "lab.py").write_text(LAB)
    with Server(folder / "lab.py", folder) as server:
        yield server
    assert_content(server)


@final
class Host:
    """The test as the server at the other end of a page's sockets. It welcomes, and no more.

    Args:
        page: the page, before it is loaded.
        welcome: what else is in its welcomes.
    """

    def __init__(self, page: Page, **welcome: Any) -> None:
        self.welcome: Final = {
            "t": "welcome", "token": "t", "session": "s", "version": 0, "ack": 0,
            "state": {"state.lab": {"count": 0}}, **welcome,
        }  # fmt: skip
        self.frames: Final[list[dict[str, Any]]] = []
        self.closed = 0
        page.route_web_socket("**/_actorstate/ws", self._meet)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["t"] == kind]

    def send(self, **frame: Any) -> None:
        self._route.send(json.dumps(frame))

    def close(self, code: int) -> None:
        self._route.close(code=code)

    def _meet(self, route: WebSocketRoute) -> None:
        self._route = route
        route.on_message(self._hear)
        route.on_close(self._count_close)

    def _count_close(self, code: int | None, reason: str | None) -> None:
        self.closed += 1

    def _hear(self, text: str | bytes) -> None:
        self.frames.append(json.loads(text))
        if self.frames[-1]["t"] == "hello":
            self.send(**self.welcome)


@pytest.fixture
def hosted(visitor: Visitor, lab: Server) -> Callable[..., tuple[Page, Host]]:
    """A way to open a page whose server is the test."""

    def open_page(**welcome: Any) -> tuple[Page, Host]:
        hosts: list[Host] = []
        page = visitor.open(lab.url, prepare=lambda page: hosts.append(Host(page, **welcome)))
        return page, hosts[0]

    return open_page


# ---- silence ------------------------------------------------------------------------------------


def test_a_page_answers_a_ping_at_once(hosted: Callable[..., tuple[Page, Host]]):
    page, host = hosted()
    host.send(t="ping")
    eventually(page, lambda: host.of("pong"))
    assert host.of("pong") == [{"t": "pong"}]


def test_a_page_that_hears_nothing_for_too_long_connects_again(
    hosted: Callable[..., tuple[Page, Host]],
):
    page, host = hosted(ping=0.5)
    eventually(page, lambda: len(host.of("hello")) == 3)
    assert len({hello["instance"] for hello in host.of("hello")}) == 1


def test_a_page_that_hears_something_now_and_then_stays(
    hosted: Callable[..., tuple[Page, Host]],
):
    page, host = hosted(ping=1.5)
    for _ in range(20):
        page.wait_for_timeout(150)
        host.send(t="ping")
    assert len(host.of("hello")) == 1


# ---- patches ------------------------------------------------------------------------------------


def test_a_patch_of_several_turns_is_applied_and_one_with_another_base_is_not(
    visitor: Visitor, hosted: Callable[..., tuple[Page, Host]]
):
    page, host = hosted()
    op = {"op": "replace", "path": "/state.lab/count", "value": 3}
    host.send(t="patch", version=3, base=0, ack=0, ops=[op])
    expect(page.get_by_role("heading")).to_have_text("3")
    host.send(t="patch", version=5, base=2, ack=0, ops=[{**op, "value": 4}])
    eventually(page, lambda: len(host.of("hello")) == 2)
    visitor.expect_complaints("a patch of version 2 came after 3")
    assert host.of("hello")[1]["version"] is None
    expect(page.get_by_role("heading")).to_have_text("0")


# ---- what is refused ----------------------------------------------------------------------------


def test_an_event_that_is_refused_is_settled_and_not_sent_again(
    visitor: Visitor, hosted: Callable[..., tuple[Page, Host]]
):
    page, host = hosted()
    press(page, "Add one")
    press(page, "Add one")
    eventually(page, lambda: len(host.of("event")) == 2)
    host.send(t="error", code="rate_limited", message="too much", seq=2)
    eventually(page, lambda: pending(page) == 1)
    host.close(1001)
    eventually(page, lambda: len(host.of("event")) == 3)
    assert [event["seq"] for event in host.of("event")] == [1, 2, 1]
    visitor.expect_complaints("rate_limited")


# ---- tabs ---------------------------------------------------------------------------------------


def shown(page: Page) -> str:
    return page.get_by_role("heading").inner_text()


def test_a_reload_gets_its_state_back(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url)
    press(page, "Add one")
    expect(page.get_by_role("heading")).to_have_text("1")
    token = token_of(page)
    for _ in range(3):
        page.reload()
        expect(page.get_by_role("heading")).to_have_text("1")
        eventually(page, lambda: is_connected(page))
    assert token_of(page) == token


def test_a_duplicated_tab_gets_a_state_of_its_own(visitor: Visitor, lab: Server):
    page = visitor.open(lab.url)
    press(page, "Add one")
    expect(page.get_by_role("heading")).to_have_text("1")
    with page.expect_popup() as opened:  # with a copy of what is in sessionStorage
        page.evaluate("url => { window.open(url); }", lab.url)
    twin = opened.value
    eventually(twin, lambda: is_connected(twin))
    assert token_of(twin) != token_of(page)
    assert shown(twin) == "0"
    press(twin, "Add one")
    press(page, "Add one")
    expect(page.get_by_role("heading")).to_have_text("2")
    expect(twin.get_by_role("heading")).to_have_text("1")
    twin.reload()
    expect(twin.get_by_role("heading")).to_have_text("1")


def test_a_page_that_is_left_closes_its_socket_and_connects_again_when_it_is_back(
    hosted: Callable[..., tuple[Page, Host]],
):
    page, host = hosted()
    # As a browser does that keeps the page for its back button; it cannot be made to by a test.
    page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    eventually(page, lambda: host.closed == 1)
    assert not is_connected(page)
    press(page, "Add one")
    page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    eventually(page, lambda: len(host.of("event")) == 1)
    assert len({hello["instance"] for hello in host.of("hello")}) == 1


def test_a_page_that_others_have_replaced_says_so_and_stays_away(
    hosted: Callable[..., tuple[Page, Host]],
):
    page, host = hosted()
    host.close(4001)
    expect(mark(page)).to_contain_text("This page is open in another place")
    page.wait_for_timeout(500)
    assert len(host.of("hello")) == 1
