"""`check_interleavings` and `replay`: the search for races as users call it, and what it tells."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar, final

import attrs

from actorstate.app import App
from actorstate.state.handlers import as_invocation
from actorstate.state.invocations import Invocation
from actorstate.state.state import State
from actorstate.testing.play import Budget, Failure, Play, Result
from actorstate.testing.program import root_of
from actorstate.testing.search import Explorer, Schedule, ScheduleError, follow

AnyState = TypeVar("AnyState", bound=State)

_REPEATS: Final = 3  # how often what was found is tried again, to be sure of it


class InterleavingError(AssertionError):
    """Something does not hold under a schedule. The message has the schedule, to be read."""

    def __init__(self, play: Play, result: Result, *, is_shortest: bool | None) -> None:
        assert result.failure is not None, "nothing went wrong"
        super().__init__(_report(play, result, result.failure, is_shortest=is_shortest))
        self.schedule: Final = result.steps
        """For `replay`. What was raised is the ``__cause__``."""
        self.is_shortest: Final = is_shortest is True
        """Whether all shorter schedules were looked at, and none does this."""


@final
@attrs.frozen
class Search:
    """What was looked at, where nothing was found."""

    runs: int
    """How many schedules."""
    depth: int
    """All schedules of up to so many steps were among them."""
    is_complete: bool
    """Whether these were all there are, within the bounds that were given."""


def check_interleavings(  # noqa: PLR0913 - one for each thing that bounds the search, by name
    state: type[AnyState],
    invariant: Callable[[AnyState], object] | None = None,
    *,
    finally_: Callable[[AnyState], object] | None = None,
    events: Iterable[object] | None = None,
    fires: int = 3,
    cancels: int = 0,
    reconnects: int = 0,
    may_fail: tuple[type[BaseException], ...] = (),
    max_steps: int = 20,
    runs: int = 1000,
    seed: int = 0,
    make_app: Callable[[], App] | None = None,
    path: str = "/",
) -> Search:
    """Run the handlers and background tasks of a state under many interleavings.

    Each run is an app of its own with one tab, in virtual time. What a conductor decides is all
    that could differ from run to run: which message is next, and when time passes. Call it where
    no event loop runs, as in a plain test function.

    A law is a function of the state as the server has it, backend vars and substates included. It
    is broken where it raises, or returns something false that is not None.

    Args:
        state: the State class whose laws these are.
        invariant: has to hold between any two turns; those that are run at once when a page
            connects count as one.
        finally_: has to hold whenever all is quiet: nothing lies in a mailbox, no turn
            is open, and nothing of the program waits for time to pass.
        events: what may be fired: handlers, or handlers with arguments (``MyState.add(3)``).
            None for all of the state and its substates that need no arguments, a canceller
            (``MyState.my_task.cancel``) among them if the program has named it.
        fires: how many events at most in one run; any of them, in any order.
        cancels: how many background tasks may be cancelled, as by their handles.
        reconnects: how often the tab may lose its connection, or load its page again.
        may_fail: what handlers and background tasks may raise. Anything else counts as broken.
        max_steps: how many steps a run has at most.
        runs: how many schedules to look at.
        seed: of the schedules at random.
        make_app: makes the app of a run, with a store of its own; None for ``App(root=...)`` in
            which nothing is put to rest.
        path: path and query of the page that the tab is at.

    Returns:
        What was looked at.

    Raises:
        InterleavingError: a law is broken, or something failed. It has the shortest schedule
            that was found.
        ValueError: all events need arguments, and none was named; or ``finally_`` was never
            looked at, because no run became quiet.
        RuntimeError: no run can begin, since the tab is not welcomed; or what was found does not
            happen again under the same schedule, so something beside the schedule decides, such as
            a clock, a random number, a thread or the network.
    """
    play = _play(state, invariant, finally_, events, make_app, may_fail, path)
    search = Explorer(play, Budget(max_steps, fires, cancels, reconnects), runs)
    found = search.run(random.Random(seed))  # noqa: S311 - to be the same each time
    if found is not None:
        _make_sure(play, found)
        is_shortest = search.depth >= len(found.steps) - 1
        raise InterleavingError(play, found, is_shortest=is_shortest) from _cause(found)
    if finally_ is not None and not search.was_quiet:
        message = (
            f"finally_ was never looked at: no run of {state.__name__} became quiet within "
            f"{max_steps} steps. Give it a higher max_steps, or events that end its tasks"
        )
        raise ValueError(message)
    return Search(search.runs, search.depth, search.is_complete)


def replay(  # noqa: PLR0913 - as above
    state: type[AnyState],
    schedule: Schedule,
    invariant: Callable[[AnyState], object] | None = None,
    *,
    finally_: Callable[[AnyState], object] | None = None,
    events: Iterable[object] | None = None,
    may_fail: tuple[type[BaseException], ...] = (),
    make_app: Callable[[], App] | None = None,
    path: str = "/",
) -> None:
    """Run one schedule, exactly: ``replay(MyState, error.schedule, invariant=...)``.

    Args:
        state: as in `check_interleavings`; so are all others.
        schedule: the steps. What it fires has to be among the events.
        invariant: as there.
        finally_: as there.
        events: as there.
        may_fail: as there.
        make_app: as there.
        path: as there.

    Raises:
        InterleavingError: it breaks a law, or something failed.
        ScheduleError: a step cannot happen where it stands.
    """
    play = _play(state, invariant, finally_, events, make_app, may_fail, path)
    result = follow(play, schedule)
    if result.failure is not None:
        raise InterleavingError(play, result, is_shortest=None) from _cause(result)


def _play(  # noqa: PLR0913, PLR0917 - what it is made of
    state: type[State],
    invariant: Callable[..., object] | None,
    finally_: Callable[..., object] | None,
    events: Iterable[object] | None,
    make_app: Callable[[], App] | None,
    may_fail: tuple[type[BaseException], ...],
    path: str,
) -> Play:
    fired = tuple(_handlers_of(state)) if events is None else tuple(map(as_invocation, events))
    if not fired and events is None:
        message = (
            f"there is nothing to fire: {state.__name__} has no handler without arguments; name "
            f"them, as in events=[{state.__name__}.add(3)]"
        )
        raise ValueError(message)
    root = root_of(state)
    return Play(
        state,
        tuple(event.complete() for event in fired),
        make_app if make_app is not None else lambda: App(root=root, idle_timeout=math.inf),
        invariant,
        finally_,
        may_fail,
        path,
    )


def _handlers_of(state: type[State]) -> Iterator[Invocation]:
    definition = state.definition()
    for _, handler in sorted(definition.handlers.items()):
        needed = [one for one in handler.signature.parameters.values() if one.default is one.empty]
        if not needed:
            yield as_invocation(handler)
    for _, substate in sorted(definition.substates.items()):
        yield from _handlers_of(substate)


def _make_sure(play: Play, found: Result) -> None:
    for _ in range(_REPEATS):
        try:
            again = follow(play, found.steps)
        except ScheduleError as error:
            raise RuntimeError(_not_repeatable(found, str(error))) from error
        if again.failure is None:
            raise RuntimeError(_not_repeatable(found, "the law held"))


def _not_repeatable(found: Result, how: str) -> str:
    return (
        f"the same schedule does not give the same again ({how}), so something beside it decides: "
        f"a clock, a random number, a thread, the network. Leave that out, or give it a stand-in. "
        f"It was:\n{_steps(found.steps)}"
    )


def _cause(result: Result) -> BaseException | None:
    return result.failure.error if result.failure is not None else None


# ---- telling -----------------------------------------------------------------------------------


def _report(play: Play, result: Result, failure: Failure, *, is_shortest: bool | None) -> str:
    shortest = {
        True: "\nNo shorter schedule breaks it.",
        False: "\nNo shorter one was found; not all were looked at.",
        None: "",
    }[is_shortest]
    literal = ",\n".join(f"    {step!r}" for step in result.steps)
    return (
        f"{play.state.__name__}: {failure.label} after this schedule:\n\n"
        f"{_steps(result.steps)}\n\n"
        f"{_error_text(failure.error)}\n"
        f"{failure.state}\n"
        f"{shortest}\n"
        f"To see it again: replay({play.state.__name__}, schedule, ...) with\n"
        f"schedule = (\n{literal},\n)"
    )


def _steps(steps: Schedule) -> str:
    return "\n".join(f"{number:3}. {step}" for number, step in enumerate(steps, 1)) or "  (none)"


def _error_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
