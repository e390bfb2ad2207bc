"""One run of an app in which the schedule decides, and nothing is left to chance.

Everything that changes a tab's state comes through the mailbox of its actor. The rehearsal is the
conductor of all mailboxes (see `actorstate.actors.conductor`): each actor waits until it is told
which message to take. A step lets exactly one thing go on, and ends when everything waits again;
what trio does in between, and in which order, no turn sees.

What may happen next, each of it one step:

- an event is fired: it goes through the tab and its connection, and is taken at once, before what
  lies in the mailbox already. A browser may have sent it that much earlier;
- a block is entered that was asked for. Whoever asked may as well have asked later, so a request
  may be overtaken by all that came after it;
- what a handler returned follows, or a task that ended is noted. These overtake nothing, and are
  overtaken by events alone: they were put there by the actor itself, behind what came before;
- time passes, until it wakes code of the program. Not while a message lies there that cannot be
  late: an actor with something to do does it;
- a background task is cancelled; the tab loses its connection, or comes back.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, final

import attrs
import trio
import trio.testing

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.errors import ErrorContext
from actorstate.actors.mailbox import Mailbox
from actorstate.actors.messages import (
    Call,
    Event,
    StillAway,
    TurnRequest,
)
from actorstate.actors.token_actor import TaskEnded
from actorstate.state.invocations import Invocation
from actorstate.state.tree import StateTree
from actorstate.testing.names import Names
from actorstate.testing.opening import Lines
from actorstate.testing.play import (
    Budget,
    Choice,
    Failure,
    Kind,
    Law,
    Play,
    Policy,
    Result,
    check,
    silence,
)
from actorstate.testing.tab import Tab, label_of
from actorstate.web.limits import ConnectionLimits

# A line in memory is neither slow nor dead; and time that passes is the program's.
_PATIENT: Final = ConnectionLimits(
    send_timeout=math.inf, ping_interval=math.inf, rate_limit=math.inf
)

TIME_PASSES: Final = "time passes"
"""The name of a step of time before it is known how much of it passes."""

# Jumps of the clock in one step that wake no code of the program, such as the library's own
# timers, before it is taken that nothing of the program waits for time.
_MOST_JUMPS: Final = 100
# How often it is looked whether threads have ended, and how long each time (seconds of real time).
# One that waits itself, for a turn perhaps, does not end by being waited for.
_MOST_LOOKS: Final = 200
_A_MOMENT: Final = 0.001
_LITTLE: Final = 1e-9  # seconds: beyond a deadline, so that rounding does not leave it ahead


def rehearse(play: Play, budget: Budget, policy: Policy) -> Result:
    """Run an app of its own, step by step."""
    rehearsal = Rehearsal(play, budget, policy)
    with silence():
        return trio.run(rehearsal.run, clock=rehearsal.clock, instruments=[rehearsal.names])


@final
@attrs.define(eq=False)
class _Pick:
    """An actor that waits to be told which message to take."""

    made: trio.Event = attrs.field(factory=trio.Event)
    place: int | None = None


@final
class Rehearsal:
    """One run: the conductor of its app, and the hand of its tab.

    Args:
        play: what is rehearsed.
        budget: how much may happen.
        policy: what decides.
    """

    def __init__(self, play: Play, budget: Budget, policy: Policy) -> None:
        self.clock: Final = trio.testing.MockClock()
        self.names: Final = Names()
        self._play: Final = play
        self._budget: Final = budget
        self._policy: Final = policy
        self._app: Final = play.make_app()
        self._tab: Tab
        self._steps: Final[list[str]] = []
        self._spent: Final[Counter[Kind]] = Counter()
        self._labels: Final[dict[int, str]] = {}
        self._idle: Final[dict[Mailbox, _Pick]] = {}
        self._errors: Final[list[tuple[BaseException, str]]] = []
        self._is_timeless = False
        self._failure: Failure | None = None
        self._was_quiet = False
        self._has_ended = False
        self._is_over = False

    # ---- the conductor ---------------------------------------------------------------------

    def arrived(self, mailbox: Mailbox, message: object) -> None:  # noqa: ARG002 - all have one stage
        """Give the message its name, while it is known who puts it."""
        if isinstance(message, StillAway):
            self.names.has_woken = True
        if isinstance(message, TaskEnded) and message.end.error is not None:
            self._note_error(message.end.error, str(message.job.handler))
        self._labels[id(message)] = self.names.of_message(message)

    async def choose(self, mailbox: Mailbox) -> int | None:
        """Let the actor wait until a step takes one of its messages."""
        if self._is_over:
            mailbox.order = None
            return None
        pick = self._idle[mailbox] = _Pick()
        try:
            await pick.made.wait()
        finally:
            del self._idle[mailbox]
        return pick.place

    def closed(self, mailbox: Mailbox) -> None:
        """Let an actor go that was put to rest."""
        if mailbox in self._idle:
            self._idle[mailbox].made.set()

    def started(self, task: BackgroundTask) -> None:
        """Give a background task its name."""
        self.names.started(task)

    def failed(self, error: BaseException, context: ErrorContext) -> None:
        """Keep an error, for the end of the step."""
        self._note_error(error, context.name)

    def _note_error(self, error: BaseException, name: str) -> None:
        if not isinstance(error, self._play.may_fail):
            self._errors.append((error, name))

    # ---- the run ---------------------------------------------------------------------------

    async def run(self) -> Result:
        """Open the tab, let happen what is chosen, and leave nothing behind."""
        self._app.use_conductor(self)
        with trio.CancelScope() as everything:
            async with self._app, Lines() as lines:
                site = attrs.evolve(await self._app.open_site(), limits=_PATIENT)
                self._tab = Tab(site, lines.nursery, self._play.path, {}, math.inf)
                try:
                    await self._run()
                finally:
                    self._release()
                everything.cancel()  # with the app inside: what runs is not waited for
                await trio.lowlevel.checkpoint()
        return Result(tuple(self._steps), self._failure, self._was_quiet, self._has_ended)

    async def _run(self) -> None:
        await self._open()
        self._failure = self._look()
        while self._failure is None and len(self._steps) < self._budget.steps:
            choices = self._choices()
            self._has_ended = not choices
            choice = self._policy(choices) if choices else None
            if choice is None:
                return
            await self._do(choice)
            self._failure = self._look()

    async def _open(self) -> None:
        self._tab.load()
        await self._settle()
        if not self._tab.is_connected:  # to compute or load its state takes time
            await self._pass_time()
            await self._settle()
        if not self._tab.is_connected:
            told = [str(error) for error in (*self._tab.errors, *(e for e, _ in self._errors))]
            message = f"no run can begin: the tab is not welcomed by the app ({'; '.join(told)})"
            raise RuntimeError(message)

    async def _do(self, choice: Choice) -> None:
        label = await choice.act()
        await self._settle()
        self._is_timeless = label is None
        if label is not None:
            self._spent[choice.kind] += 1
            self._steps.append(label)

    def _release(self) -> None:
        """Let everything go its way: the run is over, and tasks may want time to clean up."""
        self._is_over = True
        self.clock.autojump_threshold = 0
        for mailbox, pick in self._idle.items():
            mailbox.order = None
            pick.made.set()

    # ---- letting things happen ---------------------------------------------------------------

    async def _settle(self) -> None:
        """Wait until everything waits, and take meanwhile what makes no difference when."""
        await self._wait_blocked()
        while (found := self._find(_makes_no_difference)) is not None:
            self._take(*found)
            await self._wait_blocked()

    async def _wait_blocked(self) -> None:
        """Wait until everything waits; and until threads have ended, unless they wait, too."""
        await trio.testing.wait_all_tasks_blocked()
        threads = trio.to_thread.current_default_thread_limiter()
        for _ in range(_MOST_LOOKS):
            if not threads.borrowed_tokens:
                break
            await trio.testing.wait_all_tasks_blocked(_A_MOMENT)

    def _find(self, wanted: Callable[[object], bool]) -> tuple[Mailbox, int] | None:
        for mailbox in self._idle:
            for place, message in enumerate(mailbox.waiting()):
                if wanted(message):
                    return mailbox, place
        return None

    def _take(self, mailbox: Mailbox, place: int) -> None:
        pick = self._idle[mailbox]
        pick.place = place
        pick.made.set()

    async def _take_message(self, message: object) -> str | None:
        found = self._find(lambda other: other is message)
        assert found is not None, "it was among the choices"
        self._take(*found)
        return self._labels.pop(id(message))

    async def _fire(self, event: Invocation) -> str | None:
        seq = self._tab.fire_nowait(event)
        await self._wait_blocked()
        found = self._find(lambda one: isinstance(one, Event) and one.seq == seq)
        assert found is not None, "the tab is connected, and its actor has nothing to do"
        self._take(*found)
        return f"fire {label_of(event)}"

    async def _pass_time(self) -> str | None:
        passed = await self._pass_until_woken()
        if self._tab.token is not None:  # who looks at a tab that was put to rest wakes it
            self._app.directory.door(self._tab.token)
        return passed

    async def _pass_until_woken(self) -> str | None:
        start = trio.current_time()
        for _ in range(_MOST_JUMPS):
            seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if seconds == math.inf:
                break
            self.names.has_woken = False
            self.clock.jump(max(seconds, 0) + _LITTLE)
            await self._wait_blocked()
            if self.names.has_woken:
                return f"{round(trio.current_time() - start, 6):g} s pass"
        return None

    # ---- what may happen -------------------------------------------------------------------

    def _choices(self) -> list[Choice]:
        messages = list(self._messages())
        choices = [*messages, *self._time(), *self._events(), *self._cancels(), *self._lines()]
        return sorted(choices, key=lambda choice: choice.label)

    def _messages(self) -> Iterator[Choice]:
        for mailbox in self._idle:
            for message in mailbox.waiting():
                label = self._labels[id(message)]
                yield Choice(label, "message", lambda message=message: self._take_message(message))
                if not isinstance(message, TurnRequest):
                    break

    def _time(self) -> Iterator[Choice]:
        if self._is_timeless or not self._may_wait_for_time():
            return
        lies = (one for mailbox in self._idle for one in mailbox.waiting())
        if all(isinstance(one, TurnRequest) for one in lies):
            yield Choice(TIME_PASSES, "time", self._pass_time)

    def _may_wait_for_time(self) -> bool:
        if trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf:
            return False
        if self._app.background_tasks or self._app.has_own_tasks:
            return True
        return self._is_busy or not self._tab.is_connected

    @property
    def _is_busy(self) -> bool:
        """Whether the tab's actor is in the middle of something."""
        return self._mailbox not in self._idle

    @property
    def _mailbox(self) -> Mailbox:
        return self._app.directory.ref(self._token).mailbox

    @property
    def _token(self) -> str:
        assert self._tab.token is not None, "it was welcomed at once"
        return self._tab.token

    def _events(self) -> Iterator[Choice]:
        if self._spent["event"] >= self._budget.fires:
            return
        if self._tab.is_connected and not self._is_busy:
            for event in self._play.events:
                label = f"fire {label_of(event)}"
                yield Choice(label, "event", lambda event=event: self._fire(event))

    def _cancels(self) -> Iterator[Choice]:
        if self._spent["cancel"] >= self._budget.cancels:
            return
        for task in self._app.background_tasks:
            yield _at_once(f"{self.names.of_task(task)} is cancelled", "cancel", task.cancel)

    def _lines(self) -> Iterator[Choice]:
        if not self._tab.has_line:
            yield _at_once("the tab connects again", "return", self._tab.connect)
        elif self._spent["line"] < self._budget.reconnects:
            yield _at_once("the tab loses its connection", "line", self._tab.cut)
            yield _at_once("the page is loaded again", "line", self._tab.load)

    # ---- looking ---------------------------------------------------------------------------

    def _look(self) -> Failure | None:
        """Look at the state after a step."""
        if self._errors:
            error, name = self._errors[0]
            return Failure(error, f"{name} failed", repr(self._tree.state(self._play.state)))
        if self._tree.turn is not None:
            return None
        if self._play.invariant is not None:
            failure = self._check(self._play.invariant)
            if failure is not None:
                return failure
        return self._look_when_quiet()

    def _look_when_quiet(self) -> Failure | None:
        if any(True for _ in self._messages()) or any(True for _ in self._time()):
            return None
        self._was_quiet |= bool(self._steps)  # it says nothing that all is well at the beginning
        return self._check(self._play.finally_) if self._play.finally_ is not None else None

    def _check(self, law: Law) -> Failure | None:
        return check(law, self._tree.state(self._play.state))

    @property
    def _tree(self) -> StateTree:
        return self._app.directory.door(self._token).tree


def _at_once(label: str, kind: Kind, act: Callable[[], None]) -> Choice:
    """Give a choice of something that happens without waiting."""

    async def happen() -> str:
        act()
        return label

    return Choice(label, kind, happen)


def _makes_no_difference(message: object) -> bool:
    """Tell a message that runs no code of the program, whenever it is taken."""
    if isinstance(message, TaskEnded):
        return message.end.error is None and message.job.options.overlap == "allow"
    return not isinstance(message, Event | Call | TurnRequest | StillAway)
