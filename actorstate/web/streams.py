"""What a WebSocket reads from: bytes that were read before, and then a socket."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

_READ_AT_ONCE: Final = 64 * 1024  # bytes
_CLOSED: Final = -1  # in the place of a file descriptor


@final
class Replayed:
    """A stream that gives again what was read from it already; then it is the stream itself.

    Every frame goes through here, so nothing stands in between: the methods are the stream's own.

    Args:
        stream: what was read from.
        read: what was read.
    """

    def __init__(self, stream: trio.abc.Stream, read: bytes) -> None:
        self._read = read
        self._receive_more: Final = (
            functools.partial(receive_patiently, stream)
            if isinstance(stream, trio.SocketStream)
            else stream.receive_some
        )
        self.receive_some: Callable[..., Awaitable[bytes | bytearray]] = self._replay
        self.send_all: Callable[[bytes], Awaitable[None]] = stream.send_all
        self.wait_send_all_might_not_block: Callable[[], Awaitable[None]] = (
            stream.wait_send_all_might_not_block
        )
        self.aclose: Callable[[], Awaitable[None]] = stream.aclose

    async def _replay(self, max_bytes: int | None = None) -> bytes | bytearray:
        await trio.lowlevel.checkpoint()
        some = self._read[:max_bytes]
        self._read = self._read[len(some) :]
        if not self._read:
            self.receive_some = self._receive_more
        return some


async def receive_patiently(
    stream: trio.SocketStream, max_bytes: int | None = None
) -> bytes | bytearray:
    """Receive as the stream does, but wait before the first try.

    From one event of a page to its next the time is long. So the try with which trio begins is in
    vain; with the exception that says so it takes a twentieth of the time of a round trip.

    What is wrong is the stream's own to tell: it is asked again then.

    Raises:
        trio.BrokenResourceError: the connection is broken.
        trio.ClosedResourceError: it was closed from here.
        ValueError: no bytes are asked for.
    """
    socket, most = stream.socket, _READ_AT_ONCE if max_bytes is None else max_bytes
    if most > 0 and socket.fileno() != _CLOSED:
        await trio.lowlevel.wait_readable(socket)
        try:
            return os.read(socket.fileno(), most)
        except ConnectionError as error:  # which is told once
            raise trio.BrokenResourceError from error
        except OSError:
            pass
    return await stream.receive_some(max_bytes)
