"""Turns of handlers: each runs in one of its own, here, in the token actor's task.

What such a turn is to others, it leaves by the `Gate`, as one that was lent does (see ``lender``).
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import trio

from actorstate.actors.door import TokenDoor
from actorstate.actors.errors import ErrorContext
from actorstate.actors.gate import Gate
from actorstate.actors.generators import finish, finish_plain
from actorstate.actors.holding import Holding
from actorstate.actors.messages import NOBODY, Origin
from actorstate.actors.pages import Pages
from actorstate.actors.runtime import PASSING, unwrap
from actorstate.actors.services import Services
from actorstate.actors.tenure import Tenure
from actorstate.state.handlers import FollowUp, Handler, as_follow_ups
from actorstate.state.holders import hold, release
from actorstate.state.labels import token_label
from actorstate.state.router import Router
from actorstate.state.turn import Turn

logger: Final = logging.getLogger("actorstate.actors")


@final
class HandlerTurns:
    """Runs the handlers of one token, each in a turn of its own.

    Args:
        door: the door of its state tree.
        services: what it shares with other tokens.
        gate: the way out of its turns.
        pages: who is told what goes wrong.
        tenure: the ownership under which they run.
    """

    __slots__ = ("_door", "_gate", "_pages", "_services", "_tenure", "_tree", "_watch")

    def __init__(
        self, door: TokenDoor, services: Services, gate: Gate, pages: Pages, tenure: Tenure
    ) -> None:
        self._door: Final = door
        self._tree: Final = door.tree
        self._services: Final = services
        self._watch: Final = services.watch
        self._gate: Final = gate
        self._pages: Final = pages
        self._tenure: Final = tenure

    def run(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin
    ) -> Awaitable[None] | None:
        """Run a handler in a turn of its own: to its end, or until something is to be awaited.

        What it raises is logged, and told to the program and to the page that asked for it.

        Returns:
            What is still to be awaited, at once; None for nothing.
        """
        try:
            state = self._tree.state(handler.owner)
        except LookupError as error:
            return self.report(handler, arguments, origin, error)
        self._pages.serve(origin)
        turn = self._tree.open_turn(handler.label)
        computed, watch = self._tree.computed, self._watch
        started = watch.now()
        hold(turn)
        result: object = None
        try:
            if handler.in_thread:
                result = _call_in_thread(handler.function, state, *arguments)
            else:
                result = handler.function(state, *arguments)
            if result is None and not (computed.is_read and computed.awaited()):
                seconds = watch.now() - started
                if seconds >= watch.slow_turn:
                    watch.note(turn, seconds)
                if self._gate.is_immediate:
                    self._gate.conclude_now(turn, turn.commit(), (), origin)
        except* PASSING:
            turn.roll_back()
            raise
        except* BaseException as errors:  # noqa: BLE001 - logged: whatever a handler raises is its own affair
            turn.roll_back()
            self.report(handler, arguments, origin, unwrap(errors))
        finally:
            if turn.has_ended:
                release(turn)
        return None if turn.has_ended else self._finish(turn, result, handler, arguments, origin)

    async def _finish(
        self,
        turn: Turn,
        result: object,
        handler: Handler,
        arguments: tuple[Any, ...],
        origin: Origin,
    ) -> None:
        """Await what calling a handler gave, and what its turn still takes."""
        try:
            follow_ups: tuple[FollowUp, ...] = ()
            if result is not None or self._tree.computed.awaited():
                with Holding(turn, self._watch) as holding:
                    follow_ups = await self._bring_to_end(result, holding, origin)
            await self._gate.conclude(turn, turn.commit(), follow_ups, origin)
        except* PASSING:
            raise
        except* BaseException as errors:  # noqa: BLE001 - as above
            turn.roll_back()
            self.report(handler, arguments, origin, unwrap(errors))
        finally:
            turn.roll_back()  # if this actor is being stopped; without effect once it has ended
            release(turn)

    def report(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin, error: BaseException
    ) -> None:
        """Tell the program what a handler raised; its sender learns that there was something."""
        label = token_label(self._tree.token)
        self._services.flavor.explain(error)
        logger.error("%s failed for token %s; its turn was undone", handler, label, exc_info=error)
        if self._tenure.is_held:
            self._pages.reject(origin, "handler_failed", f"{handler.full_name} failed")
        else:
            self._pages.cut(origin)
        context = ErrorContext("handler", str(handler), self._tree.token, arguments)
        self._services.reporter.report(error, context)

    async def _bring_to_end(
        self, result: object, holding: Holding, origin: Origin
    ) -> tuple[FollowUp, ...]:
        """Await what calling a handler gave, and what is computed from what it did."""
        at_yield = functools.partial(self._checkpoint, holding, origin.without_event())
        run = self._services.flavor.runner(holding.scope)
        if inspect.iscoroutine(result):
            result = await run(result)
        elif inspect.isgenerator(result):
            result = await finish_plain(result, at_yield)
        elif inspect.isasyncgen(result):
            result = await finish(result, at_yield, run)
        if holding.turn.failure is not None:  # at a `yield`, where it was caught
            raise holding.turn.failure
        follow_ups = as_follow_ups(result)
        await self._door.settle(holding.scope)
        return follow_ups

    async def _checkpoint(self, holding: Holding, origin: Origin, value: object) -> None:
        turn, follow_ups = holding.turn, as_follow_ups(value)
        await self._door.settle(holding.scope)
        # Shielded: at a yield a scope of the handler's own may be open, and time out. It is not
        # there to cut a commit in two.
        try:
            _refuse_overdue(holding)
            with trio.CancelScope(shield=True):
                await self._gate.conclude(turn, turn.checkpoint(), follow_ups, origin)
        except BaseException as error:
            turn.roll_back()
            turn.failure = error
            raise
        await trio.lowlevel.checkpoint()  # else code that does nothing but yield never ends

    async def follow(self, router: Router) -> None:
        """Let what is computed from the router follow it: a turn in which nobody writes."""
        turn = self._tree.open_turn("a page that connects")
        hold(turn)  # not to write: what is computed shall not wait for this turn
        try:
            self._tree.serve(router)
            if self._tree.computed.awaited(welcome=True):
                with Holding(turn, self._watch) as holding:
                    await self._door.settle(holding.scope, welcome=True)
            await self._gate.conclude(turn, turn.commit(), (), NOBODY)
        finally:
            release(turn)
            turn.roll_back()  # without effect once it has ended


def _refuse_overdue(holding: Holding) -> None:
    """Refuse what a handler wants to commit that was cancelled, and shielded itself from that."""
    if holding.is_overdue:
        raise holding.timeout()


async def _call_in_thread(function: Callable[..., Any], *args: Any) -> object:
    """Call a handler that blocks. A cancellation waits for its end, as the turn does.

    The thread has a copy of the context, and so holds the turn as the caller does.
    """
    result = await trio.to_thread.run_sync(function, *args)
    await trio.lowlevel.checkpoint_if_cancelled()
    return result
