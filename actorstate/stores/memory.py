"""The store of the library by default: in memory, for as long as the process lives."""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final, final

import attrs
import trio

from actorstate.state.commit import Commit
from actorstate.state.labels import token_label
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import SIGNING_KEY_BYTES, Loaded
from actorstate.stores.journal import Draft, read_draft
from actorstate.stores.owners import LocalLease, Owners

logger: Final = logging.getLogger("actorstate.stores")

_MAX_BYTES: Final = 256 * 2**20


@final
@attrs.frozen
class _Resting:
    """The snapshot of a token that nobody owns."""

    data: bytes
    since: float


@final
class MemoryStore:
    """Keeps snapshots in memory. Two apps that are given the same store share its tokens.

    The snapshot of a token that is in use is changed in place, so a commit costs what it changed.
    That of one that rests is kept as bytes, which take less than a tenth of the memory.

    Args:
        token_ttl: seconds after which a token that rests is forgotten; None for never.
        max_bytes: how much those that rest may take. Beyond it the ones that were not used for
            longest are forgotten, and the log says so.
        clock: what time it is, in seconds from whenever.
    """

    def __init__(
        self,
        *,
        token_ttl: float | None = None,
        max_bytes: int = _MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token_ttl: Final = token_ttl
        self._max_bytes: Final = max_bytes
        self._clock: Final = clock
        self._owners: Final = Owners()
        self._drafts: Final[dict[str, Draft]] = {}
        """Of the tokens that are owned, and have committed."""
        self._resting: Final[OrderedDict[str, _Resting]] = OrderedDict()
        """All the others; those that came to rest last are the last."""
        self._bytes = 0
        self._signing_key: Final = secrets.token_bytes(SIGNING_KEY_BYTES)

    async def run(self, owner: str) -> None:
        """Forget what is too old, now and then."""
        with self._owners.alive(owner):
            while self._token_ttl is not None:
                await trio.sleep(self._token_ttl / 4)
                await self.expire(self._token_ttl)
            await trio.sleep_forever()

    async def is_alive(self, owner: str) -> bool:
        """Tell whether an app is there, and uses this store."""
        return self._owners.is_alive(owner)

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        """Become the owner of a token and read it; wait until its owner gives it up."""
        lease = await self._owners.acquire(token, on_wanted)
        resting = self._take_out(token)
        if resting is not None and not self._is_over(resting):
            self._drafts[token] = read_draft(resting.data)
        return Loaded(self._snapshot(token), lease)

    async def commit(self, lease: LocalLease, commit: Commit) -> None:
        """Take what one turn changed. Awaits nothing, so it cannot be torn.

        Raises:
            LeaseLostError: the token was deleted. Nothing was stored.
        """
        self.commit_now(lease, commit)

    def commit_now(self, lease: LocalLease, commit: Commit) -> None:
        """Take what one turn changed.

        Raises:
            LeaseLostError: the token was deleted. Nothing was stored.
        """
        if lease.is_lost:
            lease.check()
        draft = self._drafts.get(lease.token)
        if draft is None:
            draft = self._drafts[lease.token] = Draft()
        draft.take(commit)

    async def confirm(self, lease: LocalLease) -> None:
        """Make sure that the token is still owned.

        Raises:
            LeaseLostError: it is not.
        """
        lease.check()

    async def release(self, lease: LocalLease) -> None:
        """Give a token up. Without effect if the lease is lost."""
        if self._owners.release(lease):
            draft = self._drafts.pop(lease.token, None)
            if draft is not None:
                self._put_to_rest(lease.token, draft.encode())

    async def peek(self, token: str) -> Snapshot | None:
        """Read the last committed snapshot of a token, without owning it."""
        return self._snapshot(token)

    async def signing_key(self) -> bytes:
        """Give the secret with which tokens of tabs are signed."""
        return self._signing_key

    async def delete(self, token: str) -> None:
        """Forget a token, without effect if it is not there. Who owns it loses its lease."""
        self._take_out(token)
        self._drafts.pop(token, None)
        self._owners.revoke(token)

    async def expire(self, older_than: float) -> int:
        """Forget all tokens that have been at rest for so many seconds."""
        before, count = self._clock() - older_than, 0
        while self._resting:
            token, oldest = next(iter(self._resting.items()))
            if oldest.since > before:
                break
            self._take_out(token)
            count += 1
        return count

    async def tokens(self) -> AsyncIterator[str]:
        """Give the tokens that have a snapshot."""
        for token in [*self._drafts, *self._resting]:
            yield token

    async def aclose(self) -> None:
        """Nothing is open. What was stored stays, for the next app that is given this store."""

    def _snapshot(self, token: str) -> Snapshot | None:
        if token in self._drafts:
            return self._drafts[token].snapshot()
        resting = self._resting.get(token)
        if resting is None or self._is_over(resting):
            return None
        return read_draft(resting.data).snapshot()

    def _is_over(self, resting: _Resting) -> bool:
        return self._token_ttl is not None and self._clock() - resting.since >= self._token_ttl

    def _take_out(self, token: str) -> _Resting | None:
        resting = self._resting.pop(token, None)
        if resting is not None:
            self._bytes -= len(resting.data)
        return resting

    def _put_to_rest(self, token: str, data: bytes) -> None:
        self._resting[token] = _Resting(data, self._clock())
        self._bytes += len(data)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._resting))
            self._take_out(oldest)
            logger.warning(
                "the tokens that rest take more than max_bytes=%d; token %s was forgotten",
                self._max_bytes, token_label(oldest),
            )  # fmt: skip
