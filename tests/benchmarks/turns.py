"""What a turn costs beside the spike's (see ``spike``), from the mailbox to the outbox.

The same work is given to both: messages to a mailbox, and blocks of tasks. Ours is the app as it
comes: nothing is switched off, one page is connected, and what the page sends has its page load and
its numbers.

The closed loop is there twice. An event of the spike's goes through its mailbox, in any case. One
of ours does so if somebody asks for the answer; not if it comes from a connection, and its actor
has nothing else to do.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
from spike import CountActor, Increment, Lent

from actorstate import App, State, background
from actorstate.actors.messages import Attach, Connection, Event, Notice, Patch
from actorstate.actors.runtime import Scope
from actorstate.state.router import Router

BURST = 20_000
CLOSED_LOOP = 10_000
TURNS = 5_000
TASKS = 50
IDLE = 2_000
PAIRS = 9


class Bench(State, root=True):
    count: int = 0

    def increment(self) -> None:
        self.count += 1

    async def increment_async(self) -> None:
        self.count += 1

    @background
    async def climb(self, turns: int) -> None:
        for _ in range(turns):
            async with self:
                self.count += 1


class Page:
    """A connection that lets everything lie in its outbox."""

    instance = "page"
    router = Router("bench")

    def __init__(self) -> None:
        self.outbox: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.outbox.append(notice)

    def replace(self) -> None:
        self.close()

    def contest(self, rivals: tuple[Connection, ...], *, was_here: bool) -> None:
        raise AssertionError

    async def gives_sign(self, within: float) -> bool:
        raise AssertionError

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def clock(figures: list[float]) -> Generator[None]:
    gc.collect()
    started = time.perf_counter()
    yield
    figures.append(time.perf_counter() - started)


async def burst(ref: Any, events: list[Any]) -> float:
    """Give the seconds that it takes when all events lie in the mailbox at once."""
    figures: list[float] = []
    with clock(figures):
        for event in events[:-1]:
            ref.tell(event)
        await ref.ask(events[-1], block=False)
    return figures[0]


async def closed_loop(ref: Any, events: list[Any]) -> float:
    """Give the seconds that it takes when each waits for the one before."""
    figures: list[float] = []
    with clock(figures):
        for event in events:
            await ref.ask(event, block=False)
    return figures[0]


async def connected_loop(ref: Any, events: list[Event], page: Page) -> float:
    """Give the seconds that it takes as a connection does it, which reads on after each."""
    figures: list[float] = []
    with clock(figures):
        for event in events:
            assert ref.tell_at_once(event)
            patch = page.outbox[-1]
            assert isinstance(patch, Patch)
            assert patch.ack == event.seq
            await trio.lowlevel.checkpoint()
    return figures[0]


# ---- ours ---------------------------------------------------------------------------------------


@asynccontextmanager
async def tab(
    turns: int, page: Page | None = None, *, asyncio: bool = False
) -> AsyncGenerator[tuple[App, Any]]:
    """Have an app with a tab and its page; see to it that the page is told of so many turns."""
    page = page or Page()
    async with App(root=Bench, mailbox_capacity=BURST + 1, asyncio=asyncio) as app:
        ref = app.directory.ref("bench")
        await ref.ask(Attach(page), block=False)
        yield app, ref
        patches = [notice for notice in page.outbox if isinstance(notice, Patch)]
        assert [patch.version for patch in patches] == [*range(1, turns + 1)]


def numbered(count: int, handler: str = "increment") -> list[Event]:
    return [Event(f"bench.{handler}", [], seq, "page") for seq in range(1, count + 1)]


async def our_burst(*, asyncio: bool = False) -> float:
    async with tab(BURST, asyncio=asyncio) as (_, ref):
        return await burst(ref, numbered(BURST))


async def our_async_burst(*, asyncio: bool = False) -> float:
    async with tab(BURST, asyncio=asyncio) as (_, ref):
        return await burst(ref, numbered(BURST, "increment_async"))


async def our_connected_loop() -> float:
    page = Page()
    async with tab(CLOSED_LOOP, page) as (_, ref):
        return await connected_loop(ref, numbered(CLOSED_LOOP), page)


async def our_closed_loop() -> float:
    async with tab(CLOSED_LOOP) as (_, ref):
        return await closed_loop(ref, numbered(CLOSED_LOOP))


async def our_tasks(tasks: int, *, asyncio: bool = False) -> float:
    figures: list[float] = []
    async with tab(TURNS, asyncio=asyncio) as (app, ref):
        starts = [Event("bench.climb", [TURNS // tasks], 1 + n, "page") for n in range(tasks)]
        with clock(figures):
            for start in starts:
                await ref.ask(start, block=False)
            for task in list(app.background_tasks):
                await task.wait()
    return figures[0]


async def our_idle() -> float:
    async with App(root=Bench) as app:

        async def activate(number: int) -> None:
            await app.directory.ref(f"tab-{number}").ask(Event("bench.increment"), block=False)

        return await bytes_each(activate)


# ---- the spike ----------------------------------------------------------------------------------


@asynccontextmanager
async def count(turns: int) -> AsyncGenerator[tuple[CountActor, Any]]:
    async with trio.open_nursery() as nursery:
        actor = CountActor(Scope(nursery))
        actor.run()
        yield actor, actor.actor_ref
        assert [patch.version for patch in actor.outbox] == [*range(1, turns + 1)]
        nursery.cancel_scope.cancel()


async def spike_burst() -> float:
    async with count(BURST) as (_, ref):
        return await burst(ref, [Increment() for _ in range(BURST)])


async def spike_closed_loop() -> float:
    async with count(CLOSED_LOOP) as (_, ref):
        return await closed_loop(ref, [Increment() for _ in range(CLOSED_LOOP)])


async def spike_tasks(tasks: int) -> float:
    figures: list[float] = []

    async def climb(actor: CountActor) -> None:
        for _ in range(TURNS // tasks):
            async with Lent(actor) as state:
                state.count += 1

    async with count(TURNS) as (actor, _):
        with clock(figures):
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(climb, actor)
            async with Lent(actor):
                pass  # the end of the one before is not acknowledged: only the next turn is
    return figures[0]


async def spike_idle() -> float:
    async with trio.open_nursery() as nursery:

        async def activate(_: int) -> None:
            actor = CountActor(Scope(nursery))
            actor.run()
            await actor.actor_ref.ask(Increment(), block=False)

        used = await bytes_each(activate)
        nursery.cancel_scope.cancel()
    return used


async def bytes_each(activate: Callable[[int], Awaitable[None]]) -> float:
    """Give the bytes of memory that a token takes once it has done an event."""
    await activate(0)
    gc.collect()
    tracemalloc.start()
    for number in range(1, IDLE + 1):
        await activate(number)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / IDLE


# ---- both ---------------------------------------------------------------------------------------


Measure = Callable[[], Awaitable[float]]


def compare(ours: Measure, theirs: Measure, turns: int) -> tuple[float, float, float]:
    """Measure in turn, pair by pair; give the medians of turns a second, and that of the ratios."""
    pairs = [(trio.run(ours), trio.run(theirs)) for _ in range(PAIRS)]
    mine, spikes = zip(*pairs, strict=True)
    ratio = statistics.median(mine / spike for mine, spike in pairs)
    return turns / statistics.median(mine), turns / statistics.median(spikes), ratio
