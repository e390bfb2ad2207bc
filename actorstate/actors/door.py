"""The door of one token's state tree: whoever wants its turn comes through here.

State itself awaits nothing, so ``async with self`` is carried out here (`TokenDoor.enter`), and so
is ``app.modify_state``. What is said on the way is in ``turns``; the blocks are in ``blocks`` and
``foreign_blocks``. These know the door, and so it is given what makes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, final

import trio

from actorstate.actors.flavor import Flavor
from actorstate.actors.futures import TrioFuture
from actorstate.actors.holding import Asker, Holding, TurnWatch, waiting_under
from actorstate.actors.messages import TurnRequest
from actorstate.actors.runs import Run, current_run
from actorstate.actors.runtime import TrioActorRef
from actorstate.actors.turns import TurnGrant
from actorstate.exceptions import ActorDeadError, ImmutableStateError, MailboxFullError
from actorstate.state.handlers import FollowUp
from actorstate.state.holders import held_turns
from actorstate.state.labels import token_label
from actorstate.state.schema import Schema
from actorstate.state.tree import AnyState, StateTree
from actorstate.state.turn import Turn, TurnState


class Block(Protocol):
    """One block under a turn, from its request to its acknowledged end."""

    @property
    def is_mine(self) -> bool:
        """Whether the running code is in the task that entered it."""
        ...

    async def enter(self) -> Turn:
        """Ask for the turn, and wait for it; see `TokenDoor.ask_for_turn`."""
        ...

    async def checkpoint(self, follow_ups: tuple[FollowUp, ...]) -> None:
        """Commit what is done so far, let follow what shall, and keep the turn.

        Raises:
            TurnTimeoutError: the turn was held too long; what was not committed is undone.
            ActorDeadError: the actor has stopped; what was not committed is undone.
            Exception: what the store raised; what was not committed is undone.
        """
        ...

    async def leave(self, error: BaseException | None) -> None:
        """End the turn: commit it, or undo it if there is an error.

        Raises:
            TurnTimeoutError: it was held too long; the changes are undone.
            ActorDeadError: the actor has stopped; what was not committed is undone.
            Exception: what the store raised; what was not committed is undone.
        """
        ...

    def give_back(self, error: BaseException | None) -> None:
        """Undo it, as a block that was entered and is never left.

        Args:
            error: what ends the code that entered it.

        Raises:
            TurnTimeoutError: it was held too long; and nothing else went wrong.
        """
        ...

    def abandon(self) -> None:
        """Undo it for the task that has entered it, and that can leave it no more."""
        ...


def leave_own(block: Block | None, error: BaseException | None) -> Awaitable[None]:
    """Leave the block that the running task has entered. To be awaited at once.

    Raises:
        RuntimeError: another task has entered it. Nothing was done, unless that never comes to it:
            a generator that was not exhausted is closed by whoever finds it.
        Exception: as `Block.leave`.
    """
    if block is None or not block.is_mine:
        done = "nothing was done"
        if block is not None and isinstance(error, GeneratorExit):
            block.abandon()
            done = "it was undone. Close a generator that is not exhausted, as `aclosing` does"
        message = f"the block is left by another task than entered it; {done}"
        raise RuntimeError(message)
    return block.leave(error)


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
        flavor: what the code that comes here may await.
        new_block: makes the block of one that enters.
    """

    ref: TrioActorRef[Any]
    """The token actor; it brings this itself."""
    rest_if_unused: Callable[[int], None]
    """Puts it to rest if nothing came by in so many rounds; brought by the actor, too."""
    lend_at_once: Callable[[TurnRequest], TurnGrant | None]
    """Grants the turn if nothing is to be done before; brought by the actor, too."""

    def __init__(  # noqa: PLR0913 - made in one place, the directory
        self,
        schema: Schema,
        token: str,
        *,
        watch: TurnWatch,
        max_waiters: int,
        flavor: Flavor,
        new_block: Callable[[TokenDoor], Block],
    ) -> None:
        self.tree: Final = StateTree(schema, token, self)
        self.watch: Final = watch
        self.flavor: Final = flavor
        self._max_waiters: Final = max_waiters
        self._new_block: Final = new_block
        self._waiting = 0

    def ask_for_turn(self, holder: str, held: Sequence[Turn], asker: Asker) -> Awaitable[TurnGrant]:
        """Ask for the turn, and wait for it in the mailbox's order. To be awaited at once.

        Args:
            holder: who asks, for logs.
            held: the turns that the asking code holds.
            asker: the task or thread that asks; the running task may do so for it.

        Raises:
            ImmutableStateError: this turn is among them.
            DeadlockError: this turn waits for one of them.
            MailboxFullError: too many wait already.
            ActorDeadError: the actor stopped before it came to the request.
        """
        run = current_run.get()
        request = TurnRequest(holder, run.origin)
        holdings = self._holdings(held, asker) if held else []
        if holdings:
            return self._wait_under(holdings, request, run, held)
        return self._wait_for_begin(request, run, held)

    async def _wait_under(
        self, holdings: list[Holding], request: TurnRequest, run: Run, held: Sequence[Turn]
    ) -> TurnGrant:
        with waiting_under(holdings, self.tree):
            return await self._wait_for_begin(request, run, held)

    async def _wait_for_begin(
        self, request: TurnRequest, run: Run, held: Sequence[Turn]
    ) -> TurnGrant:
        """Wait for the turn; in a task that is stopping for its cancellation instead.

        A turn inside a turn is part of what has begun, and comes to its end with it. And what is
        shielded from the cancellation cleans up after it, and may take turns for that.
        """
        is_inside = held and not all(turn.has_ended for turn in held)
        scope = run.scope if not is_inside else None
        while True:
            if scope is not None and scope.is_stopping:
                await scope.wait_cancelled()
                scope = None
            await trio.lowlevel.checkpoint_if_cancelled()
            grant = self.lend_at_once(request)
            if grant is None:
                grant = await self._wait_in_row(request)
            if scope is None or not scope.is_stopping:
                run.entered()
                return grant
            grant.give_back()

    async def _wait_in_row(self, request: TurnRequest) -> TurnGrant:
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

    def _holdings(self, held: Sequence[Turn], asker: Asker) -> list[Holding]:
        """Give how the turns are held that cannot end before this request is answered.

        Raises:
            ImmutableStateError: the one that is asked for is held already.
        """
        holdings: list[Holding] = []
        for turn in held:
            holding = turn.holding
            if turn.has_ended or not isinstance(holding, Holding):
                continue
            if not holding.ends_after(asker):
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

    def new_block(self) -> Block:
        """Give a block to be entered by the running task."""
        return self._new_block(self)

    async def enter(self, state: AnyState) -> AnyState:
        """Ask for the token's turn, wait for it, and give back the state; see `Block`."""
        await self._new_block(self).enter()
        return state

    def leave(self, error: BaseException | None) -> Awaitable[None]:
        """End the turn that was entered; see `Block.leave`. To be awaited at once."""
        return leave_own(self.current_block(), error)

    def current_block(self) -> Block | None:
        """Give the block that the running code is in, if it is in one."""
        for turn in reversed(held_turns()):
            if turn.tree is self.tree:
                block: Any = turn.block
                return block
        return None

    async def settle(self, scope: trio.CancelScope, *, welcome: bool = False) -> None:
        """Compute again the async computed vars that pages show, before pages are told of a turn.

        Cancelled, it leaves them in doubt, and the turn is the caller's to undo.

        Args:
            scope: what the caller runs in, and is cancelled by.
            welcome: whether a page is to be told everything, and not changes alone.
        """
        computed = self.tree.computed
        waiting = computed.awaited(welcome=welcome)
        while waiting:
            for var in waiting:
                await self.flavor.runner(scope)(computed.refresh_shown(var))
            waiting = computed.awaited()  # tasks of the block may have written meanwhile
