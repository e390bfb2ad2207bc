"""Holding a turn: for how long, what its holder waits for meanwhile, and how it is made to let go.

Two things can go wrong with a turn that is held. It can be held too long: `TurnWatch` says so in
the log, and ends it in the end. And its holder can wait for a turn that waits for this one: a
circle, which nothing but time would end. Whoever would close one is refused (`refuse_circle`).

The graph of who waits for whom is nowhere but in the turns themselves: each open turn has its
holding, each holding the trees whose turns are waited for under it, each tree its open turn. To
wait adds an edge, and nothing else does: an actor grants a turn to who then waits for nothing. So
it is enough to look for a circle before waiting.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TypeAlias, cast, final

import trio

from actorstate.actors.flavor import ForeignTask
from actorstate.actors.futures import Bell
from actorstate.actors.mailbox import FAIR_SHARE
from actorstate.exceptions import DeadlockError, ImmutableStateError, TurnTimeoutError
from actorstate.state.labels import token_label
from actorstate.state.tree import StateTree
from actorstate.state.turn import Turn

logger: Final = logging.getLogger("actorstate.actors")

Asker: TypeAlias = trio.lowlevel.Task | threading.Thread | ForeignTask
"""Who asks for a turn, and holds it then: what goes on only when that is answered."""

# What a block can raise because it is overdue, beside trio's cancellation: code that cannot be
# cancelled comes to a write, and code of asyncio is cancelled as that knows it.
_OF_BEING_OVERDUE: Final = (ImmutableStateError, asyncio.CancelledError)


def comes_of_being_overdue(error: BaseException | None) -> bool:
    """Tell whether what an overdue block ended with says no more than that, in its own words.

    Nurseries make groups of such errors, with trio's cancellation among them.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        other = group.split((*_OF_BEING_OVERDUE, trio.Cancelled))[1]
        return other is None and group.subgroup(_OF_BEING_OVERDUE) is not None
    return error is None or isinstance(error, _OF_BEING_OVERDUE)


@final
class Holding:
    """Somebody's hold on an open turn, as a block; entered and left by the task that holds it.

    A holder that is not a trio task has no block of trio's: it calls `start` and `stop`.

    Args:
        turn: the open turn.
        watch: looks after it meanwhile.
    """

    __slots__ = ("_holder", "_outer", "is_overdue", "scope", "turn", "waits_for", "watch")

    def __init__(self, turn: Turn, watch: TurnWatch) -> None:
        self.turn: Final = turn
        self.scope: Final = trio.CancelScope()
        self.waits_for: Final[list[StateTree]] = []
        """The trees whose turns are waited for under this one."""
        self.is_overdue: bool = False
        """Whether it was held too long."""
        self.watch: Final = watch
        self._holder: Asker | None = None
        self._outer: tuple[trio.Nursery, ...] = ()

    def __enter__(self) -> Holding:
        self.scope.__enter__()
        self.start(trio.lowlevel.current_task())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go; see `let_go`."""
        self.stop()
        if self.is_overdue and comes_of_being_overdue(exc):
            self.scope.__exit__(None, None, None)
            raise self.timeout() from exc
        self.scope.__exit__(exc_type, exc, traceback)
        if self.scope.cancelled_caught:
            raise self.timeout() from None

    def let_go(self, error: BaseException | None) -> None:
        """Let go, with what ends the block, if it is an error.

        Raises:
            TurnTimeoutError: it was held too long; and nothing else went wrong.
        """
        kind, traceback = (type(error), error.__traceback__) if error is not None else (None, None)
        self.__exit__(kind, error, traceback)

    def start(self, holder: Asker) -> None:
        """Let the watch begin."""
        self._holder = holder
        if isinstance(holder, trio.lowlevel.Task):
            self._outer = tuple(holder.child_nurseries)
        self.turn.holding = self
        self.watch.add(self)

    def stop(self) -> None:
        """Let the watch end."""
        self.watch.discard(self)

    @property
    def is_mine(self) -> bool:
        """Whether the running task is the one that entered it."""
        return trio.lowlevel.current_task() is self._holder

    def timeout(self) -> TurnTimeoutError:
        """Give the error for who held the turn too long."""
        return TurnTimeoutError(
            f"{self.turn.holder} held the turn of token {token_label(self.turn.tree.token)} for "
            f"longer than {self.watch.turn_timeout} s, and it was undone. Wait for what takes "
            f"long outside the turn, or give the app a longer turn_timeout"
        )

    def expire(self) -> None:
        """Make its holder let go: from now on it can write nothing, and is cancelled.

        It undoes the turn itself when it comes to that. Here would be too early: a thread that
        the holder runs may be in the middle of a write. But one that has ended comes to nothing.
        """
        self.is_overdue = True
        self.turn.revoke()
        self.scope.cancel()
        block: Any = self.turn.block
        if block is not None and _has_ended(self._holder):
            block.abandon()
        elif not isinstance(self._holder, trio.lowlevel.Task | threading.Thread | None):
            self._holder.cancel()

    def ends_after(self, asker: Asker) -> bool:
        """Tell whether the hold cannot end before who asks goes on: the holder, or its child.

        A task can have the right to write under the turn, and not be waited for at its end: one
        in a nursery that was open before the turn was. If that one waits, the turn does not. Of
        tasks that are not trio's nobody can say who waits for them; such a holder waits until
        it is overdue, if it waits for one that waits for it.
        """
        while asker != self._holder:
            nursery = asker.parent_nursery if isinstance(asker, trio.lowlevel.Task) else None
            if nursery is None:
                return False
            if nursery.parent_task is self._holder:
                return nursery not in self._outer
            asker = nursery.parent_task
        return True


def _has_ended(holder: Asker | None) -> bool:
    match holder:
        case trio.lowlevel.Task():
            return inspect.getcoroutinestate(holder.coro) == inspect.CORO_CLOSED
        case threading.Thread():
            return not holder.is_alive()
        case None:
            return False
        case foreign:
            return foreign.has_ended


# ---- circles -----------------------------------------------------------------------------------


@contextmanager
def waiting_under(holdings: list[Holding], tree: StateTree) -> Generator[None]:
    """Note what is waited for under the turns that the caller holds.

    Raises:
        DeadlockError: it would close a circle.
    """
    refuse_circle(holdings, tree)
    for holding in holdings:
        holding.waits_for.append(tree)
    try:
        yield
    finally:
        for holding in holdings:
            holding.waits_for.remove(tree)


def refuse_circle(holdings: list[Holding], tree: StateTree) -> None:
    """Refuse to wait for a tree's turn under these, if that turn waits for one of them.

    Raises:
        DeadlockError: it does, perhaps by way of others.
    """
    circle = _way(tree, {holding.turn.tree for holding in holdings})
    if circle:
        links = ", which waits for ".join(_name(turn) for turn in circle)
        message = (
            f"waiting for the turn of token {token_label(tree.token)} would never end: it is "
            f"held by {links}, which is held by the one that asks. Nothing was waited for; take "
            f"the turns of several tokens in one order everywhere, or one after the other"
        )
        raise DeadlockError(message)


def _way(tree: StateTree, goal: set[StateTree]) -> list[Turn]:
    """Find turns from that of a tree to one in the goal, each waiting for the next."""
    came_from: dict[StateTree, StateTree | None] = {tree: None}
    to_look_at = [tree]
    while to_look_at:
        here = to_look_at.pop()
        if here in goal:
            return _way_back(here, came_from)
        holding = here.turn.holding if here.turn is not None else None
        for following in holding.waits_for if isinstance(holding, Holding) else ():
            if following not in came_from:
                came_from[following] = here
                to_look_at.append(following)
    return []


def _way_back(end: StateTree, came_from: dict[StateTree, StateTree | None]) -> list[Turn]:
    turns: list[Turn] = []
    here: StateTree | None = end
    while here is not None:
        assert here.turn is not None, "somebody waits under it"
        turns.append(here.turn)
        here = came_from[here]
    return turns[::-1]


def _name(turn: Turn) -> str:
    return f"{turn.holder} (token {token_label(turn.tree.token)})"


# ---- time --------------------------------------------------------------------------------------


@final
class TurnWatch:
    """Looks after the turns that are held: one task for all of an app, and no timer for each.

    A turn is added when it is taken and discarded when it is let go, so the oldest comes first,
    and there is one moment to wait for: when that one is due. Most are gone by then.

    Args:
        slow_turn: seconds after which a turn is logged.
        turn_timeout: seconds after which it is ended.
    """

    def __init__(self, slow_turn: float, turn_timeout: float) -> None:
        self.slow_turn: Final = slow_turn
        self.turn_timeout: Final = turn_timeout
        self._not_yet_slow: Final[dict[Holding, float]] = {}
        self._not_yet_over: Final[dict[Holding, float]] = {}
        self._shortest: Final = min(slow_turn, turn_timeout)
        self._wakes_at = math.inf
        self._bell: Bell | None = None
        self._streak = 0
        # Of the clock itself: `trio.current_time` asks first which run this is, every time.
        self.now: Final = trio.lowlevel.current_clock().current_time

    def add(self, holding: Holding) -> None:
        """Begin to look after a turn. From the trio thread."""
        now = self.now()
        self._not_yet_slow[holding] = now
        self._not_yet_over[holding] = now
        if self._bell is not None and now + self._shortest < self._wakes_at:
            self._bell.ring()

    def discard(self, holding: Holding) -> None:
        """No longer look after a turn."""
        self._not_yet_slow.pop(holding, None)
        self._not_yet_over.pop(holding, None)

    def count_lent(self) -> bool:
        """Count a turn that was lent at once; tell whether others have to be let run by now.

        Else code that does nothing but take turns would never end. They are counted here, and not
        by token: a program that goes through all its tabs takes one turn of each.
        """
        self._streak = (self._streak + 1) % FAIR_SHARE
        return self._streak == 0

    def note(self, turn: Turn, seconds: float) -> None:
        """Log a turn that was slow, and that nobody could look after: its code awaited nothing."""
        logger.warning("%s, %.1f s, in which nothing else ran", _held(turn), seconds)

    async def run(self) -> None:
        """Watch, until cancelled."""
        bell = self._bell = Bell()
        self._wakes_at = self._next_due()
        while True:
            with trio.move_on_at(self._wakes_at) as timer:
                await bell.sleep()
            now = self.now()
            self._look(now)
            self._wakes_at = self._next_due()
            if self._wakes_at == math.inf and not timer.cancelled_caught:
                # The turn that rang has ended already. So may the next one; not all shall ring.
                self._wakes_at = now + self._shortest

    def _look(self, now: float) -> None:
        for holding in _take_due(self._not_yet_slow, self.slow_turn, now):
            logger.warning("%s for %s s already", _held(holding.turn), self.slow_turn)
        for holding in _take_due(self._not_yet_over, self.turn_timeout, now):
            logger.error("%s for %s s; ending it", _held(holding.turn), self.turn_timeout)
            try:
                holding.expire()
            except Exception:  # the watch is over the turns of all tokens
                logger.exception("%s could not be ended", _held(holding.turn))

    def _next_due(self) -> float:
        slow = next(iter(self._not_yet_slow.values()), math.inf) + self.slow_turn
        over = next(iter(self._not_yet_over.values()), math.inf) + self.turn_timeout
        return min(slow, over)


def _take_due(waiting: dict[Holding, float], period: float, now: float) -> list[Holding]:
    """Take out those that were added so long ago."""
    due = list(itertools.takewhile(lambda one: waiting[one] + period <= now, waiting))
    for holding in due:
        del waiting[holding]
    return due


def _held(turn: Turn) -> str:
    label = token_label(turn.tree.token)
    return f"the turn of token {label} is held by {turn.holder} ({turn.state.value})"
