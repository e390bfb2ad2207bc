"""What a WebSocket reads from: real sockets, since what they tell is the point."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from actorstate.web.streams import Replayed, receive_patiently

Pair = tuple[trio.SocketStream, socket.socket]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A stream, and a plain socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
        with peer:
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                yield stream, peer


async def test_what_comes_is_received_at_most_so_much_at_once(pair: Pair) -> None:
    stream, peer = pair
    peer.sendall(b"hello")
    assert await receive_patiently(stream, 4) == b"hell"
    assert await receive_patiently(stream) == b"o"


async def test_the_end_is_nothing(pair: Pair) -> None:
    stream, peer = pair
    peer.sendall(b"bye")
    peer.shutdown(socket.SHUT_WR)
    assert [await receive_patiently(stream) for _ in range(3)] == [b"bye", b"", b""]


async def test_a_cancellation_takes_nothing(pair: Pair) -> None:
    stream, peer = pair
    peer.sendall(b"kept")
    with trio.move_on_after(0) as scope:
        await receive_patiently(stream)
    assert scope.cancelled_caught
    assert await receive_patiently(stream) == b"kept"


async def test_a_connection_that_is_reset_is_broken(pair: Pair) -> None:
    stream, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(trio.BrokenResourceError):
        await receive_patiently(stream)


async def test_to_receive_no_bytes_is_refused_as_the_stream_does(pair: Pair) -> None:
    stream, peer = pair
    peer.sendall(b"hello")
    with pytest.raises(ValueError, match="max_bytes"):
        await receive_patiently(stream, 0)


async def test_a_stream_that_is_closed_from_here_says_so_also_to_who_waits(pair: Pair) -> None:
    stream, _ = pair

    async def expect_closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await receive_patiently(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed)
        await wait_all_tasks_blocked()
        await stream.aclose()
    await expect_closed()


async def test_what_somebody_else_has_taken_is_waited_for_again(pair: Pair) -> None:
    stream, peer = pair
    thief = Thief(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(thief.wait_for_the_rest)
        await wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(thief)
        peer.sendall(b"taken")
        await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(thief)
        assert thief.taken == b"taken"
        peer.sendall(b"left")
    assert thief.rest == b"left"


class Thief(trio.abc.Instrument):
    """Takes what is there once the loop knows of it, and before who waits for it runs."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.taken = self.rest = b""

    def after_io_wait(self, timeout: float) -> None:
        with suppress(BlockingIOError):
            self.taken += os.read(self.stream.socket.fileno(), 100)

    async def wait_for_the_rest(self) -> None:
        self.rest = await receive_patiently(self.stream)


async def test_what_was_read_is_given_again_and_then_what_comes(pair: Pair) -> None:
    stream, peer = pair
    replayed = Replayed(stream, b"head")
    peer.sendall(b"body")
    assert [await replayed.receive_some(3) for _ in range(3)] == [b"hea", b"d", b"bod"]


async def test_another_stream_than_of_a_socket_is_received_from_as_it_does() -> None:
    ours, theirs = memory_stream_pair()
    replayed = Replayed(ours, b"head")
    await theirs.send_all(b"body")
    assert [await replayed.receive_some() for _ in range(2)] == [b"head", b"body"]
