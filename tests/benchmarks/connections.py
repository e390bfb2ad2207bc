"""What many connected tabs cost, beside a bare trio-websocket echo, and what one busy one does."""

from __future__ import annotations

import functools
import json
import re
import statistics
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from sockets import APP, ECHO
from trio_websocket import WebSocketConnection, open_websocket

TABS = 1_000
ROUNDS = 5
AT_ONCE = 10_000
TURNS = 5_000


@contextmanager
def server(command: list[str]) -> Generator[tuple[int, int]]:
    """Run a server in a process of its own; give its port and its process id."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"(\d+)(?: |$)", process.stdout.readline())
            assert found is not None
            yield int(found[1]), process.pid
        finally:
            process.terminate()


def resident(pid: int) -> float:
    """Give the KB of memory that a process has (on Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return float(found[1])


def connection(port: int) -> Any:
    return open_websocket(
        "127.0.0.1", port, "/_actorstate/ws", use_ssl=False, subprotocols=["actorstate.v1"]
    )


async def stay(
    port: int,
    name: str,
    sockets: list[WebSocketConnection],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Hold one connection that has said hello."""
    async with connection(port) as socket:
        await socket.send_message(json.dumps({"t": "hello", "instance": name}))
        await socket.get_message()
        sockets.append(socket)
        task_status.started()
        await trio.sleep_forever()


def event(seq: int) -> str:
    return f'{{"t":"event","seq":{seq},"name":"bench.increment","args":[]}}'


async def fire(socket: WebSocketConnection, delays: list[float]) -> None:
    for seq in range(1, ROUNDS + 1):
        started = time.perf_counter()
        await socket.send_message(event(seq))
        await socket.get_message()
        delays.append(time.perf_counter() - started)


async def crowd(port: int, pid: int) -> tuple[float, float, float, float]:
    """Connect many tabs; give the KB of each, the events/s of all, and their p50 and p99 (ms)."""
    sockets: list[WebSocketConnection] = []
    delays: list[float] = []
    async with trio.open_nursery() as nursery:
        for number in range(50):  # what is there once is there by then
            await nursery.start(stay, port, f"early {number}", sockets)
        before = resident(pid)
        for number in range(TABS):
            await nursery.start(stay, port, f"bench {number}", sockets)
        size = (resident(pid) - before) / TABS
        started = time.perf_counter()
        async with trio.open_nursery() as at_work:
            for socket in sockets[50:]:
                at_work.start_soon(fire, socket, delays)
        rate = TABS * ROUNDS / (time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    cuts = statistics.quantiles(delays, n=100)
    return size, rate, 1000 * cuts[49], 1000 * cuts[98]


async def burst(port: int) -> float:
    """Send all events at once over one connection; give the events/s until the last is done."""
    async with connection(port) as socket:
        await socket.send_message(json.dumps({"t": "hello", "instance": "burst"}))
        await socket.get_message()
        started = time.perf_counter()

        async def send() -> None:
            for seq in range(1, AT_ONCE + 1):
                await socket.send_message(event(seq))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while json.loads(await socket.get_message()).get("ack") != AT_ONCE:
                pass
        return AT_ONCE / (time.perf_counter() - started)


async def climb(port: int) -> tuple[float, int]:
    """Let a background task take its turns; give those a second, and the patches that told them."""
    async with connection(port) as socket:
        await socket.send_message(json.dumps({"t": "hello", "instance": "climb"}))
        await socket.get_message()
        started, patches, version = time.perf_counter(), 0, 0
        await socket.send_message(f'{{"t":"event","seq":1,"name":"bench.climb","args":[{TURNS}]}}')
        while version < TURNS:
            version = json.loads(await socket.get_message()).get("version", version)
            patches += 1
        return TURNS / (time.perf_counter() - started), patches


def show() -> tuple[float, float]:
    """Print all; give the KB of a connected tab and the share of the echo's events."""
    figures = {}
    for name, command in (("ours", APP), ("echo", ECHO)):
        with server(command) as (port, pid):
            figures[name] = trio.run(functools.partial(crowd, port, pid))
    for name, (size, rate, p50, p99) in figures.items():
        print(f"  {name}: {TABS:,} tabs: {size:.1f} KB each, {rate:,.0f} events/s, "
              f"p50 {p50:.0f} ms, p99 {p99:.0f} ms")  # fmt: skip
    with server(APP) as (port, _):
        print(f"  {AT_ONCE:,} events at once by one client: {trio.run(burst, port):,.0f} /s")
        rate, frames = trio.run(climb, port)
        print(
            f"  {TURNS:,} turns of a task, seen by one client: {rate:,.0f} /s in {frames:,} frames"
        )
    return figures["ours"][0], figures["ours"][1] / figures["echo"][1]


if __name__ == "__main__":
    show()
