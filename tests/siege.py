"""A server in a process of its own, under siege, and a good client beside those who besiege it."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, final

import attrs
import fuzz_site
import trio
from browser import Server, assert_content
from fuzz import upgrade, websocket_frame
from wire_tab import Memory, WireTab

TEXT: Final = 1
"""The opcode of a text message."""

PATIENCE: Final = 10.0  # seconds in which the server is to end a connection that its peer has ended

LONGEST_WAIT: Final = 1.0
"""Seconds that the good client may ever wait for an answer."""

MOST_GROWTH: Final = 16 * 1024 * 1024
"""Bytes by which the server may grow, from when it has warmed up."""


# ---- those who besiege ---------------------------------------------------------------------------


def send(port: int, pieces: Iterable[bytes]) -> bytes:
    """Send bytes over a connection of their own, and end it; give what comes back.

    Raises:
        TimeoutError: the server does not end the connection, too.
    """
    with _connected(port) as peer:
        return _finish(peer, pieces)


def send_frames(port: int, frames: Iterable[bytes]) -> list[bytes]:
    """Send bytes over a WebSocket, and end it; give the payloads of what comes back.

    Raises:
        TimeoutError: as `send`.
    """
    with _connected(port) as peer:
        _shake_hands(peer, port)
        return [payload for _, payload in read_frames([_finish(peer, frames)])]


def converse(port: int, messages: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """Send messages over one WebSocket, and give what the server says.

    Ends when the caller has heard enough; the connection then is closed.
    """
    with _connected(port) as peer:
        _shake_hands(peer, port)
        peer.sendall(b"".join(_as_frame(one) for one in messages))
        for opcode, payload in read_frames(_received(peer)):
            assert opcode == TEXT, f"closed with {payload!r}"
            yield json.loads(payload)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def _shake_hands(peer: socket.socket, port: int) -> None:
    """Open the WebSocket. What is sent before the answer is there, no server needs to read."""
    peer.sendall(upgrade(port))
    head = b""
    while not head.endswith(b"\r\n\r\n") and (more := peer.recv(1)):
        head += more
    assert head.startswith(b"HTTP/1.1 101 "), head


def _as_frame(message: str | bytes) -> bytes:
    if isinstance(message, str):
        return websocket_frame(message.encode())
    return websocket_frame(message, opcode=2)


def _finish(peer: socket.socket, pieces: Iterable[bytes]) -> bytes:
    """Send all there is, and give what comes back."""
    with suppress(ConnectionError):  # the server has heard enough
        for piece in pieces:
            peer.sendall(piece)
    with suppress(OSError):  # it is reset by now
        peer.shutdown(socket.SHUT_WR)
    answer = b"".join(_received(peer))
    assert b"Traceback" not in answer
    assert fuzz_site.SECRET.encode() not in answer
    return answer


def _received(peer: socket.socket) -> Iterator[bytes]:
    with suppress(ConnectionError):
        while data := peer.recv(65_536):
            yield data


def read_frames(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Read what a server sends over a WebSocket; give opcodes and payloads.

    Raises:
        AssertionError: it is not what a server may send.
    """
    data = b""
    for part in parts:
        data += part
        while (frame := _take_frame(data)) is not None:
            opcode, payload, data = frame
            yield opcode, payload


def _take_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    if len(data) < 2:
        return None
    assert data[0] in (0x81, 0x88, 0x8A), f"a frame begins with {data[:2]!r}"
    wide = {126: 2, 127: 8}.get(data[1], 0)
    begin = 2 + wide
    length = int.from_bytes(data[2:begin], "big") if wide else data[1]
    if len(data) < begin + length:
        return None
    return data[0] & 15, data[begin : begin + length], data[begin + length :]


# ---- the good client ----------------------------------------------------------------------------


@final
class Companion:
    """A client that goes on using the server, in a thread, and notes how long it waits.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._tab: Final = WireTab(port, Memory("companion"))
        self._is_over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=trio.run, args=(self._use,))
        self.waits: Final[list[float]] = []
        """Seconds, for each of its events."""

    def __enter__(self) -> Companion:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    async def _use(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tab.stay)
            while not self._is_over.is_set():
                started = time.perf_counter()
                self._tab.fire("target.add", 1)
                with trio.move_on_after(10 * LONGEST_WAIT):
                    await self._tab.wait_until_done()
                self.waits.append(time.perf_counter() - started)
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()

    def check(self) -> None:
        """Check that each of its events counted, on one connection, and that it never waited."""
        assert max(self.waits) < LONGEST_WAIT
        assert self._tab.connections == 1
        assert self._tab.memory.errors == []
        assert self._tab.memory.state["target"]["count"] == len(self.waits)


# ---- the siege ----------------------------------------------------------------------------------


@final
@attrs.define(eq=False)
class Siege:
    """A server that is sent all kinds of things."""

    server: Server
    companion: Companion
    inputs: int = 0
    """So many were sent to it by now."""

    @property
    def port(self) -> int:
        return self.server.port

    def is_healthy(self) -> bool:
        with urllib.request.urlopen(f"{self.server.url}/healthz", timeout=5) as answer:  # noqa: S310
            return answer.read() == b"ok\n"


@contextmanager
def besieged(folder: Path) -> Generator[Siege]:
    """Have a server to lay siege to; see in the end that it stood.

    Raises:
        AssertionError: it has something to complain of, or does not answer any more; or the good
            client had to wait.
    """
    with Server(Path(fuzz_site.__file__), folder) as server:
        with Companion(server.port) as companion:
            siege = Siege(server, companion)
            yield siege
            assert siege.is_healthy()
        companion.check()
        assert_content(server, but_for="a client sends more than max_message_bytes")
        assert "Traceback" not in server.log
