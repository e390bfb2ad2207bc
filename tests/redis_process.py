"""A process of its own that uses a store in Redis; it prints what it does, one JSON a line.

``python redis_process.py serve URL PORT`` serves the tabs of `Rows`.
``python redis_process.py append URL TOKEN NAME COUNT`` appends rows to one tab, and tells of each
whether that was done, or what was raised.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from persistent_page import UNHURRIED, Rows

from actorstate import App
from actorstate.stores.redis import RedisStore


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def serve(url: str, port: str) -> None:
    store = RedisStore(url)
    async with (
        App(root=Rows, store=store, connections=UNHURRIED) as app,
        trio.open_nursery() as nursery,
    ):
        say(address=await nursery.start(app.serve, "127.0.0.1", int(port)))


async def append(url: str, token: str, name: str, count: str) -> None:
    async with App(root=Rows, store=RedisStore(url)) as app:
        say(ready=True)
        for number in range(int(count)):
            row = f"{name} {number}"
            try:
                async with app.modify_state(token) as state:
                    assert isinstance(state, Rows)
                    state.rows.append(row)
            except Exception as error:  # noqa: BLE001 - not swallowed: told
                say(row=row, raised=type(error).__name__)
            else:
                say(row=row, raised=None)


if __name__ == "__main__":
    commands: dict[str, Callable[..., Awaitable[None]]] = {"serve": serve, "append": append}
    command, *arguments = sys.argv[1:]
    trio.run(commands[command], *arguments)
