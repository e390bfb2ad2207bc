"""Requests for pages over a stream in memory, in virtual time: slow clients, bodies, sizes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from actorstate import App, State, heading
from actorstate.web.http import Upgrade, Visit

GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE: Final = b"GET /_actorstate/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"


class Shown(State, root=True):
    count: int = 0


@pytest.fixture
async def app() -> AsyncGenerator[App]:
    app = App(root=Shown)
    app.add_page(heading(Shown.count))
    async with app:
        yield app


@asynccontextmanager
async def visiting(
    app: App, pair: Callable[[], Any] = memory_stream_pair
) -> AsyncGenerator[tuple[Any, list[Upgrade | None]]]:
    """Let a client visit; give its end, and what came of the visit, once it has ended."""
    client, stream = pair()
    ended: list[Upgrade | None] = []
    visit = Visit(stream, await app.open_site())

    async def serve() -> None:
        ended.append(await visit.serve())
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield client, ended


async def read_all(client: Any) -> bytes:
    return b"".join([bytes(part) async for part in client])


async def seconds_of(work: Callable[[], Awaitable[object]]) -> float:
    started = trio.current_time()
    await work()
    return trio.current_time() - started


# ---- slow clients -------------------------------------------------------------------------------


async def test_a_head_that_comes_byte_by_byte_has_fifteen_seconds_in_all(
    app: App, autojump_clock: MockClock
) -> None:
    async with visiting(app) as (client, _):

        async def drip() -> None:
            with suppress(trio.BrokenResourceError):
                for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000:
                    await client.send_all(bytes([byte]))
                    await trio.sleep(1)

        assert 15 <= await seconds_of(drip) <= 16
        assert await read_all(client) == b""


async def test_a_connection_that_says_nothing_is_kept_for_fifteen_seconds(
    app: App, autojump_clock: MockClock
) -> None:
    async with visiting(app) as (client, _):
        await trio.sleep(14)
        await client.send_all(GET)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert await seconds_of(lambda: read_all(client)) == 15


async def test_a_client_that_does_not_take_its_answer_is_left_after_thirty_seconds(
    app: App, autojump_clock: MockClock
) -> None:
    client, stream = lockstep_stream_pair()
    visit = Visit(stream, await app.open_site())
    await_answer = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, GET)
        with pytest.raises(trio.TooSlowError):
            await visit.serve()
    assert trio.current_time() - await_answer == 30


# ---- bodies, and what comes after ---------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        b"Content-Length: 1000000000000",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",  # of which another may read another one
    ],
)
@pytest.mark.parametrize("method", [b"POST", b"GET"])
async def test_a_body_is_not_read_and_nothing_after_it(
    app: App, autojump_clock: MockClock, method: bytes, more: bytes
) -> None:
    async with visiting(app) as (client, ended):
        await client.send_all(method + b" / HTTP/1.1\r\nHost: a\r\n" + more + b"\r\n\r\n" + GET)
        started = trio.current_time()
        while not ended:  # and it goes on and on
            await client.send_all(b"5\r\nabcde\r\n")
            await trio.sleep(0.1)
        assert trio.current_time() - started < 2
        answer = await read_all(client)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


async def test_requests_that_come_together_are_answered_in_order(app: App) -> None:
    paths = (b"/healthz", b"/nowhere", b"/readyz")
    async with visiting(app) as (client, _):
        await client.send_all(
            b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % one for one in paths)
        )
        await client.send_eof()
        answer = await read_all(client)
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]
    places = [answer.index(text) for text in (b"ok\n", b"there is no such page\n", b"ready\n")]
    assert places == sorted(places)


@pytest.mark.parametrize("size", [8 * 1024, 15 * 1024])
async def test_a_head_of_a_usual_size_is_read(app: App, size: int) -> None:
    async with visiting(app) as (client, _):
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"c" * size + b"\r\n\r\n")
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
        await client.send_eof()


async def test_a_head_without_end_is_refused_when_it_is_too_large(
    app: App, autojump_clock: MockClock
) -> None:
    async with visiting(app) as (client, _):
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for _ in range(100):
            await client.send_all(b"X: " + b"y" * 1000 + b"\r\n")
        answer = await read_all(client)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_an_upgrade_ends_the_visit_with_what_came_after_it(app: App) -> None:
    async with visiting(app) as (client, ended):
        await client.send_all(GET)
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
        await client.send_all(UPGRADE + b"frames")
    [upgrade] = ended
    assert upgrade is not None
    assert (upgrade.path, upgrade.unread) == ("/_actorstate/ws", b"frames")
    assert upgrade.headers["upgrade"] == "websocket"
    assert upgrade.head().endswith(b"\r\n\r\nframes")


# ---- the end of the server ----------------------------------------------------------------------


async def test_a_connection_that_waits_ends_with_the_server(app: App) -> None:
    async with visiting(app) as (client, ended):
        await client.send_all(GET)
        await client.receive_some()
        site = await app.open_site()
        app.stop()
        await site.admission.see_out(app._work_off)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [None]


async def test_an_answer_that_is_on_its_way_arrives_though_the_server_ends(app: App) -> None:
    async with visiting(app, lockstep_stream_pair) as (client, ended):
        await client.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        site = await app.open_site()
        app.stop()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.admission.see_out, app._work_off)
            await trio.testing.wait_all_tasks_blocked()
            answer = await read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"</html>" in answer
    assert ended == [None]
