"""The handlers that committed turns asked for, from then until they have run.

A turn that returns a handler is one commit, and the handler's own turn another. In between the
snapshot has a record of the call, put in by the one and taken out by the other, so that a crash
does not lose it, and it runs once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, final

from actorstate.actors.messages import Call, Origin
from actorstate.state.convert import UNFIT
from actorstate.state.handlers import Invocation
from actorstate.state.json_types import encode_json
from actorstate.state.snapshot import CallRecord

logger: Final = logging.getLogger("actorstate.actors")


@final
class Calls:
    """The calls of one token: in its snapshot, in the actor's mailbox, or in both."""

    __slots__ = ("_due", "_number", "_queued", "unsaved")

    def __init__(self) -> None:
        self._number = 0
        self._due: dict[str, CallRecord] = {}
        self._queued: Final[dict[str, None]] = {}
        self.unsaved: dict[str, None] = {}
        """Those that have run, and that the snapshot still has."""

    @property
    def is_waiting(self) -> bool:
        """Whether one lies in the mailbox."""
        return bool(self._queued)

    @property
    def is_due(self) -> bool:
        """Whether one is still to be run."""
        return len(self._due) > len(self.unsaved)

    def records(self) -> tuple[CallRecord, ...]:
        """Give what the snapshot has."""
        return tuple(self._due.values())

    def ran(self, origin: Origin) -> tuple[str, ...]:
        """Give what the snapshot has not to have any more, once a turn is concluded."""
        if not self.unsaved:  # the common case
            return () if origin.call is None else (origin.call,)
        return tuple(self.unsaved) if origin.call is None else (*self.unsaved, origin.call)

    def plan(
        self, invocation: Invocation, origin: Origin, epoch: int
    ) -> tuple[Call, CallRecord | None]:
        """Make the message of a call, and its record for the snapshot.

        Returns:
            No record for one whose arguments have no JSON form: it is lost if the process is.
        """
        try:
            args = tuple(invocation.handler.unstructure(invocation.args))
            encode_json(args)
        except UNFIT as error:
            logger.debug("%s is not kept for after a crash: %s", invocation.handler, error)
            return Call(invocation, origin.without_event(), follows=True), None
        # No two owners have the same epoch, so no two calls of a token have the same id.
        self._number += 1
        call_id = f"{epoch}.{self._number}"
        record = CallRecord(call_id, invocation.name, args, origin.instance or None)
        return Call(invocation, Origin(origin.instance, None, call_id), follows=True), record

    def note_stored(self, added: Iterable[CallRecord], ran: Sequence[str]) -> None:
        """Note what the snapshot has now."""
        for one in ran:
            self._due.pop(one, None)
            self.unsaved.pop(one, None)
        for record in added:
            self._due[record.id] = record

    def note_queued(self, call_id: str) -> None:
        """Note that a call lies in the mailbox."""
        self._queued[call_id] = None

    def begin(self, call_id: str) -> bool:
        """Note that a call has come out of the mailbox.

        Returns:
            Whether it is to be run: not if another owner of the token has done it meanwhile.
        """
        self._queued.pop(call_id, None)
        return call_id in self._due

    def note_done(self, call_id: str) -> None:
        """Note that a call needs not be run again, if its own commit has not said so."""
        if call_id in self._due:
            self.unsaved[call_id] = None

    def restore(self, records: Iterable[CallRecord]) -> list[CallRecord]:
        """Take over what the snapshot has.

        Returns:
            Those that do not lie in the mailbox yet.
        """
        self._due = {record.id: record for record in records}
        self.unsaved = {one: None for one in self.unsaved if one in self._due}
        return [
            record
            for record in self._due.values()
            if record.id not in self._queued and record.id not in self.unsaved
        ]
