"""Lending the turn of a token: to a background task, or to the program outside.

The conversation is told in ``turns``. Here is the actor's side of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast, final

from actorstate.actors.futures import TrioFuture
from actorstate.actors.gate import Gate
from actorstate.actors.messages import Origin, TurnRequest
from actorstate.actors.runtime import TrioActor
from actorstate.actors.tenure import Tenure
from actorstate.actors.turns import DeferredGrant, Ending, ImmediateGrant, TurnGrant
from actorstate.exceptions import ActorDeadError
from actorstate.state.tree import StateTree

logger: Final = logging.getLogger("actorstate.actors")


@final
class Lender:
    """Lends the turns of one token, each between two messages of its actor.

    Args:
        actor: the token actor.
        tree: whose turns they are.
        tenure: the ownership under which they are lent.
        gate: their way out.
        make_ready: called before each, with for whom it is.
    """

    __slots__ = ("_actor", "_gate", "_mailbox", "_make_ready", "_tenure", "_tree")

    def __init__(
        self,
        actor: TrioActor,
        tree: StateTree,
        tenure: Tenure,
        gate: Gate,
        *,
        make_ready: Callable[[Origin], None],
    ) -> None:
        self._actor: Final = actor
        self._mailbox: Final = actor.mailbox
        self._tree: Final = tree
        self._tenure: Final = tenure
        self._gate: Final = gate
        self._make_ready: Final = make_ready

    def lend_at_once(self, request: TurnRequest) -> ImmediateGrant | None:
        """Grant the turn as if its request was in the mailbox, if it would be the next there."""
        if not self._gate.is_immediate or not self._actor.is_idle or not self._tenure.is_quiet:
            return None
        return self._lend(request, was_at_once=True)

    def lend(self, request: TurnRequest) -> Awaitable[None] | None:
        """Grant the turn to who asks, and do nothing else until it ends (see ``turns``)."""
        if not self._gate.is_immediate or self._mailbox.order is not None:
            return self._lend_and_wait(request)
        grant = self._lend(request, was_at_once=False)
        if not self._actor.reply(grant):
            grant.give_back()
        return None

    def _lend(self, request: TurnRequest, *, was_at_once: bool) -> ImmediateGrant:
        """Let a holder have the turn, who concludes it; messages wait for that."""
        self._make_ready(request.origin)
        turn = self._tree.open_turn(request.holder)
        self._mailbox.pause()
        return ImmediateGrant(
            turn, self._gate.conclude_now, self._take_back, was_at_once=was_at_once
        )

    def _take_back(self) -> None:
        """Go on, after a turn that was lent: with the loop, or at once if the next is another."""
        mailbox = self._mailbox
        request = mailbox.first
        is_next = isinstance(request, TurnRequest) and mailbox.is_waited_for
        if not (is_next and self._tenure.is_quiet):
            # Also without a message if it is to stop: it may have waited for this turn.
            mailbox.go_on(always_wake=self._actor.is_told_to_stop)
            return
        reply_to = cast("TrioFuture[TurnGrant]", mailbox.get_nowait().reply_to)
        grant = self._lend(request, was_at_once=False)
        if not reply_to.offer(grant):
            grant.give_back()

    async def _lend_and_wait(self, request: TurnRequest) -> None:
        """Let a holder have the turn, and conclude it; the store may wait."""
        self._make_ready(request.origin)
        turn = self._tree.open_turn(request.holder)
        grant: DeferredGrant | None = DeferredGrant(turn)
        if not self._actor.reply(grant):
            turn.roll_back()
            return
        try:
            while grant is not None:
                grant = await self._await_end(grant)
        finally:
            turn.revoke()  # if this actor is being stopped; to undo it is the holder's

    async def _await_end(self, grant: DeferredGrant) -> DeferredGrant | None:
        """Wait for the end of one stretch, conclude it, acknowledge it. Give the next one."""
        try:
            ending = await grant.ending
        except BaseException:
            if not grant.ending.abandon():  # it came while this was being cancelled
                self._answer_stopped(grant.ending.get())
            raise
        if ending is None:
            return None
        renewed = DeferredGrant(grant.turn) if ending.end.goes_on else None
        try:
            end = ending.end
            await self._gate.conclude(grant.turn, end.commit, end.follow_ups, end.origin)
        except Exception as error:
            grant.turn.roll_back()
            if ending.reply_to.is_abandoned:
                logger.exception("%s: what a cancelled block did could not be stored", self._actor)
            ending.reply_to.fail(error)
            return None
        except BaseException:
            grant.turn.roll_back()
            self._answer_stopped(ending)
            raise
        ending.reply_to.set(renewed)
        return renewed

    def _answer_stopped(self, ending: Ending | None) -> None:
        if ending is None:
            return
        gone = ActorDeadError(f"{self._actor} was stopped while a turn ended; the turn was undone")
        ending.reply_to.fail(gone)
