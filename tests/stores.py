"""Stores for tests: what a memory store does, with something in the way."""

from __future__ import annotations

from actorstate import MemoryStore
from actorstate.state.turn import Commit
from actorstate.stores.base import Snapshot


class WrappedStore:
    """A memory store, to put something before or behind what it does. It may wait."""

    def __init__(self) -> None:
        self.inner = MemoryStore()

    async def load(self, token: str) -> Snapshot | None:
        return await self.inner.load(token)

    async def commit(self, token: str, commit: Commit) -> None:
        await self.inner.commit(token, commit)

    async def delete(self, token: str) -> None:
        await self.inner.delete(token)

    async def aclose(self) -> None:
        await self.inner.aclose()
