"""The store of the library by default: in memory, for as long as the process lives."""

from __future__ import annotations

from typing import final

from actorstate.state.convert import Plain
from actorstate.state.turn import Commit
from actorstate.stores.base import Snapshot


@final
class MemoryStore:
    """Keeps snapshots in a dict. Two apps that are given the same one share its tokens.

    A commit costs what it changed: the snapshot is updated var by var.
    """

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._values: dict[str, dict[str, dict[str, Plain]]] = {}

    async def load(self, token: str) -> Snapshot | None:
        """Give the last committed snapshot, or None for a token that never committed."""
        if token not in self._versions:
            return None
        values = {state: dict(stored) for state, stored in self._values[token].items()}
        return Snapshot(self._versions[token], values)

    async def commit(self, token: str, commit: Commit) -> None:
        """Take what one turn changed. Awaits nothing, so it cannot be torn."""
        values = self._values.setdefault(token, {})
        for state, changed in commit.changes.items():
            values.setdefault(state, {}).update(changed)
        self._versions[token] = commit.version

    async def delete(self, token: str) -> None:
        """Forget a token. Without effect if it is not there."""
        self._versions.pop(token, None)
        self._values.pop(token, None)

    async def aclose(self) -> None:
        """Nothing is open. What was stored stays, for the next app that is given this store."""
