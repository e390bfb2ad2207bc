"""Blocks under a turn: ``async with self``, and ``async with app.modify_state(token)``."""

from __future__ import annotations

import functools
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, final

import trio

from actorstate.actors.door import Block, TokenDoor
from actorstate.actors.foreign_blocks import ForeignTaskBlock
from actorstate.actors.holding import Holding
from actorstate.actors.messages import TurnEnd
from actorstate.actors.runs import Run, current_run
from actorstate.actors.turns import TurnGrant, stopped
from actorstate.state.commit import Commit
from actorstate.state.handlers import FollowUp
from actorstate.state.holders import held_turns, hold, release
from actorstate.state.turn import Turn


def new_block(door: TokenDoor) -> Block:
    """Give a block to be entered by the running task, of whichever kind that is."""
    task = door.flavor.foreign_task()
    return TurnBlock(door) if task is None else ForeignTaskBlock(door, task)


@contextmanager
def giving_back_blocks() -> Generator[None]:
    """Undo the blocks that the code within entered and did not leave, of whatever token."""
    before = held_turns()
    with ExitStack() as stack:
        try:
            yield
        finally:
            for turn in held_turns():
                block: Any = turn.block
                if block is not None and turn not in before:
                    stack.push(functools.partial(_give_back, block))


def _give_back(block: Block, _: object, error: BaseException | None, __: object) -> None:
    block.give_back(error)


@final
class TurnBlock:
    """A block under a turn, in a task of trio's; see `Block`.

    Args:
        door: the door of the token.
    """

    _grant: TurnGrant
    """The grant under which it runs; there once it was entered."""
    _holding: Holding
    """How its turn is held; there once it was entered."""
    _run: Run
    """What the code runs as that entered it."""

    def __init__(self, door: TokenDoor) -> None:
        self._door: Final = door
        self._is_over = False

    @property
    def is_mine(self) -> bool:
        """Whether the running task is the one that entered it."""
        return self._holding.is_mine

    async def enter(self) -> Turn:
        """Ask for the turn, and wait for it; see `TokenDoor.ask_for_turn`."""
        task = trio.lowlevel.current_task()
        try:
            self._grant = await self._door.ask_for_turn(task.name, held_turns(), task)
        except trio.Cancelled as cancelled:
            raise self._door.flavor.translate(cancelled) from None
        turn, self._run = self._grant.turn, current_run.get()
        self._holding = Holding(turn, self._door.watch).__enter__()
        turn.block = self
        hold(turn)
        return turn

    async def checkpoint(self, follow_ups: tuple[FollowUp, ...]) -> None:
        """Commit what is done so far, and keep the turn; see `Block.checkpoint`."""
        turn = self._grant.turn
        await self._settle()
        end = TurnEnd(turn.checkpoint(), follow_ups, current_run.get().origin, goes_on=True)
        try:
            with trio.CancelScope(shield=True):
                renewed = await self._grant.end(end)
                assert renewed is not None, "the turn goes on"
                self._grant = renewed
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
            self._leave_run()
            if self._grant.was_at_once and self._door.watch.count_lent():
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def _leave(self, error: BaseException | None) -> None:
        try:
            commit = await self._let_go_of(error)
        finally:
            release(self._grant.turn)  # not before: what is computed in there may wait, too
        if error is None:
            await self._grant.end(TurnEnd(commit))

    async def _let_go_of(self, error: BaseException | None) -> Commit | None:
        """Leave the holding, with what is to be committed; or with nothing, all undone."""
        commit, failure = None, error
        if error is None:
            try:
                self._refuse_ended()
                if self._door.tree.computed.is_read:
                    await self._settle()
                commit = self._grant.turn.commit()
            except BaseException as raised:  # noqa: BLE001 - not swallowed: it is raised below
                failure = raised
        if failure is not None:
            self._grant.give_back()
        try:
            self._holding.let_go(failure)
        except BaseException:  # also of trio, if a nursery of the block outlives it
            self._grant.give_back()
            raise
        if failure is not None and failure is not error:
            raise failure
        return commit

    async def _settle(self) -> None:
        await self._door.settle(self._holding.scope)
        self._refuse_ended()

    def _refuse_ended(self) -> None:
        if self._holding.is_overdue:
            self._grant.give_back()
            raise self._holding.timeout()
        turn = self._grant.turn
        if turn.failure is not None:  # at a `yield`, where it was caught
            raise turn.failure
        if not turn.is_open:
            raise stopped(turn)

    def give_back(self, error: BaseException | None) -> None:
        """Undo it, as a block that was entered and is never left; see `Block.give_back`."""
        release(self._grant.turn)
        self._grant.give_back()
        try:
            self._holding.let_go(error)
        finally:
            self._leave_run()

    def abandon(self) -> None:
        """Undo it for a task that can leave it no more; see `Block.abandon`."""
        self._holding.stop()
        self._grant.give_back()
        self._leave_run()

    def _leave_run(self) -> None:
        if not self._is_over:  # it may be abandoned, and closed by the garbage collector after that
            self._is_over = True
            self._run.left()
