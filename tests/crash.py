"""Kill a server again and again, and hold against each other what it said and what it kept.

A driver opens some tabs, and each sends numbered events, a few at a time. The server is a real
process, ended by SIGKILL at moments that a seed draws; then it is started again, the tabs connect
again and send what was not acknowledged. In the end every event has to have counted once.

For a store at any URL: ``await crash_again_and_again(url, kills=30, seed=1)``.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, final

import attrs
import jsonpatch
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from actorstate.web.protocol import SUBPROTOCOL

SITE: Final = Path(__file__).parent / "crash_site.py"
TABS: Final = 3
WINDOW: Final = 6
"""So many events a tab has sent and not seen acknowledged."""

_AWAY: Final = (OSError, HandshakeError, ConnectionClosed)


@final
@attrs.define
class Report:
    """What came of it."""

    kills: int
    connections: int
    events: int
    sent_again: int
    """Events that were sent more than once."""


@asynccontextmanager
async def server(  # noqa: PLR0913 - by name
    url: str,
    log: Path,
    *,
    limit: str = "-f unlimited",
    port: int = 0,
    site: Path = SITE,
    arguments: Sequence[str] = (),
) -> AsyncGenerator[tuple[trio.Process, str]]:
    """Serve the site with a store; give the process and its address. It is killed in the end.

    Args:
        url: of the store.
        log: where it writes what it has to say.
        limit: what it may use, for ``ulimit``.
        port: to listen on; 0 for a free one.
        site: what is served.
        arguments: others for the command line.
    """
    command = [
        "sh",
        "-c",
        f'ulimit {limit}; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "actorstate",
        "run",
        str(site),
        "--port",
        str(port),
        "--store",
        url,
        *arguments,
    ]
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        line = b""
        while b"\n" not in line:
            more = await process.stdout.receive_some()
            assert more, f"the server did not start; see {log}"
            line += more
        yield process, line.decode().split()[-4]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
        if process.stdout is not None:
            await process.stdout.aclose()


def leaves(group: BaseExceptionGroup[Any]) -> Iterator[Any]:
    """Give the exceptions that are in a group, however deep."""
    for one in group.exceptions:
        yield from leaves(one) if isinstance(one, BaseExceptionGroup) else (one,)


@final
class Tab:
    """A tab that does not give up.

    Args:
        name: of its page load.
    """

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.token: str | None = None
        self.state: Any = {}
        self.version = 0
        self.acknowledged = 0
        self.sent: list[int] = [0]
        """How often each event was sent."""
        self.most: float = float("inf")
        self.connections = 0
        self.closes: list[int | None] = []
        """The code with which each connection was closed; None where it just ended."""
        self.progress = trio.Event()

    @property
    def is_done(self) -> bool:
        return self.acknowledged >= self.most

    def finish(self) -> None:
        """Begin nothing more; bring to its end what was sent."""
        self.most = len(self.sent) - 1

    async def stay(self, address: str) -> None:
        """Be connected to a server for as long as it lives, or until all is done."""
        while not self.is_done:
            try:
                async with self.connected(address) as socket:
                    await self._use(socket)
            except* ConnectionClosed as closed:
                self.closes += [one.reason.code if one.reason else None for one in leaves(closed)]
            except* _AWAY:
                pass
            await trio.sleep(0.01)

    @asynccontextmanager
    async def connected(self, address: str) -> AsyncGenerator[WebSocketConnection]:
        """Have a socket that has been welcomed."""
        host, _, port = address.removeprefix("http://").partition(":")
        async with (
            await trio.open_tcp_stream(host, int(port)) as stream,
            trio.open_nursery() as nursery,
        ):
            socket = await wrap_client_stream(
                nursery, stream, host, "/_actorstate/ws", subprotocols=[SUBPROTOCOL]
            )
            hello = {"t": "hello", "token": self.token, "instance": self.name, "version": None,
                     "path": "/"}  # fmt: skip
            await socket.send_message(json.dumps(hello))
            first = self._take(json.loads(await socket.get_message()))
            assert first == "welcome"
            self.connections += 1
            yield socket
            nursery.cancel_scope.cancel()

    async def _use(self, socket: WebSocketConnection) -> None:
        for number in range(self.acknowledged + 1, len(self.sent)):
            await self._send(socket, number)
        while not self.is_done:
            while len(self.sent) - 1 < min(self.acknowledged + WINDOW, self.most):
                self.sent.append(0)
                await self._send(socket, len(self.sent) - 1)
            if self._take(json.loads(await socket.get_message())) == "ping":
                await socket.send_message('{"t":"pong"}')

    async def _send(self, socket: WebSocketConnection, number: int) -> None:
        self.sent[number] += 1
        event = {"t": "event", "seq": number, "name": "tally.add", "args": [number]}
        await socket.send_message(json.dumps(event))

    def _take(self, frame: dict[str, Any]) -> str:
        kind = frame["t"]
        assert kind != "error", f"{self.name} was told {frame}"
        if kind == "welcome":
            before = self.state.get("tally", {"numbers": []})["numbers"]
            self.token, self.state = frame["token"], frame["state"]
            kept = self.state["tally"]["numbers"]
            assert kept[: len(before)] == before, "what was shown is not there any more"
            assert frame["version"] >= self.version
        elif kind == "patch":
            assert frame.get("base", frame["version"] - 1) == self.version
            self.state = jsonpatch.apply_patch(self.state, frame["ops"], in_place=True)
        self.version = frame.get("version", self.version)
        ack = frame.get("ack", 0)
        if kind == "welcome":
            assert ack >= self.acknowledged, "what was acknowledged is not done any more"
        if ack > self.acknowledged:
            self.acknowledged = ack
            self.progress.set()
            self.progress = trio.Event()
        return kind

    def check(self) -> None:
        """Every event has counted once, in its order, and so has what followed from it.

        And it was never away: it came back in time from each restart.
        """
        tally, events = self.state["tally"], len(self.sent) - 1
        assert tally["numbers"] == list(range(1, events + 1))
        assert tally["count"] == events
        assert tally["followed"] == list(range(3, events + 1, 3))
        assert tally["arrivals"] == 1


async def crash_again_and_again(
    url: str, log: Path, *, kills: int, seed: int, longest: float = 0.12
) -> Report:
    """Let tabs send events to a server that is killed so many times.

    Args:
        url: of the store.
        log: where the servers write what they have to say.
        kills: how many times.
        seed: draws when.
        longest: seconds of work, at most, before each kill.
    """
    drawn = random.Random(seed)  # noqa: S311 - no secret
    all_tabs = [Tab(f"page {number}") for number in range(TABS)]
    for _ in range(kills):
        async with server(url, log) as (process, address), trio.open_nursery() as nursery:
            for tab in all_tabs:
                nursery.start_soon(tab.stay, address)
            with trio.fail_after(30):
                await drawn.choice(all_tabs).progress.wait()
            await trio.sleep(drawn.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
            await process.wait()
            nursery.cancel_scope.cancel()
    for tab in all_tabs:
        tab.finish()
    await settle(all_tabs, url, log)
    for tab in all_tabs:
        tab.check()
    sent = [times for tab in all_tabs for times in tab.sent[1:]]
    connections = sum(tab.connections for tab in all_tabs)
    return Report(kills, connections, len(sent), sum(times > 1 for times in sent))


async def settle(tabs: list[Tab], url: str, log: Path) -> None:
    """Let the last server do what is left, and look at the end once more."""
    async with server(url, log) as (_, address):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for tab in tabs:
                    nursery.start_soon(tab.stay, address)
    async with server(url, log) as (_, address):  # what is checked is what is stored
        with trio.fail_after(60):
            for tab in tabs:
                tab.most += 1
            async with trio.open_nursery() as nursery:
                for tab in tabs:
                    nursery.start_soon(tab.stay, address)
            # The last call may come after the last acknowledgement, so look again.
            for tab in tabs:
                await look(tab, address)


async def look(tab: Tab, address: str) -> None:
    """Connect until what follows from the last event is there."""
    expected = (len(tab.sent) - 1) // 3
    while len(tab.state["tally"]["followed"]) < expected:
        onlooker = Tab(tab.name)
        onlooker.token, onlooker.acknowledged, onlooker.most = tab.token, 0, 1
        await onlooker.stay(address)
        tab.state = onlooker.state
        await trio.sleep(0.05)
