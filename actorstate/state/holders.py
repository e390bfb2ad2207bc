"""Who may write: known by context, so whoever a holder starts inside its turn may, too."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from actorstate.state.turn import Turn

turns_in_context: Final[ContextVar[tuple[Turn, ...]]] = ContextVar(
    "actorstate.held_turns", default=()
)
"""The turns that the running code holds, outermost first.

A context variable, so that tasks started inside a block inherit the right to write, and it ends
for all of them when the turn does: what counts is that the turn is in here *and* still open.
"""

is_reading: Final[ContextVar[bool]] = ContextVar("actorstate.reading", default=False)
"""Whether the running code computes a computed var, and so may not write, whatever it holds."""


def forbid_writing() -> Callable[[], None]:
    """Let the running code write nothing until what this gives is called."""
    token = is_reading.set(True)
    return lambda: is_reading.reset(token)


def held_turns() -> tuple[Turn, ...]:
    """Give the turns that the running code was given, outermost first; some may have ended."""
    return turns_in_context.get()


def is_held(turn: Turn) -> bool:
    """Tell whether the running code holds this turn, and may write under it."""
    return turn in turns_in_context.get() and not is_reading.get()


def hold(turn: Turn) -> None:
    """Let the running code, and tasks that it starts from now on, write under the turn."""
    turns_in_context.set((*turns_in_context.get(), turn))


def release(turn: Turn) -> None:
    """Take back what `hold` gave to the running code."""
    turn.block = None  # which has the turn: else both would wait for the garbage collector
    held = turns_in_context.get()
    is_inner = held and held[-1] is turn  # the common case
    turns_in_context.set(held[:-1] if is_inner else tuple(one for one in held if one is not turn))
