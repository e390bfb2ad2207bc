"""A network that cuts, delays, swallows and repeats what goes over it, by a schedule.

Each tab has a line of its own to the server, and each connection over it a `Fate`. It says at which
byte of which direction the connection breaks, and how, so what is torn does not hang on the speed
of the machine. A fate is drawn from a seed, the name of the line and the number of the connection:
``python tests/network.py --seed 7 --cuts 500`` does again what a test did with that seed.
"""

from __future__ import annotations

import argparse
import enum
import math
import random
import socket
import struct
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any, Final, final

import attrs
import trio
from browser import eventually, pending, started_chromium, state_of, token_of
from playwright.sync_api import Page, expect
from wire_tab import Memory, WireTab

from actorstate import App, State, background, heading, textarea, vstack
from actorstate.stores.base import Store
from actorstate.web.limits import ConnectionLimits
from actorstate.web.protocol import SOCKET_PATH

_AWAY: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
_PATIENCE: Final = 90.0  # seconds; waited for only by a run that fails
_RECEIVE_BYTES: Final = 65_536
_HANDSHAKE_BYTES: Final = 400  # with less gone down, a connection is not in use yet

WINDOW: Final = 6
"""So many events a tab has sent and not seen done."""
FEWEST: Final = 20
"""So many events each tab sends, however calm its line is."""
TICKS: Final = 40
"""So many turns a background task of each tab takes."""


# ---- the schedule -------------------------------------------------------------------------------


@final
class Break(enum.Enum):
    """How a connection ends."""

    CLOSE = "close"
    """In good order, at both ends."""
    RESET = "reset"
    """At once, at both ends; what is on its way is lost."""
    SWALLOW = "swallow"
    """Nothing comes through any more; after a while it is reset."""
    FORSAKE = "forsake"
    """The client is told, and the server never hears of it: half-open."""
    LATE = "late"
    """The client is told. What it sent comes to the server when the next connection is in use."""
    REPEAT = "repeat"
    """Closed; then all that the client sent is sent again, over another connection."""
    TWIN = "twin"
    """All that the client sent is sent again, over another connection, while this one is in use."""


@final
@attrs.frozen
class Fate:
    """What becomes of one connection."""

    breaks: Break
    upwards: bool
    """Whether the bytes are counted that go to the server, or those that come from it."""
    after: int
    """So many bytes come through, and not one more."""
    piece: int
    """So many bytes go on at a time."""
    delay: float
    """Seconds between what comes in and what goes on."""
    stall: float
    """Seconds for which nothing comes through before it is swallowed or late."""


@final
@attrs.frozen
class Schedule:
    """What becomes of every connection.

    Args:
        seed: draws it.
        cuts: of each line. After that it is calm.
        gentle: lines on which nobody takes the place of a connection in use (see `Break.TWIN`): a
            page whose place is taken is meant to stop.
    """

    seed: int
    cuts: int
    gentle: frozenset[str] = frozenset()

    def fate(self, line: str, number: int) -> Fate | None:
        """Give the fate of a line's connection by its number, from 0; None for a calm one."""
        if number >= self.cuts:
            return None
        drawn = random.Random(f"{self.seed} {line} {number}")  # noqa: S311 - no secret
        upwards = drawn.random() < 0.5
        in_handshake = drawn.random() < 0.15
        return Fate(
            breaks=drawn.choice([one for one in Break if self._may(one, line)]),
            upwards=upwards,
            after=drawn.randrange(500 if in_handshake else 2000),
            piece=drawn.choice([3, 20, 100, 1460, _RECEIVE_BYTES]),
            delay=drawn.choice([0, 0, 0, 0.001, 0.005]),
            stall=drawn.choice([0, 0.02, 0.1, 0.2]),
        )

    def _may(self, breaks: Break, line: str) -> bool:
        return breaks is not Break.TWIN or line not in self.gentle


# ---- lines --------------------------------------------------------------------------------------


@final
class Line:
    """The way of one tab to the server.

    Args:
        name: of the tab.
        server_port: of the server, on 127.0.0.1.
        schedule: what becomes of its connections.
    """

    def __init__(self, name: str, server_port: int, schedule: Schedule) -> None:
        self.name: Final = name
        self.port = 0
        """Where it is entered; known once it runs."""
        self.cuts: Final[list[Break]] = []
        """How its connections were cut by now."""
        self._server_port: Final = server_port
        self._schedule: Final = schedule
        self._forsaken: Final[list[trio.SocketStream]] = []
        self._late: Final[list[tuple[trio.SocketStream, bytes]]] = []
        self._in_order: Final = trio.Lock()

    @property
    def is_calm(self) -> bool:
        """Whether all cuts were made."""
        return self.fate is None

    @property
    def fate(self) -> Fate | None:
        """What becomes of the next connection."""
        return self._schedule.fate(self.name, len(self.cuts))

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Pass on what comes, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                serve = partial(trio.serve_tcp, host="127.0.0.1")
                listeners = await nursery.start(serve, self._serve, 0)
                self.port = listeners[0].socket.getsockname()[1]
                task_status.started()
        finally:
            for stream in (*self._forsaken, *(stream for stream, _ in self._late)):
                stream.socket.close()

    async def _serve(self, client: trio.SocketStream) -> None:
        with suppress(*_AWAY):
            head = bytes(await client.receive_some(_RECEIVE_BYTES))
            async with self._in_order:  # not before what is sent again is
                server = await self.connect()
            is_socket = head.startswith(f"GET {SOCKET_PATH}".encode())
            await _Passage(self, client, server, self.fate if is_socket else None).run(head)

    async def connect(self) -> trio.SocketStream:
        """Connect to the server itself."""
        return await trio.open_tcp_stream("127.0.0.1", self._server_port)

    def forsake(self, server: trio.SocketStream) -> None:
        """Leave a connection open at the server's end, and never touch it again."""
        self._forsaken.append(server)

    def keep_for_later(self, server: trio.SocketStream, held: bytes) -> None:
        """Leave a connection open at the server's end; there is more to come over it."""
        self._late.append((server, held))

    async def deliver_late(self) -> None:
        """Bring to the server what is late."""
        while self._late:
            server, held = self._late.pop()
            async with server:
                with suppress(*_AWAY):
                    await server.send_all(held)

    async def send_again(self, sent: bytes, closing: trio.SocketStream | None) -> None:
        """Send what a client sent over a connection of its own, and take note of no answer.

        Args:
            sent: what it sent.
            closing: its connection, to be closed before, when no other can overtake this.
        """
        async with self._in_order:
            if closing is not None:
                await closing.aclose()
            async with await self.connect() as server:
                with suppress(*_AWAY):
                    head, end, frames = sent.partition(b"\r\n\r\n")
                    await server.send_all(head + end)
                    if frames:
                        await _read_answer(server)
                        await server.send_all(frames)
                    await _read_for_a_moment(server)


async def _read_answer(stream: trio.SocketStream) -> None:
    """Read what a server says to a handshake; before that, no client may send more."""
    answer = b""
    while b"\r\n\r\n" not in answer and (more := await stream.receive_some(_RECEIVE_BYTES)):
        answer += more


async def _read_for_a_moment(stream: trio.SocketStream) -> None:
    with trio.move_on_after(0.05):
        while await stream.receive_some(_RECEIVE_BYTES):
            pass


@final
@attrs.define(eq=False)
class _Way:
    """One direction of a connection."""

    source: trio.SocketStream
    sink: trio.SocketStream
    piece: int
    delay: float
    limit: float = math.inf
    """So many bytes come through."""
    taken: bytearray = attrs.field(factory=bytearray)
    """All that came in."""
    passed: int = 0
    """So many bytes of it have gone on."""
    in_use: trio.Event = attrs.field(factory=trio.Event)
    """Set when more has gone on than a handshake."""

    @property
    def held(self) -> bytes:
        """What came in and has not gone on."""
        return bytes(self.taken[self.passed :])

    async def pump(self) -> bool:
        """Pass on what comes in; tell whether the limit is reached. Cancelled, it loses nothing."""
        while self.passed < self.limit:
            while self.passed < min(len(self.taken), self.limit):
                await self._pass_piece()
            if self.passed < self.limit and not await self.take():
                return False
        return True

    async def take(self) -> bool:
        """Wait for more to come in; tell whether any did."""
        data = await self.source.receive_some(_RECEIVE_BYTES)
        self.taken += data
        await trio.sleep(self.delay)
        return bool(data)

    async def _pass_piece(self) -> None:
        end = int(min(self.passed + self.piece, self.limit))
        # Half of it sent and not counted, it would be sent again, and the stream be no stream.
        with trio.CancelScope(shield=True):
            await self.sink.send_all(bytes(self.taken[self.passed : end]))
        self.passed = min(end, len(self.taken))
        if self.passed > _HANDSHAKE_BYTES:
            self.in_use.set()


@final
class _Passage:
    """One connection over a line."""

    def __init__(
        self, line: Line, client: trio.SocketStream, server: trio.SocketStream, fate: Fate | None
    ) -> None:
        self._line: Final = line
        self._client: Final = client
        self._server: Final = server
        self._fate: Final = fate
        piece, delay = (fate.piece, fate.delay) if fate is not None else (_RECEIVE_BYTES, 0.0)
        self._up: Final = _Way(client, server, piece, delay)
        self._down: Final = _Way(server, client, piece, delay)
        if fate is not None:
            (self._up if fate.upwards else self._down).limit = fate.after
        self._is_met = False
        self._is_server_left_open = False

    async def run(self, head: bytes) -> None:
        """Pass on what comes until one end closes, or the fate is met; then end it."""
        try:
            self._up.taken += head
            await self._pass_on()
            if self._fate is not None and self._is_met:
                self._line.cuts.append(self._fate.breaks)
                await self._end(self._fate)
        finally:
            if not self._is_server_left_open:
                self._server.socket.close()

    async def _pass_on(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver_late)
            for way in (self._up, self._down):
                nursery.start_soon(self._pump, way, nursery.cancel_scope)

    async def _pump(self, way: _Way, over: trio.CancelScope) -> None:
        with suppress(*_AWAY):
            self._is_met |= await way.pump()
        over.cancel()

    async def _deliver_late(self) -> None:
        await self._down.in_use.wait()
        await self._line.deliver_late()

    async def _end(self, fate: Fate) -> None:
        match fate.breaks:
            case Break.CLOSE:
                await self._client.aclose()
            case Break.RESET:
                self._reset()
            case Break.SWALLOW:
                await trio.sleep(fate.stall)
                self._reset()
            case Break.FORSAKE:
                self._leave_server_open()
                self._line.forsake(self._server)
            case Break.LATE:
                await self._be_late(fate.stall)
            case Break.REPEAT:
                self._server.socket.close()
                await self._line.send_again(bytes(self._up.taken), self._client)
            case Break.TWIN:
                await self._have_a_twin()
                self._reset()

    async def _be_late(self, stall: float) -> None:
        with trio.move_on_after(stall), suppress(*_AWAY):
            while await self._up.take():
                pass
        self._leave_server_open()
        self._line.keep_for_later(self._server, self._up.held)

    async def _have_a_twin(self) -> None:
        self._up.limit = self._down.limit = math.inf
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_on)
            await self._line.send_again(bytes(self._up.taken), None)
            nursery.cancel_scope.cancel()

    def _leave_server_open(self) -> None:
        self._is_server_left_open = True
        _reset(self._client)

    def _reset(self) -> None:
        _reset(self._client)
        _reset(self._server)


def _reset(stream: trio.SocketStream) -> None:
    """Close a connection so that its peer finds it broken, whatever was on its way."""
    linger = struct.pack("ii", 1, 0)
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.close()


# ---- what is served, and what uses it -----------------------------------------------------------


class Ledger(State, root=True):
    """Writes down each number that it is given, in the order in which they come."""

    numbers: list[int] = []
    followed: list[int] = []
    total: int = 0
    ticks: int = 0

    def add(self, number: int) -> Any:
        self.numbers.append(number)
        self.total += number
        if number == 1:
            return Ledger.tick
        return Ledger.follow(number) if number % 3 == 0 else None  # pyright: ignore

    def note(self, words: str) -> Any:
        return self.add(int(words))

    def follow(self, number: int) -> None:
        self.followed.append(number)

    @background
    async def tick(self) -> None:
        for _ in range(TICKS):
            async with self:
                self.ticks += 1
            await trio.sleep(0.01)


def complete(most: int) -> dict[str, Any]:
    """Give the state of a tab whose events have counted once each, in order, up to a number."""
    return {
        "numbers": list(range(1, most + 1)),
        "followed": list(range(3, most + 1, 3)),
        "total": most * (most + 1) // 2,
        "ticks": TICKS,
    }


def new_app(store: Store | None) -> App:
    """Give what is served, with a store or in memory."""
    app = App(root=Ledger, store=store, connections=ConnectionLimits(rate_limit=math.inf))
    app.add_page(
        vstack(heading(Ledger.total), textarea(aria_label="Number", on_change=Ledger.note))
    )
    return app


@final
class Meeting:
    """Where all tabs wait for each other, once their lines are calm.

    Args:
        parties: how many they are.
    """

    def __init__(self, parties: int) -> None:
        self._awaited = parties
        self.most = FEWEST
        """So many events each is to send: as many as any of those who came has sent."""
        self._all_are_here: Final = trio.Event()

    async def come(self, number: int) -> int:
        """Tell how many events one has sent; give how many each is to send in all."""
        self.most = max(self.most, number)
        self._awaited -= 1
        if self._awaited == 0:
            self._all_are_here.set()
        await self._all_are_here.wait()
        return self.most


async def play(line: Line, tab: WireTab, meeting: Meeting) -> None:
    """Let a tab send its numbers over a line that is cut, and look whether each counts once."""
    memory = tab.memory
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tab.stay)
        while not line.is_calm:
            while len(memory.waiting) < WINDOW:
                tab.fire("ledger.add", memory.last_seq + 1)
            await tab.wait_for_frame()
        most = await meeting.come(memory.last_seq)
        while memory.last_seq < most:
            tab.fire("ledger.add", memory.last_seq + 1)
        while memory.state.get("ledger") != complete(most):
            await tab.wait_for_frame()
        nursery.cancel_scope.cancel()
    assert memory.errors == []


def check_order(memory: Memory) -> None:
    """Check that a tab shows what it was told is done, and no more."""
    ledger = memory.state.get("ledger", {"numbers": []})
    assert ledger["numbers"] == list(range(1, memory.ack + 1)), f"{memory.instance}: {ledger}"
    assert ledger["followed"] == list(range(3, (ledger["followed"] or [0])[-1] + 1, 3))


@final
@attrs.frozen
class Report:
    """What came of it."""

    events: int
    """Of each tab."""
    cuts: dict[Break, int]
    welcomes: int
    replaced: int


async def run(schedule: Schedule, *, tabs: int, pages: int, store: Store | None = None) -> Report:
    """Let tabs send their numbers through the network; see that every one counts once.

    Args:
        schedule: what becomes of connections.
        tabs: how many clients in Python.
        pages: how many of client.js, each in a browser of its own.
        store: where their state rests, if not in memory.

    Raises:
        AssertionError: an event was lost, done twice, or shown too early; or the states differ.
    """
    async with new_app(store) as app, trio.open_nursery() as nursery:
        address = await nursery.start(app.serve, "127.0.0.1", 0)
        new_line = partial(Line, server_port=_port_of(address), schedule=schedule)
        of_tabs = [new_line(f"tab {number}") for number in range(tabs)]
        of_pages = [new_line(name_of_page(number)) for number in range(pages)]
        for line in (*of_tabs, *of_pages):
            await nursery.start(line.run)
        meeting = Meeting(tabs + pages)
        played = [_new_tab(line) for line in of_tabs]
        visited: list[str] = []
        with trio.move_on_after(_PATIENCE) as patience:
            async with trio.open_nursery() as playing:
                for line, tab in zip(of_tabs, played, strict=True):
                    playing.start_soon(play, line, tab, meeting)
                for line in of_pages:
                    playing.start_soon(_visit, line, meeting, visited)
        assert not patience.cancelled_caught, [_standing(tab) for tab in played]
        for token in (*(str(tab.memory.token) for tab in played), *visited):
            assert await _stored(app, token) == complete(meeting.most)
        nursery.cancel_scope.cancel()
    return Report(
        events=meeting.most,
        cuts=Counter(cut for line in (*of_tabs, *of_pages) for cut in line.cuts),
        welcomes=sum(tab.connections for tab in played),
        replaced=sum(tab.replaced for tab in played),
    )


def _standing(tab: WireTab) -> str:
    memory = tab.memory
    return f"{memory.instance}: {memory.ack} of {memory.last_seq} done, version {memory.version}"


def name_of_page(number: int) -> str:
    """Give the name of the line of a page."""
    return f"page {number}"


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _new_tab(line: Line) -> WireTab:
    memory = Memory(line.name)
    return WireTab(line.port, memory, partial(check_order, memory))


async def _stored(app: App, token: str) -> dict[str, Any]:
    async with app.modify_state(token) as state:
        ledger = state.get_substate(Ledger)
        return {name: getattr(ledger, name) for name in complete(0)}


# ---- a page in Chromium -------------------------------------------------------------------------


async def _visit(line: Line, meeting: Meeting, visited: list[str]) -> None:
    visited.append(await trio.to_thread.run_sync(_use_chromium, line, meeting))


def _use_chromium(line: Line, meeting: Meeting) -> str:
    """Do with a page what `play` does with a tab; give its token."""
    complaints: list[str] = []
    with started_chromium() as chromium:
        page = chromium.new_page()
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"http://127.0.0.1:{line.port}/")
        sent = 0
        while not line.is_calm:
            sent += _fill(page, sent + 1, impatient=True)
        most = trio.from_thread.run(meeting.come, sent)
        while sent < most:
            sent += _fill(page, sent + 1, impatient=False)
        eventually(page, lambda: state_of(page).get("ledger") == complete(most))
        expect(page.get_by_role("heading")).to_have_text(str(complete(most)["total"]))
        assert pending(page) == 0
        assert [one for one in complaints if "WebSocket connection" not in one] == []
        return token_of(page)


def _fill(page: Page, number: int, *, impatient: bool) -> int:
    """Send a number if there is room for it; tell how many were sent.

    Args:
        page: where.
        number: the number.
        impatient: whether to connect again at once, as a page does when its network is back. After
            so many cuts in so short a time it would wait for seconds.
    """
    trio.from_thread.check_cancelled()
    if impatient:
        page.evaluate("() => window.dispatchEvent(new Event('online'))")
    if pending(page) >= WINDOW:
        page.wait_for_timeout(1)
        return 0
    page.get_by_label("Number").fill(str(number))
    return 1


# ---- by hand ------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cuts", type=int, default=25, help="of each line (%(default)s)")
    parser.add_argument("--tabs", type=int, default=19, help="clients in Python (%(default)s)")
    parser.add_argument("--pages", type=int, default=1, help="clients in Chromium (%(default)s)")
    given = parser.parse_args()
    pages = frozenset(name_of_page(number) for number in range(given.pages))
    schedule = Schedule(given.seed, given.cuts, pages)
    print(trio.run(partial(run, schedule, tabs=given.tabs, pages=given.pages)))  # noqa: T201


if __name__ == "__main__":
    main()
