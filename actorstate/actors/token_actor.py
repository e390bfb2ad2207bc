"""The token actor: owns one state tree, and lets one turn at a time change it.

Two ways in, one way out: an event opens a turn and runs its handler here (see ``handler_turns``); a
turn request lends the turn to a holder elsewhere (see ``lender``). Both leave through the `Gate`,
where the store takes the commit and only then anyone is told.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, final

import attrs

from actorstate.actors.attendance import Attendance
from actorstate.actors.background_task import BackgroundTask, TaskLife
from actorstate.actors.calls import Calls
from actorstate.actors.door import TokenDoor
from actorstate.actors.errors import ErrorContext
from actorstate.actors.gate import Gate
from actorstate.actors.handler_turns import HandlerTurns
from actorstate.actors.handover import Handover
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
    Reconsider,
    Refresh,
    Return,
    StillAway,
    TurnRequest,
    Wanted,
)
from actorstate.actors.pages import Pages
from actorstate.actors.presence import Presence
from actorstate.actors.runtime import PASSING, Scope, TrioActor, unwrap
from actorstate.actors.services import Services
from actorstate.actors.task_actor import TaskActor, TaskEnd
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
from actorstate.state.handlers import Canceller, Handler, Invocation
from actorstate.state.labels import token_label
from actorstate.state.snapshot import TaskRecord

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
        presence = Presence(
            self,
            services.limits.disconnect_grace,
            owner=services.owner,
            is_minded=services.schema.minds_presence,
        )
        self._calls: Final = Calls()
        self._tenure: Final = Tenure(self._token, services.store, services.commit_now)
        self._ledger: Final = Ledger(
            self._tree,
            self._tenure,
            pages=self._pages,
            tasks=self._tasks,
            presence=presence,
            calls=self._calls,
            wants_whole=not services.is_immediate,
        )
        gate = Gate(self._ledger, self.mailbox, is_immediate=services.is_immediate)
        self._handler_turns: Final = HandlerTurns(door, services, gate, self._pages, self._tenure)
        self._lender: Final = Lender(
            self,
            self._tree,
            self._tenure,
            gate,
            make_ready=self._make_ready,
        )
        self._handover: Final = Handover(self, door, services, self._ledger, resume=self._resume)
        self._attendance: Final = Attendance(
            self._token, self._ledger, services, self.mailbox, run=self._on_call
        )
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
        is_in_use = self._pages.is_anyone_here or self._attendance.needs_actor
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
        elif isinstance(message, Reconsider):
            self._attendance.look_later()
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
            self._calls.note_done(call_id)
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
        return self._handler_turns.run(handler, arguments, origin)

    async def _do_to_its_end(
        self, handler: Handler, arguments: tuple[Any, ...], origin: Origin
    ) -> None:
        being_done = self._do(handler, arguments, origin)
        if being_done is not None:
            await being_done

    # ---- background tasks ------------------------------------------------------------------

    async def _start_task(self, job: Job, origin: Origin) -> None:
        """Start a background task, if there is room for it and others of its kind let it."""
        handler, arguments = job.handler, job.arguments
        try:
            self._tree.state(handler.owner)
            is_due = self._tasks.admit(job, is_anyone_here=self._attendance.may_be_seen)
        except LookupError as error:
            self._tasks.drop(job)
            return self._handler_turns.report(handler, arguments, origin, error)
        except TooManyTasksError as error:
            logger.warning("token %s: %s", token_label(self._token), error)
            self._services.reporter.report(error, self._context_of(job))
            await self._ledger.save_or_later()
            return self._pages.warn(
                origin, "too_many_tasks", f"{handler.full_name} was not started: too many run"
            )
        try:
            is_saved = await self._ledger.save(origin)
        except Exception as error:  # noqa: BLE001 - not swallowed: reported, like a handler's own
            self._tasks.drop(job)
            return self._handler_turns.report(handler, arguments, origin, error)
        if is_due:
            self._launch(job)
        else:
            self._tasks.replace_others(job)
            await self._ledger.save_or_later()
        return self._pages.acknowledge(origin, is_saved=is_saved)

    def _launch(self, job: Job) -> None:
        life = TaskLife()
        job.task = BackgroundTask(self._token, str(job.handler), job.arguments, life=life)
        self._services.background_tasks.add(job.task)
        if self._services.conductor is not None:
            self._services.conductor.started(job.task)
        TaskActor.start(
            self.children,
            job.task,
            life,
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
        following = self._tasks.next_after(job, is_suspended=end.is_suspended)
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
        self._tasks.cancel_all_of(handler)
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
            if self._tasks.admit(job, is_anyone_here=self._attendance.may_be_seen):
                self._launch(job)
        except Exception as error:  # noqa: BLE001 - whatever it is, the tab lives on without it
            label = token_label(self._token)
            logger.warning("token %s: %s is not resumed: %s", label, record.name, error)
            context = ErrorContext("background task", record.name, self._token, record.args)
            self._services.reporter.report(error, context)

    # ---- turns of others -------------------------------------------------------------------

    def _lend_turn(self, request: TurnRequest) -> Awaitable[None] | None:
        return self._lender.lend(request)

    def _make_ready(self, origin: Origin) -> None:
        """Note that a turn is lent, perhaps without a message, and for whom."""
        self._unused_for = 0
        self._handover.has_served = True
        self._pages.serve(origin)

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
        is_new_page = self._pages.attach(message)
        origin = Origin(connection.instance)
        await self._attendance.greet(origin)
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
            await self._handler_turns.follow(connection.router)
            is_ready = True
        except* PASSING:
            connection.close()
            raise
        except* BaseException as errors:
            logger.exception("%s: a page cannot be shown", self, exc_info=unwrap(errors))
            connection.send(Failure("unavailable", "this page cannot be shown at the moment"))
            connection.close()
        return is_ready

    def _detach(self, message: Detach) -> None:
        was_here = self._pages.detach(message.connection)
        if was_here and not self._pages.is_anyone_here:
            self._attendance.begin_absence()

    async def _look(self, message: StillAway) -> None:
        await self._attendance.look(message)

    async def _reconsider(self, _: Reconsider) -> None:
        await self._attendance.reconsider()

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
        StillAway: _look,
        Reconsider: _reconsider,
        Return: _return,
        Wanted: _hear_wanted,
    }
    """Who does what a message asks for."""


_WITHOUT_TOKEN: Final = (Detach, StillAway, TaskEnded, Wanted)
"""The messages for which the token need not be held."""
