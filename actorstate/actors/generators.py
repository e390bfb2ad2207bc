"""Handlers that yield: what their ``yield`` stands for is done, and comes back to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import closing
from typing import Any

from actorstate.actors.flavor import Runner

AtYield = Callable[[object], Awaitable[None]]
"""What a ``yield`` stands for: it gets the value, and may raise, at the ``yield``."""


async def finish(running: AsyncGenerator[object, Any], at_yield: AtYield, run: Runner) -> None:
    """Run an async generator to its end, a step at a time.

    What goes wrong at a ``yield`` is thrown into the generator there, so that its blocks and
    nurseries are left by the exception, as in any other function, and not closed from outside.
    """
    advance = running.__anext__()
    try:
        while True:
            try:
                value = await run(advance)
            except StopAsyncIteration:
                return
            try:
                await at_yield(value)
            except BaseException as error:  # noqa: BLE001 - not swallowed: it goes to the generator
                advance = running.athrow(error)
            else:
                advance = running.__anext__()
    finally:
        await run(running.aclose())


async def finish_plain(running: Generator[object, Any, object], at_yield: AtYield) -> object:
    """Run a plain generator to its end, as `finish` does; give what it returned."""
    with closing(running):
        error: BaseException | None = None
        while True:
            try:
                value = next(running) if error is None else running.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
            try:
                await at_yield(value)
            except BaseException as at_the_yield:  # noqa: BLE001 - not swallowed: as above
                error = at_the_yield
