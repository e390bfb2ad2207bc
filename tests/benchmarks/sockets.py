"""What a round trip over sockets costs, beside a bare trio-websocket echo of the same frames."""

from __future__ import annotations

import functools
import json
import math
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, open_websocket, serve_websocket
from turns import Bench

from actorstate import App, ConnectionLimits

ROUND_TRIPS = 8_000
REPEATS = 5


async def echo(request: WebSocketRequest) -> None:
    socket = await request.accept(subprotocol="actorstate.v1")
    try:
        while True:
            await socket.send_message(await socket.get_message())
    except ConnectionClosed:
        pass


async def serve_echo() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve_websocket, echo, "127.0.0.1", 0, None))
        print(server.port, flush=True)


ECHO = [sys.executable, __file__]
# In memory, as an echo is: what a disk costs is told by the benchmark of the stores.
APP = [sys.executable, "-m", "actorstate", "run", __file__, "--port", "0", "--store", "memory://"]


@contextmanager
def server(command: list[str]) -> Generator[int]:
    """Run a server in a process of its own; give the port that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"(\d+)(?: |$)", process.stdout.readline())
            assert found is not None
            yield int(found[1])
        finally:
            process.terminate()


class Gate:
    """Starts all connections together, and stops the clock when the last answer is there."""

    def __init__(self, connections: int) -> None:
        self.waiting = self.running = connections
        self.opened = trio.Event()
        self.started = self.seconds = 0.0

    async def enter(self) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.started = time.perf_counter()
            self.opened.set()
        await self.opened.wait()

    def leave(self) -> None:
        self.running -= 1
        if self.running == 0:
            self.seconds = time.perf_counter() - self.started


async def drive(port: int, count: int, index: int, gate: Gate) -> None:
    """Send events over one connection, each when the one before is answered."""
    url = ("127.0.0.1", port, "/_actorstate/ws")
    async with open_websocket(*url, use_ssl=False, subprotocols=["actorstate.v1"]) as socket:
        await socket.send_message(json.dumps({"t": "hello", "instance": f"bench-{index}"}))
        await socket.get_message()
        await gate.enter()
        answer = ""
        for seq in range(1, count + 1):
            frame = f'{{"t":"event","seq":{seq},"name":"bench.increment","args":[]}}'
            await socket.send_message(frame)
            answer = await socket.get_message()
        gate.leave()
        last = json.loads(answer)
        assert last.get("ack", last.get("seq")) == count, last


async def round_trips(port: int, connections: int) -> float:
    """Round trips a second, over so many connections at once."""
    gate = Gate(connections)
    async with trio.open_nursery() as nursery:
        for index in range(connections):
            nursery.start_soon(drive, port, ROUND_TRIPS // connections, index, gate)
    return ROUND_TRIPS / gate.seconds


def compare(connections: int) -> tuple[float, float, float]:
    """Measure app and echo in turn, pair by pair; give both medians and that of the ratios."""
    with server(APP) as app_port, server(ECHO) as echo_port:
        pairs = [
            (
                trio.run(round_trips, app_port, connections),
                trio.run(round_trips, echo_port, connections),
            )
            for _ in range(REPEATS)
        ]
    apps, echoes = zip(*pairs, strict=True)
    ratio = statistics.median(app / bare for app, bare in pairs)
    return statistics.median(apps), statistics.median(echoes), ratio


# One client may send as fast as it can, and have all connections: what these cost is measured.
LIMITS = ConnectionLimits(rate_limit=math.inf, max_connections_per_address=math.inf)
app = App(root=Bench, connections=LIMITS)

if __name__ == "__main__":
    trio.run(serve_echo)
