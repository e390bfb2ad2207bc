"""The snapshot: a state tree at rest, with what was still to be done for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import attrs

from actorstate.state.json_types import Plain
from actorstate.state.record import Record


@final
class TaskRecord(Record, frozen=True):
    """A background task that is to be resumed, as the snapshot has it."""

    name: str
    """Its handler's name on the wire."""
    args: tuple[Plain, ...]
    """Its arguments in JSON form."""
    asked: str
    """When it was asked for (ISO 8601)."""
    at: str = ""
    """The app that runs it, by the name that it has at the store."""


@final
class CallRecord(Record, frozen=True):
    """A handler that a committed turn asked for, and that has not run yet."""

    id: str
    """Which it is among the calls of its token: no two ever have the same."""
    name: str
    """Its name on the wire."""
    args: tuple[Plain, ...]
    """Its arguments in JSON form."""
    instance: str | None = None
    """The page load that it is for."""


@final
@attrs.frozen
class Snapshot:
    """A state tree at rest."""

    version: int
    """The version of the last commit in it."""
    values: Mapping[str, Mapping[str, Plain]]
    """The JSON form of the vars that were ever changed, backend vars included, by state."""
    tasks: tuple[TaskRecord, ...] = ()
    """The background tasks that ran, and are to be resumed."""
    done: Mapping[str, int] = attrs.field(factory=dict[str, int])
    """The number of the last event that is done, by page load; of those that sent one last."""
    calls: tuple[CallRecord, ...] = ()
    """What is still to be called, in this order."""
    schema: str = ""
    """The fingerprint of the State classes that wrote it."""
    connected: tuple[str, ...] | None = None
    """The apps at which the tab counts as connected, by their names at the store; none for a tab
    that is gone. None if nobody ever came, or no program has ever minded."""
