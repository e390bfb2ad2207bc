"""The way out of a turn: the store takes the commit, and only then is anyone told.

Whoever held the turn, it leaves by here: what a handler of the token actor did, and what the holder
of a turn did that was lent. What is to follow is planned before the commit and is part of it, so
that no crash lies between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from actorstate.actors.ledger import Ledger
from actorstate.actors.mailbox import Mailbox
from actorstate.actors.messages import Call, EffectRequest, Origin
from actorstate.exceptions import MailboxFullError
from actorstate.state.commit import Commit
from actorstate.state.handlers import FollowUp, Invocation
from actorstate.state.snapshot import CallRecord
from actorstate.state.turn import Turn


@final
class Gate:
    """The output gate of one token.

    Args:
        ledger: makes the commits.
        mailbox: the token actor's; handlers that are to follow are put in there.
        is_immediate: whether the store never waits.
    """

    __slots__ = ("_calls", "_ledger", "_mailbox", "_pages", "_tasks", "_tenure", "is_immediate")

    def __init__(self, ledger: Ledger, mailbox: Mailbox, *, is_immediate: bool) -> None:
        self._ledger: Final = ledger
        self._tenure: Final = ledger.tenure
        self._pages: Final = ledger.pages
        self._tasks: Final = ledger.tasks
        self._calls: Final = ledger.calls
        self._mailbox: Final = mailbox
        self.is_immediate: Final = is_immediate
        """Whether the store never waits."""

    async def conclude(
        self,
        turn: Turn,
        commit: Commit | None,
        follow_ups: tuple[FollowUp, ...],
        origin: Origin,
    ) -> None:
        """Store a commit; then, and not before, let others know: mailbox and pages."""
        if self.is_immediate:
            return self.conclude_now(turn, commit, follow_ups, origin)
        messages, calls = self._plan(follow_ups, origin)
        entry = self._ledger.entry(commit, calls, origin)
        try:
            if entry is not None:
                await self._ledger.store(entry)
            else:
                await self._ledger.save_or_later()
                await self._tenure.confirm()
        except BaseException:
            self._unplan(messages)
            raise
        return self._tell(turn, commit, messages, origin, is_saved=entry is not None)

    def conclude_now(
        self,
        turn: Turn,
        commit: Commit | None,
        follow_ups: tuple[FollowUp, ...],
        origin: Origin,
    ) -> None:
        """Do the same without waiting, in whatever task; the store never waits."""
        messages, calls = self._plan(follow_ups, origin) if follow_ups else ((), ())
        try:
            is_saved = self._ledger.store_now(commit, calls, origin)
        except BaseException:
            self._unplan(messages)
            raise
        self._tell(turn, commit, messages, origin, is_saved=is_saved)

    def _tell(
        self,
        turn: Turn,
        commit: Commit | None,
        messages: Sequence[Call | EffectRequest],
        origin: Origin,
        *,
        is_saved: bool,
    ) -> None:
        """Let others know of what is stored."""
        turn.note_stored(commit)
        if commit is None:
            self._pages.acknowledge(origin, is_saved=is_saved)
        else:
            self._pages.show(commit, origin)
        for message in messages:
            if isinstance(message, Call):
                if message.origin.call is not None:
                    self._calls.note_queued(message.origin.call)
                self._mailbox.post_always(message)
            else:
                self._pages.ask_for(message.effect, message.origin)

    def _plan(
        self, follow_ups: tuple[FollowUp, ...], origin: Origin
    ) -> tuple[Sequence[Call | EffectRequest], tuple[CallRecord, ...]]:
        """Make messages of what is to follow, and records of it for the snapshot.

        So these are in the commit of the turn that wants them: no crash lies in between.

        Raises:
            MailboxFullError: there is no room for so much. Nothing was planned.
        """
        self._check_room(sum(isinstance(one, Invocation) for one in follow_ups))
        messages: list[Call | EffectRequest] = []
        records: list[CallRecord] = []
        for one in follow_ups:
            if isinstance(one, Invocation):
                messages.append(self._plan_call(one, origin, records))
            else:
                messages.append(EffectRequest(one, origin))
        return messages, tuple(records)

    def _check_room(self, count: int) -> None:
        """Refuse so many calls, if not all that wait then could be in an empty mailbox.

        They can wait for no room, since it is the actor itself that makes it.
        """
        capacity = self._mailbox.capacity
        if len(self._mailbox) + count <= capacity:  # the common case
            return
        waiting = sum(map(_follows, self._mailbox.waiting()))
        if waiting + count > capacity:
            message = (
                f"{count} handlers are to follow from this turn, and {waiting} from others wait; "
                f"together they may be {capacity}, the mailbox_capacity of the app"
            )
            raise MailboxFullError(message)

    def _plan_call(self, one: Invocation, origin: Origin, records: list[CallRecord]) -> Call:
        """Make the message that calls a handler; tasks that are resumed have other records."""
        job = self._tasks.plan(one, origin.without_event())
        if job is not None:
            return Call(one, origin.without_event(), job, follows=True)
        call, record = self._calls.plan(one, origin, self._tenure.epoch)
        if record is not None:
            records.append(record)
        return call

    def _unplan(self, messages: Sequence[Call | EffectRequest]) -> None:
        for message in messages:
            if isinstance(message, Call) and message.job is not None:
                self._tasks.forget(self._tasks.planned(message.job))


def _follows(message: object) -> bool:
    return isinstance(message, Call) and message.follows
