"""Taking a token up from the store, giving it up to another owner, and taking it up again.

One token has one owner at a time, which may be an app in another process. What its owner has done
is in the snapshot; the next one goes on from there. All of this happens between two messages of
the token actor, in its own task, so no turn and no task of a block is ever met halfway::

    another owner waits ──▶ Wanted ──────▶ stored, and given up
    a message needs it, or Return ───────▶ taken up, as its snapshot is by then
    the actor starts ────────────────────▶ taken up
    the actor ends ──────────────────────▶ stored, and given up

Whether the token is held, and who waits for it, is known by the `Tenure`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final, final

import trio

from actorstate.actors.door import TokenDoor
from actorstate.actors.holding import Holding
from actorstate.actors.ledger import Ledger
from actorstate.actors.messages import Call, Origin, Reconsider, Return, Wanted
from actorstate.actors.runtime import TrioActor
from actorstate.actors.services import Services
from actorstate.exceptions import ActorDeadError, BadArgumentsError, UnknownHandlerError
from actorstate.state.handlers import Invocation
from actorstate.state.holders import hold, release
from actorstate.state.labels import token_label
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord

logger: Final = logging.getLogger("actorstate.actors")

# For so long (seconds) after the token could not be had back, nobody asks the store for it again.
_REST_BETWEEN: Final = 1.0

# How long (seconds) each of the last steps of an actor may take. What is not given up runs out.
_LAST_WORDS: Final = 2.0

# How many messages may be handled before a token is given up that somebody else wants, if calls
# are among those that lie in the mailbox. The next owner would run them, far from their page.
_MOST_OVERTIME: Final = 32

# The pauses (seconds) before a token is taken up again only because somebody looks on. They grow
# while there is nothing new to see, so that two apps with a page each do not play ball with it.
_LEAST_PAUSE: Final = 0.02
_MOST_PAUSE: Final = 1.0


@final
class Handover:
    """How a token actor comes to its token, and lets go of it.

    Args:
        actor: the token actor.
        door: the door of its state tree.
        services: what it shares with the others.
        ledger: what its snapshot has.
        resume: starts a background task again that ran with the last owner.
    """

    __slots__ = (
        "_actor", "_calls", "_door", "_is_doubtful", "_is_fresh", "_is_returning", "_is_told",
        "_ledger", "_overtime", "_pages", "_pause", "_presence", "_refused", "_resume", "_services",
        "_tasks", "_tenure", "_tree", "has_served",
    )  # fmt: skip

    def __init__(
        self,
        actor: TrioActor,
        door: TokenDoor,
        services: Services,
        ledger: Ledger,
        *,
        resume: Callable[[TaskRecord], None],
    ) -> None:
        self._actor: Final = actor
        self._door: Final = door
        self._tree: Final = door.tree
        self._services: Final = services
        self._ledger: Final = ledger
        self._tenure: Final = ledger.tenure
        self._pages: Final = ledger.pages
        self._tasks: Final = ledger.tasks
        self._presence: Final = ledger.presence
        self._calls: Final = ledger.calls
        self._resume: Final = resume
        self.has_served: bool = False
        """Whether the token was of use since it was taken up."""
        # Whether the tree was never as a snapshot is; and whether it may be as none is, since it
        # was not brought to life to the end.
        self._is_fresh, self._is_doubtful = True, False
        # Whether a message in the mailbox says that the token is wanted, and how many messages
        # were handled since it is; whether a message will come that takes it up again, and how
        # long (seconds) not to take it up that nobody asks for.
        self._is_told, self._overtime = False, 0
        self._is_returning, self._pause = False, 0.0
        # Until when nobody asks the store for it, and what came of it last.
        self._refused: tuple[float, Exception] | None = None
        self._tenure.on_wanted = self._post_wanted
        self._tenure.on_dropped = self._on_dropped

    # ---- giving up -------------------------------------------------------------------------

    def _post_wanted(self) -> None:
        if not self._is_told:
            with suppress(ActorDeadError):
                self._actor.mailbox.post_always(Wanted())
                self._is_told = True

    def hear_wanted(self) -> None:
        """Come to it once more after what lies in the mailbox, if that has to be done first."""
        self._is_told = False
        if self._tenure.is_wanted and self._tenure.is_held:
            self._post_wanted()

    async def give_up_if_due(self) -> None:
        """Let others have the token, with everything stored, if they wait and have waited enough.

        Called before each message while they do.
        """
        if not self._tenure.is_wanted:
            return
        self._overtime += 1
        if self._is_free_to_go:
            self._overtime = 0
            await self._ledger.save_or_later(all_of_it=True)
            await self._tenure.give_up()

    @property
    def _is_free_to_go(self) -> bool:
        """Whether the token has been of use here, and others need not do what is begun here.

        The next owner would run the calls that lie in this mailbox, far from their page. And two
        owners that gave up what they have not used yet would hand it to and fro for ever.
        """
        has_been_of_use = self.has_served or self._actor.mailbox.empty()
        is_late = self._overtime > _MOST_OVERTIME
        return has_been_of_use and (is_late or not self._calls.is_waiting)

    async def leave(self) -> None:
        """Leave the token to others, with everything stored that is known to be done.

        Two times of their own: a store that is slow to take the last words is left all the same,
        else nobody could ever own the token again.
        """
        with trio.move_on_after(_LAST_WORDS, shield=True):
            await self._ledger.save_or_later(all_of_it=True)
        await self._let_go()

    async def _let_go(self) -> None:
        with trio.move_on_after(_LAST_WORDS, shield=True):
            await self._tenure.give_up()

    # ---- coming back -----------------------------------------------------------------------

    def _on_dropped(self) -> None:
        if self._actor.actor_stopped.is_set():
            return
        if self._is_missed:
            self._return_after(self._pause)
        is_anyone_here, presence = self._pages.is_anyone_here, self._presence
        if self._tasks.has_any_of_pages and not (is_anyone_here or presence.is_timed):
            presence.look_later()  # the next owner may take the tab for gone

    def try_again_later(self) -> None:
        """Take the token up again after a while, though nobody asks, if somebody looks on."""
        if self._is_missed:
            self._return_after(_REST_BETWEEN)

    @property
    def _is_missed(self) -> bool:
        return self._pages.is_anyone_here or self._calls.is_due

    def _return_after(self, seconds: float) -> None:
        if not self._is_returning:
            self._is_returning = True
            name = f"pause of {self._actor}"
            self._actor.children.start_soon(self._await_pause, seconds, name=name)

    async def _await_pause(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._is_returning = False
        with suppress(ActorDeadError):
            self._actor.mailbox.post_always(Return())

    async def come_back(self) -> None:
        """Take the token up again; soon after that has failed, fail without asking again.

        Each question may take as long as a store is waited for, and the whole mailbox waits.

        Raises:
            Exception: as `take_up`.
        """
        if self._refused is not None and trio.current_time() < self._refused[0]:
            raise self._refused[1]
        try:
            await self.take_up()
        except Exception as error:
            logger.exception("%s does not get its token back", self._actor)
            if self._refused is None:  # once, however often it is asked for
                self._actor.on_start_failed(error)
            self._refused = trio.current_time() + _REST_BETWEEN, error
            raise
        self._refused = None

    # ---- taking up -------------------------------------------------------------------------

    async def take_up(self) -> None:
        """Become the owner of the token, and be as its snapshot is.

        Raises:
            Exception: as `Store.load`; or the snapshot is not one of these State classes, or what
                is computed from it fails. The token is given up again.
        """
        snapshot = await self._tenure.acquire()
        try:
            await self._take_over(snapshot if snapshot is not None else Snapshot(0, {}))
        except BaseException:
            self._is_doubtful = True
            await self._let_go()
            raise

    async def _take_over(self, snapshot: Snapshot) -> None:
        is_new = self._is_doubtful or not self._tree.is_as(snapshot)
        is_shown = is_new and not self._is_fresh
        is_migrated = False
        if is_shown:
            is_migrated = await self._replace_tree(snapshot)
        elif is_new:
            is_migrated = self._tree.restore(snapshot)
        self._is_fresh = self._is_doubtful = False
        self._pause = 0.0 if is_new else min(max(2 * self._pause, _LEAST_PAUSE), _MOST_PAUSE)
        due = self._ledger.take_over(snapshot)
        apps = {record.at for record in snapshot.tasks}.union(snapshot.connected or ())
        alive = await self._services.alive_of(apps)
        self._take_over_presence(snapshot, alive)
        self._take_over_tasks(snapshot, alive)
        if is_migrated:
            await self._ledger.rewrite(snapshot)
        for record in due:
            self._queue(record)
        if is_shown:
            self._pages.renew()

    async def _replace_tree(self, snapshot: Snapshot) -> bool:
        """Let the tree be as another owner has left it: a turn that is not stored."""
        turn = self._tree.open_turn("another owner of the token")
        hold(turn)
        try:
            is_migrated = self._tree.replace(snapshot)
            with Holding(turn, self._services.watch) as holding:
                await self._door.settle(holding.scope, welcome=True)
            turn.commit()
            turn.note_stored(None)
            self._tree.note_replaced(snapshot)
        finally:
            release(turn)
            turn.roll_back()  # without effect once it has ended
        return is_migrated

    def _take_over_presence(self, snapshot: Snapshot, alive: Collection[str]) -> None:
        presence, is_anyone_here = self._presence, self._pages.is_anyone_here
        presence.take_over(snapshot.connected, alive, is_anyone_here=is_anyone_here)
        if is_anyone_here and not presence.is_counted:
            self._actor.mailbox.post_always(Reconsider())  # others have taken the tab for gone

    def _take_over_tasks(self, snapshot: Snapshot, alive: Collection[str]) -> None:
        left = self._tasks.reconcile(snapshot.tasks, alive)
        if self._presence.is_gone:
            self._tasks.cancel_all_of_pages(self._services.schema.tasks_of_pages)
        for number, record in enumerate(left):
            if not self._is_replaced(record, left[number + 1 :]):
                self._resume(record)
        self._tasks.is_saved = self._tasks.records() == snapshot.tasks

    def _is_replaced(self, record: TaskRecord, later: Sequence[TaskRecord]) -> bool:
        """Tell whether one that was asked for later is to run in the place of a task.

        It was asked for when the app was being left already, and had not replaced this one yet.
        """
        handler = self._services.schema.find(record.name)
        options = handler.options if handler is not None else None
        replaces = options is not None and options.overlap == "replace"
        return replaces and any(one.name == record.name for one in later)

    def _queue(self, record: CallRecord) -> None:
        """Put a call into the mailbox that an owner of the token did not come to."""
        origin = Origin(record.instance or "", None, record.id)
        try:
            handler = self._services.schema.callable(record.name)
            invocation = Invocation(handler, handler.structure(list(record.args)))
        except (UnknownHandlerError, BadArgumentsError) as error:
            label = token_label(self._tree.token)
            logger.warning("token %s: %s is not called any more: %s", label, record.name, error)
            self._calls.note_done(record.id)
            return
        self._calls.note_queued(record.id)
        self._actor.mailbox.post_always(Call(invocation, origin))
