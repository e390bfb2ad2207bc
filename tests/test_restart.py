"""A server that is asked to stop: what it was doing is done and shown, and nothing is lost."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

import httpx
import pytest
import trio
from crash import Tab as CrashTab, server, settle
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from actorstate import App, ConnectionLimits, MemoryStore, State, background, console_log, heading
from actorstate.actors.messages import Event
from actorstate.testing.link import Link
from actorstate.web.admission import Admission
from actorstate.web.connection import SocketConnection
from actorstate.web.protocol import SUBPROTOCOL, Handshake


class Stopping(State, root=True):
    gate: ClassVar[trio.Event]
    count: int = 0
    climbed: int = 0

    async def wait(self) -> Any:
        await self.gate.wait()
        self.count += 1
        return [Stopping.add, console_log("waited")]

    def add(self) -> None:
        self.count += 1

    async def hang(self) -> None:
        self.count = 99
        await trio.sleep_forever()

    @background
    async def climb(self) -> None:
        async with self:
            self.climbed += 1
            await self.gate.wait()
            self.climbed += 1
        async with self:
            self.climbed = 99


class Page:
    """A client over a real socket, and a request connection beside it."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket: Final = socket
        self.seq = 0
        self.frames: list[dict[str, Any]] = []

    async def hello(self, token: str | None = None) -> dict[str, Any]:
        hello = {"t": "hello", "instance": "page", "token": token}
        await self.socket.send_message(json.dumps(hello))
        return json.loads(await self.socket.get_message())

    async def fire(self, method: str) -> None:
        self.seq += 1
        event = {"t": "event", "seq": self.seq, "name": f"stopping.{method}"}
        await self.socket.send_message(json.dumps(event))

    async def read_to_the_end(self) -> int | None:
        """Take all frames until the server closes; give the code."""
        try:
            while True:
                self.frames.append(json.loads(await self.socket.get_message()))
        except ConnectionClosed as closed:
            return closed.reason.code if closed.reason else None

    @property
    def ack(self) -> int:
        return max(frame.get("ack", 0) for frame in self.frames)


@asynccontextmanager
async def connected(address: str) -> AsyncGenerator[Page]:
    url = address.replace("http", "ws") + "/_actorstate/ws"
    async with open_websocket_url(url, subprotocols=[SUBPROTOCOL]) as socket, socket._stream:
        yield Page(socket)


def app_of(store: MemoryStore | None = None, **options: Any) -> App:
    Stopping.gate = trio.Event()
    app = App(root=Stopping, store=store, **options)
    app.add_page(heading(Stopping.count))
    return app


async def test_what_was_sent_before_a_stop_is_done_and_shown_and_what_comes_after_is_not() -> None:
    store = MemoryStore()
    app = app_of(store)
    with trio.fail_after(10):
        async with app, trio.open_nursery() as nursery:
            address = await nursery.start(app.serve, "127.0.0.1", 0)
            async with connected(address) as page:
                token = (await page.hello())["token"]
                await page.fire("wait")
                await page.fire("add")
                await wait_all_tasks_blocked(0.01)
                app.stop()
                await wait_all_tasks_blocked(0.01)
                await page.fire("add")  # comes too late
                Stopping.gate.set()
                assert await page.read_to_the_end() == 1001
    counts = [op["value"] for frame in page.frames for op in frame.get("ops", ())]
    assert (counts[0], counts[-1]) == (1, 3)
    assert page.ack == 2
    assert [frame["name"] for frame in page.frames if frame["t"] == "effect"] == ["console_log"]

    async with app_of(store) as again, trio.open_nursery() as nursery:
        async with connected(await nursery.start(again.serve, "127.0.0.1", 0)) as page:
            welcome = await page.hello(token)
            assert (welcome["token"], welcome["ack"]) == (token, 2)
            assert welcome["state"]["stopping"]["count"] == 3
        nursery.cancel_scope.cancel()


async def test_serve_returns_when_it_has_stopped_and_the_app_can_be_left() -> None:
    app = app_of()
    with trio.fail_after(5):
        async with app:
            async with trio.open_nursery() as nursery:
                await nursery.start(app.serve, "127.0.0.1", 0)
                app.stop()
                app.stop()  # without effect
            with pytest.raises(RuntimeError, match="the app is being left"):
                app.start_soon(trio.sleep_forever)
    with pytest.raises(RuntimeError, match="the app is not running; there is nothing to stop"):
        app.stop()


async def test_a_server_that_stops_listens_no_more_and_says_that_it_is_not_ready() -> None:
    app = app_of()
    async with app, trio.open_nursery() as nursery:
        address = await nursery.start(app.serve, "127.0.0.1", 0)
        async with connected(address) as page, httpx.AsyncClient() as client:
            await page.hello()
            await page.fire("wait")
            assert (await client.get(address + "/readyz")).status_code == 200
            await wait_all_tasks_blocked(0.01)
            app.stop()
            await wait_all_tasks_blocked(0.01)
            answer = await client.get(address + "/readyz")  # over the connection that is there
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.headers["connection"] == "close"
            with pytest.raises(httpx.ConnectError):
                await client.get(address + "/readyz")  # over another one
            Stopping.gate.set()
            assert await page.read_to_the_end() == 1001


async def test_a_server_that_stops_is_alive_and_serves_who_is_there() -> None:
    app = app_of()
    async with app, trio.open_nursery() as nursery:
        address = await nursery.start(app.serve, "127.0.0.1", 0)
        async with connected(address) as page, httpx.AsyncClient() as client:
            await page.hello()
            await page.fire("wait")
            await client.get(address)
            await wait_all_tasks_blocked(0.01)
            app.stop()
            assert (await client.get(address + "/healthz")).status_code == 200
            Stopping.gate.set()


async def test_the_open_block_of_a_background_task_is_shown_and_no_other_begins() -> None:
    app = app_of()
    async with app, trio.open_nursery() as nursery:
        address = await nursery.start(app.serve, "127.0.0.1", 0)
        async with connected(address) as page:
            await page.hello()
            await page.fire("climb")
            await wait_all_tasks_blocked(0.01)
            app.stop()
            await wait_all_tasks_blocked(0.01)
            Stopping.gate.set()
            assert await page.read_to_the_end() == 1001
    values = [op["value"] for frame in page.frames for op in frame.get("ops", ())]
    assert values == [2]


async def test_a_turn_that_does_not_end_is_undone_after_the_shutdown_timeout() -> None:
    store = MemoryStore()
    app = app_of(store, shutdown_timeout=0.2)
    with trio.fail_after(5):
        async with app, trio.open_nursery() as nursery:
            address = await nursery.start(app.serve, "127.0.0.1", 0)
            async with connected(address) as page:
                token = (await page.hello())["token"]
                await page.fire("add")
                await page.fire("hang")
                await wait_all_tasks_blocked(0.01)
                app.stop()
                assert await page.read_to_the_end() == 1001
    assert page.ack == 1
    snapshot = await store.peek(token)
    assert snapshot is not None
    assert snapshot.values["stopping"]["count"] == 1


async def test_a_server_that_is_a_task_of_the_app_stops_too() -> None:
    """Without the time to show anything: tasks of the app come first."""
    app = app_of()
    addresses, taken = trio.open_memory_channel[str](1)

    class Status(trio.TaskStatus[str]):
        def started(self, value: str | None = None) -> None:
            addresses.send_nowait(value or "")

    with trio.fail_after(5):
        async with app:
            app.start_soon(lambda: app.serve("127.0.0.1", 0, task_status=Status()))
            async with connected(await taken.receive()) as page:
                await page.hello()
                app.stop()
                assert await page.read_to_the_end() == 1001


async def test_the_time_to_stop_is_counted_once(autojump_clock: MockClock) -> None:
    """That of serving and that of leaving are the same time."""
    app = app_of(shutdown_timeout=10)
    async with app:
        ref = app.directory.ref("alice")
        ref.tell(Event("stopping.hang"))
        await wait_all_tasks_blocked()
        app.stop()
        await app._work_off()
        started = trio.current_time()
    assert trio.current_time() - started < 0.1


async def test_a_socket_without_a_hello_is_closed_at_once_when_the_server_stops() -> None:
    app, codes = app_of(), list[int]()
    async with app, trio.open_nursery() as nursery:
        site = await app.open_site()
        link = Link(lambda _: None, codes.append)
        connection = SocketConnection(link, site, Handshake({}, ""))
        with site.admission.present(connection):
            nursery.start_soon(connection.run)
            await wait_all_tasks_blocked()
            app.stop()
            await wait_all_tasks_blocked()
            assert codes == [1001]


async def test_who_was_on_the_way_in_is_seen_out_too() -> None:
    class Guest:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def stop_reading(self) -> None:
            self.heard.append("stop reading")

        def close(self) -> None:
            self.heard.append("close")

    admission, early, late = Admission(ConnectionLimits()), Guest(), Guest()

    async def work_off() -> None:
        early.heard.append("all is done")

    with admission.present(early):
        admission.close()
        with admission.present(late):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(admission.see_out, work_off)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
    assert early.heard == ["stop reading", "all is done", "close"]
    assert late.heard == ["stop reading", "close"]


# ---- real processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_event_is_lost_or_done_twice_when_a_new_process_takes_the_port_of_the_old(
    tmp_path: Path, seed: int
) -> None:
    drawn = random.Random(seed)  # noqa: S311 - no secret
    url, log = f"sqlite:///{tmp_path / 'state.db'}", tmp_path / "log"
    tabs, port = [CrashTab(f"page {number}") for number in range(6)], 0
    for _ in range(5):
        async with server(url, log, port=port) as (process, address):
            port = int(address.rpartition(":")[2])
            async with trio.open_nursery() as nursery:
                for tab in tabs:
                    nursery.start_soon(tab.stay, address)
                with trio.fail_after(30):
                    await drawn.choice(tabs).progress.wait()
                await trio.sleep(drawn.uniform(0, 0.2))
                process.send_signal(signal.SIGTERM)
                with trio.fail_after(10):
                    assert await process.wait() == 0
                nursery.cancel_scope.cancel()
    for tab in tabs:
        tab.finish()
    await settle(tabs, url, log)
    for tab in tabs:
        tab.check()
    closes = [code for tab in tabs for code in tab.closes]
    assert len(closes) >= 20
    assert set(closes) <= {1001}
    assert log.read_text().count("Traceback") == 0


async def until_nobody_listens(address: str) -> None:
    with trio.fail_after(10), suppress(OSError):
        while True:
            stream = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
            await stream.aclose()


STUBBORN: Final = """
import trio
from actorstate import App, State

class Stubborn(State, root=True):
    async def hang(self):
        await trio.sleep_forever()

app = App(root=Stubborn, shutdown_timeout=60)
app.add_page("x")
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_a_server_at_once(tmp_path: Path, sign: signal.Signals) -> None:
    site, log = tmp_path / "stubborn.py", tmp_path / "log"
    site.write_text(STUBBORN)
    async with (
        server("memory://", log, site=site) as (process, address),
        connected(address) as page,
    ):
        await page.hello()
        event = {"t": "event", "seq": 1, "name": "stubborn.hang"}
        await page.socket.send_message(json.dumps(event))
        await page.socket.ping()  # it has read what came before
        process.send_signal(sign)
        await until_nobody_listens(address)
        assert process.poll() is None  # it waits for the handler
        process.send_signal(sign)
        with trio.fail_after(10):
            assert await process.wait() == 0
            assert await page.read_to_the_end() == 1001
    assert "Traceback" not in log.read_text()
