"""Turns for those outside the token actor: how they are asked for, and how they end.

The blocks in which they are held are in ``blocks``, and ``foreign_blocks`` for threads.

The conversation, all of it through mailbox and futures::

    holder                                  token actor
      │  TurnRequest ──────────mailbox──────▶ │  opens the turn, and works on
      │ ◀──────────────── reply: TurnGrant ── │  nothing else until it ends
      │  writes                               │
      │  grant.ending ◀─ TurnEnd              │  (not through the mailbox, where it would
      │                                       │   lie behind the events that wait for it)
      │                                       │  store, patch, queue
      │ ◀─────────────────────────── reply ── │  next message

A ``yield`` in the block sends a `TurnEnd` that goes on; its reply is the next `TurnGrant`.

Where the store never waits, nobody else does: the holder concludes the end in its own step, and
the actor's mailbox is paused until then (`ImmediateGrant`). And where nothing lies in the mailbox
and nothing is being done, the request would be the next message: then it need not be one, and the
turn is granted at once (`TokenDoor.lend_at_once`). Others get to run at the end of every 32nd of
these.

Cancellation, wherever it strikes: while waiting for the grant, the request is withdrawn, and a
grant that crosses it is given back. In the block, the changes are undone on the spot, before the
end is even sent. While waiting for the reply to the end, the block is over, and is committed all
the same: who is cancelled there only stops waiting. While waiting for the reply to a ``yield``,
the wait is shielded (the actor always answers, and the store bounds how late): else the block
would not know which of its changes it may still undo.

A turn that is held too long is revoked, and its holder cancelled. From then on nothing is written
under it; the holder undoes it when it comes to that, as after any cancellation, and learns of it
by a `TurnTimeoutError`. So does one whose actor is cancelled. Nobody else undoes it meanwhile: a
thread that the holder runs, or that is the holder, may be in the middle of a write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

import attrs
import trio

from actorstate.actors.futures import TrioFuture
from actorstate.actors.messages import Origin, TurnEnd
from actorstate.exceptions import ActorDeadError
from actorstate.state.commit import Commit
from actorstate.state.handlers import FollowUp
from actorstate.state.turn import Turn

ConcludeNow = Callable[[Turn, Commit | None, tuple[FollowUp, ...], Origin], None]


@final
@attrs.frozen(eq=False)
class Ending:
    """How a turn, or one stretch of it, ends, and where the acknowledgement goes."""

    end: TurnEnd
    reply_to: TrioFuture[TurnGrant | None]


class TurnGrant(Protocol):
    """The answer to a `TurnRequest`: the turn is yours until you end it."""

    @property
    def turn(self) -> Turn:
        """The turn."""
        ...

    @property
    def was_at_once(self) -> bool:
        """Whether who asked got it without letting others run, who shall get to it sometime."""
        ...

    def give_back(self) -> None:
        """Undo what was done under it, at once, and let the actor go on, if it still waits."""
        ...

    async def end(self, end: TurnEnd) -> TurnGrant | None:
        """Hand over what was done, and wait until it is concluded.

        Returns:
            The grant of the next stretch, if the turn goes on.

        Raises:
            ActorDeadError: the actor has stopped; the changes are undone.
            Exception: what the store raised; the changes are undone.
        """
        ...


@final
@attrs.frozen(eq=False)
class DeferredGrant:
    """A grant whose end the actor concludes, which waits for it; for a store that may wait."""

    turn: Turn
    was_at_once: bool = attrs.field(default=False, init=False)
    ending: TrioFuture[Ending | None] = attrs.field(factory=TrioFuture)
    """None for one that was given back: nothing is left to do, and nobody to be answered."""

    def give_back(self) -> None:
        """Undo what was done under it; see `TurnGrant.give_back`."""
        self.turn.roll_back()
        if not self.ending.is_done:
            self.ending.offer(None)

    async def end(self, end: TurnEnd) -> TurnGrant | None:
        """Hand over what was done; see `TurnGrant.end`."""
        reply: TrioFuture[TurnGrant | None] = TrioFuture()
        if not self.ending.offer(Ending(end, reply)):
            self.turn.roll_back()
            raise stopped(self.turn)
        try:
            return await reply
        except trio.Cancelled:
            if not reply.abandon():  # else it is for the actor to say what nobody hears here
                reply.get()
            raise


@final
class ImmediateGrant:
    """A grant whose end is concluded in the holder's own step; for a store that never waits.

    Meanwhile the actor's mailbox is paused, and the actor waits for nothing but that.

    Args:
        turn: the turn.
        conclude_now: concludes an end for the actor.
        let_go: lets the actor go on.
        was_at_once: whether it was given without a request in the mailbox.
    """

    __slots__ = ("_conclude_now", "_is_over", "_let_go", "turn", "was_at_once")

    def __init__(
        self,
        turn: Turn,
        conclude_now: ConcludeNow,
        let_go: Callable[[], None],
        *,
        was_at_once: bool,
    ) -> None:
        self.turn: Final = turn
        self.was_at_once: Final = was_at_once
        self._conclude_now: Final = conclude_now
        self._let_go: Final = let_go
        self._is_over = False

    def give_back(self) -> None:
        """Undo what was done under it; see `TurnGrant.give_back`."""
        self.turn.roll_back()
        self._close()

    async def end(self, end: TurnEnd) -> TurnGrant | None:
        """Conclude what was done; see `TurnGrant.end`. Waits for nothing."""
        turn = self.turn
        if not turn.is_open:
            self.give_back()
            raise stopped(turn)
        try:
            self._conclude_now(turn, end.commit, end.follow_ups, end.origin)
        except BaseException:
            self.give_back()
            raise
        if end.goes_on:
            return self
        self._close()
        return None

    def _close(self) -> None:
        if not self._is_over:  # else the mailbox may be paused for somebody else by now
            self._is_over = True
            self._let_go()


def stopped(turn: Turn) -> ActorDeadError:
    """Give the error for a holder whose turn was taken from it, with its actor."""
    return ActorDeadError(
        f"the turn of {turn.holder} ended before its block did, because its token's actor has "
        f"stopped; nothing of it is left"
    )
