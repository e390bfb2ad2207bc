"""Hypothesis strategies: programs of a State class, with arguments of the declared types.

The one module that needs Hypothesis, which comes with the extra ``actorstate[testing]``; the tab
and the search for races do without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from actorstate.state.handlers import Canceller, Handler, as_invocation
from actorstate.state.invocations import Invocation
from actorstate.state.state import State
from actorstate.testing.program import (
    Cancel,
    Disconnect,
    Fire,
    Pass,
    Program,
    Reconnect,
    Reload,
)

_HAS_HYPOTHESIS: Final = find_spec("hypothesis") is not None

if TYPE_CHECKING or _HAS_HYPOTHESIS:
    from hypothesis import strategies as st

_LONGEST_PASS: Final = 10.0  # seconds: longer than a tab may be away


def programs(
    state: type[State],
    *,
    events: Iterable[object] | None = None,
    max_moves: int = 12,
    lines: bool = True,
) -> st.SearchStrategy[Program]:
    """Draw programs: events with arguments, time that passes, cancellations, lines that are cut.

    Args:
        state: whose public handlers are fired, and those of its substates; setters and cancellers
            too, once the program has named them.
        events: what may be fired instead: handlers, whose free parameters are drawn, or handlers
            with arguments.
        max_moves: how many moves a program has at most.
        lines: whether the tab may lose its connection, connect again, and load its page again.

    Raises:
        ModuleNotFoundError: Hypothesis is not installed.
        ValueError: there is nothing to fire.

    Example:
        >>> from hypothesis import given
        >>> from actorstate import State
        >>> from actorstate.testing import programs, run_program
        >>> class Purse(State):
        ...     coins: int = 0
        ...     _put_in: int = 0
        ...     def put(self, coins: int):
        ...         self.coins += coins
        ...         self._put_in += coins
        >>> @given(programs(Purse))
        ... def test_no_coin_is_lost(program):
        ...     purse = run_program(program).server_state(Purse)
        ...     assert purse.coins == purse._put_in
        >>> test_no_coin_is_lost()
    """
    if not _HAS_HYPOTHESIS:
        message = "programs() needs Hypothesis; install it with the extra: actorstate[testing]"
        raise ModuleNotFoundError(message, name="hypothesis")
    offered = list(_handlers_of(state)) if events is None else list(map(as_invocation, events))
    if not offered:
        message = f"there is nothing to fire: {state.__name__} has no public handler"
        raise ValueError(message)
    fires = st.sampled_from(offered).flatmap(_completed).map(Fire)
    passes = st.floats(0, _LONGEST_PASS).map(lambda seconds: Pass(round(seconds, 1)))
    others: list[Any] = [st.integers(0, 2).map(Cancel)]
    if lines:
        others += [st.builds(Disconnect), st.builds(Reconnect), st.builds(Reload)]
    moves = st.lists(st.one_of(fires, fires, passes, st.one_of(others)), max_size=max_moves)
    return moves.map(lambda made: Program(state, tuple(made)))


def _handlers_of(state: type[State]) -> Iterator[Invocation]:
    definition = state.definition()
    for handler in definition.handlers.values():
        yield as_invocation(handler)
    for substate in definition.substates.values():
        yield from _handlers_of(substate)


def _completed(invocation: Invocation) -> st.SearchStrategy[Invocation]:
    """Draw what is free of the parameters of a handler."""
    handler, bound = invocation.handler, invocation.by_name
    free: Mapping[str, Any] = {} if isinstance(handler, Canceller) else handler.types
    drawn = {name: _values(handler, name, of) for name, of in free.items() if name not in bound}
    return st.fixed_dictionaries(drawn).map(lambda values: handler(**{**bound, **values}))


def _values(handler: Handler, name: str, declared: Any) -> st.SearchStrategy[Any]:
    """Draw values of a type that have a JSON form, which a float that is no number has not."""

    def fits(value: Any) -> bool:
        try:
            _ = handler.own(name, value)
        except TypeError:
            return False
        return True

    known: Mapping[Any, st.SearchStrategy[Any]] = {Any: _json(), object: _json()}
    strategy = known[declared] if declared in known else st.from_type(declared)
    return strategy.filter(fits)


def _json() -> st.SearchStrategy[Any]:
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False)
    )
    return st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
    )
