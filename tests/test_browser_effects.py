"""Effects in a real browser: the frames that a server sends, and what a page does.

The pages come from a real server, with its policy; the socket ends in the test, which says what a
server would say.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, final

import pytest
from browser import Server, Visitor, assert_content, eventually
from playwright.sync_api import Page, WebSocketRoute, expect

LAB: Final = """
from actorstate import App, State, button, checkbox, cond, heading, input, link, number_input
from actorstate import select, text, textarea, vstack


class Lab(State):
    typed: str = ""
    flag: bool = False


first = vstack(
    input(id="field", value=Lab.typed, on_change=Lab.set_typed),
    input(id="slow", value=Lab.typed, on_change=Lab.set_typed.debounce(60)),
    number_input(id="number"),
    textarea(id="note"),
    checkbox(id="box"),
    select(["s", "m"], id="size"),
    select(["a", "b", "c"], id="tags", multiple=True),
    cond(Lab.flag, input(id="late")),
    text("far", style={"margin_top": "300vh"}, id="far"),
)

app = App()
app.add_page(first)
app.add_page(heading("Second"), "/second")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("effects")
    (folder / "lab.py").write_text(LAB)
    with Server(folder / "lab.py", folder) as server:
        yield server
    assert_content(server)


WELCOME: Final[dict[str, object]] = {
    "t": "welcome",
    "token": "a",
    "session": "b",
    "version": 0,
    "ack": 0,
    "state": {"state.lab": {"typed": "", "flag": False}},
}


@final
class Peer:
    """The other end of a page's socket. It welcomes; all else is said by the test."""

    def __init__(self, page: Page) -> None:
        self.events: Final[list[Any]] = []
        page.route_web_socket("**/_actorstate/ws", self._meet)

    def say(self, **frame: object) -> None:
        self._route.send(json.dumps(frame))

    def effect(self, name: str, **args: object) -> None:
        self.say(t="effect", name=name, args=args)

    def _meet(self, route: WebSocketRoute) -> None:
        self._route = route
        route.on_message(self._hear)

    def _hear(self, text: str | bytes) -> None:
        frame = json.loads(text)
        if frame["t"] == "event":
            self.events.append(frame["args"])
        else:
            self.say(**WELCOME)


@pytest.fixture
def tab(visitor: Visitor, lab: Server) -> tuple[Page, Peer]:
    peers: list[Peer] = []
    page = visitor.open(lab.url, prepare=lambda page: peers.append(Peer(page)))
    return page, peers[0]


@pytest.fixture
def page(tab: tuple[Page, Peer]) -> Page:
    return tab[0]


@pytest.fixture
def peer(tab: tuple[Page, Peer]) -> Peer:
    return tab[1]


# ---- redirect -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_absolute", [False, True])
def test_redirect_goes_elsewhere(page: Page, peer: Peer, lab: Server, *, is_absolute: bool):
    peer.effect("redirect", to=(lab.url if is_absolute else "") + "/second", new_tab=False)

    expect(page.get_by_role("heading")).to_have_text("Second")
    assert page.url == lab.url + "/second"


def test_redirect_opens_a_tab_that_does_not_know_this_one(page: Page, peer: Peer, lab: Server):
    with page.context.expect_page() as opened:
        peer.effect("redirect", to="/second", new_tab=True)

    other = opened.value
    expect(other.get_by_role("heading")).to_have_text("Second")
    assert other.evaluate("() => opener") is None
    assert page.url == lab.url + "/"


@pytest.mark.parametrize(
    "to",
    ["javascript:document.title='hacked'", " java\nscript:0", "data:text/html,x", "mailto:a@b"],
)
@pytest.mark.parametrize("effect", ["redirect", "download"])
def test_what_is_no_web_address_is_refused(
    page: Page, peer: Peer, visitor: Visitor, to: str, effect: str
):
    url, title = page.url, page.title()

    if effect == "redirect":
        peer.effect(effect, to=to, new_tab=False)
    else:
        peer.effect(effect, filename="a", url=to)

    eventually(page, lambda: visitor.complaints)
    visitor.expect_complaints(f"effect {effect}: refused, because it is no web address")
    assert (page.url, page.title()) == (url, title)


# ---- download -----------------------------------------------------------------------------------


def test_data_is_downloaded_as_it_is(page: Page, peer: Peer):
    content = bytes(range(256)) + "Zürich".encode()

    with page.expect_download() as started:
        data = base64.b64encode(content).decode()
        peer.effect("download", filename="a b.bin", data=data, media_type="application/x")

    assert started.value.suggested_filename == "a b.bin"
    assert Path(started.value.path()).read_bytes() == content


def test_nothing_can_be_downloaded_too(page: Page, peer: Peer):
    with page.expect_download() as started:
        peer.effect("download", filename="empty.txt", data="", media_type="text/plain")

    assert Path(started.value.path()).read_bytes() == b""


def test_a_url_is_downloaded_under_its_name(page: Page, peer: Peer, lab: Server):
    with page.expect_download() as started:
        peer.effect("download", filename="page.css", url="/_actorstate/style.css")

    assert started.value.suggested_filename == "page.css"
    assert b"--as-accent" in Path(started.value.path()).read_bytes()
    assert page.url == lab.url + "/"


# ---- fields and focus ---------------------------------------------------------------------------


def test_focus_is_set(page: Page, peer: Peer):
    peer.effect("set_focus", id="note")

    expect(page.locator("#note")).to_be_focused()


def test_an_effect_comes_after_the_patch_before_it(page: Page, peer: Peer):
    flag = {"op": "replace", "path": "/state.lab/flag", "value": True}
    peer.say(t="patch", version=1, ack=0, ops=[flag])
    peer.effect("set_focus", id="late")

    expect(page.locator("#late")).to_be_focused()


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("field", "text", "text"),
        ("field", 3, "3"),
        ("number", 2.5, "2.5"),
        ("note", "two\nlines", "two\nlines"),
        ("note", None, ""),
        ("size", "m", "m"),
    ],
)
def test_a_value_is_set(page: Page, peer: Peer, field: str, value: object, shown: str):
    page.locator(f"#{field}").evaluate("(node) => { if (node.id === 'note') node.value = 'old'; }")

    peer.effect("set_value", id=field, value=value)

    expect(page.locator(f"#{field}")).to_have_value(shown)


def test_a_box_is_ticked_and_choices_are_made(page: Page, peer: Peer):
    peer.effect("set_value", id="box", value=True)
    expect(page.locator("#box")).to_be_checked()
    peer.effect("set_value", id="box", value=False)
    expect(page.locator("#box")).not_to_be_checked()

    peer.effect("set_value", id="tags", value=["a", "c"])
    expect(page.locator("#tags")).to_have_values(["a", "c"])


def test_a_value_that_is_set_ends_the_edit(page: Page, peer: Peer):
    page.locator("#field").press_sequentially("ab")
    eventually(page, lambda: peer.events == [["a"], ["ab"]])
    peer.effect("set_value", id="field", value="")
    expect(page.locator("#field")).to_have_value("")

    # Not acknowledged yet; but the field is the program's again.
    typed = {"op": "replace", "path": "/state.lab/typed", "value": "shown"}
    peer.say(t="patch", version=1, ack=0, ops=[typed])

    expect(page.locator("#field")).to_have_value("shown")


def test_a_value_that_is_set_takes_the_place_of_what_waits_to_be_sent(page: Page, peer: Peer):
    page.locator("#slow").press_sequentially("ab")
    peer.effect("set_value", id="slow", value="")
    expect(page.locator("#slow")).to_have_value("")

    page.locator("#slow").blur()
    page.locator("#field").press_sequentially("c")

    eventually(page, lambda: peer.events)
    assert peer.events == [["c"]]


def test_what_is_far_away_is_scrolled_to(page: Page, peer: Peer):
    expect(page.locator("#far")).not_to_be_in_viewport()

    peer.effect("scroll_to", id="far")

    expect(page.locator("#far")).to_be_in_viewport()


# ---- clipboard, console -------------------------------------------------------------------------


def test_text_is_copied(page: Page, peer: Peer):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    peer.effect("copy_to_clipboard", text="Zürich 🙂")

    eventually(page, lambda: page.evaluate("() => navigator.clipboard.readText()") == "Zürich 🙂")


def test_a_browser_that_does_not_copy_is_told_of(page: Page, peer: Peer, visitor: Visitor):
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")

    peer.effect("copy_to_clipboard", text="a")

    eventually(page, lambda: visitor.complaints)
    visitor.expect_complaints("https pages only")


def test_a_value_is_logged(page: Page, peer: Peer):
    with page.expect_console_message() as logged:
        peer.effect("console_log", value={"a": [1, None]})

    assert logged.value.type == "log"
    assert logged.value.args[0].json_value() == {"a": [1, None]}


# ---- what comes to nothing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "complaint"),
    [
        ({"name": "explode"}, "this page knows no such effect"),
        ({"name": "constructor"}, "this page knows no such effect"),
        ({"name": "set_focus", "id": "nowhere"}, 'there is no element with the id "nowhere"'),
        ({"name": "scroll_to", "id": "nowhere"}, 'there is no element with the id "nowhere"'),
        ({"name": "set_value", "id": "nowhere", "value": 1}, "there is no element"),
        ({"name": "set_value", "id": "far", "value": 1}, "it is no field"),
        (
            {"name": "download", "filename": "a", "data": "?", "media_type": "a/b"},
            "effect download",
        ),
    ],
)
def test_an_effect_that_comes_to_nothing_is_said_and_breaks_nothing(
    page: Page, peer: Peer, visitor: Visitor, effect: dict[str, Any], complaint: str
):
    peer.effect(**effect)
    peer.effect("set_focus", id="note")

    expect(page.locator("#note")).to_be_focused()
    assert len(visitor.complaints) == 1
    visitor.expect_complaints(complaint)
