"""What the snapshot of a token has, and what it is owed: beside values, all that is done and due.

Each commit pays what is owed by then. What nothing else depends on waits for the next one; so an
event that changed nothing costs no commit of its own.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, final

from actorstate.actors.calls import Calls
from actorstate.actors.messages import NOBODY, Call, Origin
from actorstate.actors.pages import Pages
from actorstate.actors.presence import Presence
from actorstate.actors.tasks import Tasks
from actorstate.actors.tenure import Tenure
from actorstate.state.commit import Commit
from actorstate.state.handlers import Invocation
from actorstate.state.labels import token_label
from actorstate.state.snapshot import CallRecord, Snapshot
from actorstate.state.tree import StateTree
from actorstate.state.turn import TurnState

logger: Final = logging.getLogger("actorstate.actors")


@final
class Ledger:
    """Makes the commits of one token, and knows what the store has of them.

    Args:
        tree: its state tree.
        tenure: the ownership under which they are stored.
        pages: which events are done.
        tasks: which tasks are to be resumed.
        presence: whether the tab is connected.
        calls: what is to be called.
        wants_whole: whether the store keeps a journal, and now and then wants the whole.
    """

    __slots__ = ("_schema", "_wants_whole", "calls", "pages", "presence", "tasks", "tenure", "tree")

    def __init__(  # noqa: PLR0913 - one for each thing that it accounts for
        self,
        tree: StateTree,
        tenure: Tenure,
        *,
        pages: Pages,
        tasks: Tasks,
        presence: Presence,
        calls: Calls,
        wants_whole: bool,
    ) -> None:
        self.tree: Final = tree
        self.tenure: Final = tenure
        self.pages: Final = pages
        self.tasks: Final = tasks
        self.presence: Final = presence
        self.calls: Final = calls
        self._wants_whole: Final = wants_whole
        self._schema: str | None = tree.schema.fingerprint
        """What the snapshot does not say yet of the schema."""

    def take_over(self, snapshot: Snapshot) -> list[CallRecord]:
        """Begin with what the snapshot has; but for values, tasks and who is connected.

        Returns:
            The calls that are due, and that do not lie in the mailbox.
        """
        fingerprint = self.tree.schema.fingerprint
        self._schema = fingerprint if snapshot.schema != fingerprint else None
        self.pages.restore(snapshot.done)
        return self.calls.restore(snapshot.calls)

    # ---- making ----------------------------------------------------------------------------

    def entry(
        self, commit: Commit | None, calls: tuple[CallRecord, ...], origin: Origin
    ) -> Commit | None:
        """Give what the store is to have of the end of a turn; None if that is nothing.

        Args:
            commit: what the turn changed; None for nothing.
            calls: what is to be called after it.
            origin: what is done with it.
        """
        if commit is None and not calls and origin.call is None:
            return None  # what is owed from before is no reason for this turn to fail
        return self._full_entry(commit, calls, origin)

    def _owes_nothing(self) -> bool:
        """Tell whether the snapshot has all there is, and never wants the whole."""
        return (
            self._schema is None
            and self.tasks.is_saved
            and self.presence.is_saved
            and not self.calls.unsaved
            and not self.pages.owes
            and not self._wants_whole
        )

    @property
    def is_saved(self) -> bool:
        """Whether the snapshot has all that cannot wait for the next change."""
        return self.tasks.is_saved and self.presence.is_saved and not self.calls.unsaved

    def _full_entry(
        self, commit: Commit | None, calls: tuple[CallRecord, ...] = (), origin: Origin = NOBODY
    ) -> Commit:
        if commit is None:
            commit = Commit(self.tree.version, (), ())
        done, ran = self.pages.owed(origin), self.calls.ran(origin)
        return Commit(
            commit.version,
            commit.changes,
            commit.operations,
            None if self.tasks.is_saved else self.tasks.records(),
            done,
            calls,
            ran,
            self._schema,
            None if self.presence.is_saved else self.presence.record(),
            self._whole_with(commit.version, done, calls, ran),
        )

    def _whole_with(
        self,
        version: int,
        done: tuple[tuple[str, int], ...],
        calls: tuple[CallRecord, ...],
        ran: tuple[str, ...],
    ) -> Callable[[], Snapshot] | None:
        """Give what makes a snapshot of everything; None while tasks of a block may be writing."""
        turn = self.tree.turn
        is_still = turn is None or turn.state is TurnState.COMMITTING
        if not (self._wants_whole and is_still):
            return None
        return functools.partial(self._whole, version, dict(done), calls, ran)

    def _whole(
        self,
        version: int,
        done: Mapping[str, int],
        calls: tuple[CallRecord, ...],
        ran: tuple[str, ...],
    ) -> Snapshot:
        """Give the snapshot as it is with an entry."""
        due = [record for record in self.calls.records() if record.id not in ran]
        return Snapshot(
            version,
            self.tree.stored_values(),
            self.tasks.records(),
            {**self.pages.done_events(), **done},
            (*due, *calls),
            self.tree.schema.fingerprint,
            self.presence.record(),
        )

    # ---- storing ---------------------------------------------------------------------------

    async def store(self, entry: Commit) -> None:
        """Let the store take an entry.

        Raises:
            Exception: as `Tenure.commit`.
        """
        await self.tenure.commit(entry)
        self._note_stored(entry)

    async def plan_calls(self, invocations: Iterable[Invocation], origin: Origin) -> list[Call]:
        """Let the store have that handlers are to be called, in no turn, and all that is owed.

        Returns:
            The calls.

        Raises:
            Exception: as `Tenure.commit`. Nothing was planned.
        """
        planned = [self.calls.plan(one, origin, self.tenure.epoch) for one in invocations]
        records = tuple(record for _, record in planned if record is not None)
        if records or not self.is_saved:
            await self.store(self._full_entry(None, records))
        return [call for call, _ in planned]

    def store_now(
        self, commit: Commit | None, calls: tuple[CallRecord, ...], origin: Origin
    ) -> bool:
        """Let a store that never waits have what it is to have of the end of a turn.

        Args:
            commit: as for `entry`, and likewise the others.
            calls: what is to be called.
            origin: what is done with it.

        Returns:
            Whether there was anything. If not, the token is still owned.

        Raises:
            LeaseLostError: it is not.
        """
        if commit is not None and not calls and origin.call is None and self._owes_nothing():
            if origin.seq is not None:
                done = ((origin.instance, origin.seq),)
                commit = Commit(commit.version, commit.changes, commit.operations, None, done)
            self.tenure.commit_now(commit)  # the common case
            return True
        entry = self.entry(commit, calls, origin)
        if entry is None:
            self.tenure.confirm_now()
            return False
        self.tenure.commit_now(entry)
        self._note_stored(entry)
        return True

    def _note_stored(self, entry: Commit) -> None:
        if entry.tasks is not None:
            self.tasks.note_saved()
        if entry.connected is not None:
            self.presence.note_saved()
        if self.pages.owes:
            self.pages.note_saved()
        if entry.calls or entry.ran:
            self.calls.note_stored(entry.calls, entry.ran)
        self._schema = None

    async def rewrite(self, snapshot: Snapshot) -> None:
        """Let the store have values anew, as they were migrated from a snapshot.

        Raises:
            Exception: as `Tenure.commit`.
        """
        commit = self.tree.rewriting(snapshot)
        await self.store(self._full_entry(commit))
        self.tree.note_rewritten(commit)

    async def save(self, origin: Origin = NOBODY) -> bool:
        """Pay what cannot wait; else make sure that the token is still owned.

        Args:
            origin: what is done with it.

        Returns:
            Whether something was stored.

        Raises:
            Exception: as `Tenure.commit`, or `Tenure.confirm`.
        """
        if self.is_saved:
            await self.tenure.confirm()
            return False
        await self.store(self._full_entry(None, (), origin))
        return True

    async def save_or_later(self, *, all_of_it: bool = False) -> None:
        """Pay what cannot wait; if the store fails, with the next commit.

        Args:
            all_of_it: whether to pay what can wait, too.
        """
        is_owed = not self.is_saved or (all_of_it and bool(self.pages.owes))
        if not is_owed or not self.tenure.may_store:
            return
        try:
            await self.store(self._full_entry(None))
        except Exception:
            label = token_label(self.tree.token)
            logger.exception("token %s: the snapshot does not know yet what has ended", label)
