"""Stores for tests: what a memory store does, with something in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from actorstate import MemoryStore
from actorstate.state.commit import Commit
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import Loaded


class WrappedStore:
    """A memory store, to put something before or behind what it does. It may wait."""

    def __init__(self) -> None:
        self.inner = MemoryStore()

    async def run(self, owner: str) -> None:
        await self.inner.run(owner)

    async def is_alive(self, owner: str) -> bool:
        return await self.inner.is_alive(owner)

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        return await self.inner.load(token, on_wanted)

    async def commit(self, lease: Any, commit: Commit) -> None:
        await self.inner.commit(lease, commit)

    async def confirm(self, lease: Any) -> None:
        await self.inner.confirm(lease)

    async def release(self, lease: Any) -> None:
        await self.inner.release(lease)

    async def peek(self, token: str) -> Snapshot | None:
        return await self.inner.peek(token)

    async def signing_key(self) -> bytes:
        return await self.inner.signing_key()

    async def delete(self, token: str) -> None:
        await self.inner.delete(token)

    async def expire(self, older_than: float) -> int:
        return await self.inner.expire(older_than)

    async def tokens(self) -> AsyncIterator[str]:
        async for token in self.inner.tokens():
            yield token

    async def aclose(self) -> None:
        await self.inner.aclose()
