"""The store of the library by default: in memory, for as long as the process lives."""

from __future__ import annotations

import copy
from typing import final

from actorstate.state.json_types import Plain
from actorstate.state.patch import apply
from actorstate.state.turn import Commit, TaskRecord
from actorstate.stores.base import Snapshot


@final
class MemoryStore:
    """Keeps snapshots in a dict. Two apps that are given the same one share its tokens.

    A commit costs what it changed: the snapshot is changed in place.
    """

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._values: dict[str, dict[str, dict[str, Plain]]] = {}
        self._tasks: dict[str, tuple[TaskRecord, ...]] = {}

    async def load(self, token: str) -> Snapshot | None:
        """Give the last committed snapshot, or None for a token that never committed."""
        if token not in self._versions:
            return None
        values, tasks = copy.deepcopy(self._values[token]), self._tasks.get(token, ())
        return Snapshot(self._versions[token], values, tasks)

    async def commit(self, token: str, commit: Commit) -> None:
        """Take what one turn changed. Awaits nothing, so it cannot be torn."""
        self.commit_now(token, commit)

    def commit_now(self, token: str, commit: Commit) -> None:
        """Take what one turn changed."""
        apply(self._values.setdefault(token, {}), commit.changes)
        self._versions[token] = commit.version
        if commit.tasks is not None:
            self._tasks[token] = commit.tasks

    async def delete(self, token: str) -> None:
        """Forget a token. Without effect if it is not there."""
        self._versions.pop(token, None)
        self._values.pop(token, None)
        self._tasks.pop(token, None)

    async def aclose(self) -> None:
        """Nothing is open. What was stored stays, for the next app that is given this store."""
