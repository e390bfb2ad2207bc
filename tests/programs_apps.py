"""Programs of one tab with pages at two apps on one store, which end, begin again and fail."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import attrs
import trio
from clients import Client
from hypothesis import strategies as st
from stores import WrappedStore

from actorstate import App, MemoryStore, State, StoreUnavailableError, background
from actorstate.actors.messages import Attach, Detach, Event
from actorstate.state.commit import Commit

TOKEN = "tab"  # noqa: S105 - a name, to the library


@attrs.frozen
class Move:
    """What is done at one of the apps, some tenths of a second after what was done before.

    ``come``: a page connects, unless it is somewhere; ``go``: it goes, if it is here. ``start``:
    tasks are asked for that end with the pages. ``touch``: the program takes a turn. ``restart``:
    the app is left and begins anew. ``blink``: its next commit is not stored, and its leases are
    worth nothing.
    """

    delay: int
    kind: str
    app: int
    page: int = 0


def programs_of_apps() -> st.SearchStrategy[tuple[Move, ...]]:
    """Programs of up to a dozen moves; absences are as often shorter than the grace as longer."""
    delays, apps = st.sampled_from([0, 1, 10, 30]), st.integers(0, 1)
    kinds = ["come", "come", "come", "go", "go", "start", "touch", "restart", "blink"]
    moves = st.builds(Move, delays, st.sampled_from(kinds), apps, st.integers(0, 1))
    return st.lists(moves, min_size=1, max_size=12).map(tuple)


class AppsRoot(State, root=True):
    pass


class Told(AppsRoot):
    here: ClassVar[dict[int, Any]]
    log: list[str] = []
    denied: int = 0
    """How often it was told that the tab is gone while a page was there."""
    touched: int = 0

    def on_connect(self) -> None:
        self.log.append("connect")

    def on_disconnect(self) -> None:
        self.log.append("disconnect")
        self.denied += bool(self.here)

    def start(self) -> Any:
        return [Told.follow, Told.follow_on]

    @background(on_disconnect="cancel")
    async def follow(self) -> None:
        await trio.sleep_forever()

    @background(on_disconnect="cancel", resume=True)
    async def follow_on(self) -> None:
        await trio.sleep_forever()


class Blinking(WrappedStore):
    """One app's way to the store of both."""

    def __init__(self, inner: MemoryStore, on_commit: Callable[[], None]) -> None:
        super().__init__()
        self.inner = inner
        self.blinks = False
        self._on_commit = on_commit

    async def commit(self, lease: Any, commit: Commit) -> None:
        if self.blinks:
            self.blinks = False
            await self.inner.release(lease)
            raise StoreUnavailableError("blink")
        self._on_commit()
        await super().commit(lease, commit)


class Page(Client):
    """A page that is gone once it is told to go; it does not come again by itself."""

    def __init__(self, number: int, on_close: Callable[[], None]) -> None:
        super().__init__(f"page {number}")
        self._on_close = on_close

    def close(self) -> None:
        super().close()
        self._on_close()


@attrs.frozen
class Outcome:
    """What came of a program."""

    log: list[str]
    """What the program was told."""
    denied: int
    tasks: int
    """How many tasks run that end with the pages."""
    records: int
    """How many of them would be begun again."""


class AppsPlayer:
    """Runs a program."""

    def __init__(self) -> None:
        self.commits = 0
        self.here: dict[int, tuple[int, Page]] = {}
        """The pages, each with its app."""
        Told.here = self.here
        store = MemoryStore()
        self.stores = [Blinking(store, self._count) for _ in range(2)]
        self.apps: list[App] = []
        self._leave = [trio.Event(), trio.Event()]
        self._left = [trio.Event(), trio.Event()]
        self._nursery: trio.Nursery

    def _count(self) -> None:
        self.commits += 1

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with trio.open_nursery() as self._nursery:
            self.apps = [await self._nursery.start(self._run, number) for number in range(2)]
            yield
            for event in self._leave:
                event.set()

    async def _run(self, number: int, *, task_status: trio.TaskStatus[App]) -> None:
        leave, left = self._leave[number], self._left[number] = trio.Event(), trio.Event()
        async with App(root=AppsRoot, store=self.stores[number], disconnect_grace=2.03) as app:
            task_status.started(app)
            await leave.wait()
        left.set()

    async def play(self, program: tuple[Move, ...]) -> None:
        for move in program:
            await trio.sleep(move.delay / 10)
            await self._do(move)

    async def _do(self, move: Move) -> None:
        ref = self.apps[move.app].directory.ref(TOKEN)
        match move.kind:
            case "come" if move.page not in self.here:
                page = Page(move.page, functools.partial(self._go, move.page))
                self.here[move.page] = move.app, page
                ref.tell(Attach(page))
            case "go" if move.page in self.here and self.here[move.page][0] == move.app:
                self._go(move.page)
            case "start":
                ref.tell(Event("apps_root.told.start"))
            case "touch":
                await self._touch(self.apps[move.app])
            case "restart":
                await self._restart(move.app)
            case "blink":
                self.stores[move.app].blinks = True
            case _:
                pass

    def _go(self, number: int) -> None:
        app, page = self.here.pop(number)
        if self.apps[app].is_running:
            self.apps[app].directory.ref(TOKEN).tell(Detach(page))

    async def _restart(self, number: int) -> None:
        self._leave[number].set()
        await self._left[number].wait()
        for page in [page for page, at in self.here.items() if at[0] == number]:
            del self.here[page]
        self.apps[number] = await self._nursery.start(self._run, number)

    async def _touch(self, app: App) -> None:
        try:
            async with app.modify_state(TOKEN) as state:
                state.get_substate(Told).touched += 1
        except StoreUnavailableError:
            pass

    async def touch(self) -> None:
        """Let an app own the token, as a program does that has to know soon."""
        for store in self.stores:
            store.blinks = False
        await self._touch(self.apps[0])

    async def look(self) -> Outcome:
        """See what came of it."""
        async with self.apps[0].modify_state(TOKEN) as state:
            told = state.get_substate(Told)
            log, denied = list(told.log), told.denied
        snapshot = await self.stores[0].peek(TOKEN)
        ends = [len(app.background_tasks) for app in self.apps]
        return Outcome(log, denied, sum(ends), len(snapshot.tasks) if snapshot is not None else 0)
