"""A tab that speaks the protocol over a real socket, and does not give up.

It does all that docs/protocol.md asks of a client, and takes all that the document says may come:
patches of several turns at once, a welcome without the state, pings, errors that settle an event.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast, final

import attrs
import jsonpatch
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from actorstate.web.protocol import SOCKET_PATH, SUBPROTOCOL

AWAY: Final = (
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    HandshakeError,
    ConnectionClosed,
)
"""What a line that is cut looks like from here."""

_HANDSHAKE_PATIENCE: Final = 10.0  # seconds


class LostTrackError(AssertionError):
    """The server left a gap between two versions."""


@final
class Memory:
    """What a tab knows, and how it takes frames; no IO.

    Args:
        instance: the name of its page load.
    """

    def __init__(self, instance: str) -> None:
        self.instance: Final = instance
        self.token: str | None = None
        self.history: str | None = None
        self.version: int | None = None
        self.state: Any = {}
        self.ack = 0
        self.last_seq = 0
        self.waiting: Final[dict[int, str]] = {}
        """The frames of the events that are not done, by number."""
        self.errors: Final[list[dict[str, Any]]] = []
        self.effects: Final[list[dict[str, Any]]] = []
        self.patience = math.inf
        """For how many seconds a server that lives may say nothing."""

    def hello(self) -> str:
        """Give the first frame of a connection."""
        frame = {"t": "hello", "token": self.token, "instance": self.instance,
                 "version": self.version, "path": "/"}  # fmt: skip
        # A server that named none knows no such member, and is strict.
        return json.dumps({**frame, **({} if self.history is None else {"history": self.history})})

    def event(self, name: str, args: tuple[Any, ...]) -> str:
        """Number an event, and keep it until it is done."""
        self.last_seq += 1
        frame = {"t": "event", "seq": self.last_seq, "name": name, "args": args}
        self.waiting[self.last_seq] = json.dumps(frame)
        return self.waiting[self.last_seq]

    def take(self, frame: dict[str, Any]) -> list[str]:
        """Do what a frame says; give the frames that answer it."""
        match frame["t"]:
            case "welcome":
                self._take_welcome(frame)
            case "patch":
                self._take_patch(frame)
            case "error":
                return self._take_error(frame)
            case "effect":
                self.effects.append(frame)
            case "ping":
                return ['{"t":"pong"}']
            case _:  # an ack, or what is not known here
                pass
        self._settle(frame.get("ack", 0))
        return list(self.waiting.values()) if frame["t"] == "welcome" else []

    def _take_welcome(self, frame: dict[str, Any]) -> None:
        self.token, self.patience = frame["token"], frame.get("ping", math.inf)
        if "state" in frame:
            self.state = frame["state"]
        elif frame["version"] != self.version or frame["history"] != self.history:
            raise LostTrackError(f"welcomed to {frame}, without its state, at {self.version}")
        self.version, self.history = frame["version"], frame.get("history")

    def _take_patch(self, frame: dict[str, Any]) -> None:
        base = frame.get("base", frame["version"] - 1)
        if base != self.version:
            raise LostTrackError(f"{frame} came at version {self.version}")
        self.state = jsonpatch.apply_patch(self.state, frame["ops"], in_place=True)
        self.version = frame["version"]

    def _take_error(self, frame: dict[str, Any]) -> list[str]:
        self.errors.append(frame)
        self.waiting.pop(frame.get("seq", 0), None)
        if frame["code"] != "bad_token":
            return []
        self.token = self.version = self.history = None
        return [self.hello()]

    def _settle(self, ack: int) -> None:
        self.ack = max(self.ack, ack)
        for seq in [seq for seq in self.waiting if seq <= ack]:
            del self.waiting[seq]


@final
@attrs.define(eq=False)
class WireTab:
    """A tab over a real socket. Run `stay` in a task, and `fire`.

    Args:
        port: of the server, or of what stands between, on 127.0.0.1.
        memory: what it knows.
        look: is called after each frame.
    """

    port: int
    memory: Memory
    look: Callable[[], None] = lambda: None
    connections: int = 0
    """How many welcomes it had, but for those that came again."""
    replaced: int = 0
    """How many of its connections gave way to a newer one."""
    _sending: trio.MemorySendChannel[str] | None = None
    _progress: trio.Event = attrs.field(factory=trio.Event)

    def fire(self, name: str, *args: Any) -> int:
        """Ask for a handler, now or as soon as there is a connection; give the event's number."""
        frame = self.memory.event(name, args)
        if self._sending is not None:
            self._sending.send_nowait(frame)
        return self.memory.last_seq

    async def wait_for_frame(self) -> None:
        """Wait until something has come from the server."""
        await self._progress.wait()

    async def wait_until_done(self) -> None:
        """Wait until every event is."""
        while self.memory.waiting or self.memory.version is None:
            await self.wait_for_frame()

    async def stay(self) -> None:
        """Be connected, again and again, until cancelled."""
        while True:
            try:
                async with connected(self.port) as socket:
                    await self._use(socket)
            except* AWAY as errors:
                self._note_close(errors)
            await trio.sleep(0.01)

    def _note_close(self, errors: BaseExceptionGroup[Any]) -> None:
        closed = [one.reason for one in _leaves(errors) if isinstance(one, ConnectionClosed)]
        self.replaced += any(reason is not None and reason.code == 4001 for reason in closed)

    async def _use(self, socket: WebSocketConnection) -> None:
        sending, to_send = trio.open_memory_channel[str](math.inf)
        sending.send_nowait(self.memory.hello())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, socket, to_send)
            try:
                await self._read(socket, sending)
            finally:
                self._sending = None
                sending.close()

    @staticmethod
    async def _write(socket: WebSocketConnection, frames: trio.MemoryReceiveChannel[str]) -> None:
        async for frame in frames:
            await socket.send_message(frame)

    async def _read(
        self, socket: WebSocketConnection, sending: trio.MemorySendChannel[str]
    ) -> None:
        while True:
            with trio.fail_after(self.memory.patience):
                frame = json.loads(await socket.get_message())
            for answer in self.memory.take(frame):
                sending.send_nowait(answer)
            if frame["t"] == "welcome":
                self.connections += self._sending is None
                self._sending = sending
            self.look()
            self._progress.set()
            self._progress = trio.Event()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Give what lies in groups of exceptions, one by one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@final
class _Handshaking:
    """A stream that says so when it ends in a handshake; trio-websocket would wait for ever."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: Final = stream
        self.send_all: Final = stream.send_all
        self.wait_send_all_might_not_block: Final = stream.wait_send_all_might_not_block
        self.aclose: Final = stream.aclose
        self.is_done = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            data = b""
        if not data and not self.is_done:
            raise ConnectionError("the connection ended in the handshake")
        return data


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[WebSocketConnection]:
    """Have a socket to a server of ours."""
    # The stream is ours to close: where the server closes first, trio-websocket leaves it open.
    async with (
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
        trio.open_nursery() as nursery,
    ):
        handshaking = _Handshaking(stream)
        with trio.fail_after(_HANDSHAKE_PATIENCE):
            socket = await wrap_client_stream(
                nursery, cast("trio.SocketStream", handshaking), f"127.0.0.1:{port}", SOCKET_PATH,
                subprotocols=[SUBPROTOCOL],
            )  # fmt: skip
        handshaking.is_done = True
        yield socket
        nursery.cancel_scope.cancel()
