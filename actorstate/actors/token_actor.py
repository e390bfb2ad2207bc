"""The token actor: owns one state tree, and lets one turn at a time change it.

Two ways in, one way out: an event opens a turn and runs its handler here; a turn request lends
the turn to a holder elsewhere. Both leave through `TokenActor._conclude`, where the store takes
the commit and only then anyone is told.
"""

from __future__ import annotations

import functools
import inspect
import logging
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
    Event,
    Failure,
    Patch,
    TurnRequest,
    Welcome,
)
from actorstate.actors.runtime import PASSING, Scope, TrioActor, unwrap
from actorstate.actors.task_actor import BackgroundTask, TaskActor
from actorstate.actors.turns import Ending, TokenDoor, TurnGrant
from actorstate.exceptions import ActorDeadError, BadArgumentsError, UnknownHandlerError
from actorstate.state.handlers import Handler, Invocation, as_invocations
from actorstate.state.state import State
from actorstate.state.tree import Schema, StateTree, token_label
from actorstate.state.turn import Commit, Turn, hold, release
from actorstate.stores.base import Store

logger: Final = logging.getLogger("actorstate.actors")

# How many page loads of a tab that are gone are remembered by the number of their last event, in
# case they come back and send it again.
_REMEMBERED_INSTANCES: Final = 8


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
        self._done: Final[dict[str, int]] = {}

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
                return self._run(message.invocation.handler, message.invocation.args, None)
            case TurnRequest():
                return self._lend_turn(message)
            case Attach():
                return self._attach(message.connection)
            case Detach():
                return self._detach(message.connection)
            case _:
                return super().on_receive(message)

    # ---- events ----------------------------------------------------------------------------

    async def _on_event(self, event: Event) -> None:
        if self._is_done(event):
            return self._acknowledge(event)
        try:
            handler = self._services.schema.handler(event.name)
            arguments = handler.structure(event.args)
        except UnknownHandlerError as error:
            return self._reject(event, "unknown_handler", str(error), "$.name")
        except BadArgumentsError as error:
            return self._reject(event, "bad_arguments", str(error), error.where)
        return await self._run(handler, arguments, event)

    async def _run(self, handler: Handler, arguments: tuple[Any, ...], event: Event | None) -> None:
        """Run a handler to its end; or start it, if it is a background task."""
        try:
            state = self._tree.state(handler.owner)
        except LookupError as error:
            return self._report(handler, event, error)
        if handler.is_background:
            self._start_task(handler, state, arguments)
            return self._acknowledge(event)
        turn = self._tree.open_turn(handler.label)
        hold(turn)
        try:
            result = handler.function(state, *arguments)
            if result is not None:
                result = await self._finish(result, turn)
            await self._conclude(turn, turn.commit(), as_invocations(result), event)
        except* PASSING:
            raise
        except* BaseException as errors:  # noqa: BLE001 - logged: whatever a handler raises is its own affair
            turn.roll_back()
            self._report(handler, event, unwrap(errors))
        finally:
            turn.roll_back()  # if this actor is being stopped; without effect once it has ended
            release(turn)

    def _report(self, handler: Handler, event: Event | None, error: BaseException) -> None:
        """Log what a handler raised; its sender learns that there was something, no more."""
        label = token_label(self._token)
        logger.error("%s failed for token %s; its turn was undone", handler, label, exc_info=error)
        self._reject(event, "handler_failed", f"{handler.full_name} failed")

    async def _finish(self, result: Any, turn: Turn) -> object:
        """Bring what calling a handler gave to its end; every ``yield`` is a checkpoint."""
        if inspect.iscoroutine(result):
            return await result
        at_yield = functools.partial(self._checkpoint, turn)
        if inspect.isgenerator(result):
            return await finish_plain(result, at_yield)
        if inspect.isasyncgen(result):
            return await finish(result, at_yield)
        return result

    async def _checkpoint(self, turn: Turn, value: object) -> None:
        invocations = as_invocations(value)
        # Shielded: at a yield a scope of the handler's own may be open, and time out. It is not
        # there to cut a commit in two.
        with trio.CancelScope(shield=True):
            await self._conclude(turn, turn.checkpoint(), invocations, None)

    def _start_task(self, handler: Handler, state: State, arguments: tuple[Any, ...]) -> None:
        task = BackgroundTask(self._token, str(handler), arguments)
        self._services.background_tasks.add(task)
        TaskActor.start(
            self.children,
            task,
            handler=handler,
            state=state,
            door=self._door,
            mailbox=self.mailbox,
            on_ended=self._services.background_tasks.discard,
        )

    # ---- turns of others -------------------------------------------------------------------

    async def _lend_turn(self, request: TurnRequest) -> None:
        """Grant the turn to who asks, and do nothing else until it ends (see ``turns``)."""
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
                await self._conclude(grant.turn, ending.end.commit, ending.end.invocations, None)
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
        invocations: tuple[Invocation, ...],
        event: Event | None,
    ) -> None:
        """Store a commit; then, and not before, let others know: mailbox and connections."""
        if commit is not None:
            await self._services.store.commit(self._token, commit)
        turn.stored(commit)
        for invocation in invocations:
            self.mailbox.post_always(Call(invocation))
        if commit is None:
            self._acknowledge(event)
            return
        self._mark_done(event)
        for connection in self._connections:
            ack = self._done[connection.instance]
            connection.send(Patch(commit.version, ack, commit.operations))

    # ---- connections -----------------------------------------------------------------------

    def _attach(self, connection: Connection) -> None:
        self._connections.append(connection)
        ack = self._done.pop(connection.instance, 0)
        self._done[connection.instance] = ack  # in again, and so the last
        self._forget_old_instances()
        connection.send(Welcome(self._token, self._tree.version, ack, self._tree.public()))

    def _detach(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def _forget_old_instances(self) -> None:
        """Keep the event numbers of those that are here, and of the last that were."""
        here = {connection.instance for connection in self._connections}
        gone = [instance for instance in self._done if instance not in here]
        for instance in gone[: max(0, len(gone) - _REMEMBERED_INSTANCES)]:
            del self._done[instance]

    def _send(self, instance: str | None, notice: Failure | Ack) -> None:
        for connection in self._connections:
            if connection.instance == instance:
                connection.send(notice)

    def _reject(
        self, event: Event | None, code: str, message: str, where: str | None = None
    ) -> None:
        """Tell the page that sent an event what is wrong with it. That settles the event."""
        if event is not None:
            self._send(event.instance, Failure(code, message, event.seq, where))
            self._acknowledge(event)

    def _acknowledge(self, event: Event | None) -> None:
        """Tell the page that sent an event that it is done, where no patch says so."""
        self._mark_done(event)
        if event is not None and event.seq is not None:
            self._send(event.instance, Ack(self._done[event.instance or ""]))

    def _is_done(self, event: Event) -> bool:
        return event.seq is not None and event.seq <= self._done.get(event.instance or "", 0)

    def _mark_done(self, event: Event | None) -> None:
        if event is not None and event.seq is not None and not self._is_done(event):
            self._done[event.instance or ""] = event.seq
