"""What a turn, an event and a round trip cost. Run by ``make bench``.

Figures of one machine say little; what counts are the ratios, taken side by side in one run: each
socket figure stands beside a bare trio-websocket echo that gets the same frames.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, open_websocket, serve_websocket

from actorstate import App, State, background
from actorstate.actors.messages import Event

BURST = 20_000
CLOSED_LOOP = 10_000
TURNS = 5_000
ROUND_TRIPS = 8_000
REPEATS = 5
LEAST_RATIO = 0.6


class Bench(State, root=True):
    count: int = 0
    seconds: float = 0.0

    def increment(self) -> None:
        self.count += 1

    @background
    async def climb(self) -> None:
        started = time.perf_counter()
        for _ in range(TURNS):
            async with self:
                self.count += 1
        async with self:
            self.seconds = time.perf_counter() - started


INCREMENT = Event("bench.increment")


# ---- in one process -----------------------------------------------------------------------------


async def burst() -> float:
    """Events a second of one token, when all of them lie in the mailbox at once."""
    async with App(root=Bench, mailbox_capacity=BURST + 1) as app:
        ref = app.directory.ref("bench")
        started = time.perf_counter()
        for _ in range(BURST - 1):
            ref.tell(INCREMENT)
        await ref.ask(INCREMENT, block=False)
        return BURST / (time.perf_counter() - started)


async def closed_loop() -> float:
    """Events a second of one token, when each waits for the one before."""
    async with App(root=Bench) as app:
        ref = app.directory.ref("bench")
        started = time.perf_counter()
        for _ in range(CLOSED_LOOP):
            await ref.ask(INCREMENT, block=False)
        return CLOSED_LOOP / (time.perf_counter() - started)


async def task_turns() -> float:
    """Turns a second of one background task."""
    async with App(root=Bench) as app:
        await app.directory.ref("bench").ask(Event("bench.climb"), block=False)
        [task] = app.background_tasks
        await task.wait()
        async with app.modify_state("bench") as state:
            return TURNS / state.get_substate(Bench).seconds


# ---- over sockets -------------------------------------------------------------------------------


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


ECHO = [sys.executable, __file__, "echo"]
APP = [sys.executable, "-m", "actorstate", "run", __file__, "--port", "0"]


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


# ---- the table ----------------------------------------------------------------------------------


def median(measure: Callable[[], Awaitable[float]]) -> float:
    return statistics.median(trio.run(measure) for _ in range(REPEATS))


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


def main() -> int:
    print(f"events/s of one token, burst of {BURST:,}:  {median(burst):>10,.0f}")
    print(f"events/s of one token, closed loop:     {median(closed_loop):>10,.0f}")
    print(f"turns/s of one background task:         {median(task_turns):>10,.0f}")
    worst = 1.0
    for connections in (1, 100):
        ours, bare, ratio = compare(connections)
        worst = min(worst, ratio)
        print(
            f"round trips/s over {connections:>3} connections:      {ours:>10,.0f}"
            f"   (bare echo {bare:,.0f}: {ratio:.0%}, at least {LEAST_RATIO:.0%})"
        )
    return 0 if worst >= LEAST_RATIO else 1


app = App(root=Bench)

if __name__ == "__main__":
    if sys.argv[1:] == ["echo"]:
        trio.run(serve_echo)
    else:
        sys.exit(main())
