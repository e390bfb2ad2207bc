"""Turns for those outside the token actor: asking, holding, ending.

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

import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, final

import attrs
import trio

from actorstate.actors.holding import Holding, TurnWatch, waiting_under
from actorstate.actors.messages import Origin, TurnEnd, TurnRequest
from actorstate.actors.runtime import TrioActorRef, TrioFuture
from actorstate.actors.task_scope import Run, current_run
from actorstate.exceptions import ActorDeadError, ImmutableStateError, MailboxFullError
from actorstate.state.handlers import FollowUp
from actorstate.state.tree import AnyState, Schema, StateTree, token_label
from actorstate.state.turn import Commit, Turn, TurnState, held_turns, hold, release

T = TypeVar("T")

ConcludeNow = Callable[[Turn, Commit | None, tuple[FollowUp, ...], Origin], None]


@final
@attrs.frozen(eq=False)
class Ending:
    """How a turn, or one stretch of it, ends, and where the acknowledgement goes."""

    end: TurnEnd
    reply_to: TrioFuture[TurnGrant | None]


@final
@attrs.frozen(eq=False)
class TurnGrant:
    """The answer to a `TurnRequest`: the turn is yours until you end it."""

    turn: Turn
    conclude_now: ConcludeNow | None = None
    """Concludes an end for the actor, which sleeps; where the store never waits."""
    ending: TrioFuture[Ending | None] = attrs.field(factory=TrioFuture)
    """None for one that is concluded already: nothing is left to do, and nobody to be answered."""

    def give_back(self) -> None:
        """Undo what was done under it, at once, and tell the actor, if it still waits for it."""
        self.turn.roll_back()
        if not self.ending.is_done:
            self.ending.offer(None)

    async def end(self, end: TurnEnd) -> TurnGrant | None:
        """Hand over what was done, and wait until it is concluded.

        Returns:
            The grant of the next stretch, if the turn goes on.

        Raises:
            ActorDeadError: the actor has stopped; the changes are undone.
            Exception: what the store raised; likewise.
        """
        if self.conclude_now is not None:
            return self._end_now(self.conclude_now, end)
        reply: TrioFuture[TurnGrant | None] = TrioFuture()
        if not self.ending.offer(Ending(end, reply)):
            self.turn.roll_back()
            raise _stopped(self.turn)
        return await reply

    def _end_now(self, conclude_now: ConcludeNow, end: TurnEnd) -> TurnGrant | None:
        """Do what the actor would do, in this step: it sleeps until the turn has ended."""
        if not self.turn.is_open:
            self.turn.roll_back()
            raise _stopped(self.turn)
        try:
            conclude_now(self.turn, end.commit, end.follow_ups, end.origin)
        except BaseException:
            self.give_back()
            raise
        if end.goes_on:
            return self
        self.ending.offer(None)
        return None


def _stopped(turn: Turn) -> ActorDeadError:
    return ActorDeadError(
        f"the turn of {turn.holder} ended before its block did, because its token's actor has "
        f"stopped; nothing of it is left"
    )


@final
class TokenDoor:
    """The door of one token's state tree: whoever wants its turn comes through here.

    Which block an ``async with self`` leaves is known by context, as the holder is: at the same
    time one task may be leaving a turn that was taken from it, and another one hold the next.

    Args:
        schema: the State classes.
        token: whose tree it is.
        watch: looks after the turns that are held.
        max_waiters: how many may wait here at once.
    """

    ref: TrioActorRef[Any]
    """The token actor; it brings this itself."""
    rest_if_unused: Callable[[int], None]
    """Puts it to rest if nothing came by in so many rounds; likewise."""

    def __init__(self, schema: Schema, token: str, watch: TurnWatch, max_waiters: int) -> None:
        self.tree: Final = StateTree(schema, token, self)
        self.watch: Final = watch
        self._max_waiters: Final = max_waiters
        self._waiting = 0

    async def ask_for_turn(self, holder: str, held: Sequence[Turn]) -> TurnGrant:
        """Ask for the turn, and wait for it in the mailbox's order.

        Args:
            holder: who asks, for logs.
            held: the turns that the asking code holds.

        Raises:
            ImmutableStateError: this turn is among them.
            DeadlockError: this turn waits for one of them.
            MailboxFullError: too many wait already.
            ActorDeadError: the actor stopped before it came to the request.
        """
        run = current_run.get()
        request = TurnRequest(holder, run.origin)
        holdings = self._holdings(held) if held else []
        if holdings:
            with waiting_under(holdings, self.tree):
                grant = await self._wait_for_begin(request, run, held)
        else:
            grant = await self._wait_for_begin(request, run, held)
        run.entered()
        return grant

    async def _wait_for_begin(
        self, request: TurnRequest, run: Run, held: Sequence[Turn]
    ) -> TurnGrant:
        """Wait for the turn; in a task that is stopping for its cancellation instead.

        A turn inside a turn is part of what has begun, and comes to its end with it. And what is
        shielded from the cancellation cleans up after it, and may take turns for that.
        """
        scope = run.scope if all(turn.has_ended for turn in held) else None
        while True:
            if scope is not None and scope.is_stopping:
                await scope.wait_cancelled()
                scope = None
            grant = await self._wait_for(request)
            if scope is None or not scope.is_stopping:
                return grant
            grant.give_back()

    async def _wait_for(self, request: TurnRequest) -> TurnGrant:
        if self._waiting >= self._max_waiters:
            message = (
                f"{self._waiting} wait for the turn of token {token_label(self.tree.token)} "
                f"already; {request.holder} was not put behind them. Hold turns for less long, or "
                f"give the app a higher max_waiters"
            )
            raise MailboxFullError(message)
        reply: TrioFuture[TurnGrant] = self.ref.ask_always(request)
        self._waiting += 1
        try:
            return await reply
        except BaseException:
            if reply.abandon():
                self.ref.mailbox.withdraw(reply)
            else:  # it came while this was being cancelled
                with suppress(ActorDeadError):
                    reply.get().give_back()
            raise
        finally:
            self._waiting -= 1

    def _holdings(self, held: Sequence[Turn]) -> list[Holding]:
        """Give how the turns are held that cannot end before this request is answered.

        Raises:
            ImmutableStateError: the one that is asked for is held already.
        """
        here = trio.lowlevel.current_task()
        holdings: list[Holding] = []
        for turn in held:
            holding = turn.holding
            if turn.has_ended or not isinstance(holding, Holding):
                continue
            if not holding.ends_after(here):
                continue
            if turn.tree is self.tree and turn.state is not TurnState.COMMITTING:
                message = (
                    f"the turn is yours already, as {turn.holder}; waiting for it again would "
                    f"wait for ever. Write without a second `async with`"
                )
                raise ImmutableStateError(message)
            holdings.append(holding)
        return holdings

    # ---- async with self -------------------------------------------------------------------

    async def enter(self, state: AnyState) -> AnyState:
        """Ask for the token's turn, wait for it, and give back the state; see `TurnBlock`."""
        await TurnBlock(self).enter()
        return state

    async def leave(self, error: BaseException | None) -> None:
        """End the turn that was entered; see `TurnBlock.leave`."""
        block = self.current_block()
        if block is None or not block.is_mine:
            message = "`async with self` is left by another task than entered it; nothing was done"
            raise RuntimeError(message)
        await block.leave(error)

    def current_block(self) -> TurnBlock | None:
        """Give the block that the running code is in, if it is in one."""
        mine = [turn for turn in held_turns() if turn.tree is self.tree]
        block = mine[-1].block if mine else None
        return block if isinstance(block, TurnBlock) else None

    def give_back(self) -> None:
        """Undo the blocks that the running code entered and did not leave, as it ends."""
        while (block := self.current_block()) is not None:
            block.give_back()


@final
class TurnBlock:
    """One block under a turn, in one task, from its request to its acknowledged end.

    Args:
        door: the door of the token.
    """

    def __init__(self, door: TokenDoor) -> None:
        self._door: Final = door
        self._grant: TurnGrant | None = None
        self._holding: Holding | None = None

    @property
    def grant(self) -> TurnGrant:
        """The grant under which the block runs."""
        assert self._grant is not None, "the block was not entered"
        return self._grant

    @property
    def holding(self) -> Holding:
        """How its turn is held."""
        assert self._holding is not None, "the block was not entered"
        return self._holding

    @property
    def is_mine(self) -> bool:
        """Whether the running task is the one that entered it."""
        return self.holding.is_mine

    async def enter(self) -> Turn:
        """Ask for the turn, and wait for it; see `TokenDoor.ask_for_turn`."""
        holder = trio.lowlevel.current_task().name
        self._grant = await self._door.ask_for_turn(holder, held_turns())
        turn = self._grant.turn
        self._holding = Holding(turn, self._door.watch).__enter__()
        turn.block = self
        hold(turn)
        return turn

    async def checkpoint(self, follow_ups: tuple[FollowUp, ...]) -> None:
        """Commit what is done so far, let follow what shall, and keep the turn.

        Raises:
            TurnTimeoutError: the turn was held too long; what was not committed is undone.
            ActorDeadError: the actor has stopped; likewise.
            Exception: what the store raised; likewise.
        """
        turn = self.grant.turn
        self._refuse_ended()
        await settle(turn.tree)
        self._refuse_ended()
        end = TurnEnd(turn.checkpoint(), follow_ups, current_run.get().origin, goes_on=True)
        try:
            with trio.CancelScope(shield=True):
                self._grant = await self.grant.end(end)
        except BaseException as error:
            turn.failure = error
            raise
        self._refuse_ended()
        await trio.lowlevel.checkpoint()  # else code that does nothing but yield never ends

    async def leave(self, error: BaseException | None) -> None:
        """End the turn: commit it, or undo it if there is an error.

        Raises:
            TurnTimeoutError: it was held too long; the changes are undone.
            ActorDeadError: the actor has stopped; likewise.
            Exception: what the store raised; likewise.
        """
        try:
            try:
                commit = await self._let_go_of(error)
            finally:
                release(self.grant.turn)  # not before: what is computed in there may wait, too
            if error is None:
                await self.grant.end(TurnEnd(commit))
        finally:
            current_run.get().left()

    async def _let_go_of(self, error: BaseException | None) -> Commit | None:
        """Leave the holding, with what is to be committed; or with nothing, all undone."""
        commit, failure = None, error
        if error is None:
            try:
                commit = await self._settle()
            except BaseException as raised:  # noqa: BLE001 - not swallowed: it is raised below
                failure = raised
        if failure is not None:
            self.grant.give_back()
        kind = type(failure) if failure is not None else None
        self.holding.__exit__(kind, failure, getattr(failure, "__traceback__", None))
        if failure is not None and failure is not error:
            raise failure
        return commit

    async def _settle(self) -> Commit | None:
        turn = self.grant.turn
        self._refuse_ended()
        await settle(turn.tree)
        self._refuse_ended()
        return turn.commit()

    def _refuse_ended(self) -> None:
        if self.holding.is_overdue:
            self.grant.give_back()
            raise self.holding.timeout()
        turn = self.grant.turn
        if turn.failure is not None:  # at a `yield`, where it was caught
            raise turn.failure
        if not turn.is_open:
            raise _stopped(turn)

    def give_back(self) -> None:
        """Undo it, as a block that was entered and is never left."""
        release(self.grant.turn)
        self.grant.give_back()
        try:
            self.holding.__exit__(None, None, None)
        finally:
            current_run.get().left()


@final
class ThreadBlock:
    """One block under a turn, in a thread.

    Args:
        open_door: gives the door of the token; called in the trio thread.
        trio_token: where that is.
    """

    def __init__(
        self, open_door: Callable[[], TokenDoor], trio_token: trio.lowlevel.TrioToken
    ) -> None:
        self._open_door: Final = open_door
        self._trio_token: Final = trio_token
        self._foreign: trio.lowlevel.TrioToken | None = None
        self._grant: TurnGrant | None = None
        self._holding: Holding | None = None

    def enter(self) -> Turn:
        """Ask for the turn, and wait for it; see `TokenDoor.ask_for_turn`.

        Raises:
            trio.Cancelled: in a thread that trio runs, whose task was cancelled.
            RuntimeError: called in the trio thread, or in one of another trio run.
        """
        if trio.lowlevel.in_trio_run():
            message = (
                "waiting for a turn would block the trio thread, which has to grant it; write "
                "`async with app.modify_state(token)` here"
            )
            raise RuntimeError(message)
        # In a thread that trio runs, what is awaited is cancelled with the task that waits for it.
        self._foreign = None if _is_run_by_trio() else self._trio_token
        turn = self._in_trio(self._ask, threading.current_thread().name, held_turns())
        hold(turn)
        return turn

    def leave(self, error: BaseException | None) -> None:
        """End the turn: commit it, or undo it if there is an error.

        Raises:
            TurnTimeoutError: it was held too long; the changes are undone.
            ActorDeadError: the actor has stopped; likewise.
            trio.Cancelled: as `enter`, before the commit was concluded. It is all the same.
            Exception: what the store raised; the changes are undone.
        """
        turn = self.grant.turn
        try:
            if error is None and turn.is_writable:
                self._in_trio(self._end)
                return
        finally:
            release(turn)
        turn.roll_back()  # here, since this thread alone knows that it writes no more
        with suppress(ActorDeadError):
            self._in_trio(self._give_back)
        if error is None or (isinstance(error, ImmutableStateError) and self.holding.is_overdue):
            raise self._refusal() from error

    @property
    def grant(self) -> TurnGrant:
        """The grant under which the block runs."""
        assert self._grant is not None, "the block was not entered"
        return self._grant

    @property
    def holding(self) -> Holding:
        """How its turn is held."""
        assert self._holding is not None, "the block was not entered"
        return self._holding

    async def _ask(self, name: str, held: Sequence[Turn]) -> Turn:
        if trio.lowlevel.current_trio_token() is not self._trio_token:
            message = "this thread belongs to another trio run than the app; use one of its own"
            raise RuntimeError(message)
        door = self._open_door()
        self._grant = await door.ask_for_turn(name, held)
        self._holding = Holding(self._grant.turn, door.watch)
        self._holding.start()
        return self._grant.turn

    async def _end(self) -> None:
        turn = self.grant.turn
        self.holding.stop()
        try:
            commit = await self._settle(turn)
        except BaseException:
            self.grant.give_back()
            raise
        else:
            await self.grant.end(TurnEnd(commit))
        finally:
            current_run.get().left()

    async def _settle(self, turn: Turn) -> Commit | None:
        if not turn.is_writable:
            raise self._refusal()
        with Holding(turn, self.holding.watch):  # of this task, while the thread waits
            await settle(turn.tree)
            return turn.commit()

    async def _give_back(self) -> None:
        self.holding.stop()
        self.grant.give_back()
        current_run.get().left()

    def _refusal(self) -> Exception:
        return self.holding.timeout() if self.holding.is_overdue else _stopped(self.grant.turn)

    def _in_trio(self, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            return trio.from_thread.run(async_fn, *args, trio_token=self._foreign)
        except trio.RunFinishedError:
            message = "the trio run of the app is over; nothing of the block is left"
            raise ActorDeadError(message) from None


def _is_run_by_trio() -> bool:
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


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
