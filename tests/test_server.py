"""The server on a real port: pages, sockets, and what bad peers get."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx
import pytest
import trio
from stores import WrappedStore
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)

from actorstate import (
    App,
    PageError,
    State,
    background,
    console_log,
    heading,
    redirect,
    set_value,
    vstack,
)
from actorstate.actors.messages import Attach
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import Loaded
from actorstate.testing.link import Link
from actorstate.web.connection import SocketConnection
from actorstate.web.limits import ConnectionLimits
from actorstate.web.protocol import SUBPROTOCOL, Handshake
from actorstate.web.tokens import Mint

UNKNOWN_TOKEN = "x" * 43


class ServedRoot(State, root=True):
    pass


class Served(ServedRoot):
    gate: ClassVar[trio.Event]
    count: int = 0
    text: str = ""
    _hidden: str = "never shown"

    def add(self, amount: int = 1, times: int = 1) -> None:
        self.count += amount * times

    def fail(self) -> None:
        self.count = 99
        raise ValueError("the inner secret")

    async def wait(self) -> None:
        await self.gate.wait()
        self.count += 1

    def grow(self, size: int) -> None:
        self.text = f"{self.count}" * size
        self.count += 1

    def look(self) -> Any:
        router = self.router
        cookie, agent = router.headers["cookie"], router.headers["x-twice"]
        self.text = f"{router.path} {dict(router.query)} {router.client_address} {cookie} {agent}"
        is_own = router.token == self.get_token()
        return console_log({"session": router.session, "is_own": is_own})

    def on_connect(self) -> None: ...

    @background
    async def say_later(self) -> Any:
        await self.gate.wait()
        return set_value("name", "late")

    @background
    async def climb(self) -> None:
        for _ in range(3):
            async with self:
                self.count += 1


@asynccontextmanager
async def serving(**options: Any) -> AsyncGenerator[tuple[App, str]]:
    app = App(root=ServedRoot, **options)
    app.add_page(vstack(heading(Served.count)), title="Served <page>")
    async with app, trio.open_nursery() as nursery:
        yield app, await nursery.start(app.serve, "127.0.0.1", 0)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with serving() as (_, address):
        yield address


class Tab:
    """A client of the protocol over a real socket."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}
        self.seq = 0

    async def send(self, **frame: Any) -> None:
        await self.socket.send_message(json.dumps(frame))

    async def receive(self) -> dict[str, Any]:
        with trio.fail_after(10):
            return json.loads(await self.socket.get_message())

    async def hello(self, **fields: Any) -> dict[str, Any]:
        await self.send(**{"t": "hello", "instance": "page", "token": None, **fields})
        self.welcome = await self.receive()
        return self.welcome

    async def fire(self, method: str, *args: Any) -> None:
        self.seq += 1
        name = f"served_root.served.{method}"
        await self.send(t="event", seq=self.seq, name=name, args=list(args))


@asynccontextmanager
async def connected(
    address: str,
    *,
    path: str = "/_actorstate/ws",
    protocol: str = SUBPROTOCOL,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> AsyncGenerator[Tab]:
    host, _, port = address.removeprefix("http://").partition(":")
    # The stream is ours to close: where the server closes first, trio-websocket leaves it open.
    async with (
        await trio.open_tcp_stream(host, int(port)) as stream,
        trio.open_nursery() as nursery,
    ):
        socket = await wrap_client_stream(
            nursery, stream, f"{host}:{port}", path, subprotocols=[protocol], extra_headers=headers
        )
        yield Tab(socket)
        with trio.move_on_after(1):
            await socket.aclose()
        nursery.cancel_scope.cancel()


async def get(address: str, path: str = "/", method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.request(method, address + path)


async def raw(address: str, data: bytes) -> bytes:
    """Send bytes to the server, and give all that it answers until it closes."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
    async with stream:
        await stream.send_all(data)
        return b"".join([bytes(part) async for part in stream])


# ---- pages --------------------------------------------------------------------------------------


async def test_a_page_comes_with_its_title_and_strict_headers(address: str) -> None:
    page = await get(address)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Served &lt;page&gt;</title>" in page.text
    assert "never shown" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "same-origin"
    assert "<script>" not in page.text
    assert " style=" not in page.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/?query=1", 200),
        ("GET", "/healthz", 200),
        ("GET", "/_actorstate/client.js", 200),
        ("GET", "/_actorstate/style.css", 200),
        ("HEAD", "/", 200),
        ("GET", "/nothing", 404),
        ("GET", "/_actorstate/../app.py", 404),
        ("GET", "/_actorstate/server.py", 404),
        ("GET", "/_actorstate/ws", 426),
        ("POST", "/", 405),
        ("DELETE", "/healthz", 405),
    ],
)
async def test_requests_get_what_they_should(
    address: str, method: str, path: str, status: int
) -> None:
    response = await get(address, path, method)
    assert response.status_code == status
    assert (method == "HEAD") == (response.content == b"")
    if status == 405:
        assert response.headers["allow"] == "GET, HEAD"


async def test_many_requests_go_over_one_connection(address: str) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            response = await client.get(address)
            assert response.headers.get("connection") != "close"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"\x16\x03\x01\x02\x00", b"400"),  # TLS spoken to a plain port
    ],
)
async def test_what_is_not_http_is_answered_once_and_closed(
    address: str, data: bytes, status: bytes
) -> None:
    answer = await raw(address, data + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Traceback" not in answer
    assert (await get(address)).status_code == 200


async def test_half_a_request_is_not_waited_for_for_ever(
    address: str, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    assert await raw(address, b"GET / HTTP/1.1\r\nHost:") == b""
    assert 10 < trio.current_time() - started < 60


async def test_a_page_that_is_nothing_to_show_is_refused() -> None:
    app = App(root=ServedRoot)
    with pytest.raises(PageError, match="the page at '/' is None; does its function forget"):
        app.add_page(lambda: None)
    with pytest.raises(TypeError, match="unpack it with"):
        app.add_page([heading("one")])  # pyright: ignore
    with pytest.raises(TypeError, match="a token is a string, got 5"):
        app.modify_state(5)  # pyright: ignore


async def test_pages_with_a_wrong_or_taken_route_are_refused() -> None:
    app = App(root=ServedRoot)
    app.add_page("one", "/one")
    for route, message in (
        ("one", "a route is a path such as '/orders'"),
        ("/_actorstate/x", "a route is a path"),
        ("/healthz", "a route is a path"),
        ("/one", "a page at '/one' already"),
    ):
        with pytest.raises(PageError, match=message):
            app.add_page("again", route)


# ---- what is run when a page is loaded ----------------------------------------------------------


SERVED: Any = Served  # to a type checker a method on the class takes self, and binds nothing


class Mailboxes:
    """Stands where the directory is, and hands on what connections post to any token."""

    def __init__(self) -> None:
        self.posting, self.posted = trio.open_memory_channel[Any](10)

    def __len__(self) -> int:
        return 0

    def ref(self, token: str) -> Mailboxes:
        return self

    @property
    def mailbox(self) -> Mailboxes:
        return self

    async def post_when_room(self, message: Any) -> None:
        await self.posting.send(message)

    def post_always(self, message: Any) -> None:
        self.posting.send_nowait(message)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", ["add(5, 2)", "look()", "climb()", "climb.cancel()"]),
        ("/?page=2&q=/one", ["add(5, 2)", "look()", "climb()", "climb.cancel()"]),
        ("/one", ["wait()"]),
        ("/one?", ["wait()"]),
        ("/none", []),
        ("/one/", []),
        ("/nowhere", []),
        ("//", []),
    ],
)
async def test_a_connection_brings_what_is_run_for_its_page(
    path: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, mailboxes = App(root=ServedRoot), Mailboxes()
    everything = [SERVED.add(times=2, amount=5), (SERVED.look, [Served.climb])]
    app.add_page("home", on_load=[*everything, Served.climb.cancel])
    app.add_page("one", "/one", on_load=SERVED.wait)
    app.add_page("none", "/none")
    monkeypatch.setattr(App, "directory", mailboxes)
    async with app, trio.open_nursery() as nursery:
        address = await nursery.start(app.serve, "127.0.0.1", 0)
        async with connected(address) as tab:
            await tab.send(t="hello", instance="page", token=None, path=path)
            with trio.fail_after(10):
                attach = await mailboxes.posted.receive()
        assert isinstance(attach, Attach)
        assert attach.connection.router.path == path.partition("?")[0]
        run = [f"{one.handler.name}{one.args}".replace(",)", ")") for one in attach.on_load]
        assert run == names
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (redirect("/x"), "expected a handler.*write a handler that returns the effect"),
        ([SERVED.look, console_log(1)], "expected a handler.*returns the effect"),
        (SERVED.on_connect, "Served.on_connect is a hook, which the library runs"),
        (SERVED.add(SERVED.count), "Served.add: amount is bound to .*let the handler read the var"),
        (SERVED.add("5"), "Served.add: amount: expected int, got '5'"),
        (SERVED.grow, "missing a required argument: 'size'; bind it"),
        (lambda: SERVED.look, "expected a handler such as"),
        ("look", "expected a handler such as MyState.toggle.*got 'look'"),
        ([None], "expected a handler.*got None"),
    ],
)
async def test_what_cannot_be_run_when_a_page_is_loaded_is_refused(
    given: Any, message: str
) -> None:
    app = App(root=ServedRoot)
    with pytest.raises(TypeError, match=f"on_load= of the page at '/x': .*{message}"):
        app.add_page("one", "/x", on_load=given)
    app.add_page("one", "/x", on_load=[])  # and the route is free yet


# ---- sockets ------------------------------------------------------------------------------------


async def test_a_new_tab_is_given_a_token_and_the_whole_public_state(address: str) -> None:
    async with connected(address) as tab:
        welcome = await tab.hello()
    assert welcome["t"] == "welcome"
    assert len(welcome["token"]) == 87
    assert (welcome["version"], welcome["ack"]) == (0, 0)
    assert welcome["state"] == {"served_root": {}, "served_root.served": {"count": 0, "text": ""}}


async def test_an_event_is_answered_by_one_frame(address: str) -> None:
    async with connected(address) as tab:
        await tab.hello()
        for number in (1, 2):
            await tab.fire("add")
            path = "/served_root.served/count"
            ops = [{"op": "replace", "path": path, "value": number}]
            expected = {"t": "patch", "version": number, "ack": number, "ops": ops}
            assert await tab.receive() == expected
        await tab.fire("add", 0)
        assert await tab.receive() == {"t": "ack", "ack": 3}


async def test_a_tab_comes_back_to_its_state_and_another_gets_its_own(address: str) -> None:
    async with connected(address) as tab:
        token = (await tab.hello())["token"]
        await tab.fire("add", 5)
        await tab.receive()
    async with connected(address) as back, connected(address) as other:
        welcome = await back.hello(token=token, instance="reloaded", version=1)
        assert (welcome["token"], welcome["version"], welcome["ack"]) == (token, 1, 0)
        assert welcome["state"]["served_root.served"]["count"] == 5
        assert (await other.hello())["token"] != token
        assert other.welcome["state"]["served_root.served"]["count"] == 0


async def test_an_event_that_is_sent_again_after_a_reconnect_is_done_once(address: str) -> None:
    async with connected(address) as tab:
        token = (await tab.hello())["token"]
        await tab.fire("add")
        await tab.receive()
    async with connected(address) as tab:
        assert (await tab.hello(token=token))["ack"] == 1
        await tab.fire("add")  # seq 1 once more
        assert await tab.receive() == {"t": "ack", "ack": 1}
        await tab.fire("add")
        assert (await tab.receive())["ops"][0]["value"] == 2


async def test_a_duplicated_tab_gets_a_state_of_its_own_and_a_second_socket_of_one_page_wins(
    address: str,
) -> None:
    async with connected(address) as one, connected(address) as two, connected(address) as three:
        token = (await one.hello())["token"]
        await one.fire("add")
        await one.receive()
        await two.send(t="hello", instance="other", token=token)
        assert await one.receive() == {"t": "ping"}
        await one.send(t="pong")
        welcome = await two.receive()
        assert welcome["token"] != token
        assert welcome["state"]["served_root.served"]["count"] == 0
        welcome = await three.hello(token=token)
        assert welcome["state"]["served_root.served"]["count"] == 1
        with pytest.raises(ConnectionClosed) as caught:
            await one.socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 4001


class NothingLoaded(WrappedStore):
    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        raise AssertionError(token)

    async def peek(self, token: str) -> Snapshot | None:
        raise AssertionError(token)


def forged_tokens() -> dict[str, str]:
    """What looks like a token of ours, and is none."""
    good = Mint(b"k" * 32).mint()
    random, signature = good.split(".")
    other = "A" if signature[0] != "A" else "B"
    return {
        "foreign": good,
        "of another signature": f"{random}.{other}{signature[1:]}",
        "truncated": good[:-1],
        "without a signature": random,
        "with an empty signature": f"{random}.",
        "empty": "",
        "a library's": "alice",
        "long": "x" * 100_000,
        "beyond ASCII": "é" * 87,
    }


@pytest.mark.parametrize("token", forged_tokens().values(), ids=forged_tokens())
async def test_a_token_that_was_not_given_out_here_is_refused_and_nobody_is_asked(
    token: str,
) -> None:
    async with serving(store=NothingLoaded()) as (app, address), connected(address) as tab:
        app.directory.ref("alice")  # a library's token: not one for the web
        error = await tab.hello(token=token)
        assert (error["t"], error["code"], error["where"]) == ("error", "bad_token", "$.token")
        assert len(app.directory) == 1


async def test_who_brought_a_wrong_token_may_say_hello_again_on_the_same_socket() -> None:
    async with serving() as (app, address), connected(address) as tab:
        assert (await tab.hello(token=UNKNOWN_TOKEN))["code"] == "bad_token"
        await tab.fire("add")
        assert (await tab.receive())["code"] == "bad_frame"
        welcome = await tab.hello()
        assert welcome["t"] == "welcome"
        assert len(app.directory) == 1


async def test_wrong_tokens_keep_no_socket_open(autojump_clock: MockClock) -> None:
    """Each is a try within the time for one hello."""
    codes: list[int] = []
    link = Link(lambda _: None, codes.append)
    async with App(root=ServedRoot) as app, trio.open_nursery() as nursery:
        site, handshake = await app.open_site(), Handshake({}, "")
        connection = SocketConnection(link, site, handshake)
        nursery.start_soon(connection.run)
        started = trio.current_time()
        while not codes:
            link.send(json.dumps({"t": "hello", "instance": "page", "token": UNKNOWN_TOKEN}))
            await trio.sleep(1)
    assert codes == [1008]
    assert trio.current_time() - started <= 12


@pytest.mark.parametrize(
    ("frame", "code", "where"),
    [
        ("not json", "bad_frame", "$"),
        ("[1, 2]", "bad_frame", "$"),
        ('{"t": "nothing"}', "bad_frame", "$.t"),
        ('{"t": "hello", "instance": "again"}', "bad_frame", "$.t"),
        (b"binary", "bad_frame", "$"),
        ('{"t": "event", "seq": 1, "name": "x.y"}', "unknown_handler", "$.name"),
        ('{"t": "event", "seq": 1, "name": "served_root.served._hidden"}', "unknown_handler", None),
        ('{"t":"event","seq":1,"name":"served_root.served.__init__"}', "unknown_handler", None),
        ('{"t":"event","seq":1,"name":"served_root.served.set_count"}', "unknown_handler", None),
        ('{"t": "event", "seq": 1, "name": ""}', "unknown_handler", "$.name"),
    ],
)  # fmt: skip
async def test_bad_frames_get_an_error_and_the_connection_lives(
    address: str, frame: str | bytes, code: str, where: str | None
) -> None:
    async with connected(address) as tab:
        await tab.hello()
        await tab.socket.send_message(frame)
        error = await tab.receive()
        assert (error["t"], error["code"]) == ("error", code)
        assert where is None or error["where"] == where
        if code != "bad_frame":
            assert error["seq"] == 1
            assert await tab.receive() == {"t": "ack", "ack": 1}
        tab.seq = 1
        await tab.fire("add")
        assert (await tab.receive())["t"] == "patch"


async def test_frames_before_the_hello_are_refused_and_the_hello_is_still_welcome(
    address: str,
) -> None:
    async with connected(address) as tab:
        await tab.fire("add")
        error = await tab.receive()
        assert (error["code"], error["seq"]) == ("bad_frame", 1)
        assert "hello first" in error["message"]
        await tab.socket.send_message("nonsense")
        assert (await tab.receive())["code"] == "bad_frame"
        assert (await tab.hello())["t"] == "welcome"


async def test_a_handler_sees_where_the_page_is_and_who_asks(address: str) -> None:
    headers = [
        (b"Cookie", b"a=1"), (b"Cookie", b"b=2"), (b"X-Twice", b"one"), (b"x-twice", b"two"),
    ]  # fmt: skip
    async with connected(address, headers=headers) as tab:
        welcome = await tab.hello(path="/orders?page=2&name=J%C3%B6rg")
        await tab.fire("look")
        patch, effect = await tab.receive(), await tab.receive()
    assert patch["ops"][0]["value"] == (
        "/orders {'page': '2', 'name': 'Jörg'} 127.0.0.1 a=1; b=2 one, two"
    )
    value = {"session": welcome["session"], "is_own": True}
    assert effect == {"t": "effect", "name": "console_log", "args": {"value": value}}


async def test_a_hello_with_no_path_of_a_page_is_refused_and_may_be_said_again(
    address: str,
) -> None:
    async with connected(address) as tab:
        error = await tab.hello(path="javascript:alert(1)")
        assert (error["code"], error["where"]) == ("bad_frame", "$.path")
        assert "expected a path and query such as '/orders?page=2'" in error["message"]
        assert (await tab.hello(path="/"))["t"] == "welcome"


async def test_an_effect_finds_the_page_that_lost_its_connection_meanwhile() -> None:
    Served.gate = trio.Event()
    async with serving() as (app, address):
        async with connected(address) as tab:
            token = (await tab.hello())["token"]
            await tab.fire("say_later")
            assert await tab.receive() == {"t": "ack", "ack": 1}
        await wait_all_tasks_blocked(0.01)
        Served.gate.set()
        await wait_all_tasks_blocked(0.01)
        assert app.background_tasks == set()
        async with connected(address) as back:
            assert (await back.hello(token=token))["t"] == "welcome"
            args = {"id": "name", "value": "late"}
            assert await back.receive() == {"t": "effect", "name": "set_value", "args": args}


async def test_wrong_arguments_name_the_culprit(address: str) -> None:
    async with connected(address) as tab:
        await tab.hello()
        await tab.fire("add", "1")
        error = await tab.receive()
        assert (error["code"], error["where"]) == ("bad_arguments", "$.args[0]")
        assert error["message"] == "Served.add: amount: expected int, got '1'"


async def test_a_handler_that_raises_tells_the_client_nothing_else(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(address) as tab:
        token = (await tab.hello())["token"]
        await tab.fire("fail")
        error, ack = await tab.receive(), await tab.receive()
    assert error == {
        "t": "error",
        "code": "handler_failed",
        "message": "served_root.served.fail failed",
        "seq": 1,
    }
    assert ack == {"t": "ack", "ack": 1}
    assert "Served.fail failed for token " + token[:8] in caplog.text
    assert token not in caplog.text
    assert "the inner secret" in caplog.text


async def test_a_peer_of_another_protocol_is_told_so(address: str) -> None:
    async with connected(address, protocol="chat") as tab:
        with pytest.raises(ConnectionClosed) as caught:
            await tab.socket.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 4002


async def shake_hands(address: str, path: str, origin: str) -> bytes:
    """Send an upgrade by hand, and give the first line of the answer."""
    host = address.removeprefix("http://")
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        *([f"Origin: {origin}"] if origin else []),
    ]
    stream = await trio.open_tcp_stream("127.0.0.1", int(host.rpartition(":")[2]))
    async with stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        return bytes(await stream.receive_some()).partition(b"\r\n")[0]


async def test_there_is_one_socket_path(address: str) -> None:
    assert b" 404" in await shake_hands(address, "/elsewhere", "")
    assert b" 101" in await shake_hands(address, "/_actorstate/ws?x=1", "")


async def test_pages_of_other_sites_cannot_open_the_socket(address: str) -> None:
    for origin in (
        "http://evil.example",
        "null",
        "http://[",
        address.replace("127.0.0.1", "localhost"),
    ):
        assert b" 403" in await shake_hands(address, "/_actorstate/ws", origin)
    assert b" 101" in await shake_hands(address, "/_actorstate/ws", address)


@pytest.mark.parametrize("missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
async def test_half_a_handshake_is_refused(address: str, missing: str) -> None:
    head = (
        b"GET /_actorstate/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    lines = [line for line in head.split(b"\r\n") if not line.startswith(missing.encode())]
    with trio.fail_after(5):
        answer = await raw(address, b"\r\n".join(lines))
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 426"))


@pytest.mark.parametrize(
    "odd", ["Host: \xff", "Host: xn--\x7f\xe9", "Connection: \xff", "Sec-WebSocket-Protocol: \xff",
            "Sec-WebSocket-Extensions: \xff", "Sec-WebSocket-Key: \xff"]
)  # fmt: skip
async def test_a_handshake_that_is_not_ascii_is_answered_and_raises_nothing(
    address: str, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = {
        "Host": "a",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    lines = [f"{key}: {value}" for key, value in right.items() if key != odd.partition(":")[0]]
    head = "\r\n".join(["GET /_actorstate/ws HTTP/1.1", *lines, odd, "", ""])
    stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
    with trio.fail_after(5):
        async with stream:
            await stream.send_all(head.encode("latin-1"))
            answer = bytes(await stream.receive_some())
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 101"))
    assert caplog.text == ""


async def test_an_oversized_message_closes_its_connection_alone(address: str) -> None:
    async with connected(address) as good, connected(address) as bad:
        await good.hello()
        await bad.hello()
        with pytest.raises(ConnectionClosed) as caught:  # noqa: PT012 - whichever is first
            await bad.socket.send_message("x" * 2_000_000)
            await bad.socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1009
        await good.fire("add")
        assert (await good.receive())["t"] == "patch"


async def test_a_peer_that_vanishes_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(disconnect_grace=0) as (_, address):
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with connected(address) as tab:
            await tab.hello()
            await tab.fire("add")
            await tab.socket._stream.aclose()
        with trio.fail_after(5):
            # The token actor stays: the tab may come back.
            while trio.lowlevel.current_statistics().tasks_living > before + 1:
                await trio.lowlevel.checkpoint()
    assert caplog.text == ""


async def test_a_full_mailbox_makes_the_sender_wait_and_loses_nothing() -> None:
    Served.gate = trio.Event()
    async with serving(mailbox_capacity=3) as (app, address), connected(address) as tab:
        token = (await tab.hello())["token"]
        await tab.fire("wait")
        for _ in range(20):
            await tab.fire("add")
        await wait_all_tasks_blocked(0.01)
        assert len(app.directory.ref(token).mailbox) == 3
        Served.gate.set()
        frames = [await tab.receive()]
        while frames[-1]["ack"] < 21:
            frames.append(await tab.receive())
    assert (frames[-1]["version"], frames[-1]["ops"][0]["value"]) == (21, 21)


async def test_a_client_that_reads_nothing_is_cut_off_and_costs_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    limits = ConnectionLimits(send_timeout=0.5)
    async with serving(connections=limits) as (app, address), connected(address) as tab:
        token = (await tab.hello())["token"]
        sent = 0
        with trio.fail_after(30):
            while "takes nothing" not in caplog.text:
                async with app.modify_state(token) as state:
                    state.get_substate(Served).text = f"{sent}" * 3000
                sent += 1
        received = 0
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - after so many messages
            while True:
                await tab.socket.get_message()
                received += 1
        assert received < sent
        # It comes back, and finds the whole state.
        async with connected(address) as back:
            assert (await back.hello(token=token))["version"] == sent


async def test_a_line_that_swallows_everything_is_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    limits = ConnectionLimits(ping_interval=0.2, ping_timeout=0.2)
    async with (
        serving(connections=limits, disconnect_grace=0) as (_, address),
        trio.open_nursery() as nursery,
    ):
        swallows = trio.Event()

        async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
            async for data in source:
                if not swallows.is_set():
                    await sink.send_all(data)

        async def relay(near: trio.SocketStream) -> None:
            far = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
            async with near, far, trio.open_nursery() as both:
                both.start_soon(pump, near, far)
                both.start_soon(pump, far, near)

        serve_relay = functools.partial(trio.serve_tcp, relay, 0, host="127.0.0.1")
        [listener] = await nursery.start(serve_relay)
        port = listener.socket.getsockname()[1]
        async with connected(f"http://127.0.0.1:{port}") as tab:
            await tab.hello()
            for _ in range(3):
                assert (await tab.receive()) == {"t": "ping"}
                await tab.send(t="pong")
            swallows.set()
            with trio.fail_after(10):
                while "is silent" not in caplog.text:
                    await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def test_leaving_the_app_closes_its_sockets_with_going_away() -> None:
    async with trio.open_nursery() as nursery:
        app, closed = App(root=ServedRoot), trio.Event()
        with trio.CancelScope() as serving_scope:
            async with app, trio.open_nursery() as inner:
                address = await inner.start(app.serve, "127.0.0.1", 0)

                async def stay() -> None:
                    async with connected(address) as tab:
                        await tab.hello()
                        entered.set()
                        with pytest.raises(ConnectionClosed) as caught:
                            await tab.socket.get_message()
                        assert caught.value.reason is not None
                        assert caught.value.reason.code == 1001
                    closed.set()

                entered = trio.Event()
                nursery.start_soon(stay)
                await entered.wait()
                serving_scope.cancel()
        with trio.fail_after(5):
            await closed.wait()


async def test_a_port_that_is_taken_is_an_error(address: str) -> None:
    app = App(root=ServedRoot)
    async with app:
        with pytest.raises(OSError, match="in use"):
            await app.serve("127.0.0.1", int(address.rpartition(":")[2]))
