"""The token actor: owns one state tree, and lets one turn at a time change it.

Two ways in, one way out: an event opens a turn and runs its handler here; a turn request lends
the turn to a holder elsewhere (see ``lender``). Both leave through the `Gate`, where the store
takes the commit and only then anyone is told.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, final

import attrs
import trio

from actorstate.actors.calls import Calls
from actorstate.actors.door import TokenDoor
from actorstate.actors.errors import ErrorContext
from actorstate.actors.gate import Gate
from actorstate.actors.generators import finish, finish_plain
from actorstate.actors.handover import Handover
from actorstate.actors.holding import Holding
from actorstate.actors.ledger import Ledger
from actorstate.actors.lender import Lender
from actorstate.actors.messages import (
    NOBODY,
    Attach,
    Call,
    Connection,
    Detach,
    EffectRequest,
    Event,
    Failure,
    Origin,
    Refresh,
    Return,
    StillAway,
    TurnRequest,
    Wanted,
)
from actorstate.actors.pages import Pages
from actorstate.actors.runtime import PASSING, Scope, TrioActor, unwrap
from actorstate.actors.services import Services
from actorstate.actors.task_actor import BackgroundTask, TaskActor, TaskEnd
from actorstate.actors.tasks import Job, Tasks
from actorstate.actors.tenure import Tenure
from actorstate.exceptions import (
    ActivationError,
    ActorDeadError,
    BadArgumentsError,
    LeaseLostError,
    StoreUnavailableError,
    TooManyTasksError,
    UnknownHandlerError,
)
from actorstate.state.handlers import Canceller, FollowUp, Handler, Invocation, as_follow_ups
from actorstate.state.hooks import HookName
from actorstate.state.router import Router
from actorstate.state.snapshot import TaskRecord
from actorstate.state.tree import token_label
from actorstate.state.turn import Turn, hold, release

logger: Final = logging.getLogger("actorstate.actors")

# The budget for a snapshot that cannot be loaded (seconds): a store that is down for a moment is
# waited for; one that stays away is asked no more often than a few times in every cooldown.
_RESTARTS: Final = (0.1, 0.4)
_COOLDOWN: Final = 2.0


@final
@attrs.frozen
class TaskEnded:
    """A background task has ended."""

    job: Job
    end: TaskEnd


@final
@attrs.define(eq=False)
class _Presence:
    """Whether a tab counts as connected."""

    is_connected: bool = False
    """Whether it was told so, by ``on_connect``, and not that it is no longer."""
    is_gone: bool = False
    """Whether nobody has come for as long as a tab may be away."""
    absence: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Ends the waiting for that."""


@final
class TokenActor(TrioActor):
    """The actor of one token.

    Args:
        scope: the app's.
        door: the door of its state tree.
        services: what it shares with the others.
        on_ended: called when it takes no message any more.
    """

    def __init__(
        self, scope: Scope, door: TokenDoor, services: Services, on_ended: Callable[[], None]
    ) -> None:
        super().__init__(
            scope, capacity=services.limits.mailbox_capacity, restarts=_RESTARTS, cooldown=_COOLDOWN
        )
        self._token: Final = door.tree.token
        self._services: Final = services
        self._tell_ended: Final = on_ended
        self._door: Final = door
        self._tree: Final = door.tree
        self._pages: Final = Pages(self._tree)
        self._tasks: Final = Tasks(services.limits.max_tasks, services.is_leaving, services.owner)
        self._calls: Final = Calls()
        self._tenure: Final = Tenure(self._token, services.store, services.commit_now)
        self._ledger: Final = Ledger(
            self._tree,
            self._tenure,
            self._pages,
            self._tasks,
            self._calls,
            wants_whole=services.commit_now is None,
        )
        is_immediate = services.commit_now is not None
        self._gate: Final = Gate(self._ledger, self.mailbox, is_immediate=is_immediate)
        self._lender: Final = Lender(
            self,
            self._tree,
            self._tenure,
            self._gate,
            make_ready=self._make_ready,
        )
        self._handover: Final = Handover(self, door, services, self._ledger, resume=self._resume)
        self._presence: Final = _Presence()
        self._unused_for = 0
        self.mailbox.order = services.conductor
        door.ref = self.actor_ref
        door.rest_if_unused = self._rest_if_unused
        door.lend_at_once = self._lender.lend_at_once

    def __str__(self) -> str:
        return f"token actor of {token_label(self._token)}"

    # ---- its life --------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Bring the state tree to life from its snapshot, and its background tasks with it."""
        await self._handover.take_up()
        if self._tasks.is_running:
            self._begin_absence()  # of the page for which they run, perhaps

    def on_start_failed(self, error: Exception) -> None:
        """Tell the program that the tab cannot be brought to life."""
        self._services.reporter.report(error, ErrorContext("activation", str(self), self._token))

    def on_refused(self, message: Any, error: ActivationError) -> None:  # noqa: ARG002 - logged, once
        """Tell a page that comes that there is nothing to show."""
        if isinstance(message, Attach | Refresh):
            text = "the state of this tab cannot be loaded at the moment"
            message.connection.send(Failure("unavailable", text))
            message.connection.close()

    def on_stop(self) -> None:
        """Stop the background tasks; what is in the mailbox is worked off meanwhile."""
        self._tasks.stop()

    @property
    def may_end(self) -> bool:
        """Whether nothing is left to do, for an actor that was told to stop."""
        is_at_rest = self.mailbox.empty() and not self.mailbox.is_paused  # by a turn that is lent
        return is_at_rest and not self._tasks.is_running

    def on_ended(self, left: Sequence[Any]) -> None:
        """Tell the directory, so that the next message activates the token anew."""
        self._tell_ended()
        turn = self._tree.turn  # looked at once: a thread may end it meanwhile
        if turn is not None:  # lent: to undo it is the holder's
            turn.revoke()
        self._pages.close()
        for message in left:
            if isinstance(message, Attach):
                message.connection.close()

    async def on_exit(self) -> None:
        """Leave the token to others."""
        await self._handover.leave()

    def _rest_if_unused(self, sweeps: int) -> None:
        """End, if no message came in so many rounds of the directory's, and nothing goes on."""
        self._unused_for += 1
        is_in_use = self._pages.is_anyone_here or self._presence.is_connected
        if self._unused_for > sweeps and not is_in_use and self._tasks.is_idle:
            self.end_if_idle()

    def on_receive(self, message: object) -> Any:
        """Do what one message asks for, to its end, before the next is taken."""
        self._unused_for = 0
        receiver = self.receivers.get(type(message))
        if receiver is None:
            return super().on_receive(message)
        if not self._tenure.is_quiet:
            return self._receive_anew(receiver, message)
        self._handover.has_served = True
        return receiver(self, message)

    async def _receive_anew(self, receiver: Callable[..., Any], message: object) -> Any:
        """Give the token up or take it up again, as is called for, before a message is handled."""
        await self._handover.give_up_if_due()
        needs_token = not isinstance(message, _WITHOUT_TOKEN)
        if needs_token and not self._tenure.is_held:
            try:
                await self._handover.come_back()
            except Exception as error:
                self._refuse_message(message, error)
                if self.is_asked:
                    raise
                return None
        self._handover.has_served = self._handover.has_served or needs_token
        result = receiver(self, message)
        return await result if inspect.isawaitable(result) else result

    def _refuse_message(self, message: object, error: Exception) -> None:
        """Let nobody wait for what cannot be done at the moment."""
        if isinstance(message, Attach | Refresh):
            self.on_refused(message, ActivationError(str(error)))
        elif isinstance(message, Event):
            self._pages.cut(message.origin)
        elif isinstance(message, Call) and message.origin.call is not None:
            self._calls.begin(message.origin.call)  # the snapshot has it
        self._handover.try_again_later()

    # ---- events ----------------------------------------------------------------------------

    def _on_event(self, event: Event) -> Awaitable[None] | None:
        origin = Origin(event.instance, event.seq)
        if self._pages.is_done(origin):
            return self._pages.acknowledge(origin, is_saved=True)
        if self._pages.cut_off and self._pages.refuse_cut(origin):
            return None
        try:
            handler = self._services.schema.handler(event.name)
            arguments = handler.structure(event.args)
        except UnknownHandlerError as error:
            return self._pages.reject(origin, "unknown_handler", str(error), "$.name")
        except BadArgumentsError as error:
            return self._pages.reject(origin, "bad_arguments", str(error), error.where)
        return self._do(handler, arguments, origin)

    async def _on_call(self, call: Call) -> None:
        call_id = call.origin.call
        if call_id is not None and not self._calls.begin(call_id):
            return  # another owner of the token has run it
        if call.job is not None:
            await self._start_task(self._tasks.planned(call.job), call.origin)
        else:
            await self._do_to_its_end(call.invocation.handler, call.invocation.args, call.origin)
        if call_id is not None and self._tenure.is_held:
            self._calls.done(call_id)
            await self._ledger.save_or_later()

    def _do(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin
    ) -> Awaitable[None] | None:
        """Run a handler; or start it, or cancel those that run, if it is a background task.

        Returns:
            What is still to be awaited, at once: as little as possible, since most handlers are
            plain functions, and a step of trio's is half of what such an event costs.
        """
        if handler.is_background:
            return self._start_task(Job(handler, arguments, origin.without_event()), origin)
        if isinstance(handler, Canceller):
            return self._cancel_tasks(handler.task, origin)
        return self._run(handler, arguments, origin)

    async def _do_to_its_end(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin
    ) -> None:
        being_done = self._do(handler, arguments, origin)
        if being_done is not None:
            await being_done

    def _run(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin
    ) -> Awaitable[None] | None:
        """Run a handler in a turn of its own: to its end, or until something is to be awaited."""
        try:
            state = self._tree.state(handler.owner)
        except LookupError as error:
            return self._report(handler, arguments, origin, error)
        self._serve(origin)
        turn = self._tree.open_turn(handler.label)
        computed, watch = self._tree.computed, self._services.watch
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
            self._report(handler, arguments, origin, unwrap(errors))
        finally:
            if turn.has_ended:
                release(turn)
        return None if turn.has_ended else self._run_on(turn, result, handler, arguments, origin)

    async def _run_on(
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
                with Holding(turn, self._services.watch) as holding:
                    follow_ups = await self._bring_to_end(result, holding, origin)
            await self._gate.conclude(turn, turn.commit(), follow_ups, origin)
        except* PASSING:
            raise
        except* BaseException as errors:  # noqa: BLE001 - as above
            turn.roll_back()
            self._report(handler, arguments, origin, unwrap(errors))
        finally:
            turn.roll_back()  # if this actor is being stopped; without effect once it has ended
            release(turn)

    def _report(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin, error: BaseException
    ) -> None:
        """Tell the program what a handler raised; its sender learns that there was something."""
        label = token_label(self._token)
        self._services.flavor.explain(error)
        logger.error("%s failed for token %s; its turn was undone", handler, label, exc_info=error)
        if self._tenure.is_held:
            self._pages.reject(origin, "handler_failed", f"{handler.full_name} failed")
        else:
            self._pages.cut(origin)
        context = ErrorContext("handler", str(handler), self._token, arguments)
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

    def _serve(self, origin: Origin) -> None:
        """Let who holds the next turn see where the page load is that it is for."""
        page_load = self._pages.loads.get(origin.instance or "")
        router = page_load.router if page_load is not None else None
        if router is not None and router is not self._tree.router:
            self._tree.serve(router)

    # ---- background tasks ------------------------------------------------------------------

    async def _start_task(self, job: Job, origin: Origin) -> None:
        """Start a background task, if there is room for it and others of its kind let it."""
        handler, arguments = job.handler, job.arguments
        try:
            self._tree.state(handler.owner)
            is_due = self._tasks.admit(job, is_anyone_here=not self._presence.is_gone)
        except LookupError as error:
            self._tasks.drop(job)
            return self._report(handler, arguments, origin, error)
        except TooManyTasksError as error:
            logger.warning("token %s: %s", token_label(self._token), error)
            self._services.reporter.report(error, self._context_of(job))
            await self._ledger.save_or_later()
            return self._pages.reject(
                origin, "too_many_tasks", f"{handler.full_name} was not started: too many run"
            )
        try:
            is_saved = await self._ledger.save(origin)
        except Exception as error:  # noqa: BLE001 - not swallowed: reported, like a handler's own
            self._tasks.drop(job)
            return self._report(handler, arguments, origin, error)
        if is_due:
            self._launch(job)
        else:
            self._tasks.replace_others(job)
            await self._ledger.save_or_later()
        return self._pages.acknowledge(origin, is_saved=is_saved)

    def _launch(self, job: Job) -> None:
        job.task = BackgroundTask(self._token, str(job.handler), job.arguments)
        self._services.background_tasks.add(job.task)
        if self._services.conductor is not None:
            self._services.conductor.started(job.task)
        TaskActor.start(
            self.children,
            job.task,
            handler=job.handler,
            state=self._tree.state(job.handler.owner),
            door=self._door,
            origin=job.origin,
            on_ended=functools.partial(self._tell_task_ended, job, job.task),
        )

    def _tell_task_ended(self, job: Job, task: BackgroundTask, end: TaskEnd) -> None:
        self._services.background_tasks.discard(task)
        with suppress(ActorDeadError):  # then nobody waits for its end, and its record stays
            self.mailbox.post_always(TaskEnded(job, end))

    async def _on_task_ended(self, message: TaskEnded) -> None:
        job, end = message.job, message.end
        following = self._tasks.ended(job, is_suspended=end.is_suspended)
        if following is not None:
            self._launch(following)
        await self._ledger.save_or_later()
        if end.error is not None:
            await self._on_background_error(job, end.error)

    async def _on_background_error(self, job: Job, error: BaseException) -> None:
        """Tell the program, and the state if it wants to know. It is in the log already."""
        self._services.reporter.report(error, self._context_of(job))
        hook = self._services.schema.error_hook(job.handler.owner)
        if hook is not None:
            await self._run_hook(hook, (error,), job.origin)

    def _context_of(self, job: Job) -> ErrorContext:
        return ErrorContext("background task", str(job.handler), self._token, job.arguments)

    async def _cancel_tasks(self, handler: Handler, origin: Origin) -> None:
        self._tasks.cancel(lambda job: job.handler is handler)
        self._tasks.cancel_elsewhere(handler.full_name)
        await self._ledger.save_or_later()
        if await self._may_show():
            self._pages.acknowledge(origin)
        else:
            self._pages.cut(origin)

    def _resume(self, record: TaskRecord) -> None:
        """Start a background task again that ran when the token's last actor ended."""
        try:
            handler = self._services.schema.handler(record.name)
            if handler.options is None or not handler.options.resume:
                message = f"{handler} is no background task with resume=True any more"
                raise TypeError(message)  # noqa: TRY301 - one of many reasons
            job = Job(
                handler, handler.structure(list(record.args)), NOBODY, record=record, is_saved=True
            )
            if self._tasks.admit(job):
                self._launch(job)
        except Exception as error:  # noqa: BLE001 - whatever it is, the tab lives on without it
            label = token_label(self._token)
            logger.warning("token %s: %s is not resumed: %s", label, record.name, error)

    # ---- turns of others -------------------------------------------------------------------

    def _lend_turn(self, request: TurnRequest) -> Awaitable[None] | None:
        return self._lender.lend(request)

    def _make_ready(self, origin: Origin) -> None:
        """Take note that a turn is lent, perhaps without a message, and for whom."""
        self._unused_for = 0
        self._handover.has_served = True
        self._serve(origin)

    # ---- connections -----------------------------------------------------------------------

    async def _on_effect_request(self, request: EffectRequest) -> None:
        if await self._may_show():
            self._pages.ask_for(request.effect, request.origin)
        else:
            self.mailbox.post_always(request)  # for when the token is back

    async def _may_show(self) -> bool:
        """Make sure that the token is held, before something is shown that was not stored now."""
        try:
            await self._tenure.confirm()
        except (LeaseLostError, StoreUnavailableError):
            logger.info("%s has lost its token", self)
        return self._tenure.is_held

    async def _attach(self, message: Attach) -> None:
        connection = message.connection
        if self._pages.refuse_outdated(message) or self._pages.refuse_contested(message):
            return
        if not await self._prepare_for(connection):
            return
        self._presence.absence.cancel()
        is_new_page = self._pages.attach(message)
        origin = Origin(connection.instance)
        self._presence.is_gone = False
        if not self._presence.is_connected:
            self._presence.is_connected = True
            await self._run_hooks("on_connect", origin)
        if is_new_page:
            if message.on_load:
                self._pages.owe(connection.instance)
            for invocation in message.on_load:
                await self._do_to_its_end(invocation.handler, invocation.args, origin)

    async def _refresh(self, message: Refresh) -> None:
        is_here = self._pages.has(message.connection)
        if is_here and await self._prepare_for(message.connection):
            self._pages.refresh(message.connection)

    async def _prepare_for(self, connection: Connection) -> bool:
        """Compute what a page is to be told; turn the connection away if that fails."""
        is_ready = False
        try:
            await self._recompute_for(connection.router)
            is_ready = True
        except* PASSING:
            connection.close()
            raise
        except* BaseException as errors:
            logger.exception("%s: a page cannot be shown", self, exc_info=unwrap(errors))
            connection.send(Failure("unavailable", "this page cannot be shown at the moment"))
            connection.close()
        return is_ready

    async def _recompute_for(self, router: Router) -> None:
        """Let what is computed from the router follow it: a turn in which nobody writes."""
        turn = self._tree.open_turn("a page that connects")
        hold(turn)  # not to write: what is computed shall not wait for this turn
        try:
            self._tree.serve(router)
            if self._tree.computed.awaited(welcome=True):
                with Holding(turn, self._services.watch) as holding:
                    await self._door.settle(holding.scope, welcome=True)
            await self._gate.conclude(turn, turn.commit(), (), NOBODY)
        finally:
            release(turn)
            turn.roll_back()  # without effect once it has ended

    def _detach(self, message: Detach) -> None:
        was_here = self._pages.detach(message.connection)
        if was_here and not self._pages.is_anyone_here:
            self._begin_absence()

    def _begin_absence(self) -> None:
        absence = self._presence.absence = trio.CancelScope()
        self.children.start_soon(self._await_return, absence, name=f"return to {self}")

    async def _await_return(self, absence: trio.CancelScope) -> None:
        with absence:
            await trio.sleep(self._services.limits.disconnect_grace)
            with suppress(ActorDeadError):
                self.mailbox.post_always(StillAway(absence))

    async def _disconnect(self, message: StillAway) -> None:
        """Take the tab for gone, unless somebody has come meanwhile."""
        if message.absence is not self._presence.absence or self._pages.is_anyone_here:
            return
        was_connected, self._presence.is_connected = self._presence.is_connected, False
        self._presence.is_gone = True
        self._tasks.cancel(lambda job: job.options.on_disconnect == "cancel")
        await self._ledger.save_or_later()
        if was_connected:
            await self._run_hooks("on_disconnect", NOBODY)

    async def _run_hooks(self, name: HookName, origin: Origin) -> None:
        for hook in self._services.schema.hooks(name):
            await self._run_hook(hook, (), origin)

    async def _run_hook(self, hook: Handler, arguments: tuple[Any, ...], origin: Origin) -> None:
        """Run a hook in its turn; if the token is elsewhere, as soon as it is back."""
        if self._tenure.is_held:
            await self._do_to_its_end(hook, arguments, origin)
        else:
            self.mailbox.post_always(Call(Invocation(hook, arguments), origin))

    def _return(self, _: Return) -> None:
        """Do nothing more: the token was taken up before this was handled."""

    def _hear_wanted(self, _: Wanted) -> None:
        self._handover.hear_wanted()

    receivers: ClassVar[Mapping[type, Any]] = {
        Event: _on_event,
        Call: _on_call,
        TurnRequest: _lend_turn,
        EffectRequest: _on_effect_request,
        TaskEnded: _on_task_ended,
        Attach: _attach,
        Detach: _detach,
        Refresh: _refresh,
        StillAway: _disconnect,
        Return: _return,
        Wanted: _hear_wanted,
    }
    """Who does what a message asks for."""


_WITHOUT_TOKEN: Final = (Detach, StillAway, TaskEnded, Wanted)
"""The messages for which the token need not be held."""


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
