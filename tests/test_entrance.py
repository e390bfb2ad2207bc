"""Who gets in, over real sockets: limits, other sites, proxies, TLS."""

from __future__ import annotations

import json
import logging
import math
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import h11
import pytest
import trio
import trustme
from crash import Tab as CrashTab, server
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from actorstate import App, ConnectionLimits, State, heading
from actorstate.__main__ import main
from actorstate.testing import open_tab
from actorstate.web.admission import Admission, Refusal
from actorstate.web.protocol import SUBPROTOCOL
from actorstate.web.sparse_log import SparseLog

Headers = list[tuple[bytes, bytes]]


class Guarded(State, root=True):
    seen: str = ""

    def look(self) -> None:
        self.seen = self.router.client_address


@asynccontextmanager
async def serving(
    limits: ConnectionLimits | None = None, **options: Any
) -> AsyncGenerator[tuple[App, str]]:
    app = App(root=Guarded, connections=limits)
    app.add_page(heading(Guarded.seen))

    async def serve(task_status: trio.TaskStatus[str]) -> None:
        await app.serve("127.0.0.1", 0, task_status=task_status, **options)

    async with app, trio.open_nursery() as nursery:
        yield app, await nursery.start(serve)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(
    address: str, headers: Headers | None = None
) -> AsyncGenerator[WebSocketConnection]:
    async with raw(address) as stream, trio.open_nursery() as nursery:
        yield await shake_hands(nursery, stream, address, headers)
        nursery.cancel_scope.cancel()


async def shake_hands(
    nursery: trio.Nursery, stream: Any, address: str, headers: Headers | None = None
) -> WebSocketConnection:
    return await wrap_client_stream(
        nursery,
        stream,
        address.partition("//")[2],
        "/_actorstate/ws",
        subprotocols=[SUBPROTOCOL],
        extra_headers=headers,
    )


async def hello(socket: WebSocketConnection, token: str | None = None) -> dict[str, Any]:
    await socket.send_message(json.dumps({"t": "hello", "instance": "page", "token": token}))
    with trio.fail_after(10):
        return json.loads(await socket.get_message())


async def ask(
    stream: trio.abc.Stream, address: str, headers: Headers | None = None
) -> tuple[int, Mapping[bytes, bytes]]:
    """Ask for an upgrade; give the status of the answer, and its headers."""
    host = address.partition("//")[2].encode()
    request = h11.Request(
        method="GET",
        target="/_actorstate/ws",
        headers=[
            (b"Host", host),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode()),
            *(headers or ()),
        ],
    )
    parser = h11.Connection(h11.CLIENT)
    await stream.send_all(parser.send(request) or b"")
    with trio.fail_after(10):
        while (event := parser.next_event()) is h11.NEED_DATA:
            parser.receive_data(bytes(await stream.receive_some()))
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    return event.status_code, dict(event.headers)


async def answer_of(
    address: str, headers: Headers | None = None
) -> tuple[int, Mapping[bytes, bytes]]:
    async with raw(address) as stream:
        return await ask(stream, address, headers)


async def status(address: str, headers: Headers | None = None) -> int:
    """Tell with which status an upgrade is answered."""
    return (await answer_of(address, headers))[0]


@asynccontextmanager
async def raw(address: str) -> AsyncGenerator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2])) as stream:
        yield stream


async def everything(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(10):
        return b"".join([bytes(part) async for part in stream])


PAGE: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


# ---- how many -----------------------------------------------------------------------------------


async def test_who_comes_when_it_is_full_is_told_before_anything_is_read() -> None:
    async with serving(ConnectionLimits(max_connections=2)) as (_, address):
        async with raw(address), raw(address):
            await wait_all_tasks_blocked(0.01)
            async with raw(address) as third:  # says nothing
                answer = await everything(third)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert b"too many connections" in answer
        await wait_all_tasks_blocked(0.01)
        async with raw(address) as again:  # there is room again
            await again.send_all(PAGE)
            assert (await again.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_one_address_takes_up_no_more_than_its_part() -> None:
    limits = ConnectionLimits(max_connections_per_address=3)
    async with serving(limits) as (_, address), AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(address))
        answer, headers = await answer_of(address)
        assert (answer, headers[b"retry-after"]) == (429, b"1")


async def test_behind_a_proxy_each_has_a_part_of_its_own() -> None:
    limits = ConnectionLimits(max_connections_per_address=1)
    one, other = ([(b"X-Forwarded-For", address)] for address in (b"203.0.113.1", b"203.0.113.2"))
    async with (
        serving(limits, trusted_proxies=["127.0.0.1"]) as (_, address),
        connected(address, one),
    ):
        assert await status(address, one) == 429
        async with connected(address, other), raw(address) as plain:
            await plain.send_all(PAGE)  # a page takes up nothing for long
            assert (await plain.receive_some()).startswith(b"HTTP/1.1 200 ")
        await wait_all_tasks_blocked(0.01)
        assert await status(address, other) == 101


async def test_no_tab_is_let_in_beyond_max_tokens_but_those_that_are_awake() -> None:
    async with (
        serving(ConnectionLimits(max_tokens=2)) as (app, address),
        connected(address) as one,
        connected(address) as two,
    ):
        tokens = [(await hello(socket))["token"] for socket in (one, two)]
        async with connected(address) as three:
            refused = await hello(three)
            assert (refused["t"], refused["code"]) == ("error", "unavailable")
            with pytest.raises(ConnectionClosed) as caught:
                await three.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1013
        assert len(app.directory) == 2
        async with connected(address) as again:  # as a tab that comes back
            assert (await hello(again, tokens[0]))["token"] == tokens[0]


async def test_tabs_that_were_left_make_room_for_others(autojump_clock: MockClock) -> None:
    app = App(
        root=Guarded, disconnect_grace=1, idle_timeout=math.inf,
        connections=ConnectionLimits(max_tokens=2),
    )  # fmt: skip
    async with app:
        async with open_tab(app), open_tab(app):
            site = await app.open_site()
            assert not site.has_room_for("another")
        assert not site.has_room_for("another")  # they may come back, and count as here
        await trio.sleep(2)
        assert site.has_room_for("another")
        assert len(app.directory) == 0


async def test_a_flood_of_strangers_is_a_line_in_the_log_now_and_then(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    admission = Admission(ConnectionLimits(max_connections=1, max_connections_per_address=1))
    with admission.connection("203.0.113.1"):
        for _ in range(1000):
            with admission.connection("203.0.113.2") as refusal:
                assert refusal is Refusal.FULL
            with admission.address("203.0.113.1") as crowded:
                assert crowded is Refusal.CROWDED
            await trio.sleep(0.03)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 * 3  # in thirty seconds
    assert lines[0] == "there are max_connections=1; others are refused"
    assert lines[2] == "there are max_connections=1; others are refused (and 333 more like it)"
    assert "max_connections_per_address=1 from 203.0.113.1" in lines[1]


async def test_each_kind_of_line_has_its_own_pause(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.INFO)
    log = SparseLog(logging.getLogger("actorstate.web"), pause=10)
    for second in range(25):
        log.warning("one %d", second)
        if second in (3, 4):
            log.info("other")
        await trio.sleep(1)
    assert [record.getMessage() for record in caplog.records] == [
        "one 0",
        "other",
        "one 10 (and 9 more like it)",
        "one 20 (and 9 more like it)",
    ]


async def test_what_is_counted_is_counted_off_again() -> None:
    admission = Admission(ConnectionLimits(max_connections=1, max_connections_per_address=1))
    for _ in range(3):
        with suppress(OSError), admission.connection("203.0.113.1") as refusal:
            assert refusal is None
            raise OSError
    with admission.connection(None), admission.connection(None) as refusal:
        assert refusal is Refusal.FULL
    assert not admission._by_address


async def test_a_connection_whose_address_is_known_later_is_one_connection() -> None:
    admission = Admission(ConnectionLimits(max_connections=2))
    for _ in range(3):
        with (
            admission.connection(None),
            admission.address("203.0.113.1"),
            admission.connection(None) as second,
        ):
            assert second is None
    with (
        admission.connection(None),
        admission.connection(None),
        admission.connection(None) as third,
    ):
        assert third is Refusal.FULL


async def test_who_is_turned_away_holds_nothing_for_long() -> None:
    """Only so many get the time to read why; the others are closed at once."""
    async with serving(ConnectionLimits(max_connections=1)) as (_, address):
        async with raw(address) as first, AsyncExitStack() as stack:
            await first.send_all(PAGE)
            await first.receive_some()
            crowd = [await stack.enter_async_context(raw(address)) for _ in range(150)]
            answers = [await everything(stream) for stream in crowd]
        assert answers.count(b"") == 50
        assert sum(answer.startswith(b"HTTP/1.1 503") for answer in answers) == 100


def test_who_was_told_why_leaves_the_time_for_it_to_others() -> None:
    admission = Admission(ConnectionLimits())
    for _ in range(3):
        with ExitStack() as stack:
            told = [stack.enter_context(admission.turned_away()) for _ in range(150)]
        assert told == [True] * 100 + [False] * 50


async def test_the_command_line_takes_as_many_open_files_as_it_is_given(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        server("memory://", log, limit="-S -n 64") as (_, address),
        AsyncExitStack() as stack,
    ):
        for _ in range(100):
            stream = await stack.enter_async_context(raw(address))
            await stream.send_all(PAGE)
            with trio.fail_after(10):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    assert "EMFILE" not in log.read_text()


# ---- the end ------------------------------------------------------------------------------------


class Guest:
    """Keeps what it is told, and leaves so many seconds after it is closed."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.told: list[str] = []
        self.is_closed = trio.Event()

    def stop_reading(self) -> None:
        self.told.append("stop reading")

    def close(self) -> None:
        self.told.append("close")
        self.is_closed.set()

    async def stay(self, admission: Admission) -> None:
        with admission.present(self):
            await self.is_closed.wait()
            await trio.sleep(self.seconds)


@pytest.mark.parametrize(("stays", "seconds"), [(0, 0), (1, 1), (60, 2)])
async def test_at_the_end_all_who_are_here_are_told_and_waited_for_a_little(
    autojump_clock: MockClock, stays: float, seconds: float
) -> None:
    admission = Admission(ConnectionLimits())
    early, late, gone = Guest(stays), Guest(stays), Guest(0)
    with admission.present(gone):
        pass

    async def work_off() -> None:
        assert early.told == ["stop reading"]
        nursery.start_soon(late.stay, admission)
        await trio.sleep(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(early.stay, admission)
        await wait_all_tasks_blocked()
        admission.close()
        await admission.see_out(work_off)
        assert trio.current_time() == 10 + seconds
        nursery.cancel_scope.cancel()
    assert early.told == late.told == ["stop reading", "close"]
    assert gone.told == []


# ---- whose pages --------------------------------------------------------------------------------


def origin(text: str) -> Headers:
    return [(b"Origin", text.encode())]


async def test_other_origins_may_be_allowed_by_the_program_and_by_who_serves_it() -> None:
    limits = ConnectionLimits(allowed_origins=("https://shop.example",))
    async with serving(limits, allowed_origins=["https://partner.example"]) as (_, address):
        for allowed in ("https://shop.example", "https://partner.example", address):
            assert await status(address, origin(allowed)) == 101
        for other in ("http://shop.example", "https://evil.example", "null"):
            assert await status(address, origin(other)) == 403


async def test_behind_a_proxy_that_ends_tls_a_page_without_tls_is_another_site() -> None:
    by_tls = [(b"X-Forwarded-Proto", b"https")]
    async with serving(trusted_proxies=["127.0.0.0/8"]) as (_, address):
        assert await status(address, [*by_tls, *origin(address)]) == 403
        secure = address.replace("http", "https")
        assert await status(address, [*by_tls, *origin(secure)]) == 101


async def test_a_refused_upgrade_has_the_headers_of_every_answer() -> None:
    async with serving() as (_, address):
        _, headers = await answer_of(address, origin("https://evil.example"))
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"connection"] == b"close"


@pytest.mark.parametrize(
    "options",
    [{"allowed_origins": ["*"]}, {"trusted_proxies": ["proxy.example"]}],
    ids=lambda options: next(iter(options)),
)
async def test_what_cannot_be_meant_is_refused_before_anybody_is_served(options: Any) -> None:
    app = App(root=Guarded)
    async with app:
        with pytest.raises(ValueError, match="is no"):
            await app.serve("127.0.0.1", 0, **options)


# ---- by proxies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [(["127.0.0.1"], "203.0.113.1"), (["10.0.0.0/8"], "127.0.0.1"), ([], "127.0.0.1")],
)
async def test_a_handler_sees_the_address_that_a_trusted_proxy_names(
    trusted: list[str], seen: str
) -> None:
    headers = [(b"X-Forwarded-For", b"1.2.3.4"), (b"X-Forwarded-For", b"203.0.113.1")]
    async with (
        serving(trusted_proxies=trusted) as (_, address),
        connected(address, headers) as socket,
    ):
        await hello(socket)
        event = {"t": "event", "seq": 1, "name": "guarded.look"}
        await socket.send_message(json.dumps(event))
        assert json.loads(await socket.get_message())["ops"][0]["value"] == seen


# ---- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@asynccontextmanager
async def secured(address: str, context: ssl.SSLContext) -> AsyncGenerator[trio.SSLStream[Any]]:
    port = int(address.rpartition(":")[2])
    async with await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=context, https_compatible=True
    ) as stream:
        yield stream


async def test_pages_and_sockets_go_over_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with serving(ssl_context=server_context) as (_, address):
        assert address.startswith("https://127.0.0.1:")
        async with secured(address, client_context) as stream:
            for _ in range(2):
                await stream.send_all(PAGE)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        async with secured(address, client_context) as stream, trio.open_nursery() as nursery:
            socket = await shake_hands(nursery, stream, address, origin(address))
            assert (await hello(socket))["t"] == "welcome"
            nursery.cancel_scope.cancel()


async def test_the_end_of_a_page_is_said_by_tls(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """So that nobody in between can cut it short."""
    async with serving(ssl_context=server_context) as (_, address):
        port = int(address.rpartition(":")[2])
        async with await trio.open_ssl_over_tcp_stream(
            "127.0.0.1", port, ssl_context=client_context
        ) as stream:
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
            answer = b"".join([bytes(part) async for part in stream])
    assert answer.startswith(b"HTTP/1.1 405 ")


async def test_over_tls_the_page_of_the_same_host_without_tls_is_another_site(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with serving(ssl_context=server_context) as (_, address):
        for page, expected in ((address.replace("https", "http"), 403), (address, 101)):
            async with secured(address, client_context) as stream:
                assert (await ask(stream, address, origin(page)))[0] == expected


async def test_who_does_not_speak_tls_or_does_not_finish_its_handshake_is_left(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    async with serving(ssl_context=server_context) as (_, address):
        async with raw(address) as plain:
            await plain.send_all(PAGE)
            assert not (await everything(plain)).startswith(b"HTTP")
        started = trio.current_time()
        async with raw(address) as silent:
            with suppress(trio.BrokenResourceError):
                assert await everything_in_time(silent) == b""
        assert 5 < trio.current_time() - started < 20
        async with secured(address, client_context) as stream:
            await stream.send_all(PAGE)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    assert caplog.text == ""


async def everything_in_time(stream: trio.SocketStream) -> bytes:
    return b"".join([bytes(part) async for part in stream])


async def test_a_server_of_tls_stops_as_another_one(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with (
        serving(ssl_context=server_context) as (app, address),
        secured(address, client_context) as stream,
        trio.open_nursery() as nursery,
    ):
        socket = await shake_hands(nursery, stream, address)
        await hello(socket)
        app.stop()
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1001
        nursery.cancel_scope.cancel()


async def test_the_command_line_serves_over_tls(
    tmp_path: Path, authority: trustme.CA, client_context: ssl.SSLContext
) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(str(certfile), append=number > 0)
    certificate.private_key_pem.write_to_path(str(keyfile))
    more = ["--certfile", str(certfile), "--keyfile", str(keyfile)]
    async with server("memory://", tmp_path / "log", arguments=more) as (_, address):
        assert address.startswith("https://")
        async with secured(address, client_context) as stream:
            await stream.send_all(PAGE)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_the_command_line_takes_origins_and_proxies(tmp_path: Path) -> None:
    more = ["--allowed-origin", "https://shop.example", "--allowed-origin", "https://b.example",
            "--trusted-proxy", "127.0.0.0/8"]  # fmt: skip
    async with server("memory://", tmp_path / "log", arguments=more) as (_, address):
        for allowed in ("https://shop.example", "https://b.example", address):
            assert await status(address, origin(allowed)) == 101
        by_tls = [(b"X-Forwarded-Proto", b"https")]
        assert await status(address, [*by_tls, *origin(address)]) == 403
        tab = CrashTab("page")
        tab.most = 3
        await tab.stay(address)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keyfile", "key.pem"], "--keyfile is for --certfile, which is not given"),
        (["--certfile", "nowhere.pem"], "--certfile nowhere.pem: No such file or directory"),
        (["--certfile", __file__], f"--certfile {__file__}: [SSL]"),
    ],
)
def test_a_certificate_that_cannot_be_used_ends_with_a_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "x.py", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allowed-origin", "*"], "'*' is no origin"),
        (["--trusted-proxy", "proxy"], "'proxy' is no address and no network"),
    ],
)
def test_what_the_command_line_cannot_mean_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["run", "x.py", *arguments])
    assert message in capsys.readouterr().err
