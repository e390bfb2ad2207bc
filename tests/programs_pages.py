"""Programs of pages that come and go, as data; a world that runs them, and a model of it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio
from clients import Client
from hypothesis import strategies as st
from programs import NEVER

from actorstate import App, MemoryStore, State, background
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.handlers import as_invocation

TOKEN = "tab"  # noqa: S105 - a name, to the library


@attrs.frozen
class Move:
    """What is done, some seconds after what was done before.

    ``come``: a page connects, unless it is here; ``go``: it goes, if it is. ``hold``: a handler
    holds the turn for some seconds. ``start``: background tasks are asked for that never end.
    ``restart``: when what was done is over, the app is left, and another goes on with its store.
    """

    delay: int
    kind: str
    number: int = 0
    """Which page, or how many seconds."""


@attrs.frozen
class Program:
    moves: tuple[Move, ...]
    grace: float
    """Never a whole number of seconds, as all the rest is: so there are no ties to decide."""
    rests: bool = False
    """Whether the token is put to rest as soon as it may be. It makes no difference."""


def programs() -> st.SearchStrategy[Program]:
    """Programs of up to twelve moves with two pages, which go as often as they come."""
    few = st.integers(0, 2)
    pages = st.integers(0, 1)
    moves = st.one_of(
        st.builds(Move, few, st.just("come"), pages),
        st.builds(Move, few, st.just("go"), pages),
        st.builds(Move, few, st.sampled_from(["come", "go"]), st.just(0)),
        st.builds(Move, few, st.just("hold"), st.integers(1, 3)),
        st.builds(Move, few, st.sampled_from(["start", "restart"])),
    )
    return st.builds(
        Program,
        st.lists(moves, min_size=1, max_size=12).map(tuple),
        st.sampled_from([0.5, 1.5, 2.5]),
        st.booleans(),
    )


HELD = 0.93
"""Less than a second, so that no turn ends in the moment of a move: who is first were chance."""


class PageRoot(State, root=True):
    pass


class Paging(PageRoot):
    log: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.log.append((trio.current_time(), what))

    def on_connect(self) -> None:
        self.note("connect")

    def on_disconnect(self) -> None:
        self.note("disconnect")

    def load(self, number: int) -> None:
        self.note(f"load {number}")

    async def hold(self, seconds: int) -> None:
        await trio.sleep(seconds * HELD)

    def start(self) -> Any:
        return [Paging.leave_with_page, Paging.stay]

    @background(on_disconnect="cancel")
    async def leave_with_page(self) -> None:
        ENDS.append(NEVER)
        place = len(ENDS) - 1
        try:
            await trio.sleep_forever()
        finally:
            ENDS[place] = trio.current_time()

    @background
    async def stay(self) -> None:
        await trio.sleep_forever()


ENDS: list[float] = []
"""When the tasks ended that go with the pages, in the order in which they began; of one program."""


class Player:
    """Runs a program in one app."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.log: list[tuple[float, str]] = []
        self.ends: list[float] = []
        self.staying = 0
        self.welcomes = 0
        self.here: dict[int, Client] = {}
        self.clients: list[Client] = []
        self.store = MemoryStore()
        self.app = self.new_app()

    def new_app(self) -> App:
        grace, idle_timeout = self.program.grace, 0.2 if self.program.rests else 1000
        return App(
            root=PageRoot, store=self.store, disconnect_grace=grace, idle_timeout=idle_timeout
        )

    async def play(self) -> None:
        ENDS.clear()
        moves = iter(self.program.moves)
        while await self.play_until_restart(moves):
            self.here.clear()
            self.app = self.new_app()

    async def play_until_restart(self, moves: Iterator[Move]) -> bool:
        async with self.app as app:
            for move in moves:
                if move.delay:  # else in one step with the one before
                    await trio.sleep(move.delay)
                if move.kind == "restart":
                    await self.be_done()
                    return True
                self.do(move)
            await trio.sleep(100)
            async with app.modify_state(TOKEN) as state:
                self.log = list(state.get_substate(Paging).log)
            self.staying = sum(task.name.endswith(".stay") for task in app.background_tasks)
            self.ends = list(ENDS)
        return False

    async def be_done(self) -> None:
        """Wait for what lies in the mailbox, and for what that puts there."""
        if len(self.app.directory):
            for _ in range(2):
                async with self.app.modify_state(TOKEN):
                    pass

    def do(self, move: Move) -> None:
        ref, number = self.app.directory.ref(TOKEN), move.number
        match move.kind:
            case "come":
                if number not in self.here:
                    self.here[number] = Client(f"page {number}")
                    self.clients.append(self.here[number])
                    on_load = (as_invocation(Paging.load(number)),)  # pyright: ignore
                    ref.tell(Attach(self.here[number], on_load))
            case "go":
                if number in self.here:
                    ref.tell(Detach(self.here.pop(number)))
            case "hold":
                ref.tell(Event(as_invocation(Paging.hold).name, [number]))
            case _:
                ref.tell(Event(as_invocation(Paging.start).name))


class Model:
    """What should come of a program, told without actors, tasks and timers.

    Messages are taken one at a time, each when the one before is done. A tab is disconnected when
    nobody has come for the whole grace since the last page went; who came in time but had to wait
    for his turn has come in time. Where the app was left meanwhile, those who were here have as
    long to come from when the token is taken up again.
    """

    def __init__(self, program: Program) -> None:
        self.log: list[tuple[float, str]] = []
        self.ends: list[float] = []
        self.starts = 0
        self._grace = program.grace
        self._here: set[int] = set()
        self._known: set[int] = set()
        self._is_connected = False
        self._is_gone = False
        self._absence = 0
        self._now = 0.0
        self._messages: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        moment = 0.0
        self._is_asleep = False
        for move in program.moves:
            moment += move.delay
            if move.kind == "restart":
                self._work_off(moment)
                moment = max(moment, self._now)
                self._restart(moment)
            else:
                self._post(moment, lambda move=move: self._take(move))
        self._work_off(math.inf)

    def _work_off(self, until: float) -> None:
        while self._messages and self._messages[0][0] <= max(until, self._now):
            posted, _, message = heapq.heappop(self._messages)
            self._now = max(self._now, posted)
            if self._is_asleep and self._is_connected:
                self._miss()
            self._is_asleep = False
            message()

    def _restart(self, moment: float) -> None:
        self._messages.clear()  # the ends of absences
        self._here.clear()
        self._is_asleep = True
        self.ends = [min(end, moment) for end in self.ends]
        self.starts = 0

    def _post(self, moment: float, message: Callable[[], None]) -> None:
        heapq.heappush(self._messages, (moment, next(self._numbers), message))

    def _take(self, move: Move) -> None:
        match move.kind:
            case "come" if move.number not in self._here:
                self._come(move.number)
            case "go" if move.number in self._here:
                self._here.remove(move.number)
                if not self._here:
                    self._miss()
            case "hold":
                self._now += move.number * HELD
            case "start":
                self._post(self._now, self._begin)  # the handler triggers them
            case _:
                pass

    def _miss(self) -> None:
        self._absence += 1
        absence = self._absence
        self._post(self._now + self._grace, lambda: self._be_gone(absence))

    def _begin(self) -> None:
        self.starts += 1
        if not self._is_gone:  # nobody looks on
            self.ends.append(NEVER)

    def _come(self, number: int) -> None:
        self._here.add(number)
        self._absence += 1
        self._is_gone = False
        if not self._is_connected:
            self._is_connected = True
            self.log.append((self._now, "connect"))
        if number not in self._known:
            self._known.add(number)
            self.log.append((self._now, f"load {number}"))

    def _be_gone(self, absence: int) -> None:
        if absence != self._absence:
            return
        self._is_connected = False
        self._is_gone = True
        self.log.append((self._now, "disconnect"))
        self.ends = [min(end, self._now) for end in self.ends]
