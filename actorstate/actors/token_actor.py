"""The token actor: owns one state tree, and lets one turn at a time change it.

Two ways in, one way out: an event opens a turn and runs its handler here; a turn request lends
the turn to a holder elsewhere. Both leave through `TokenActor._conclude`, where the store takes
the commit and only then anyone is told.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import attrs
import trio

from actorstate.actors.generators import finish, finish_plain
from actorstate.actors.messages import (
    Ack,
    Attach,
    Call,
    Connection,
    Detach,
    EffectRequest,
    Event,
    Failure,
    Notice,
    Origin,
    Patch,
    TurnRequest,
    Welcome,
)
from actorstate.actors.runtime import PASSING, Scope, TrioActor, unwrap
from actorstate.actors.task_actor import BackgroundTask, TaskActor
from actorstate.actors.turns import Ending, TokenDoor, TurnGrant, settle
from actorstate.exceptions import ActorDeadError, BadArgumentsError, UnknownHandlerError
from actorstate.state.effects import Effect
from actorstate.state.handlers import FollowUp, Handler, Invocation, as_follow_ups
from actorstate.state.router import Router
from actorstate.state.state import State
from actorstate.state.tree import Schema, StateTree, token_label
from actorstate.state.turn import Commit, Turn, hold, release
from actorstate.stores.base import Store

logger: Final = logging.getLogger("actorstate.actors")

# How many page loads of a tab that are gone are remembered, in case they come back: send their
# last event again, or want the effects that they missed.
_REMEMBERED_PAGE_LOADS: Final = 8
_KEPT_EFFECTS: Final = 100


@final
@attrs.frozen(eq=False)
class Services:
    """What all token actors of an app share."""

    schema: Schema
    store: Store
    background_tasks: set[BackgroundTask]
    """The live set; a task actor that ends takes itself out."""
    mailbox_capacity: int


@final
@attrs.define(eq=False)
class PageLoad:
    """What is known of one load of the page, connected or not."""

    router: Router | None = None
    """Where it is; None for one that never was connected."""
    done: int = 0
    """The number of its last event that is done."""
    missed: deque[Effect] = attrs.field(factory=deque[Effect])
    """The effects for it that came while it was not connected."""


@final
class TokenActor(TrioActor):
    """The actor of one token.

    Args:
        scope: the app's.
        token: whose state tree it owns.
        services: what it shares with the others.
        on_ended: called when it takes no message any more.
    """

    def __init__(
        self, scope: Scope, token: str, services: Services, on_ended: Callable[[], None]
    ) -> None:
        super().__init__(scope, capacity=services.mailbox_capacity)
        self._token: Final = token
        self._services: Final = services
        self._tell_ended: Final = on_ended
        self._door: Final = TokenDoor(self.actor_ref, token)
        self._tree: Final = StateTree(services.schema, token, self._door)
        self._connections: Final[list[Connection]] = []
        self._page_loads: Final[dict[str, PageLoad]] = {}

    def __str__(self) -> str:
        return f"token actor of {token_label(self._token)}"

    async def on_start(self) -> None:
        """Bring the state tree to life from its snapshot."""
        snapshot = await self._services.store.load(self._token)
        if snapshot is not None:
            self._tree.restore(snapshot.version, snapshot.values)

    def on_ended(self, left: Sequence[Any]) -> None:
        """Tell the directory, so that the next message activates the token anew."""
        self._tell_ended()
        waiting = [message.connection for message in left if isinstance(message, Attach)]
        for connection in self._connections + waiting:
            connection.close()

    def on_receive(self, message: Any) -> Any:
        """Do what one message asks for, to its end, before the next is taken."""
        match message:
            case Event():
                return self._on_event(message)
            case Call():
                invocation = message.invocation
                return self._run(invocation.handler, invocation.args, message.origin)
            case TurnRequest():
                return self._lend_turn(message)
            case EffectRequest():
                self._ask_for(message.effect, message.origin)
            case Attach():
                return self._attach(message.connection)
            case Detach():
                self._detach(message.connection)
            case _:
                return super().on_receive(message)
        return None

    # ---- events ----------------------------------------------------------------------------

    async def _on_event(self, event: Event) -> None:
        origin = event.origin
        if self._is_done(origin):
            return self._acknowledge(origin)
        try:
            handler = self._services.schema.handler(event.name)
            arguments = handler.structure(event.args)
        except UnknownHandlerError as error:
            return self._reject(origin, "unknown_handler", str(error), "$.name")
        except BadArgumentsError as error:
            return self._reject(origin, "bad_arguments", str(error), error.where)
        return await self._run(handler, arguments, origin)

    async def _run(self, handler: Handler, arguments: tuple[Any, ...], origin: Origin) -> None:
        """Run a handler to its end; or start it, if it is a background task."""
        try:
            state = self._tree.state(handler.owner)
        except LookupError as error:
            return self._report(handler, origin, error)
        self._look_at(origin)
        if handler.is_background:
            self._start_task(handler, state, arguments, origin)
            return self._acknowledge(origin)
        turn = self._tree.open_turn(handler.label)
        hold(turn)
        try:
            if handler.in_thread:
                result = await _call_in_thread(handler.function, state, *arguments)
            else:
                result = handler.function(state, *arguments)
            if result is not None:
                result = await self._finish(result, turn, origin)
            follow_ups = as_follow_ups(result)
            await settle(self._tree)
            await self._conclude(turn, turn.commit(), follow_ups, origin)
        except* PASSING:
            raise
        except* BaseException as errors:  # noqa: BLE001 - logged: whatever a handler raises is its own affair
            turn.roll_back()
            self._report(handler, origin, unwrap(errors))
        finally:
            turn.roll_back()  # if this actor is being stopped; without effect once it has ended
            release(turn)

    def _report(self, handler: Handler, origin: Origin, error: BaseException) -> None:
        """Log what a handler raised; its sender learns that there was something, no more."""
        label = token_label(self._token)
        logger.error("%s failed for token %s; its turn was undone", handler, label, exc_info=error)
        self._reject(origin, "handler_failed", f"{handler.full_name} failed")

    async def _finish(self, result: Any, turn: Turn, origin: Origin) -> object:
        """Bring what calling a handler gave to its end; every ``yield`` is a checkpoint."""
        if inspect.iscoroutine(result):
            return await result
        at_yield = functools.partial(self._checkpoint, turn, origin.without_event())
        if inspect.isgenerator(result):
            return await finish_plain(result, at_yield)
        if inspect.isasyncgen(result):
            return await finish(result, at_yield)
        return result

    async def _checkpoint(self, turn: Turn, origin: Origin, value: object) -> None:
        follow_ups = as_follow_ups(value)
        await settle(self._tree)
        # Shielded: at a yield a scope of the handler's own may be open, and time out. It is not
        # there to cut a commit in two.
        with trio.CancelScope(shield=True):
            await self._conclude(turn, turn.checkpoint(), follow_ups, origin)

    def _start_task(
        self, handler: Handler, state: State, arguments: tuple[Any, ...], origin: Origin
    ) -> None:
        task = BackgroundTask(self._token, str(handler), arguments)
        self._services.background_tasks.add(task)
        TaskActor.start(
            self.children,
            task,
            handler=handler,
            state=state,
            door=self._door,
            mailbox=self.mailbox,
            origin=origin.without_event(),
            on_ended=self._services.background_tasks.discard,
        )

    # ---- turns of others -------------------------------------------------------------------

    async def _lend_turn(self, request: TurnRequest) -> None:
        """Grant the turn to who asks, and do nothing else until it ends (see ``turns``)."""
        self._look_at(request.origin)
        turn = self._tree.open_turn(request.holder)
        grant: TurnGrant | None = TurnGrant(turn)
        try:
            if self.reply(grant):
                while grant is not None:
                    grant = await self._await_end(grant)
        finally:
            turn.roll_back()  # without effect once it has ended

    async def _await_end(self, grant: TurnGrant) -> TurnGrant | None:
        """Wait for the end of one stretch, conclude it, acknowledge it. Give the next one."""
        try:
            ending = await grant.ending
        except BaseException:
            if not grant.ending.abandon():  # it came while this was being cancelled
                self._answer_stopped(grant.ending.get())
            raise
        renewed = TurnGrant(grant.turn) if ending.end.goes_on else None
        try:
            if not grant.turn.has_ended:
                end = ending.end
                await self._conclude(grant.turn, end.commit, end.follow_ups, end.origin)
        except Exception as error:  # noqa: BLE001 - not swallowed: it is the holder's, who asked
            grant.turn.roll_back()
            ending.reply_to.set_exception((type(error), error, error.__traceback__))
            return None
        except BaseException:
            grant.turn.roll_back()
            self._answer_stopped(ending)
            raise
        ending.reply_to.set(renewed)
        return renewed

    def _answer_stopped(self, ending: Ending) -> None:
        gone = ActorDeadError(f"{self} was stopped while a turn ended; the turn was undone")
        ending.reply_to.set_exception((ActorDeadError, gone, None))

    # ---- the way out -----------------------------------------------------------------------

    async def _conclude(
        self,
        turn: Turn,
        commit: Commit | None,
        follow_ups: tuple[FollowUp, ...],
        origin: Origin,
    ) -> None:
        """Store a commit; then, and not before, let others know: mailbox and connections."""
        if commit is not None:
            await self._services.store.commit(self._token, commit)
        turn.stored(commit)
        if commit is None:
            self._acknowledge(origin)
        else:
            self._mark_done(origin)
            self._show(commit)
        for one in follow_ups:
            if isinstance(one, Invocation):
                self.mailbox.post_always(Call(one, origin.without_event()))
            else:
                self._ask_for(one, origin)

    def _show(self, commit: Commit) -> None:
        for connection in self._connections:
            ack = self._page_loads[connection.instance].done
            connection.send(Patch(commit.version, ack, commit.operations))

    def _ask_for(self, effect: Effect, origin: Origin) -> None:
        """Send an effect to the page load that it is for, or keep it until that is back.

        One that is for nobody in particular, or for a page load that is forgotten, goes to all
        that are here.
        """
        # Of two connections of one page load the older is dead, and does not know it yet.
        here = {connection.instance: connection for connection in self._connections}
        page_load = self._page_loads.get(origin.instance or "")
        if page_load is None or page_load.router is None:
            for connection in here.values():
                connection.send(effect)
        elif origin.instance in here:
            here[origin.instance].send(effect)
        else:
            self._keep(effect, page_load.missed)

    def _keep(self, effect: Effect, missed: deque[Effect]) -> None:
        if len(missed) == _KEPT_EFFECTS:
            label, dropped = token_label(self._token), missed.popleft()
            logger.warning(
                "a page load of token %s is away and misses %d effects; %s was dropped",
                label, _KEPT_EFFECTS, dropped.name,
            )  # fmt: skip
        missed.append(effect)

    # ---- connections -----------------------------------------------------------------------

    async def _attach(self, connection: Connection) -> None:
        try:
            await self._look_from(connection.router)
        except BaseException:
            connection.close()
            raise
        self._connections.append(connection)
        page_load = self._page_loads.pop(connection.instance, None) or PageLoad()
        self._page_loads[connection.instance] = page_load  # in again, and so the last
        self._forget_old_page_loads()
        page_load.router = connection.router
        version, public = self._tree.version, self._tree.public()
        connection.send(Welcome(self._token, version, page_load.done, public))
        while page_load.missed:
            connection.send(page_load.missed.popleft())

    async def _look_from(self, router: Router) -> None:
        """Let what is computed from the router follow it: a turn in which nobody writes."""
        turn = self._tree.open_turn("a page that connects")
        try:
            self._tree.router = router
            await settle(self._tree, welcome=True)
            await self._conclude(turn, turn.commit(), (), Origin())
        finally:
            turn.roll_back()  # without effect once it has ended

    def _detach(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def _forget_old_page_loads(self) -> None:
        """Keep what is known of those that are here, and of the last that were."""
        here = {connection.instance for connection in self._connections}
        gone = [instance for instance in self._page_loads if instance not in here]
        for instance in gone[: max(0, len(gone) - _REMEMBERED_PAGE_LOADS)]:
            del self._page_loads[instance]

    def _look_at(self, origin: Origin) -> None:
        """Let who holds the next turn see where the page load is that it is for."""
        page_load = self._page_loads.get(origin.instance or "")
        if page_load is not None and page_load.router is not None:
            self._tree.router = page_load.router

    def _send(self, origin: Origin, notice: Notice) -> None:
        for connection in self._connections:
            if connection.instance == origin.instance:
                connection.send(notice)

    def _reject(self, origin: Origin, code: str, message: str, where: str | None = None) -> None:
        """Tell the page that sent an event what is wrong with it. That settles the event."""
        if origin.seq is not None:
            self._send(origin, Failure(code, message, origin.seq, where))
            self._acknowledge(origin)

    def _acknowledge(self, origin: Origin) -> None:
        """Tell the page that sent an event that it is done, where no patch says so."""
        self._mark_done(origin)
        if origin.seq is not None:
            self._send(origin, Ack(self._page_loads[origin.instance or ""].done))

    def _is_done(self, origin: Origin) -> bool:
        page_load = self._page_loads.get(origin.instance or "")
        return origin.seq is not None and page_load is not None and origin.seq <= page_load.done

    def _mark_done(self, origin: Origin) -> None:
        if origin.seq is not None and not self._is_done(origin):
            self._page_loads.setdefault(origin.instance or "", PageLoad()).done = origin.seq


async def _call_in_thread(function: Callable[..., Any], *args: Any) -> object:
    """Call a handler that blocks. A cancellation waits for its end, as the turn does.

    The thread has a copy of the context, and so holds the turn as the caller does.
    """
    result = await trio.to_thread.run_sync(function, *args)
    await trio.lowlevel.checkpoint_if_cancelled()
    return result
