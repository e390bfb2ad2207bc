"""Programs of background tasks with options, as data, and a world that runs them.

Everything that happens to a task is put down, with its time, in the order in which it does.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import attrs
import trio
from clients import Client
from hypothesis import strategies as st
from programs import FLAVORS, NEVER, Planned, sleep

from actorstate import App, ErrorContext, MemoryStore, State, background
from actorstate.actors.messages import Attach, Event, Return
from actorstate.exceptions import TooManyTasksError
from actorstate.state.handlers import Handler, as_invocation

TOKEN = "tab"  # noqa: S105 - a name, to the library
OVERLAPS = ("allow", "skip", "replace", "queue")


@attrs.frozen
class Trigger:
    """A background task is asked for, some seconds after what was done before."""

    delay: int
    overlap: str
    """Which one; there is one for each word."""
    length: int
    """Seconds before its block."""
    holds: int = 0
    """Seconds in its block."""
    cleanup: int = 0
    """Seconds that it takes to end, whatever happens."""
    raises: bool = False
    is_chained: bool = False
    """Whether a handler returns it, and not an event asks for it."""
    is_at_once: bool = False
    """Whether its event is done in the step of who brings it, where it can be."""


@attrs.frozen
class Cancel:
    """A background task is cancelled."""

    delay: int
    overlap: str
    how: str
    """``event``: all that run or wait, with `Handler.cancel`. ``cancel`` or ``stop``: the last one
    that runs, by its handle."""


Move = Trigger | Cancel


@attrs.frozen
class Program:
    moves: tuple[Move, ...]
    max_tasks: int = 100
    flavor: str = "trio"
    """What the tasks await; see `programs.Program`."""


def programs(*, max_tasks: int | None = None, ties: bool = True) -> st.SearchStrategy[Program]:
    """Programs of up to ten moves.

    Args:
        max_tasks: how many tasks there may be; None to draw it.
        ties: whether tasks hold turns and take time to end, so that things come together.
    """
    few = st.integers(0, 2)
    overlaps = st.sampled_from(OVERLAPS)
    triggers = st.builds(
        Trigger,
        few,
        overlaps,
        st.integers(0, 4),
        few if ties else st.just(0),
        few if ties else st.just(0),
        st.sampled_from((False, False, True)),
        st.booleans(),
        st.booleans(),
    )
    cancels = st.builds(Cancel, few, overlaps, st.sampled_from(["event", "cancel", "stop"]))
    moves = st.lists(st.one_of(triggers, triggers, triggers, cancels), min_size=1, max_size=10)
    sizes = st.integers(1, 4) if max_tasks is None else st.just(max_tasks)
    return st.builds(Program, moves.map(tuple), sizes, st.sampled_from(FLAVORS))


@attrs.frozen
class Entry:
    time: float
    index: int
    what: str


class World:
    """What happened."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.entries: list[Entry] = []
        self.refused: set[int] = set()
        self.cancelled: dict[int, float] = {}
        """Those that were told to end by what is no trigger, and when."""
        self.stopped: set[int] = set()
        """Those that were told so by ``stop``, and have time to end their block."""

    def note(self, index: int, what: str) -> None:
        self.entries.append(Entry(trio.current_time(), index, what))

    def moment(self, index: int, *whats: str) -> float | None:
        """Give when something happened to a task for the first time."""
        found = (one.time for one in self.entries if one.index == index and one.what in whats)
        return next(found, None)

    def happened(self, index: int, *whats: str) -> bool:
        return self.moment(index, *whats) is not None

    def triggers(self, *overlaps: str) -> list[int]:
        """Give the triggers that were handled and not refused, in the order in which they were."""
        return [
            one.index
            for one in self.entries
            if one.what == "asked"
            and self.trigger(one.index).overlap in overlaps
            and one.index not in self.refused
        ]

    def trigger(self, index: int) -> Trigger:
        move = self.program.moves[index]
        assert isinstance(move, Trigger)
        return move

    def known(self, index: int, what: str) -> float:
        """Give when something happened that has happened."""
        moment = self.moment(index, what)
        assert moment is not None
        return moment


class WorkRoot(State, root=True):
    pass


async def clean_up(seconds: float, flavor: str) -> None:
    """Take some time to end, even if cancelled; code of asyncio is let be for a while then."""
    if flavor == "asyncio":
        until = trio.current_time() + 0.9 * seconds
        try:
            await asyncio.sleep(0.9 * seconds)
        except asyncio.CancelledError:  # which comes once
            await asyncio.sleep(until - trio.current_time())
            raise
    else:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)


async def work(self: Working, index: int) -> None:
    world, flavor = self.world, self.world.program.flavor
    trigger = world.trigger(index)
    world.note(index, "begin")
    try:
        for place in range(trigger.length):
            await sleep(1, flavor, place)
            world.note(index, "step")
        async with self:
            world.note(index, "block")
            await sleep(trigger.holds, flavor, 0)
            self.done = [*self.done, index]
            world.note(index, "written")
        world.note(index, "done")
        if trigger.raises:
            raise Planned
    finally:
        try:
            await clean_up(trigger.cleanup, flavor)
        finally:
            world.note(index, "end")


class Working(WorkRoot):
    world: ClassVar[World]  # of the one program that runs
    done: list[int] = []

    run_allow = background(overlap="allow", resume=True)(work)
    run_skip = background(overlap="skip", resume=True)(work)
    run_replace = background(overlap="replace", resume=True)(work)
    run_queue = background(overlap="queue", resume=True)(work)

    def chain(self, index: int) -> Any:
        handler = HANDLERS[self.world.trigger(index).overlap]
        return [handler(index), Working.note_asked(index)]  # pyright: ignore

    def note_asked(self, index: int) -> None:
        self.world.note(index, "asked")


HANDLERS: dict[str, Handler] = {word: getattr(Working, f"run_{word}") for word in OVERLAPS}
CANCELLERS = {word: handler.cancel for word, handler in HANDLERS.items()}


class Player:
    """Runs a program in one app."""

    def __init__(self, program: Program, *, shutdown_timeout: float = NEVER) -> None:
        self.program = program
        self.world = Working.world = World(program)
        self.page = Client("page")
        self.store = MemoryStore()
        self.errors: list[BaseException] = []
        self.shutdown_timeout = shutdown_timeout
        self.app = self.new_app()

    def new_app(self) -> App:
        return App(
            root=WorkRoot,
            store=self.store,
            max_tasks=self.program.max_tasks,
            shutdown_timeout=self.shutdown_timeout,
            on_error=self.on_error,
            asyncio=self.program.flavor != "trio",
        )

    def on_error(self, error: BaseException, context: ErrorContext) -> None:
        self.errors.append(error)
        if isinstance(error, TooManyTasksError):
            self.world.refused.add(context.arguments[0])

    async def play(self) -> None:
        """Run the program to its end."""
        async with self.app:
            self.app.directory.ref(TOKEN).tell(Attach(self.page))
            await self.make_moves()
            await self.end_of_tasks()
        assert self.app.background_tasks == set()

    async def play_until(self, moment: float) -> None:
        """Leave the app at some moment."""
        async with trio.open_nursery() as outside:
            async with self.app:
                self.app.directory.ref(TOKEN).tell(Attach(self.page))
                outside.start_soon(self.make_moves)
                await trio.sleep(moment)
            outside.cancel_scope.cancel()
        assert self.app.background_tasks == set()

    async def play_on(self) -> list[Entry]:
        """Let the tasks that are in the snapshot come to their end in an app anew."""
        self.world.entries.clear()
        self.app = self.new_app()
        async with self.app:
            await self.end_of_tasks()
        return self.world.entries

    async def end_of_tasks(self) -> None:
        for _ in range(3):  # what ends may let others begin
            async with self.app.modify_state(TOKEN):
                pass
            while self.app.background_tasks:
                await next(iter(self.app.background_tasks)).wait()
                async with self.app.modify_state(TOKEN):
                    pass

    async def make_moves(self) -> None:
        for index, move in enumerate(self.program.moves):
            await trio.sleep(move.delay)
            match move:
                case Trigger():
                    handler = Working.chain if move.is_chained else HANDLERS[move.overlap]
                    self.send(index, handler, [index])
                case Cancel(how="event"):
                    self.send(index, CANCELLERS[move.overlap], [])
                case _:
                    self.use_handle(move)

    def send(self, index: int, handler: Any, args: list[int]) -> None:
        self.world.note(index, "sent")
        event = Event(as_invocation(handler).name, args, index + 1, "page")
        ref, move = self.app.directory.ref(TOKEN), self.program.moves[index]
        is_at_once = isinstance(move, Trigger) and move.is_at_once and ref.tell_at_once(event)
        # What comes after it is done when it is done itself.
        answer = ref.ask(Return() if is_at_once else event, block=False)
        answer.when_done(lambda: self.note_answer(index))

    def note_answer(self, index: int) -> None:
        """Note what has been handled, in the step of the actor in which it was."""
        move = self.program.moves[index]
        if isinstance(move, Trigger):
            if not move.is_chained:
                self.world.note(index, "asked")
            return
        for other in self.world.triggers(move.overlap):
            self.world.cancelled.setdefault(other, trio.current_time())

    def use_handle(self, move: Cancel) -> None:
        label = str(HANDLERS[move.overlap])
        found = [task for task in self.app.background_tasks if task.name == label]
        if not found:
            return
        task = max(found, key=lambda one: one.arguments)
        index = task.arguments[0]
        if move.how == "cancel":
            task.cancel()
            self.world.cancelled.setdefault(index, trio.current_time())
        else:
            task.stop()
            self.world.stopped.add(index)
            self.world.note(index, "stop")
