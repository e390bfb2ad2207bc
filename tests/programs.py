"""Programs of events and background tasks for one token, as data, and a world that runs them.

Every stretch of a turn (up to a ``yield``, or to the end) writes its name into the state beside
what it does. So the committed history tells the one serial order that the outcome has to equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import attrs
import trio
from clients import Client
from hypothesis import strategies as st

from actorstate import App, State, background
from actorstate.actors.messages import Attach, Detach, Event

TOKEN = "tab"  # noqa: S105 - a name, to the library
SECRET = 987_654_321
MODULUS = 1_000_003


class Planned(Exception):  # noqa: N818 - not an error: a step of a program
    """Raised where a program says so."""


@attrs.frozen
class Step:
    """``apply``, ``sleep``, ``raise`` or ``yield``, with a number for those that take one."""

    kind: str
    number: int = 0


@attrs.frozen
class Block:
    """A turn: what is done under it, and how long to wait before asking for it."""

    delay: int
    steps: tuple[Step, ...]


@attrs.frozen
class Script:
    """Somebody who takes turns, one after the other, and may be cancelled."""

    kind: str
    """``event``, ``task`` (started by an event), ``chain`` (by a handler's return), ``outside``."""
    start: int
    blocks: tuple[Block, ...]
    cancel_after: int | None = None


@attrs.frozen
class Visit:
    """A client that attaches and, perhaps, leaves before the end."""

    start: int
    stay: int | None


@attrs.frozen
class Program:
    scripts: tuple[Script, ...]
    visits: tuple[Visit, ...]


def programs() -> st.SearchStrategy[Program]:
    """Programs of up to six scripts and three clients. Times are few and small: ties are many."""
    moments = st.integers(0, 4)
    steps = st.one_of(
        st.builds(Step, st.just("apply"), st.integers(1, 9)),
        st.builds(Step, st.just("sleep"), st.integers(0, 2)),
        st.builds(Step, st.sampled_from(["yield", "raise"])),
    )
    blocks = st.builds(Block, st.integers(0, 2), st.lists(steps, max_size=4).map(tuple))
    scripts = st.builds(
        Script,
        st.sampled_from(["event", "task", "chain", "outside"]),
        moments,
        st.lists(blocks, min_size=1, max_size=3).map(tuple),
        st.none() | moments,
    )
    return st.builds(
        Program,
        st.lists(scripts, min_size=1, max_size=6).map(tuple),
        st.lists(st.builds(Visit, moments, st.none() | moments), max_size=3).map(tuple),
    )


class World:
    """What the scripts leave behind outside the state, to compare the state with."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.holder: str | None = None
        self.applied: dict[str, list[int]] = defaultdict(list)
        self.ended: set[str] = set()

    async def run(self, state: Playing, name: str, block: Block) -> AsyncIterator[None]:
        """Do the steps of one block under its turn; yields where the block does."""
        assert self.holder is None, f"{name} runs beside {self.holder}"
        self.holder = name
        stretch = f"{name}/0"
        try:
            for number, step in enumerate(block.steps, 1):
                match step.kind:
                    case "apply":
                        state.value = (state.value * 3 + step.number) % MODULUS
                        self.applied[stretch].append(step.number)
                    case "sleep":
                        await trio.sleep(step.number)
                    case "raise":
                        raise Planned(name)
                    case "yield":
                        self._end(state, stretch)
                        yield
                        stretch = f"{name}/{number}"
            self._end(state, stretch)
        finally:
            self.holder = None

    def _end(self, state: Playing, stretch: str) -> None:
        state.history = [*state.history, stretch]
        state._secret = SECRET
        self.ended.add(stretch)

    def replay(self, history: list[str]) -> int:
        value = 0
        for stretch in history:
            for number in self.applied[stretch]:
                value = (value * 3 + number) % MODULUS
        return value


class PlayRoot(State, root=True):
    pass


class Playing(PlayRoot):
    world: ClassVar[World]  # of the one program that runs
    value: int = 0
    history: list[str] = []
    _secret: int = 0

    async def run_event(self, index: int) -> AsyncIterator[None]:
        for number, block in enumerate(self.world.program.scripts[index].blocks):
            async with aclosing(self.world.run(self, f"{index}.{number}", block)) as running:
                async for _ in running:
                    yield
            yield  # a stretch for each block, as the others have

    def start_task(self, index: int) -> Any:
        return Playing.run_task(index)  # pyright: ignore

    @background
    async def run_task(self, index: int) -> AsyncIterator[None]:
        for number, block in enumerate(self.world.program.scripts[index].blocks):
            await trio.sleep(block.delay)
            async with self:
                name = f"{index}.{number}"
                async with aclosing(self.world.run(self, name, block)) as running:
                    async for _ in running:
                        yield


@attrs.define
class Outcome:
    value: int
    history: list[str]
    world: World
    clients: list[Client]
    left: list[Client]
    public: dict[str, Any]
    version: int
    events: int


async def play(program: Program) -> Outcome:
    """Run a program in one app until everything has come to rest."""
    Playing.world = world = World(program)
    page = Client("page")
    clients, left = [page], []
    events = 0

    async def visit(app: App, number: int, visit: Visit) -> None:
        await trio.sleep(visit.start)
        client = Client(f"visitor {number}")
        app.directory.ref(TOKEN).tell(Attach(client))
        clients.append(client)
        if visit.stay is not None:
            await trio.sleep(visit.stay)
            app.directory.ref(TOKEN).tell(Detach(client))
            clients.remove(client)
            left.append(client)

    async def fire(app: App, handler: Any, index: int) -> None:
        nonlocal events
        events += 1
        event = Event(handler.full_name, [index], events, "page")
        await app.directory.ref(TOKEN).ask(event, block=False)

    async def run(app: App, index: int, script: Script) -> None:
        await trio.sleep(script.start)
        if script.kind == "event":
            await fire(app, Playing.run_event, index)
        elif script.kind == "outside":
            with trio.move_on_after(_deadline(script)):
                await run_outside(app, index, script)
        else:
            start = Playing.run_task if script.kind == "task" else Playing.start_task
            await fire(app, start, index)
            if script.cancel_after is None:
                return
            await trio.sleep(script.cancel_after)
            for task in list(app.background_tasks):
                if task.arguments == (index,):
                    task.cancel()
                    await task.wait()

    async def run_outside(app: App, index: int, script: Script) -> None:
        for number, block in enumerate(script.blocks):
            await trio.sleep(block.delay)
            try:
                async with app.modify_state(TOKEN) as state:
                    playing = state.get_substate(Playing)
                    steps = tuple(s for s in block.steps if s.kind != "yield")  # of handlers alone
                    whole = attrs.evolve(block, steps=steps)
                    async for _ in world.run(playing, f"{index}.{number}", whole):
                        pass
            except Planned:
                return

    async with App(root=PlayRoot) as app:
        app.directory.ref(TOKEN).tell(Attach(page))
        async with trio.open_nursery() as nursery:
            for number, visitor in enumerate(program.visits):
                nursery.start_soon(visit, app, number, visitor)
            for index, script in enumerate(program.scripts):
                nursery.start_soon(run, app, index, script)
        while app.background_tasks:
            await next(iter(app.background_tasks)).wait()
        async with app.modify_state(TOKEN) as state:
            playing = state.get_substate(Playing)
            tree = playing._State__tree  # pyright: ignore[reportAttributeAccessIssue]
            return Outcome(
                playing.value,
                list(playing.history),
                world,
                clients,
                left,
                tree.public(),
                tree.version,
                events,
            )


def _deadline(script: Script) -> float:
    return float("inf") if script.cancel_after is None else script.cancel_after
