"""What a rehearsal is told, and what it tells: records, and how a law is looked at."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias, final

import attrs

from actorstate.app import App
from actorstate.state.invocations import Invocation
from actorstate.state.state import State

Kind: TypeAlias = Literal["event", "message", "time", "cancel", "line", "return"]

Law: TypeAlias = Callable[..., object]
"""A function of a state. It is broken where it raises, or gives something false but None."""

_LOGGERS: Final = ("actorstate", "actorstate.actors", "actorstate.state", "actorstate.web")


@final
@attrs.frozen(eq=False)
class Choice:
    """Something that may happen next."""

    label: str
    kind: Kind
    act: Callable[[], Awaitable[str | None]]
    """Lets it happen; gives what it is called, or None if there was nothing to happen."""


Policy = Callable[[Sequence[Choice]], Choice | None]
"""Chooses among what may happen next, in the order of their labels; None ends the run."""


@final
@attrs.frozen
class Failure:
    """What went wrong, and what the state was."""

    error: BaseException
    label: str
    """What did not hold, or what failed, for people."""
    state: str


@final
@attrs.frozen
class Play:
    """What is rehearsed."""

    state: type[State]
    events: tuple[Invocation, ...]
    make_app: Callable[[], App]
    invariant: Law | None = None
    finally_: Law | None = None
    may_fail: tuple[type[BaseException], ...] = ()
    path: str = "/"


@final
@attrs.frozen
class Budget:
    """How much of what may happen in one run."""

    steps: int
    fires: float = math.inf
    cancels: float = math.inf
    reconnects: float = math.inf


@final
@attrs.frozen
class Result:
    """How a run went."""

    steps: tuple[str, ...]
    failure: Failure | None
    was_quiet: bool
    """Whether all was quiet at some time after something had happened."""
    has_ended: bool
    """Whether it ended because nothing else could happen."""


def check(law: Law, state: State) -> Failure | None:
    """Look whether a law holds of a state."""
    try:
        holds = law(state)
    except Exception as error:  # noqa: BLE001 - it is reported, whatever it is
        return Failure(error, f"{_name_of(law)} does not hold", repr(state))
    if holds is None or holds:
        return None
    error = AssertionError(f"{_name_of(law)} gave {holds!r}")
    return Failure(error, f"{_name_of(law)} does not hold", repr(state))


def _name_of(law: Law) -> str:
    return getattr(law, "__name__", repr(law))


@contextmanager
def silence() -> Generator[None]:
    """Keep out of the log what happens in this thread: a search fails many times on purpose."""
    here = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != here

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(is_of_others)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(is_of_others)
