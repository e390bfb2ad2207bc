"""Where the page is: what a handler sees of the page load that it runs for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import attrs
import pytest
import trio
from clients import Client
from hypothesis import given, strategies as st
from trio.testing import wait_all_tasks_blocked

from actorstate import App, Router, State, background
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.web.protocol import FrameError, Handshake, Hello, decode, to_router

TOKEN = "tab"  # noqa: S105 - a name, to the library


class Root(State, root=True):
    pass


class Looking(Root):
    gate: ClassVar[trio.Event]
    seen: list[str] = []

    def look(self) -> None:
        self.seen = [*self.seen, self.router.path]

    def look_later(self) -> Any:
        return [Looking.look, Looking.look_in_background]

    async def look_twice(self) -> None:
        first = self.router.path
        await self.gate.wait()
        self.seen = [*self.seen, first, self.router.path]

    @background
    async def look_in_background(self) -> None:
        await self.gate.wait()
        async with self:
            self.seen = [*self.seen, f"{self.router.path} from a task"]


@pytest.fixture
async def app() -> AsyncIterator[App]:
    Looking.gate = trio.Event()
    async with App(root=Root) as app:
        yield app


def join(app: App, instance: str) -> Client:
    client = Client(instance)
    app.directory.ref(TOKEN).tell(Attach(client))
    return client


async def look(app: App, instance: str, handler: str = "look") -> None:
    sent = Event(f"root.looking.{handler}", instance=instance)
    await app.directory.ref(TOKEN).ask(sent, block=False)


async def seen(app: App) -> list[str]:
    async with app.modify_state(TOKEN) as state:
        return list(state.get_substate(Looking).seen)


async def test_a_handler_sees_the_page_load_that_sent_the_event(app: App) -> None:
    join(app, "one")
    join(app, "two")
    for instance in ("one", "two", "one"):
        await look(app, instance)
    assert await seen(app) == ["/one", "/two", "/one"]


async def test_what_an_event_triggers_sees_its_page_load_too(app: App) -> None:
    join(app, "one")
    join(app, "two")
    await look(app, "one", "look_later")
    await look(app, "two")
    Looking.gate.set()
    await wait_all_tasks_blocked()
    assert sorted(await seen(app)) == ["/one", "/one from a task", "/two"]


async def test_a_page_load_that_comes_during_a_turn_is_not_seen_in_it(app: App) -> None:
    join(app, "one")
    app.directory.ref(TOKEN).tell(Event("root.looking.look_twice", instance="one"))
    await wait_all_tasks_blocked()
    join(app, "two")
    Looking.gate.set()
    assert await seen(app) == ["/one", "/one"]


async def test_outside_an_event_the_last_page_load_is_seen_also_when_it_is_gone(app: App) -> None:
    async with app.modify_state(TOKEN) as state:
        assert state.router == Router(TOKEN)
        assert (state.router.path, dict(state.router.query), state.router.session) == ("", {}, "")
    client = join(app, "one")
    async with app.modify_state(TOKEN) as state:
        assert state.router.path == "/one"
    app.directory.ref(TOKEN).tell(Detach(client))
    async with app.modify_state(TOKEN) as state:
        assert state.router is client.router
    await look(app, "")
    await look(app, "unknown")
    assert await seen(app) == ["/one", "/one"]


async def test_an_event_of_a_page_load_that_is_away_sees_where_it_was(app: App) -> None:
    one = join(app, "one")
    app.directory.ref(TOKEN).tell(Detach(one))
    join(app, "two")
    await look(app, "one")
    assert await seen(app) == ["/one"]


# ---- what it is made of -------------------------------------------------------------------------


def router_of(path: str, headers: Mapping[str, str] | None = None) -> Router:
    handshake = Handshake(headers or {}, "192.0.2.7")
    return to_router(Hello("page", path=path), TOKEN, handshake, "session")


@pytest.mark.parametrize(
    ("path", "expected", "query"),
    [
        ("/", "/", {}),
        ("/orders", "/orders", {}),
        ("/orders?", "/orders", {}),
        ("/orders?page=2&x=", "/orders", {"page": "2", "x": ""}),
        ("/a?x=1&x=2", "/a", {"x": "2"}),
        ("/a?x=1?2", "/a", {"x": "1?2"}),
        ("/a?x", "/a", {"x": ""}),
        ("/a?name=J%C3%B6rg+K&caf%C3%A9=1", "/a", {"name": "Jörg K", "café": "1"}),
        ("/a?x=%ff%00", "/a", {"x": "\N{REPLACEMENT CHARACTER}\0"}),
        ("/caf%C3%A9", "/caf%C3%A9", {}),
        ("//evil.example/x", "//evil.example/x", {}),
    ],
)
def test_path_and_query_are_read_from_the_hello(
    path: str, expected: str, query: dict[str, str]
) -> None:
    router = router_of(path)
    assert (router.path, dict(router.query)) == (expected, query)
    assert (router.token, router.session, router.client_address) == (TOKEN, "session", "192.0.2.7")


@pytest.mark.parametrize(
    "path", ["", "orders", "?x=1", "http://a/b", "/a b", "/a\nb", "/a\0", "/a#b", "/\u2028", "*"]
)
def test_a_path_that_no_page_has_is_refused(path: str) -> None:
    with pytest.raises(FrameError, match="expected a path and query such as '/orders") as caught:
        decode(hello(path))
    assert caught.value.where == "$.path"
    assert repr(path) in str(caught.value)


def test_a_path_longer_than_any_page_has_is_refused() -> None:
    decode(hello("/" * 16_384))
    with pytest.raises(FrameError, match="at most 16384 characters, got 16385"):
        decode(hello("/" * 16_385))


@given(st.text())
def test_law_any_path_that_is_accepted_is_read(text: str) -> None:
    try:
        frame = decode(hello("/" + text))
    except FrameError as error:
        assert error.where in ("$.path", "$")  # noqa: PT017 - one or the other is the law
    else:
        assert isinstance(frame, Hello)
        assert router_of(frame.path).path.startswith("/")


def hello(path: str) -> str:
    return json.dumps({"t": "hello", "instance": "page", "path": path})


def test_the_secrets_of_a_router_are_not_in_its_text() -> None:
    router = router_of("/x", {"cookie": "a=secret", "user-agent": "browser"})
    assert router.headers["cookie"] == "a=secret"
    assert "secret" not in repr(router)
    assert f"'{TOKEN}'" not in repr(router)
    assert "/x" in repr(router)


def test_a_router_cannot_be_changed() -> None:
    router = router_of("/x?a=1")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        router.path = "/y"  # pyright: ignore
    with pytest.raises(TypeError):
        router.query["a"] = "2"  # pyright: ignore
