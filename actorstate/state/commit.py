"""The commit: what one turn did, for the store and for everyone else."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from actorstate.state.patch import Operation
from actorstate.state.record import Record
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord


@final
class Commit(Record, frozen=True):
    """What one turn did, as the store takes it and the connections show it."""

    version: int
    """The version of the state tree after it."""
    changes: tuple[Operation, ...]
    """What it did to the snapshot's values, backend vars included: for the store alone."""
    operations: tuple[Operation, ...]
    """What it did to the public state, computed vars included: for anyone."""
    tasks: tuple[TaskRecord, ...] | None = None
    """The background tasks that are to be resumed, from now on; None for the same as before."""
    done: tuple[tuple[str, int], ...] = ()
    """Page loads, each with the number of its last event that is done with this."""
    calls: tuple[CallRecord, ...] = ()
    """What is to be called from now on, after what was before."""
    ran: tuple[str, ...] = ()
    """The ids of the calls that are done with this."""
    schema: str | None = None
    """The fingerprint of the State classes; None for the same as before."""
    connected: tuple[str, ...] | None = None
    """The apps at which the tab counts as connected, from now on; None for the same as before."""
    whole: Callable[[], Snapshot] | None = None
    """Gives the snapshot as it is with this commit, for a store that would rather write that;
    None where nobody can tell. Good only before the store first awaits."""
