"""One connection over a link in memory, in virtual time: slow clients, silent ones, fast ones."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import jsonpatch
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorstate import App, State, console_log
from actorstate.testing.link import Link
from actorstate.web.connection import SocketConnection
from actorstate.web.limits import ConnectionLimits
from actorstate.web.protocol import Handshake
from actorstate.web.site import Site


class WireRoot(State, root=True):
    pass


class Wire(WireRoot):
    count: int = 0
    rows: list[str] = []

    def add(self) -> None:
        self.count += 1

    def write(self, row: str) -> None:
        self.rows.append(row)

    def say(self) -> Any:
        return console_log(self.count)


class Peer:
    """A client that keeps every frame and applies what shows the state; it does no more by itself.

    Args:
        site: of the running app.
    """

    def __init__(self, site: Site) -> None:
        self.frames: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.version = -1
        self.seq = 0
        self.code: int | None = None
        self.ended_at = 0.0
        self.link = Link(self._receive, self._end)
        self.connection = SocketConnection(self.link, site, Handshake({}, "memory"))

    def send(self, **frame: Any) -> None:
        self.link.send(json.dumps(frame))

    def hello(self, **fields: Any) -> None:
        self.send(**{"t": "hello", "instance": "page", **fields})

    def fire(self, method: str, *args: Any) -> None:
        self.seq += 1
        self.send(t="event", seq=self.seq, name=f"wire_root.wire.{method}", args=args)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["t"] == kind]

    @property
    def token(self) -> str:
        return self.of("welcome")[-1]["token"]

    @property
    def wire(self) -> dict[str, Any]:
        return self.state["wire_root.wire"]

    def _receive(self, message: str) -> None:
        frame: dict[str, Any] = json.loads(message)
        self.frames.append(frame)
        if frame["t"] == "welcome":
            self.state, self.version = frame["state"], frame["version"]
        elif frame["t"] == "patch":
            assert frame.get("base", frame["version"] - 1) == self.version
            self.state = jsonpatch.apply_patch(self.state, frame["ops"])
            self.version = frame["version"]

    def _end(self, code: int) -> None:
        self.code, self.ended_at = code, trio.current_time()


@asynccontextmanager
async def wired(**limits: Any) -> AsyncGenerator[tuple[App, trio.Nursery]]:
    app = App(root=WireRoot, connections=ConnectionLimits(**limits))
    async with app, trio.open_nursery() as nursery:
        yield app, nursery
        nursery.cancel_scope.cancel()


async def connect(app: App, nursery: trio.Nursery, **hello: Any) -> Peer:
    """Connect a peer, and wait until it has all that comes at once."""
    peer = Peer(await app.open_site())
    nursery.start_soon(peer.connection.run)
    peer.hello(**hello)
    await wait_all_tasks_blocked()
    return peer


# ---- slow clients -------------------------------------------------------------------------------


async def turns(app: App, token: str, count: int, *, write: str | None = None) -> None:
    for _ in range(count):
        async with app.modify_state(token) as state:
            wire = state.get_substate(Wire)
            wire.count += 1
            if write is not None:
                wire.rows.append(write)


async def test_a_client_that_stalls_gets_a_thousand_turns_as_one_patch() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        await turns(app, peer.token, 1)
        await wait_all_tasks_blocked()  # now it is being sent
        await turns(app, peer.token, 999)
        peer.link.go_on()
        await wait_all_tasks_blocked()
        first, second = peer.of("patch")
        assert (first["version"], "base" in first) == (1, False)
        ops = [{"op": "replace", "path": "/wire_root.wire/count", "value": 1000}]
        assert second == {"t": "patch", "version": 1000, "base": 1, "ack": 0, "ops": ops}


async def test_a_client_that_stalls_for_too_much_costs_nothing_and_gets_the_whole_state() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        await turns(app, peer.token, 1)
        await wait_all_tasks_blocked()
        await turns(app, peer.token, 1000, write="x" * 1000)
        outbox = peer.connection._outbox
        assert outbox.is_stale
        assert (outbox._has_patch, outbox._welcome) == (False, None)
        peer.link.go_on()
        await wait_all_tasks_blocked()
        assert [frame["t"] for frame in peer.frames] == ["welcome", "patch", "welcome"]
        assert (peer.wire["count"], len(peer.wire["rows"]), peer.version) == (1001, 1000, 1001)
        peer.fire("add")
        await wait_all_tasks_blocked()
        assert (peer.wire["count"], peer.frames[-1]["ack"]) == (1002, 1)


async def test_events_are_acknowledged_with_the_state_that_they_made_and_not_before() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        peer.link.stall()
        for _ in range(50):
            peer.fire("write", "x" * 5000)
            peer.fire("say")
            await wait_all_tasks_blocked()
        assert peer.connection._outbox.is_stale
        peer.link.go_on()
        await wait_all_tasks_blocked()
        # The first patch was on its way; the welcome brings the rest, and what was asked for.
        kinds = ["welcome", "patch", "welcome", *50 * ["effect"]]
        assert [frame["t"] for frame in peer.frames] == kinds
        assert (peer.of("welcome")[-1]["ack"], len(peer.wire["rows"])) == (100, 50)


async def test_a_connection_that_is_gone_when_its_welcome_comes_is_not_missed() -> None:
    async with wired() as (app, nursery):
        peer = await connect(app, nursery)
        token = peer.token
        peer.link.stall()
        await turns(app, token, 1)
        await wait_all_tasks_blocked()
        async with app.modify_state(token) as state:
            for _ in range(3):
                state.get_substate(Wire).rows.append("x" * 100_000)
        await turns(app, token, 3, write="x" * 100_000)
        async with app.modify_state(token):  # the refresh waits behind this
            peer.link.go_on()
            await wait_all_tasks_blocked()
            peer.link.cut()
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert len(peer.of("welcome")) == 1
        again = await connect(app, nursery, token=token)
        assert len(again.wire["rows"]) == 6


async def test_a_client_that_takes_nothing_is_cut_off_after_send_timeout(
    autojump_clock: MockClock,
) -> None:
    async with wired(send_timeout=7) as (app, nursery):
        peer = await connect(app, nursery)
        await trio.sleep(100.5)
        peer.link.stall()
        await turns(app, peer.token, 1)
        began = trio.current_time()
        await trio.sleep(6.9)
        assert peer.code is None
        await trio.sleep(0.2)
        assert peer.code == 1001
        assert peer.ended_at == began + 7


async def test_a_slow_client_has_its_time_with_each_frame(autojump_clock: MockClock) -> None:
    async with wired(send_timeout=7) as (app, nursery):
        peer = await connect(app, nursery)
        for _ in range(10):
            peer.link.stall()
            await turns(app, peer.token, 1)
            await trio.sleep(6)
            peer.link.go_on()
        await wait_all_tasks_blocked()
        assert (peer.code, peer.version) == (None, 10)
