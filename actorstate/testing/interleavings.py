"""The search for a schedule that breaks an invariant.

It looks in three ways, one after the other:

1. every schedule of one step, of two, of three, as far as a part of the runs goes. What is found
   so is the shortest there is;
2. schedules at random, which go deeper;
3. what they find is made shorter, by leaving out steps for as long as it breaks; and then all
   schedules that are shorter still are looked at, if the rest of the runs goes that far.

All of it is counted in runs and not in seconds, so the same call gives the same result.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar, final

import attrs

from actorstate.app import App
from actorstate.state.handlers import as_invocation
from actorstate.state.invocations import Invocation
from actorstate.state.state import State
from actorstate.testing.program import root_of
from actorstate.testing.rehearsal import (
    TIME_PASSES,
    Budget,
    Choice,
    Failure,
    Play,
    Policy,
    Result,
    rehearse,
)

AnyState = TypeVar("AnyState", bound=State)

Schedule = Sequence[str]
"""What happened, step by step, in words; a literal, to be kept in a test."""

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


class ScheduleError(ValueError):
    """A schedule cannot be replayed: one of its steps cannot happen where it stands."""


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
        invariant: has to hold between any two turns.
        finally_: has to hold whenever everything is at rest: nothing lies in a mailbox, no turn
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
        make_app: makes the app of a run, with a store of its own; None for ``App(root=...)``.
        path: path and query of the page that the tab is at.

    Returns:
        What was looked at.

    Raises:
        InterleavingError: a law is broken, or something failed. It has the shortest schedule
            that was found.
        ValueError: all events need arguments, and none was named; or ``finally_`` was never
            looked at, because no run came to rest.
        RuntimeError: what was found does not happen again under the same schedule, so something
            beside the schedule decides, such as a clock, a random number, a thread or the network.
    """
    play = _play(state, invariant, finally_, events, make_app, may_fail, path)
    search = _Search(play, Budget(max_steps, fires, cancels, reconnects), runs)
    found = search.run(random.Random(seed))  # noqa: S311 - to be the same each time
    if found is not None:
        _make_sure(play, found)
        is_shortest = search.depth >= len(found.steps) - 1
        raise InterleavingError(play, found, is_shortest=is_shortest) from _cause(found)
    if finally_ is not None and not search.was_at_rest:
        message = (
            f"finally_ was never looked at: no run of {state.__name__} came to rest within "
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
    result = _replay(play, schedule)
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
        make_app if make_app is not None else lambda: App(root=root),
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


# ---- the search --------------------------------------------------------------------------------


@final
class _Search:
    """One search, with the runs that it may take."""

    def __init__(self, play: Play, budget: Budget, runs: int) -> None:
        self._play: Final = play
        self._budget: Final = budget
        self._most: Final = runs
        self.runs: int = 0
        self.depth: int = 0
        """All schedules of up to so many steps were looked at."""
        self.is_complete: bool = False
        self.was_at_rest: bool = False

    def run(self, dice: random.Random) -> Result | None:
        """Look for a schedule that breaks something; give the shortest that is found."""
        found = self._look_at_short_ones(self._budget.steps, self._most // 4)
        if found is not None or self.is_complete:
            return found
        found = self._look_at_random_ones(dice, self._most - self._most // 4)
        if found is None:
            return None
        found = self._shorten(found)
        return self._look_at_short_ones(len(found.steps) - 1, self._most // 2) or found

    def _rehearse(self, policy: Policy, steps: int | None = None) -> Result:
        budget = self._budget if steps is None else attrs.evolve(self._budget, steps=steps)
        result = rehearse(self._play, budget, policy)
        self.runs += 1
        self.was_at_rest |= result.was_at_rest
        return result

    # ---- 1. every schedule, the shortest first

    def _look_at_short_ones(self, depth: int, runs: int) -> Result | None:
        """Look at all schedules of up to so many steps; those that were not looked at yet."""
        last = self.runs + runs
        while self.depth < depth and self.runs < last:
            found = self._look_at_depth(self.depth + 1, last)
            if found is not None or self.is_complete:
                return found
        return None

    def _look_at_depth(self, depth: int, last: int) -> Result | None:
        walk, has_cut = _Walk(), False
        while self.runs < last:
            result = self._rehearse(walk.choose, depth)
            if result.failure is not None:
                return result
            has_cut |= not result.has_ended
            if not walk.go_on():
                self.depth = depth
                self.is_complete = not has_cut
                return None
        return None

    # ---- 2. schedules at random

    def _look_at_random_ones(self, dice: random.Random, runs: int) -> Result | None:
        def choose(choices: Sequence[Choice]) -> Choice:
            # A kind first, else the many events would leave no room for the rest.
            kinds = sorted({choice.kind for choice in choices})
            kind = dice.choice(kinds)
            return dice.choice([choice for choice in choices if choice.kind == kind])

        for _ in range(runs):
            result = self._rehearse(choose)
            if result.failure is not None:
                return result
        return None

    # ---- 3. shorter ones

    def _shorten(self, found: Result) -> Result:
        """Leave out what need not be there, first many steps at once, then fewer."""
        size = max(len(found.steps) // 2, 1)
        while size:
            shorter = self._shorten_by(size, found)
            if shorter is not None:
                found = shorter
            else:
                size //= 2
        return found

    def _shorten_by(self, size: int, found: Result) -> Result | None:
        for start in range(len(found.steps)):
            kept = found.steps[:start] + found.steps[start + size :]
            result = self._rehearse(_follow_where_possible(kept))
            if result.failure is not None and len(result.steps) < len(found.steps):
                return result
        return None


@final
class _Walk:
    """Goes through all schedules of one length, in their order: the hand of a clock, so to say."""

    def __init__(self) -> None:
        self._way: list[int] = []
        self._widths: list[int] = []

    def choose(self, choices: Sequence[Choice]) -> Choice:
        """Give the choice of this schedule, and after its end the first."""
        place = len(self._widths)
        self._widths.append(len(choices))
        if place == len(self._way):
            self._way.append(0)
        return choices[self._way[place]]

    def go_on(self) -> bool:
        """Go on to the next schedule; tell whether there is one."""
        while self._way and self._way[-1] == self._widths[len(self._way) - 1] - 1:
            self._way.pop()
        self._widths = []
        if not self._way:
            return False
        self._way[-1] += 1
        return True


# ---- following a schedule ------------------------------------------------------------------------


def _follow_where_possible(steps: Sequence[str]) -> Policy:
    """Follow a schedule, and leave out the steps that cannot happen."""
    left = list(steps)

    def choose(choices: Sequence[Choice]) -> Choice | None:
        while left:
            choice = _find(choices, left.pop(0))
            if choice is not None:
                return choice
        return None

    return choose


def _replay(play: Play, schedule: Schedule) -> Result:
    result = rehearse(play, Budget(len(schedule)), _follow(schedule))
    for number, (step, happened) in enumerate(zip(schedule, result.steps, strict=False), 1):
        if step != happened:
            message = f"step {number} should be {step!r}, and was {happened!r}"
            raise ScheduleError(message)
    return result


def _follow(schedule: Schedule) -> Policy:
    left = list(enumerate(schedule, 1))

    def choose(choices: Sequence[Choice]) -> Choice:
        number, step = left.pop(0)
        choice = _find(choices, step)
        if choice is None:
            known = "; ".join(choice.label for choice in choices)
            message = f"step {number}, {step!r}, cannot happen there; what can: {known}"
            raise ScheduleError(message)
        return choice

    return choose


def _find(choices: Sequence[Choice], step: str) -> Choice | None:
    label = TIME_PASSES if step.endswith(" s pass") else step
    return next((choice for choice in choices if choice.label == label), None)


def _make_sure(play: Play, found: Result) -> None:
    for _ in range(_REPEATS):
        try:
            again = _replay(play, found.steps)
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
