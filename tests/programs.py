"""Programs of turns for a few tokens, as data, and a world that runs them.

Every stretch of a turn (up to a ``yield``, or to the end) writes its name into the state beside
what it does. So the committed history tells the one serial order that the outcome has to equal.
At each ``yield`` a stretch asks for an effect and for a handler that follows, which say its name.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any, ClassVar, TypeVar

import attrs
import trio
import trio_asyncio
from clients import Client
from hypothesis import strategies as st
from trio.testing import MockClock

from actorstate import (
    ActorDeadError,
    App,
    DeadlockError,
    ErrorContext,
    ImmutableStateError,
    MemoryStore,
    State,
    TurnTimeoutError,
    background,
    console_log,
)
from actorstate.actors.messages import Attach, Detach, Event, Return
from actorstate.state.commit import Commit
from actorstate.state.handlers import as_invocation
from actorstate.state.patch import apply
from actorstate.state.snapshot import Snapshot

TOKENS = ("tab", "second", "third")
SECRET = 987_654_321
MODULUS = 1_000_003
LONG = 100_000  # seconds of virtual time: more than any program takes
NEVER = 10 * LONG

T = TypeVar("T")


class Planned(Exception):  # noqa: N818 - not an error: a step of a program
    """Raised where a program says so."""


class StoreDown(Exception):  # noqa: N818 - likewise
    """Raised by a store where a program says so."""


@attrs.frozen
class Step:
    """What is done in a block, with a number for those that take one.

    ``apply`` changes the state, ``sleep`` takes seconds, ``raise`` raises, ``yield`` yields. Two
    are about what comes after them in the block: ``enter`` does the rest inside the turn of another
    token, and ``child`` beside a child that, after a second, writes: under the turn if its number
    is that of the token, else in the turn of another one.
    """

    kind: str
    number: int = 0


@attrs.frozen
class Block:
    """A turn: what is done under it, and how long to wait before asking for it."""

    delay: int
    steps: tuple[Step, ...]


@attrs.frozen
class Script:
    """Somebody who takes turns of a token, one after the other, and may be cancelled."""

    kind: str
    """An event: ``event`` (an async generator), ``coroutine``, ``plain`` or ``generator``. A
    background task: ``task`` (started by an event) or ``chain`` (by a handler's return). Or
    ``outside``, somewhere in the program."""
    start: int
    blocks: tuple[Block, ...]
    cancel_after: int | None = None
    token: int = 0
    is_at_once: bool = False
    """Whether its event is done in the step of who brings it, where it can be."""

    @property
    def whole(self) -> Block:
        """All of it as one block, for handlers that cannot yield."""
        steps = (step for block in self.blocks for step in block.steps if step.kind != "yield")
        return Block(0, tuple(steps))


@attrs.frozen
class Visit:
    """A client that attaches and, perhaps, leaves before the end."""

    start: int
    stay: int | None


@attrs.frozen
class Program:
    scripts: tuple[Script, ...]
    visits: tuple[Visit, ...] = ()
    """Of the first token."""
    absence: Visit | None = None
    """When the page that sends the events to it loses its connection, and for how long."""
    store: tuple[int, ...] = (0,)
    """How long commits take, in seconds, over and over; those below zero fail in the end."""
    turn_timeout: int = NEVER
    flavor: str = "trio"
    """What handlers await: what is ``trio``'s, ``asyncio``'s, or now this and now that: ``mixed``.
    With ``asyncio``, those outside are tasks of asyncio's."""
    never_waits: bool = False
    """Whether its store does not, so that turns are concluded in the step of their holder."""


FLAVORS = ("trio", "asyncio", "mixed")

EVENTS = ("event", "coroutine", "plain", "generator")
TASKS = ("task", "chain")


def programs(  # noqa: PLR0913 - all by name
    kinds: tuple[str, ...] = (*EVENTS, *TASKS, "outside"),
    *,
    longest: int = 2,
    stores: bool = False,
    timeouts: bool = False,
    may_cancel: bool = True,
    flavors: tuple[str, ...] = FLAVORS,
) -> st.SearchStrategy[Program]:
    """Programs of up to six scripts and three clients. Times are few and small: ties are many."""
    moments = st.integers(0, 4)
    tokens = st.integers(0, len(TOKENS) - 1)
    steps = st.one_of(
        st.builds(Step, st.just("apply"), st.integers(1, 9)),
        st.builds(Step, st.just("sleep"), st.integers(0, longest)),
        st.builds(Step, st.sampled_from(["yield", "raise"])),
        st.builds(Step, st.sampled_from(["enter", "child"]), tokens),
    )
    blocks = st.builds(Block, st.integers(0, 2), st.lists(steps, max_size=4).map(tuple))
    scripts = st.builds(
        Script,
        st.sampled_from(kinds),
        moments,
        st.lists(blocks, min_size=1, max_size=3).map(tuple),
        st.none() | moments if may_cancel else st.none(),
        st.sampled_from((0, 0, 1, 2)),
        st.booleans(),
    )
    schedules = st.just((0,)) | st.lists(st.integers(-2, 2), min_size=1, max_size=5).map(tuple)
    return st.builds(
        Program,
        st.lists(scripts, min_size=1, max_size=6).map(tuple),
        st.lists(st.builds(Visit, moments, st.none() | moments), max_size=3).map(tuple),
        st.none() | st.builds(Visit, moments, moments),
        schedules if stores else st.just((0,)),
        st.just(5) if timeouts else st.just(NEVER),
        st.sampled_from(flavors),
        st.booleans(),
    )


def in_one_order(program: Program) -> Program:
    """Give a program in which the turns of several tokens are always taken in the same order."""
    return attrs.evolve(program, scripts=tuple(map(_in_one_order, program.scripts)))


def _in_one_order(script: Script) -> Script:
    return attrs.evolve(
        script,
        blocks=(
            tuple(_ascending(block, script.token) for block in script.blocks)
            if script.kind not in ("coroutine", "outside")
            else (_ascending(script.whole, script.token),)
        ),
    )


def _ascending(block: Block, token: int) -> Block:
    steps: list[Step] = []
    for step in block.steps:
        if step.kind == "enter" and step.number > token:
            token = step.number
        elif step.kind == "enter" or (step.kind == "child" and step.number < token):
            continue
        steps.append(step)
    return Block(block.delay, tuple(steps))


class DrawnStore(MemoryStore):  # pyright: ignore[reportGeneralTypeIssues] - final, but for a test
    """Takes its time, and fails, as a program says."""

    def __init__(self, schedule: tuple[int, ...]) -> None:
        super().__init__()
        self._schedule = schedule
        self.commits = 0
        self.failed: set[str] = set()
        """The stretches that it did not take."""

    async def commit(self, lease: Any, commit: Commit) -> None:
        seconds = self._schedule[self.commits % len(self._schedule)]
        self.commits += 1
        if seconds:
            await trio.sleep(abs(seconds))
        if seconds < 0:
            token = lease.token
            self.failed |= set(await self.history(token, commit)) - set(await self.history(token))
            raise StoreDown
        await super().commit(lease, commit)

    async def history(self, token: str, commit: Commit | None = None) -> list[str]:
        """Give what is in the snapshot, or would be after a commit. Waits for nothing."""
        snapshot = await self.peek(token)
        values: Any = copy.deepcopy(snapshot.values) if snapshot else {}
        if commit is not None:
            apply(values, commit.changes)
        return values.get("play_root.playing", {}).get("history", [])


class ImmediateDrawnStore(DrawnStore):
    """Fails as a program says, and takes no time."""

    def commit_now(self, lease: Any, commit: Commit) -> None:
        seconds = self._schedule[self.commits % len(self._schedule)]
        self.commits += 1
        if seconds < 0:
            there, to_be = (_at_once(self.history(lease.token, one)) for one in (None, commit))
            self.failed |= set(to_be) - set(there)
            raise StoreDown
        super().commit_now(lease, commit)

    async def commit(self, lease: Any, commit: Commit) -> None:
        self.commit_now(lease, commit)


def _at_once(awaited: Coroutine[Any, Any, T]) -> T:
    try:
        awaited.send(None)
    except StopIteration as stop:
        return stop.value
    message = f"{awaited} waits"
    raise AssertionError(message)


class World:
    """What the scripts leave behind outside the state, to compare the state with."""

    def __init__(self, program: Program, app: App) -> None:
        self.program = program
        self.app = app
        self.last: dict[str, str] = {}
        """Who got the turn of a token last."""
        self.applied: defaultdict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, set[str]] = {token: set() for token in TOKENS}
        """The stretches that came to their end."""
        self.concluded: set[str] = set()
        """Those whose code was told that they are committed."""
        self.asked: set[str] = set()
        """Those that asked for what follows."""
        self.followed: list[str] = []
        """Those whose follow-up ran."""
        self.torn: set[str] = set()
        """The blocks that a cancellation struck."""
        self.longest = 0.0
        """How long the longest turn was held, up to its end (seconds)."""
        self.faults: list[str] = []
        """What must not be."""

    @asynccontextmanager
    async def turn_of(self, token: str, name: str, flavor: str) -> AsyncGenerator[Piece]:
        """Give the turn of a token as a piece of one stretch."""
        async with self.app.modify_state(token) as state:
            piece = Piece(self, state.get_substate(Playing), name, flavor)
            yield piece
            piece.end()
        self.concluded.add(piece.stretch)

    def replay(self, history: list[str]) -> int:
        value = 0
        for stretch in history:
            for number in self.applied[stretch]:
                value = (value * 3 + number) % MODULUS
        return value


class Piece:
    """A turn, as those see it who write under it."""

    def __init__(self, world: World, state: Playing, name: str, flavor: str | None = None) -> None:
        self.world = world
        self.flavor = flavor or world.program.flavor
        self.state = state
        self.name = name
        self.part = 0
        self.granted = trio.current_time()
        world.last[self.token] = name

    @property
    def token(self) -> str:
        return self.state.get_token()

    @property
    def stretch(self) -> str:
        return f"{self.name}/{self.part}"

    def apply(self, number: int) -> None:
        self.state.value = (self.state.value * 3 + number) % MODULUS
        self._check()
        self.world.applied[self.stretch].append(number)

    def end(self) -> None:
        """End a stretch."""
        self.state.history = [*self.state.history, self.stretch]
        self.state._secret = SECRET
        self._check()
        self.world.ended[self.token].add(self.stretch)
        self.world.longest = max(self.world.longest, trio.current_time() - self.granted)

    def go_on(self) -> str:
        """End a stretch, and begin the next; give the one that has ended."""
        self.end()
        ended = self.stretch
        self.world.asked.add(ended)
        self.part += 1
        return ended

    def _check(self) -> None:
        if self.world.last[self.token] != self.name:
            self.world.faults.append(f"{self.name} writes in {self.world.last[self.token]}")

    async def perform(self, block: Block) -> AsyncGenerator[str]:
        """Do the steps of a block; yields the stretch that has ended where the block does."""
        here = self
        try:
            async with AsyncExitStack() as stack:
                for place, step in enumerate(block.steps):
                    match step.kind:
                        case "apply":
                            here.apply(step.number)
                        case "sleep":
                            await sleep(step.number, self.flavor, place)
                        case "raise":
                            raise Planned(self.name, SECRET)
                        case "enter":
                            name = f"{self.name}>{place}"
                            inner = here.world.turn_of(TOKENS[step.number], name, self.flavor)
                            here = await stack.enter_async_context(inner)
                        case "child" if awaits_asyncio(self.flavor, place):
                            group = await stack.enter_async_context(asyncio.TaskGroup())
                            group.create_task(here.be_child(here.token, place, "asyncio"))
                        case "child":
                            nursery = await stack.enter_async_context(trio.open_nursery())
                            nursery.start_soon(here.be_child, TOKENS[step.number], place)
                        case _:
                            yield self.go_on()
            self.end()
        except (trio.Cancelled, asyncio.CancelledError):
            self.world.torn.add(self.name)
            raise

    async def be_child(self, token: str, place: int, flavor: str = "trio") -> None:
        await sleep(1, flavor, place)
        if token == self.token:
            self.apply(place)
            return
        async with self.world.turn_of(token, f"{self.name}+{place}", flavor) as piece:
            piece.apply(place)

    def perform_plainly(self, block: Block) -> Generator[str]:
        """Do the steps of a block that need no waiting."""
        for step in block.steps:
            match step.kind:
                case "apply":
                    self.apply(step.number)
                case "raise":
                    raise Planned(self.name, SECRET)
                case "yield":
                    yield self.go_on()
                case _:
                    pass
        self.end()


def awaits_asyncio(flavor: str, place: int) -> bool:
    """Tell what is awaited at a place in a block, or before one."""
    return flavor == "asyncio" or (flavor == "mixed" and place % 2 == 0)


async def sleep(seconds: float, flavor: str, place: int) -> None:
    await (asyncio.sleep if awaits_asyncio(flavor, place) else trio.sleep)(seconds)


class PlayRoot(State, root=True):
    pass


async def play_blocks(self: Playing, index: int) -> AsyncIterator[Any]:
    script = self.world.program.scripts[index]
    is_task = script.kind in TASKS
    for number, block in enumerate(script.blocks):
        if is_task:
            await sleep(block.delay, self.world.program.flavor, number)
        async with self if is_task else nullcontext():
            piece = Piece(self.world, self, f"{index}.{number}")
            running = piece.perform(block)
            advance = anext(running, None)
            # What ``yield from`` does in a plain generator: what goes wrong at the ``yield`` is
            # raised where the block has it.
            while (stretch := await advance) is not None:
                try:
                    yield [console_log(stretch), Playing.follow_up(stretch)]  # pyright: ignore
                except BaseException as error:  # noqa: BLE001 - not swallowed: as above
                    advance = running.athrow(error)
                else:
                    self.world.concluded.add(stretch)
                    advance = anext(running, None)
        if not is_task:
            yield  # a stretch for each block, as the others have
        self.world.concluded.add(piece.stretch)


class Playing(PlayRoot):
    world: ClassVar[World]  # of the one program that runs
    value: int = 0
    history: list[str] = []
    _secret: int = 0

    run_event = play_blocks
    run_task = background(play_blocks)

    async def run_coroutine(self, index: int) -> None:
        script = self.world.program.scripts[index]
        async for _ in Piece(self.world, self, f"{index}.0").perform(script.whole):
            pass

    def run_plain(self, index: int) -> None:
        script = self.world.program.scripts[index]
        for _ in Piece(self.world, self, f"{index}.0").perform_plainly(script.whole):
            pass

    def run_generator(self, index: int) -> Iterator[Any]:
        for number, block in enumerate(self.world.program.scripts[index].blocks):
            piece = Piece(self.world, self, f"{index}.{number}")
            for stretch in piece.perform_plainly(block):
                yield [console_log(stretch), Playing.follow_up(stretch)]  # pyright: ignore
                self.world.concluded.add(stretch)
            yield
            self.world.concluded.add(piece.stretch)

    def run_chain(self, index: int) -> Any:
        return Playing.run_task(index)  # pyright: ignore

    def follow_up(self, stretch: str) -> None:
        self.world.followed.append(stretch)
        Piece(self.world, self, f"{stretch}!").end()


EXPECTED = (Planned, StoreDown, DeadlockError, TurnTimeoutError, ImmutableStateError)
"""What may go wrong. (Whoever is in the turn of a token and enters it is told that it is his.)"""


@attrs.define
class Outcome:
    """One token at the end of a program."""

    token: str
    value: int
    history: list[str]
    public: dict[str, Any]
    version: int


class Player:
    """Runs a program in one app, and keeps what its clients saw."""

    def __init__(self, program: Program, *, shutdown_timeout: float = NEVER) -> None:
        self.program = program
        self.pages = [Client("page") for _ in TOKENS]
        """Those that send events, one for each token, as they are now."""
        self.clients = {token: [page] for token, page in zip(TOKENS, self.pages, strict=True)}
        """Those that are here."""
        self.left: list[Client] = []
        self.events = [0 for _ in TOKENS]
        self.answered = 0
        self.errors: list[tuple[BaseException, ErrorContext]] = []
        self.is_left = False
        kind = ImmediateDrawnStore if program.never_waits else DrawnStore
        self.store = kind(program.store)
        self.app = App(
            root=PlayRoot,
            store=self.store,
            turn_timeout=program.turn_timeout,
            slow_turn=1_000_000,
            shutdown_timeout=shutdown_timeout,
            on_error=lambda error, context: self.errors.append((error, context)),
            asyncio=program.flavor != "trio",
        )
        self.world = Playing.world = World(program, self.app)

    @property
    def kinds_of_errors(self) -> set[type[BaseException]]:
        return {type(leaf) for error, _ in self.errors for leaf in leaves(error)}

    @property
    def all_clients(self) -> list[Client]:
        return [*(client for here in self.clients.values() for client in here), *self.left]

    async def visit(self, number: int, visit: Visit) -> None:
        await trio.sleep(visit.start)
        client = Client(f"visitor {number}")
        ref = self.app.directory.ref(TOKENS[0])
        ref.tell(Attach(client))
        self.clients[TOKENS[0]].append(client)
        if visit.stay is not None:
            await trio.sleep(visit.stay)
            self.app.directory.ref(TOKENS[0]).tell(Detach(client))
            self.clients[TOKENS[0]].remove(client)
            self.left.append(client)

    async def lose_connection(self, absence: Visit) -> None:
        """Let the page that sends the events be away for a while; it comes back as itself."""
        await trio.sleep(absence.start)
        self.app.directory.ref(TOKENS[0]).tell(Detach(self.pages[0]))
        self.left.append(self.pages[0])
        await trio.sleep(absence.stay or 0)
        self.pages[0] = self.clients[TOKENS[0]][0] = Client("page")
        self.app.directory.ref(TOKENS[0]).tell(Attach(self.pages[0]))

    async def follow(self, index: int, script: Script) -> None:
        await trio.sleep(script.start)
        if script.kind == "outside":
            deadline = NEVER if script.cancel_after is None else script.cancel_after
            try:
                with trio.move_on_after(deadline):
                    await self.take_turns_outside(index, script)
            except* EXPECTED as errors:
                self.errors.extend((error, ErrorContext("task", "")) for error in leaves(errors))
            return
        await self.fire(getattr(Playing, f"run_{script.kind}"), index, script)
        if script.kind in TASKS and script.cancel_after is not None:
            await trio.sleep(script.cancel_after)
            for task in list(self.app.background_tasks):
                if task.arguments == (index,):
                    task.cancel()
                    await task.wait()

    async def fire(self, handler: Any, index: int, script: Script) -> None:
        ref = self.app.directory.ref(TOKENS[script.token])
        self.events[script.token] += 1
        event = Event(as_invocation(handler).name, [index], self.events[script.token], "page")
        if script.is_at_once and ref.tell_at_once(event):
            await ref.ask(Return(), block=False)  # once this is done, that is
        else:
            await ref.ask(event, block=False)
        self.answered += 1

    async def take_turns_outside(self, index: int, script: Script) -> None:
        """Take turns in this task; or, of an asyncio program, in a task of asyncio's."""
        if self.program.flavor == "asyncio":
            await trio_asyncio.aio_as_trio(self.take_turns)(index, script, "asyncio")
        else:
            await self.take_turns(index, script, "trio")

    async def take_turns(self, index: int, script: Script, flavor: str) -> None:
        for number, block in enumerate(script.blocks):
            await sleep(block.delay, flavor, number)
            async with self.app.modify_state(TOKENS[script.token]) as state:
                piece = Piece(self.world, state.get_substate(Playing), f"{index}.{number}", flavor)
                async for _ in piece.perform(Script("", 0, (block,)).whole):
                    pass
            self.world.concluded.add(piece.stretch)

    def arrive(self) -> None:
        for token, page in zip(TOKENS, self.pages, strict=True):
            self.app.directory.ref(token).tell(Attach(page))

    async def play(self) -> list[Outcome]:
        """Run the program to its end; give what became of each token."""
        async with self.app as app:
            self.arrive()
            async with trio.open_nursery() as nursery:
                if self.program.absence is not None:
                    nursery.start_soon(self.lose_connection, self.program.absence)
                for number, visit in enumerate(self.program.visits):
                    nursery.start_soon(self.visit, number, visit)
                for index, script in enumerate(self.program.scripts):
                    nursery.start_soon(self.follow, index, script)
            await self.end_of_tasks()
            outcomes = [await self.outcome(token) for token in TOKENS]
            assert app.background_tasks == set()
            assert not any(app.directory.door(token)._waiting for token in TOKENS)
            return outcomes

    async def end_of_tasks(self) -> None:
        while True:
            for token in TOKENS:
                await self.outcome(token)  # what lies in its mailbox may start another one
            if not self.app.background_tasks:
                return
            await next(iter(self.app.background_tasks)).wait()

    async def play_until(self, moment: float) -> float:
        """Leave the app at some moment, whatever is going on; give how long that took.

        The scripts run outside the app, so that they have to end by what it tells them.
        """
        async with trio.open_nursery() as outside:
            async with self.app:
                self.arrive()
                if self.program.absence is not None:
                    outside.start_soon(self.until_left, self.lose_connection, self.program.absence)
                for number, visit in enumerate(self.program.visits):
                    outside.start_soon(self.until_left, self.visit, number, visit)
                for index, script in enumerate(self.program.scripts):
                    outside.start_soon(self.until_left, self.follow, index, script)
                await trio.sleep(moment)
                self.is_left = True
                leaving = trio.current_time()
            return trio.current_time() - leaving

    async def until_left(self, script: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await script(*args)
        except* (ActorDeadError, ImmutableStateError, asyncio.CancelledError):
            assert self.is_left  # and with the app the turn, and its tasks
        except* RuntimeError as errors:
            for error in leaves(errors):  # the app says so, to latecomers
                assert re.search("not running|loop is closed", str(error)), error

    async def outcome(self, token: str) -> Outcome:
        async with self.app.modify_state(token) as state:
            playing = state.get_substate(Playing)
            tree = state._State__tree  # pyright: ignore[reportAttributeAccessIssue]
            return Outcome(token, playing.value, list(playing.history), tree.public(), tree.version)


def in_virtual_time(async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run something to its end; fail if it hangs."""

    async def main() -> T:
        with trio.fail_after(LONG):
            return await async_fn(*args)

    return trio.run(main, clock=MockClock(autojump_threshold=0))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Give the exceptions in a group, however deep; of another exception itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def stored_values(snapshot: Snapshot | None) -> tuple[int, list[str]]:
    """Give the value and the history that the store has."""
    stored: Any = snapshot.values.get("play_root.playing", {}) if snapshot else {}
    return stored.get("value", 0), stored.get("history", [])
