"""Programs of events and background tasks for one token, as data, and a world that runs them.

Every stretch of a turn (up to a ``yield``, or to the end) writes its name into the state beside
what it does. So the committed history tells the one serial order that the outcome has to equal.
At each ``yield`` a stretch asks for an effect, too, which says its name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, ClassVar

import attrs
import trio
from clients import Client
from hypothesis import strategies as st

from actorstate import (
    ActorDeadError,
    App,
    ImmutableStateError,
    MemoryStore,
    State,
    background,
    console_log,
)
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.handlers import as_invocation
from actorstate.stores.base import Snapshot

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
    absence: Visit | None = None
    """When the page that sends the events loses its connection, and for how long."""


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
        st.none() | st.builds(Visit, moments, moments),
    )


class World:
    """What the scripts leave behind outside the state, to compare the state with."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.holder: str | None = None
        self.applied: dict[str, list[int]] = defaultdict(list)
        self.ended: set[str] = set()
        self.asked: set[str] = set()

    async def run(self, state: Playing, name: str, block: Block) -> AsyncGenerator[str]:
        """Do the steps of one block under its turn; yields the stretch where the block does."""
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
                    case _:  # yield
                        self._end(state, stretch)
                        self.asked.add(stretch)
                        yield stretch
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

    async def run_event(self, index: int) -> AsyncIterator[Any]:
        for number, block in enumerate(self.world.program.scripts[index].blocks):
            async with aclosing(self.world.run(self, f"{index}.{number}", block)) as running:
                async for stretch in running:
                    yield console_log(stretch)
            yield  # a stretch for each block, as the others have

    def start_task(self, index: int) -> Any:
        return Playing.run_task(index)  # pyright: ignore

    @background
    async def run_task(self, index: int) -> AsyncIterator[Any]:
        for number, block in enumerate(self.world.program.scripts[index].blocks):
            await trio.sleep(block.delay)
            async with self:
                name = f"{index}.{number}"
                async with aclosing(self.world.run(self, name, block)) as running:
                    async for stretch in running:
                        yield console_log(stretch)


@attrs.define
class Outcome:
    value: int
    history: list[str]
    world: World
    clients: list[Client]
    left: list[Client]
    pages: list[Client]
    public: dict[str, Any]
    version: int
    events: int


class Player:
    """Runs a program in one app, and keeps what its clients saw."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.world = Playing.world = World(program)
        self.page = Client("page")
        self.clients = [self.page]
        self.pages = [self.page]
        self.left: list[Client] = []
        self.events = 0
        self.is_left = False
        self.store = MemoryStore()
        self.app = App(root=PlayRoot, store=self.store)

    async def visit(self, number: int, visit: Visit) -> None:
        await trio.sleep(visit.start)
        client = Client(f"visitor {number}")
        self.app.directory.ref(TOKEN).tell(Attach(client))
        self.clients.append(client)
        if visit.stay is not None:
            await trio.sleep(visit.stay)
            self.app.directory.ref(TOKEN).tell(Detach(client))
            self.clients.remove(client)
            self.left.append(client)

    async def lose_connection(self, absence: Visit) -> None:
        """Let the page that sends the events be away for a while; it comes back as itself."""
        await trio.sleep(absence.start)
        self.app.directory.ref(TOKEN).tell(Detach(self.page))
        self.left.append(self.page)
        await trio.sleep(absence.stay or 0)
        self.page = self.clients[0] = Client("page")
        self.pages.append(self.page)
        self.app.directory.ref(TOKEN).tell(Attach(self.page))

    async def follow(self, index: int, script: Script) -> None:
        await trio.sleep(script.start)
        match script.kind:
            case "event":
                await self.fire(Playing.run_event, index)
            case "task":
                await self.fire(Playing.run_task, index)
                await self.cancel(index, script)
            case "chain":
                await self.fire(Playing.start_task, index)
                await self.cancel(index, script)
            case _:
                deadline = float("inf") if script.cancel_after is None else script.cancel_after
                with trio.move_on_after(deadline), suppress(Planned):
                    await self.take_turns(index, script)

    async def fire(self, handler: Any, index: int) -> None:
        self.events += 1
        event = Event(as_invocation(handler).name, [index], self.events, "page")
        await self.app.directory.ref(TOKEN).ask(event, block=False)

    async def cancel(self, index: int, script: Script) -> None:
        if script.cancel_after is None:
            return
        await trio.sleep(script.cancel_after)
        for task in list(self.app.background_tasks):
            if task.arguments == (index,):
                task.cancel()
                await task.wait()

    async def take_turns(self, index: int, script: Script) -> None:
        for number, block in enumerate(script.blocks):
            await trio.sleep(block.delay)
            async with self.app.modify_state(TOKEN) as state:
                steps = tuple(s for s in block.steps if s.kind != "yield")  # of handlers alone
                whole = attrs.evolve(block, steps=steps)
                playing = state.get_substate(Playing)
                async for _ in self.world.run(playing, f"{index}.{number}", whole):
                    pass

    async def play(self) -> Outcome:
        async with self.app as app:
            app.directory.ref(TOKEN).tell(Attach(self.page))
            async with trio.open_nursery() as nursery:
                if self.program.absence is not None:
                    nursery.start_soon(self.lose_connection, self.program.absence)
                for number, visit in enumerate(self.program.visits):
                    nursery.start_soon(self.visit, number, visit)
                for index, script in enumerate(self.program.scripts):
                    nursery.start_soon(self.follow, index, script)
            while app.background_tasks:
                await next(iter(app.background_tasks)).wait()
            async with app.modify_state(TOKEN) as state:
                return self.outcome(state.get_substate(Playing))

    async def play_until(self, moment: float) -> Snapshot | None:
        """Leave the app at some moment, whatever is going on; give what the store has then.

        The scripts run outside the app, so that they have to end by what it tells them.
        """
        async with trio.open_nursery() as outside, self.app as app:
            app.directory.ref(TOKEN).tell(Attach(self.page))
            if self.program.absence is not None:
                outside.start_soon(self.until_left, self.lose_connection, self.program.absence)
            for number, visit in enumerate(self.program.visits):
                outside.start_soon(self.until_left, self.visit, number, visit)
            for index, script in enumerate(self.program.scripts):
                outside.start_soon(self.until_left, self.follow, index, script)
            await trio.sleep(moment)
            self.is_left = True
        return await self.store.load(TOKEN)

    async def until_left(self, script: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await script(*args)
        except (ActorDeadError, ImmutableStateError):
            assert self.is_left  # and with the app the turn
        except RuntimeError as error:
            assert "not running" in str(error)  # noqa: PT017 - the app says so, to latecomers

    def outcome(self, playing: Playing) -> Outcome:
        tree = playing._State__tree  # pyright: ignore[reportAttributeAccessIssue]
        return Outcome(
            playing.value,
            list(playing.history),
            self.world,
            self.clients,
            self.left,
            self.pages,
            tree.public(),
            tree.version,
            self.events,
        )
