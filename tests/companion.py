"""A good client: it uses a server until its input ends, and tells how long it had to wait."""

from __future__ import annotations

import json
import sys
import time

import trio
from wire_tab import Memory, WireTab


async def use(tab: WireTab) -> list[float]:
    """Send events one by one; give for how many seconds each was under way, but for the first."""
    waits: list[float] = []
    is_over = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tab.stay)
        nursery.start_soon(_note_end, is_over)
        while not is_over.is_set():
            started = time.perf_counter()
            tab.fire("target.add", 1)
            with trio.move_on_after(10):
                await tab.wait_until_done()
            waits.append(time.perf_counter() - started)
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    return waits[1:]


async def _note_end(is_over: trio.Event) -> None:
    await trio.to_thread.run_sync(sys.stdin.read)
    is_over.set()


def main() -> None:
    """Use the server at the port that is given; print what came of it."""
    tab = WireTab(int(sys.argv[1]), Memory("companion"))
    waits = trio.run(use, tab)
    said = {
        "waits": waits,
        "connections": tab.connections,
        "errors": tab.memory.errors,
        "count": tab.memory.state["target"]["count"],
    }
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main()
