"""The app as an ASGI application: in memory, and on the real Hypercorn, alone and inside others."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio
from browser import Visitor, press, state_of, token_of
from crash import Tab as CrashTab
from stores import WrappedStore
from trio.testing import wait_all_tasks_blocked
from trio_websocket import WebSocketConnection, wrap_client_stream

from actorstate import App, ConnectionLimits, State, heading
from actorstate.web.protocol import SUBPROTOCOL

HERE: Final = Path(__file__).parent
PATH: Final = "/_actorstate/ws"


class Asked(State, root=True):
    count: int = 0

    def add(self) -> None:
        self.count += 1


def app_of(limits: ConnectionLimits | None = None, **options: Any) -> App:
    app = App(root=Asked, connections=limits, **options)
    app.add_page(heading(Asked.count), title="Asked")
    return app


# ---- in memory ----------------------------------------------------------------------------------


def scope_of(kind: str, path: str = "/", **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "path": path,
        "raw_path": path.encode(),
        "http_version": "1.1",
        "method": "GET",
        "scheme": "ws" if kind == "websocket" else "http",
        "headers": [(b"host", b"shop.example")],
        "client": ("203.0.113.1", 4711),
        "subprotocols": [SUBPROTOCOL],
        "extensions": {"websocket.http.response": {}},
        "root_path": "",
        **more,
    }


class Server:
    """One connection of an ASGI server, as the application sees it."""

    def __init__(self) -> None:
        self._to_app, self._from_server = trio.open_memory_channel[dict[str, Any]](100)
        self._to_server, self._from_app = trio.open_memory_channel[dict[str, Any]](100)

    def tell(self, kind: str, **more: Any) -> None:
        self._to_app.send_nowait({"type": kind, **more})

    async def hear(self) -> dict[str, Any]:
        with trio.fail_after(5):
            return await self._from_app.receive()

    async def hear_frame(self) -> dict[str, Any]:
        message = await self.hear()
        assert message["type"] == "websocket.send"
        return json.loads(message["text"])

    async def receive(self) -> Any:
        return await self._from_server.receive()

    async def send(self, message: Any) -> None:
        await self._to_server.send(message)


async def ask(app: App, method: str = "GET", path: str = "/", **more: Any) -> tuple[Any, bytes]:
    server = Server()
    scope = scope_of("http", path, method=method, **more)
    await app.asgi(scope, server.receive, server.send)
    return await server.hear(), (await server.hear())["body"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/_actorstate/client.js", 200),
        ("GET", PATH, 426),
        ("GET", "/nowhere", 404),
        ("POST", "/", 405),
    ],
)
async def test_requests_get_the_answers_of_the_other_server(
    method: str, path: str, status: int
) -> None:
    app = app_of()
    async with app, trio.open_nursery() as nursery:
        address = await nursery.start(app.serve, "127.0.0.1", 0)
        async with httpx.AsyncClient() as client:
            expected = await client.request(method, address + path)
        nursery.cancel_scope.cancel()
    async with app:
        start, body = await ask(app, method, path)
    assert (start["status"], body) == (status, expected.content)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    of_the_server = {"date", "connection"}
    assert headers == {
        name: value for name, value in expected.headers.items() if name not in of_the_server
    }


async def test_headers_of_the_connection_are_not_sent_by_http_2() -> None:
    async with app_of() as app:
        start, _ = await ask(app, path=PATH, http_version="2")
    assert b"upgrade" not in dict(start["headers"])


async def test_a_path_is_found_though_the_server_gives_it_only_decoded() -> None:
    app = app_of()
    app.add_page("x", "/caf%C3%A9")
    async with app:
        for raw_path in (None, b"/caf%C3%A9", b"/caf%C3%A9?x=1"):
            start, _ = await ask(app, path="/café", raw_path=raw_path)
            assert start["status"] == 200


@asynccontextmanager
async def socket_of(app: App, **more: Any) -> AsyncGenerator[Server]:
    """Open a socket, and let it be accepted or not."""
    server = Server()
    server.tell("websocket.connect")
    async with trio.open_nursery() as nursery:
        scope = scope_of("websocket", more.pop("path", PATH), **more)
        nursery.start_soon(app.asgi, scope, server.receive, server.send)
        yield server
        server.tell("websocket.disconnect", code=1000)


def say(server: Server, **frame: Any) -> None:
    server.tell("websocket.receive", text=json.dumps(frame), bytes=None)


async def test_a_socket_is_a_tab() -> None:
    async with app_of() as app, socket_of(app) as server:
        assert await server.hear() == {"type": "websocket.accept", "subprotocol": SUBPROTOCOL}
        say(server, t="hello", instance="page", token=None)
        assert (await server.hear_frame())["t"] == "welcome"
        say(server, t="event", seq=1, name="asked.add")
        patch = await server.hear_frame()
        assert (patch["ack"], patch["ops"][0]["value"]) == (1, 1)
        server.tell("websocket.receive", text=None, bytes=b"binary")
        assert (await server.hear_frame())["code"] == "bad_frame"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"path": "/elsewhere"}, 404),
        ({"headers": [(b"host", b"a"), (b"origin", b"http://evil.example")]}, 403),
        ({"headers": [(b"host", b"a"), (b"origin", b"http://a")], "scheme": "wss"}, 403),
    ],
)
async def test_a_socket_that_may_not_be_opened_is_refused_with_the_reason(
    more: dict[str, Any], status: int
) -> None:
    async with app_of() as app:
        async with socket_of(app, **more) as server:
            start, body = await server.hear(), await server.hear()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
        assert body["body"]
        async with socket_of(app, **more, extensions={}) as server:  # one that can say but 403
            assert await server.hear() == {"type": "websocket.close"}


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (ConnectionLimits(max_connections=1), 503),
        (ConnectionLimits(max_connections_per_address=1), 429),
    ],
)
async def test_sockets_are_counted(limits: ConnectionLimits, status: int) -> None:
    async with app_of(limits) as app:
        async with socket_of(app) as one:
            assert (await one.hear())["type"] == "websocket.accept"
            async with socket_of(app) as other:
                assert (await other.hear())["status"] == status
        async with socket_of(app) as again:
            assert (await again.hear())["type"] == "websocket.accept"


async def test_allowed_origins_are_those_of_the_app() -> None:
    limits = ConnectionLimits(allowed_origins=("https://shop.example",))
    headers = [(b"host", b"a"), (b"origin", b"https://shop.example")]
    async with app_of(limits) as app, socket_of(app, headers=headers) as server:
        assert (await server.hear())["type"] == "websocket.accept"


async def test_a_peer_of_another_protocol_is_told_so() -> None:
    async with app_of() as app, socket_of(app, subprotocols=["chat"]) as server:
        assert await server.hear() == {"type": "websocket.accept"}
        assert (await server.hear())["code"] == 4002


async def test_a_server_that_says_by_an_error_that_the_peer_is_gone_is_understood(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()

    async def broken(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise OSError
        await server.send(message)

    async with app_of() as app, trio.open_nursery() as nursery:
        server.tell("websocket.connect")
        nursery.start_soon(app.asgi, scope_of("websocket", PATH), server.receive, broken)
        say(server, t="hello", instance="page", token=None)
        with trio.fail_after(5):
            await wait_all_tasks_blocked()
    assert caplog.text == ""


# ---- the life of the server, in memory ----------------------------------------------------------


async def test_as_the_root_application_it_runs_the_app_while_the_server_runs() -> None:
    app, server = app_of(), Server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.asgi, {"type": "lifespan"}, server.receive, server.send)
        server.tell("lifespan.startup")
        assert (await server.hear())["type"] == "lifespan.startup.complete"
        assert app.is_running
        async with socket_of(app) as page:
            await page.hear()
            say(page, t="hello", instance="page", token=None)
            await page.hear_frame()
            server.tell("lifespan.shutdown")
            assert await page.hear() == {"type": "websocket.close", "code": 1001}
            page.tell("websocket.disconnect", code=1001)
            assert (await server.hear())["type"] == "lifespan.shutdown.complete"
    assert not app.is_running


async def test_an_app_that_runs_already_is_left_alone() -> None:
    async with app_of() as app:
        server = Server()
        server.tell("lifespan.startup")
        server.tell("lifespan.shutdown")
        await app.asgi({"type": "lifespan"}, server.receive, server.send)
        assert (await server.hear())["type"] == "lifespan.startup.complete"
        assert (await server.hear())["type"] == "lifespan.shutdown.complete"
        assert app.is_running


async def test_an_app_that_cannot_be_entered_lets_no_server_start() -> None:
    async def no_key() -> bytes:
        raise OSError("the disk is gone")

    store = WrappedStore()
    store.signing_key = no_key
    app, server = app_of(store=store), Server()
    server.tell("lifespan.startup")
    await app.asgi({"type": "lifespan"}, server.receive, server.send)
    assert await server.hear() == {"type": "lifespan.startup.failed", "message": "the disk is gone"}
    assert not app.is_running


async def test_while_it_stops_it_is_not_ready_and_lets_nobody_in() -> None:
    app = app_of()
    async with app:
        assert (await ask(app, path="/readyz"))[0]["status"] == 200
        await app.drain()
        assert (await ask(app, path="/readyz"))[0]["status"] == 503
        async with socket_of(app) as server:
            assert (await server.hear())["status"] == 503
    assert (await ask(app, path="/readyz"))[0]["status"] == 503
    async with app:  # and again
        assert (await ask(app, path="/readyz"))[0]["status"] == 200


async def test_what_the_program_has_forgotten_is_said() -> None:
    app = app_of()
    with pytest.raises(RuntimeError, match="the app is not running; enter it first"):
        await ask(app)
    async with app:
        with pytest.raises(RuntimeError, match="mounted at '/ui', .* mount it there, after"):
            await ask(app, root_path="/ui")
        with pytest.raises(ValueError, match="a connection of the kind 'carrier' is not known"):
            await app.asgi({"type": "carrier"}, Server().receive, Server().send)


def test_it_does_not_run_on_asyncio_and_says_so() -> None:
    app = app_of()
    call = app.asgi({"type": "lifespan"}, Any, Any)  # pyright: ignore
    with pytest.raises(RuntimeError, match="runs on trio; serve it with `hypercorn --worker-class"):
        call.send(None)


# ---- on the real server -------------------------------------------------------------------------


@asynccontextmanager
async def hypercorn(
    folder: Path, *command: str, environment: dict[str, str] | None = None
) -> AsyncGenerator[tuple[trio.Process, str]]:
    """Start Hypercorn in a process of its own; give it and its address. It is killed in the end."""
    log = folder / "log"
    paths = os.pathsep.join([str(HERE), str(folder)])
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            [sys.executable, *command],
            stdout=errors,
            stderr=errors,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
            start_new_session=True,
        )
    begin = log.stat().st_size
    try:
        yield process, await address_in(log, begin, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()


async def address_in(log: Path, begin: int, process: trio.Process) -> str:
    with trio.fail_after(30):
        while True:
            written = (await trio.Path(log).read_text())[begin:]
            found = re.search(r"Running on (http://\S+)", written)
            if found is not None:
                return found.group(1)
            assert process.poll() is None, written
            await trio.sleep(0.01)  # of a file nobody tells when it grows


def site(name: str, url: str, port: int = 0) -> list[str]:
    return [str(HERE / "asgi_sites.py"), name, str(port), url]


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[WebSocketConnection]:
    host = address.removeprefix("http://")
    async with (
        await trio.open_tcp_stream("127.0.0.1", int(host.rpartition(":")[2])) as stream,
        trio.open_nursery() as nursery,
    ):
        yield await wrap_client_stream(nursery, stream, host, PATH, subprotocols=[SUBPROTOCOL])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("name", "hello"),
    [("alone", 404), ("starlette", "from Starlette"), ("quart", "from Quart")],
)
async def test_pages_and_sockets_are_served_beside_the_routes_of_another_application(
    tmp_path: Path, name: str, hello: str | int
) -> None:
    async with hypercorn(tmp_path, *site(name, "memory://")) as (_, address):
        async with httpx.AsyncClient() as client:
            answer = await client.get(address + "/hello")
            assert hello in (answer.text, answer.status_code)
            page = await client.get(address)
            assert page.status_code == 200
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert (await client.get(address + "/_actorstate/client.js")).status_code == 200
            assert (await client.get(address + "/readyz")).text == "ready\n"
            assert (await client.post(address)).status_code == 405
        tab = CrashTab("page")
        tab.most = 20
        await tab.stay(address)
        assert tab.state["tally"]["numbers"] == list(range(1, 21))
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("name", ["alone", "starlette", "quart"])
async def test_a_server_that_stops_has_shown_all_that_was_done(tmp_path: Path, name: str) -> None:
    drawn = random.Random(name)  # noqa: S311 - no secret
    url, log = f"sqlite:///{tmp_path / 'state.db'}", tmp_path / "log"
    tabs, port = [CrashTab(f"page {number}") for number in range(4)], 0
    for _ in range(3):
        async with hypercorn(tmp_path, *site(name, url, port)) as (process, address):
            port = int(address.rpartition(":")[2])
            async with trio.open_nursery() as nursery:
                for tab in tabs:
                    nursery.start_soon(tab.stay, address)
                with trio.fail_after(30):
                    await drawn.choice(tabs).progress.wait()
                await trio.sleep(drawn.uniform(0, 0.2))
                process.send_signal(signal.SIGTERM)
                with trio.fail_after(20):
                    assert await process.wait() == 0
                nursery.cancel_scope.cancel()
    for tab in tabs:
        tab.finish()
    async with hypercorn(tmp_path, *site(name, url, port)) as (_, address):
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for tab in tabs:
                    nursery.start_soon(tab.stay, address)
    for tab in tabs:
        assert tab.state["tally"]["numbers"] == list(range(1, len(tab.sent)))
    codes = [code for tab in tabs for code in tab.closes]
    assert codes.count(1001) >= 8
    assert set(codes) == {1001}
    assert "Traceback" not in log.read_text()


COMMAND_LINE: Final = """
from actorstate import SQLiteStore
from crash_site import app

app.use_store(SQLiteStore("state.db"))
asgi = app.asgi
"""


async def test_the_command_line_of_hypercorn_serves_it_and_no_event_is_lost_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    (tmp_path / "counting.py").write_text(COMMAND_LINE)
    command = ["-m", "hypercorn", "--worker-class", "trio", "--bind", "127.0.0.1:0",
               "--graceful-timeout", "1", "counting:asgi"]  # fmt: skip
    tab = CrashTab("page")
    for _ in range(2):
        async with (
            hypercorn(tmp_path, *command) as (process, address),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(tab.stay, address)
            with trio.fail_after(30):
                await tab.progress.wait()
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(20):
                assert await process.wait() == 0
            nursery.cancel_scope.cancel()
    tab.finish()
    async with hypercorn(tmp_path, *command) as (_, address):
        with trio.fail_after(30):
            await tab.stay(address)
    assert tab.state["tally"]["numbers"] == list(range(1, len(tab.sent)))


def test_the_real_client_works_inside_a_starlette_application(
    visitor: Visitor, tmp_path: Path
) -> None:
    script = tmp_path / "shop.py"
    script.write_text(SHOP)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = None
            while found is None:
                found = re.search(r"Running on (http://\S+)", process.stdout.readline())
            page = visitor.open(found.group(1))
            press(page, "Buy")
            page.get_by_role("heading", name="Bought 1").wait_for()
            token = token_of(page)
            page.reload()
            page.get_by_role("heading", name="Bought 1").wait_for()
            assert token_of(page) == token
            assert state_of(page) == {"shop": {"bought": 1}}
        finally:
            process.kill()


SHOP: Final = """
from contextlib import asynccontextmanager
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.routing import Mount
from actorstate import App, State, button, heading, vstack

class Shop(State, root=True):
    bought: int = 0

    def buy(self):
        self.bought += 1

app = App(root=Shop)
app.add_page(vstack(heading(f"Bought {Shop.bought}"), button("Buy", on_click=Shop.buy)))

@asynccontextmanager
async def lifespan(_):
    async with app:
        yield

config = Config()
config.bind = ["127.0.0.1:0"]
trio.run(serve, Starlette(routes=[Mount("/", app.asgi)], lifespan=lifespan), config)
"""
