"""Blocks under a turn: ``async with self``, and ``async with app.modify_state(token)``."""

from __future__ import annotations

from typing import Final, final

import trio

from actorstate.actors.foreign_blocks import ForeignTaskBlock
from actorstate.actors.holding import Holding
from actorstate.actors.messages import TurnEnd
from actorstate.actors.task_scope import current_run
from actorstate.actors.turns import Block, TokenDoor, TurnGrant, stopped
from actorstate.state.handlers import FollowUp
from actorstate.state.turn import Commit, Turn, held_turns, hold, release


def new_block(door: TokenDoor) -> Block:
    """Give a block to be entered by the running task, of whichever kind that is."""
    task = door.flavor.foreign_task()
    return TurnBlock(door) if task is None else ForeignTaskBlock(door, task)


@final
class TurnBlock:
    """A block under a turn, in a task of trio's; see `Block`.

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
        task = trio.lowlevel.current_task()
        try:
            self._grant = await self._door.ask_for_turn(task.name, held_turns(), task)
        except trio.Cancelled as cancelled:
            raise self._door.flavor.translate(cancelled) from None
        turn = self._grant.turn
        self._holding = Holding(turn, self._door.watch).__enter__()
        turn.block = self
        hold(turn)
        return turn

    async def checkpoint(self, follow_ups: tuple[FollowUp, ...]) -> None:
        """Commit what is done so far, and keep the turn; see `Block.checkpoint`."""
        turn = self.grant.turn
        self._refuse_ended()
        await self._door.settle(self.holding.scope)
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
        """End the turn: commit it, or undo it if there is an error; see `Block.leave`."""
        try:
            await self._leave(error)
        except trio.Cancelled as cancelled:
            raise self._door.flavor.translate(cancelled) from None
        finally:
            current_run.get().left()
            if self.grant.was_at_once:  # else code that does nothing but take turns never ends
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _leave(self, error: BaseException | None) -> None:
        try:
            commit = await self._let_go_of(error)
        finally:
            release(self.grant.turn)  # not before: what is computed in there may wait, too
        if error is None:
            await self.grant.end(TurnEnd(commit))

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
        try:
            self.holding.__exit__(kind, failure, getattr(failure, "__traceback__", None))
        except BaseException:  # also of trio, if a nursery of the block outlives it
            self.grant.give_back()
            raise
        if failure is not None and failure is not error:
            raise failure
        return commit

    async def _settle(self) -> Commit | None:
        turn = self.grant.turn
        self._refuse_ended()
        await self._door.settle(self.holding.scope)
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
            raise stopped(turn)

    def give_back(self) -> None:
        """Undo it, as a block that was entered and is never left."""
        release(self.grant.turn)
        self.grant.give_back()
        try:
            self.holding.__exit__(None, None, None)
        finally:
            current_run.get().left()
