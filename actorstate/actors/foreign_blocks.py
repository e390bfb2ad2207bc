"""Blocks under a turn whose holder is not a trio task: a thread, or a task of asyncio.

What has to be done in a trio task is done in one for it (`Errand`): asking, and ending. What lies
in between is the holder's own, and nothing of trio is around it. So a turn that it holds for too
long cannot be cancelled by a scope: a task of asyncio is cancelled by asyncio's means, a thread
finds out when it writes or ends.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Never, TypeVar, final

import trio

from actorstate.actors.door import TokenDoor
from actorstate.actors.flavor import ForeignTask
from actorstate.actors.holding import Asker, Holding, comes_of_being_overdue
from actorstate.actors.messages import TurnEnd
from actorstate.actors.runs import Run, current_run
from actorstate.actors.turns import TurnGrant, stopped
from actorstate.exceptions import ActorDeadError, ImmutableStateError
from actorstate.state.commit import Commit
from actorstate.state.handlers import FollowUp
from actorstate.state.holders import held_turns, hold, release
from actorstate.state.turn import Turn

T = TypeVar("T")


@final
class Errand:
    """What a trio task does for a holder elsewhere. Its methods are called in trio's thread.

    Args:
        open_door: gives the door of the token.
    """

    def __init__(self, open_door: Callable[[], TokenDoor]) -> None:
        self._open_door: Final = open_door
        self._door: TokenDoor | None = None
        self._grant: TurnGrant | None = None
        self._holding: Holding | None = None
        self._run: Run | None = None
        self.is_over: bool = False
        """Whether the turn was ended, or given back."""

    @property
    def turn(self) -> Turn:
        """The turn that was granted."""
        assert self._grant is not None, "the block was not entered"
        return self._grant.turn

    @property
    def was_granted(self) -> bool:
        """Whether there is a turn."""
        return self._grant is not None

    @property
    def holding(self) -> Holding:
        """How the turn is held."""
        assert self._holding is not None, "the block was not entered"
        return self._holding

    async def ask(self, holder: str, held: Sequence[Turn], asker: Asker | None) -> Turn:
        """Ask for the turn, and wait for it; see `TokenDoor.ask_for_turn`.

        Args:
            holder: who asks, for logs.
            held: the turns that the asking code holds.
            asker: who asks; None for the running task itself.
        """
        asker = asker or trio.lowlevel.current_task()
        self._door = self._open_door()
        self._grant = await self._door.ask_for_turn(holder, held, asker)
        self._run = current_run.get()
        self._holding = Holding(self._grant.turn, self._door.watch)
        self._holding.start(asker)
        return self._grant.turn

    async def end(self) -> None:
        """Commit the turn; see `Block.leave`. Cancelled before that, it is undone."""
        self.holding.stop()
        try:
            commit = await self._settle()
        except BaseException:
            self._undo()
            raise
        else:
            self.is_over = True
            await self._granted.end(TurnEnd(commit))
        finally:
            self._leave_run()

    async def _settle(self) -> Commit | None:
        if not self.turn.is_writable:
            raise self.refusal()
        # A cancellation that struck inside the block could not be noticed there.
        await trio.lowlevel.checkpoint_if_cancelled()
        assert self._door is not None, "the block was not entered"
        with Holding(self.turn, self._door.watch) as holding:  # of this task, for the meantime
            await self._door.settle(holding.scope)
            return self.turn.commit()

    def give_back(self) -> None:
        """Undo the turn, and let the token actor go on."""
        self.holding.stop()
        self._undo()
        self._leave_run()

    def _leave_run(self) -> None:
        if self._run is not None:
            self._run.left()
            self._run = None  # it may be abandoned, and closed by the garbage collector after that

    def _undo(self) -> None:
        self.is_over = True
        self._granted.give_back()

    @property
    def _granted(self) -> TurnGrant:
        assert self._grant is not None, "the block was not entered"
        return self._grant

    def refusal(self) -> Exception:
        """Give what the holder is told that may write no more."""
        return self.holding.timeout() if self.holding.is_overdue else stopped(self.turn)


@final
class ThreadBlock:
    """A block under a turn, in a thread.

    Args:
        open_door: gives the door of the token; called in the trio thread.
        trio_token: where that is.
    """

    def __init__(
        self, open_door: Callable[[], TokenDoor], trio_token: trio.lowlevel.TrioToken
    ) -> None:
        self._errand: Final = Errand(open_door)
        self._trio_token: Final = trio_token
        self._foreign: trio.lowlevel.TrioToken | None = None

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
        # In a thread that trio runs, what is awaited is cancelled with the task that waits for it,
        # and belongs to that task. Other threads are on their own.
        self._foreign = None if _is_run_by_trio() else self._trio_token
        turn = self._in_trio(self._ask, held_turns(), threading.current_thread())
        if self._foreign is not None:
            turn.block = self  # of one that trio runs nobody can say whether it still writes
        hold(turn)
        return turn

    @property
    def is_mine(self) -> bool:
        """Whether a task has entered it: none has."""
        return False

    def abandon(self) -> None:
        """Undo it for a thread that has ended without leaving it; called in trio's thread."""
        self._errand.give_back()

    def leave(self, error: BaseException | None) -> None:
        """End the turn: commit it, or undo it if there is an error.

        Raises:
            TurnTimeoutError: it was held too long; the changes are undone.
            ActorDeadError: the actor has stopped; the changes are undone.
            trio.Cancelled: as `enter`, if it was before this; the changes are undone. While the
                commit is being concluded it is, all the same.
            Exception: what the store raised; the changes are undone.
        """
        turn = self._errand.turn
        cancelled = self._cancellation() if error is None else None
        try:
            if error is None and cancelled is None and turn.is_writable:
                self._in_trio(self._errand.end)
                return
        finally:
            release(turn)
        turn.roll_back()  # here, since this thread alone knows that it writes no more
        with suppress(ActorDeadError):
            self._in_trio(self._give_back)
        if cancelled is not None:
            raise cancelled
        if error is None or (isinstance(error, ImmutableStateError) and turn.is_revoked):
            raise self._errand.refusal() from error

    def _cancellation(self) -> trio.Cancelled | None:
        """Give what struck the task that waits for this thread, if it still does."""
        if self._foreign is None:
            try:
                trio.from_thread.check_cancelled()
            except trio.Cancelled as cancelled:
                return cancelled
        return None

    async def _ask(self, held: Sequence[Turn], thread: threading.Thread) -> Turn:
        if trio.lowlevel.current_trio_token() is not self._trio_token:
            message = "this thread belongs to another trio run than the app; use one of its own"
            raise RuntimeError(message)
        return await self._errand.ask(thread.name, held, thread if self._foreign else None)

    async def _give_back(self) -> None:
        self._errand.give_back()

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


@final
class ForeignTaskBlock:
    """A block under a turn, in a task that is not trio's but runs in its thread; see `Block`.

    Args:
        door: the door of the token.
        task: the task.
    """

    def __init__(self, door: TokenDoor, task: ForeignTask) -> None:
        self._errand: Final = Errand(lambda: door)
        self._door: Final = door
        self._task: Final = task

    @property
    def is_mine(self) -> bool:
        """Whether the running code is in the task that entered it."""
        return self._door.flavor.foreign_task() == self._task

    async def enter(self) -> Turn:
        """Ask for the turn, and wait for it; see `Block.enter`."""
        errand = self._errand
        try:
            turn = await self._task.in_trio(errand.ask, self._task.name, held_turns(), self._task)
        except BaseException:
            if errand.was_granted:  # it came while this was being cancelled
                errand.give_back()
            raise
        turn.block = self
        hold(turn)
        return turn

    async def checkpoint(self, follow_ups: tuple[FollowUp, ...]) -> Never:
        """Refuse: only a background task itself can yield, and that is a task of trio's."""
        message = f"{self._task.name} cannot trigger {follow_ups}; a background task can"
        raise RuntimeError(message)

    async def leave(self, error: BaseException | None) -> None:
        """End the turn: commit it, or undo it if there is an error; see `Block.leave`."""
        failure = error
        try:
            if error is None:
                await self._task.in_trio(self._errand.end)
        except BaseException as raised:
            failure = raised
            raise
        finally:
            self._let_go(failure)

    def _let_go(self, failure: BaseException | None) -> None:
        errand = self._errand
        release(errand.turn)
        if not errand.is_over:  # there was an error, or a cancellation before its end was begun
            errand.give_back()
        # Whatever it ended with, it is cancelled no more; nor is it told so, unless by nobody else.
        is_told = errand.holding.is_overdue and self._task.uncancel()
        if is_told and comes_of_being_overdue(failure):
            raise errand.holding.timeout() from failure

    def give_back(self, error: BaseException | None) -> None:  # noqa: ARG002 - it is asyncio's
        """Undo it, as a block that was entered and is never left; see `Block.give_back`."""
        release(self._errand.turn)
        self._errand.give_back()

    def abandon(self) -> None:
        """Undo it for a task that can leave it no more; see `Block.abandon`."""
        self._errand.give_back()
