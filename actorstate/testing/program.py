"""Programs: what somebody does with a page, as data; and a way to run one.

A program goes on in virtual time, and what happens at the same moment happens in whatever order
trio takes; Hypothesis makes that order repeatable. To go through all such orders is what
`check_interleavings` is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeVar, final

import attrs
import trio
import trio.testing

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.errors import ErrorContext
from actorstate.actors.mailbox import Mailbox
from actorstate.app import App
from actorstate.state.definition import is_mixin
from actorstate.state.effects import Effect
from actorstate.state.handlers import as_invocation
from actorstate.state.invocations import Invocation
from actorstate.state.state import State
from actorstate.state.tree import StateTree
from actorstate.testing.opening import open_tab
from actorstate.testing.tab import EventFailedError, Tab, label_of
from actorstate.testing.view import TabState

AnyState = TypeVar("AnyState", bound=State)


def _complete(event: object) -> Invocation:
    return as_invocation(event).complete()


@final
@attrs.frozen
class Fire:
    """The page sends an event; or keeps it, while it has no connection."""

    event: Invocation = attrs.field(converter=_complete, repr=label_of)


@final
@attrs.frozen
class Pass:
    """Time passes."""

    seconds: float


@final
@attrs.frozen
class Cancel:
    """A background task is cancelled by its handle, if one runs."""

    index: int
    """Which one, of those that run: the oldest is 0. Counted round, if there are fewer."""


@final
@attrs.frozen
class Disconnect:
    """The line is cut."""


@final
@attrs.frozen
class Reconnect:
    """The page connects again."""


@final
@attrs.frozen
class Reload:
    """The page is loaded again."""


Move = Fire | Pass | Cancel | Disconnect | Reconnect | Reload


@final
@attrs.frozen
class Program:
    """What is done with one tab, one after the other, without waiting for what comes of it."""

    state: type[State]
    """The state that it is about."""
    moves: tuple[Move, ...]


@final
@attrs.frozen(eq=False)
class Outcome:
    """What came of a program."""

    state: TabState
    """What the tab shows."""
    errors: tuple[EventFailedError, ...]
    """The error frames that it was sent."""
    effects: tuple[Effect, ...]
    """What it was asked to do."""
    failures: tuple[BaseException, ...]
    """What handlers and background tasks raised, in order."""
    running: tuple[str, ...]
    """The background tasks that still run, by name."""
    _tree: StateTree = attrs.field(repr=False)

    def server_state(self, cls: type[AnyState]) -> AnyState:
        """Give a state as the server has it, backend vars and all, to read."""
        return self._tree.state(cls)


def run_program(
    program: Program, *, make_app: Callable[[], App] | None = None, afterwards: float = 60.0
) -> Outcome:
    """Run a program in an app of its own, in virtual time.

    Call it where no event loop runs, as in a plain test function.

    Args:
        program: what is done. A tab that is not connected at its end is connected again.
        make_app: makes the app, with a store of its own; None for ``App(root=...)``.
        afterwards: seconds that pass at the end, for what still runs. What has not ended by then is
            cancelled, its open turn undone, when the outcome is there already.
    """
    app = make_app() if make_app is not None else App(root=root_of(program.state))
    return trio.run(
        _Run(app, program, afterwards).run, clock=trio.testing.MockClock(autojump_threshold=0)
    )


def root_of(state: type[State]) -> type[State]:
    """Give the root class above a State class."""
    above = [cls for cls in state.__mro__ if issubclass(cls, State) and not is_mixin(cls)]
    return next(cls for cls in above if "." not in cls.get_full_name())


@final
class _Listener:
    """A conductor that lets messages come as they come, and hears what fails."""

    def __init__(self) -> None:
        self.tasks: Final[list[BackgroundTask]] = []
        self.failures: Final[list[BaseException]] = []

    def arrived(self, mailbox: Mailbox, message: object) -> None:
        """Nothing to note."""

    async def choose(self, mailbox: Mailbox) -> int | None:
        """Decide nothing, and not be asked again."""
        mailbox.order = None

    def closed(self, mailbox: Mailbox) -> None:
        """Nothing to note."""

    def started(self, task: BackgroundTask) -> None:
        """Note a task, the oldest first."""
        self.tasks.append(task)

    def failed(self, error: BaseException, context: ErrorContext) -> None:  # noqa: ARG002 - its name is in the log
        """Note an error."""
        self.failures.append(error)


@final
class _Run:
    """One program that runs."""

    def __init__(self, app: App, program: Program, afterwards: float) -> None:
        self._app: Final = app
        self._program: Final = program
        self._afterwards: Final = afterwards
        self._listener: Final = _Listener()
        self._outcome: Outcome | None = None

    async def run(self) -> Outcome:
        """Do what the program says, let time pass, and look."""
        self._app.use_conductor(self._listener)
        with trio.CancelScope() as everything:
            async with open_tab(self._app, timeout=math.inf) as tab:
                for move in self._program.moves:
                    await self._make(move, tab)
                await trio.sleep(self._afterwards)
                if not tab.is_connected:
                    await tab.reconnect()
                    await trio.sleep(self._afterwards)
                await trio.testing.wait_all_tasks_blocked()  # what is done now is shown now, too
                self._outcome = self._look(tab)
                everything.cancel()  # with the app inside: nothing more is committed
                await trio.lowlevel.checkpoint()
        assert self._outcome is not None, "nobody else cancels"
        return self._outcome

    async def _make(self, move: Move, tab: Tab) -> None:
        match move:
            case Fire(event):
                tab.fire_nowait(event)
            case Pass(seconds):
                await trio.sleep(seconds)
            case Cancel(index):
                running = self._running()
                if running:
                    running[index % len(running)].cancel()
            case Disconnect():
                await tab.disconnect()
            case Reconnect():
                await tab.reconnect()
            case Reload():
                await tab.reload()

    def _running(self) -> list[BackgroundTask]:
        return [task for task in self._listener.tasks if task in self._app.background_tasks]

    def _look(self, tab: Tab) -> Outcome:
        assert tab.token is not None, "it was welcomed"
        return Outcome(
            tab.state,
            tuple(tab.errors),
            tuple(tab.effects),
            tuple(self._listener.failures),
            tuple(task.name for task in self._running()),
            self._app.directory.door(tab.token).tree,
        )
