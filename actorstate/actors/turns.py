"""Turns for those outside the token actor: asking, holding, ending.

The conversation, all of it through mailbox and futures::

    holder                                  token actor
      │  ask(TurnRequest) ─────mailbox──────▶ │  opens the turn, and works on
      │ ◀──────────────── reply: TurnGrant ── │  nothing else until it ends
      │  writes                               │
      │  grant.ending ◀─ TurnEnd              │  (not through the mailbox, where it would
      │                                       │   lie behind the events that wait for it)
      │                                       │  store, patch, queue
      │ ◀─────────────────────────── reply ── │  next message

A ``yield`` in the block sends a `TurnEnd` that goes on; its reply is the next `TurnGrant`.

Cancellation, wherever it strikes: while waiting for the grant, the request is abandoned, and a
grant that crosses it is given back. In the block, the changes are undone on the spot, before the
end is even sent. While waiting for the reply to the end, the block is over, and is committed all
the same: who is cancelled there only stops waiting. While waiting for the reply to a ``yield``,
the wait is shielded (the actor always answers, and the store bounds how late): else the block
would not know which of its changes it may still undo.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, final

import attrs
import trio

from actorstate.actors.messages import NOBODY, Origin, TurnEnd, TurnRequest
from actorstate.actors.runtime import TrioActorRef, TrioFuture
from actorstate.exceptions import ActorDeadError, ImmutableStateError
from actorstate.state.handlers import FollowUp
from actorstate.state.tree import AnyState, StateTree
from actorstate.state.turn import Turn, held_turns, hold, release

running_for: Final[ContextVar[Origin]] = ContextVar("actorstate.origin", default=NOBODY)
"""For whom the running background task runs; for nobody in particular, elsewhere."""


@final
@attrs.frozen(eq=False)
class Ending:
    """How a turn, or one stretch of it, ends, and where the acknowledgement goes."""

    end: TurnEnd
    reply_to: TrioFuture[TurnGrant | None] = attrs.field(factory=TrioFuture)


@final
@attrs.frozen(eq=False)
class TurnGrant:
    """The answer to a `TurnRequest`: the turn is yours until you end it."""

    turn: Turn
    ending: TrioFuture[Ending] = attrs.field(factory=TrioFuture)

    def give_back(self) -> None:
        """Undo what was done under it, at once, and tell the actor, if it still waits for it."""
        self.turn.roll_back()
        if not self.ending.is_done:
            self.ending.offer(Ending(TurnEnd()))


@final
class TurnBlock:
    """One block under a turn, from its request to its acknowledged end.

    Args:
        ref: the token actor.
        token: its token.
    """

    def __init__(self, ref: TrioActorRef[Any], token: str) -> None:
        self._ref: Final = ref
        self._token: Final = token
        self._grant: TurnGrant | None = None

    @property
    def grant(self) -> TurnGrant:
        """The grant under which the block runs."""
        assert self._grant is not None, "the block was not entered"
        return self._grant

    async def enter(self) -> Turn:
        """Ask for the turn, and wait for it in the mailbox's order.

        Raises:
            ImmutableStateError: the running code is inside the token's open turn already.
            MailboxFullError: too many wait already.
            ActorDeadError: the actor stopped before it came to the request.
        """
        self._refuse_nesting()
        request = TurnRequest(trio.lowlevel.current_task().name, running_for.get())
        reply: TrioFuture[TurnGrant] = self._ref.ask(request, block=False)
        try:
            self._grant = await reply
        except BaseException:
            if not reply.abandon():  # it came while this was being cancelled
                with suppress(ActorDeadError):
                    reply.get().give_back()
            raise
        self._grant.turn.block = self
        hold(self._grant.turn)
        return self._grant.turn

    def _refuse_nesting(self) -> None:
        for turn in held_turns():
            if turn.tree.token == self._token and turn.is_writable:
                message = (
                    f"the turn is yours already, as {turn.holder}; waiting for it again would "
                    f"wait for ever. Write without a second `async with`"
                )
                raise ImmutableStateError(message)

    async def checkpoint(self, follow_ups: tuple[FollowUp, ...]) -> None:
        """Commit what is done so far, let follow what shall, and keep the turn.

        Raises:
            ActorDeadError: the actor has stopped; what was not committed is undone.
            Exception: what the store raised; likewise.
        """
        turn = self.grant.turn
        _refuse_ended(turn)
        await settle(turn.tree)
        _refuse_ended(turn)
        commit = turn.checkpoint()
        end = TurnEnd(commit, follow_ups, running_for.get(), goes_on=True)
        with trio.CancelScope(shield=True):
            self._grant = await self._send(end)

    async def leave(self, error: BaseException | None) -> None:
        """End the turn: commit it, or undo it if there is an error.

        Raises:
            ActorDeadError: the actor has stopped; the changes are undone.
            Exception: what the store raised; likewise.
        """
        turn = self.grant.turn
        release(turn)
        if error is not None:
            self.grant.give_back()
            return
        try:
            _refuse_ended(turn)
            await settle(turn.tree)
            _refuse_ended(turn)
            commit = turn.commit()
        except BaseException:
            self.grant.give_back()
            raise
        await self._send(TurnEnd(commit))

    async def _send(self, end: TurnEnd) -> TurnGrant | None:
        ending = Ending(end)
        if not self.grant.ending.offer(ending):
            self.grant.turn.roll_back()
            _refuse_ended(self.grant.turn)
        return await ending.reply_to


def _refuse_ended(turn: Turn) -> None:
    if turn.has_ended:
        message = f"the turn of {turn.holder} ended before its block did; nothing of it is left"
        raise ActorDeadError(message)


async def settle(tree: StateTree, *, welcome: bool = False) -> None:
    """Compute again the async computed vars that pages show, before pages are told of a turn.

    Cancelled, it leaves them in doubt, and the turn is the caller's to undo.

    Args:
        tree: whose.
        welcome: whether a page is to be told everything, and not changes alone.
    """
    waiting = tree.computed.awaited(welcome=welcome)
    while waiting:
        for var in waiting:
            await tree.computed.refresh_shown(var)
        waiting = tree.computed.awaited()  # tasks of the block may have written meanwhile


@final
class TokenDoor:
    """What ``async with self`` goes through: the door of one token's state tree.

    Which block a ``leave`` belongs to is known by context, as the holder is: at the same time
    one task may be leaving a turn that was taken from it, and another one hold the next.
    """

    def __init__(self, ref: TrioActorRef[Any], token: str) -> None:
        self._ref: Final = ref
        self._token: Final = token

    async def enter(self, state: AnyState) -> AnyState:
        """Ask for the token's turn, wait for it, and give back the state; see `TurnBlock`."""
        await TurnBlock(self._ref, self._token).enter()
        return state

    async def leave(self, error: BaseException | None) -> None:
        """End the turn that was entered; see `TurnBlock.leave`."""
        block = self.current_block()
        if block is None:
            message = "`async with self` is left by another task than entered it; nothing was done"
            raise RuntimeError(message)
        await block.leave(error)

    def current_block(self) -> TurnBlock | None:
        """Give the block that the running code is in, if it is in one."""
        mine = [turn for turn in held_turns() if turn.tree.door is self]
        block = mine[-1].block if mine else None
        return block if isinstance(block, TurnBlock) else None

    def give_back(self) -> None:
        """Undo the blocks that the running code entered and did not leave, as it ends."""
        while (block := self.current_block()) is not None:
            release(block.grant.turn)
            block.grant.give_back()
