"""The seam to where state trees rest, and its contract.

A token has one owner at a time: whoever loaded it last. Ownership is a `Lease` with an epoch, a
number that grows with each owner, and a store takes commits under the newest epoch alone. Owners
are polite to each other: who loads a token that is owned waits, the owner is told that it is
wanted, and gives it up when it comes to that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, cast, final

import attrs

from actorstate.state.commit import Commit
from actorstate.state.snapshot import Snapshot

SIGNING_KEY_BYTES: Final = 32
"""The length of a `Store.signing_key`: that of what HMAC-SHA256 makes of it."""


class Lease(Protocol):
    """The ownership of a token, from `Store.load` to `Store.release`. Each store has its own."""

    @property
    def token(self) -> str:
        """Whose state tree is owned."""
        ...

    @property
    def epoch(self) -> int:
        """The fencing number: higher than that of every owner before."""
        ...

    def is_certain(self) -> bool:
        """Tell whether nobody else can own the token now.

        By what is known here, without asking anybody: that of a store which is far away is certain
        for as long as its time to live lasts, counted from before it was last asked for.
        """
        ...


@final
@attrs.frozen
class Loaded:
    """What `Store.load` gives."""

    snapshot: Snapshot | None
    """The last committed snapshot; None for a token that never committed."""
    lease: Lease


class Store(Protocol):
    """Keeps the snapshot of each token, and knows who owns it.

    The token actor calls it between messages, so there is one call at a time for a lease, and any
    number for different tokens. What a commit changed is told to nobody before `commit` returns.

    Whatever goes wrong is a `StoreError`. It says that nothing was stored, and the lease is held
    on to; but for `LeaseLostError` and `StoreUnavailableError`, after which the lease is worth
    nothing, and has not to be released.

    What it is given as a lease is one that it gave itself; no type can say that.
    """

    async def run(self, owner: str) -> None:
        """Do what is to be done beside the calls, until cancelled: renew leases, write, listen.

        An app runs it from when it is entered until it is left, and calls nothing before it has
        begun. While it runs, the app is alive (`is_alive`).

        Args:
            owner: the name of the app, which no other one ever has.
        """
        ...

    async def is_alive(self, owner: str) -> bool:
        """Tell whether an app is there, in whatever process, that may come back to its tokens.

        Raises:
            StoreError: nobody can say; as `StoreUnavailableError` if the store was not reached.
        """
        ...

    async def load(self, token: str, on_wanted: Callable[[], None]) -> Loaded:
        """Become the owner of a token and read it, in one step; wait until its owner gives it up.

        Those who wait become owners in the order in which they came. If cancelled, the caller is
        not the owner, or the lease runs out by itself.

        Args:
            token: whose snapshot.
            on_wanted: is called, in the trio thread, when somebody else waits for the token, once
                for each; for those who wait already, soon after this returns. It must not raise.
                A store may wait a little before it calls, so that a lease is worth its fetching.

        Raises:
            StoreUnavailableError: the store was not reached in time.
            SnapshotError: what it has is no snapshot that it can read. It was left as it is.
        """
        ...

    async def commit(self, lease: Any, commit: Commit) -> None:
        """Take what one turn changed. All or nothing, also when cancelled.

        A commit may change no values, and just say what is done, called and running; its version
        is that of the snapshot then. A store calls `Commit.whole` before it first awaits, or not
        at all.

        Raises:
            LeaseLostError: there is a newer epoch. Nothing was stored.
            StoreUnavailableError: the store was not reached in time. It is not known whether the
                commit was stored.
            StoreError: nothing was stored, for another reason, such as a disk that is full.
        """
        ...

    async def confirm(self, lease: Any) -> None:
        """Make sure that the token is still owned, where `Lease.is_certain` does not say so.

        Raises:
            LeaseLostError: it is not.
            StoreUnavailableError: nobody can say.
        """
        ...

    async def release(self, lease: Any) -> None:
        """Give a token up. Without effect if the lease is lost. Raises nothing of its own.

        A lease that cannot be given up now, because the store is not reached, runs out by itself.
        """
        ...

    async def peek(self, token: str) -> Snapshot | None:
        """Read the last committed snapshot of a token, without owning it.

        Raises:
            StoreUnavailableError: the store was not reached in time.
            SnapshotError: as `load`.
        """
        ...

    async def signing_key(self) -> bytes:
        """Give the secret with which tokens of tabs are signed: 32 random bytes.

        It is made when it is first asked for, and is the same for all who use the store, from then
        on: `expire` and `delete` leave it alone.

        Raises:
            StoreUnavailableError: the store was not reached in time.
            StoreError: it cannot be stored.
        """
        ...

    async def delete(self, token: str) -> None:
        """Forget a token, without effect if it is not there. Who owns it loses its lease.

        Raises:
            StoreUnavailableError: the store was not reached in time.
        """
        ...

    async def expire(self, older_than: float) -> int:
        """Forget all tokens whose last commit is so many seconds ago, but none that is owned.

        Returns:
            How many were forgotten.
        """
        ...

    def tokens(self) -> AsyncIterator[str]:
        """Give the tokens that have a snapshot, in no order; those that come or go meanwhile, too.

        ``async for token in store.tokens()``.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what the store holds open, with everything stored that it was given."""
        ...


CommitNow = Callable[[Any, Commit], None]
"""`ImmediateStore.commit_now`: takes the store's own kind of lease."""


class ImmediateStore(Store, Protocol):
    """A store that never waits: its commits need no step of their own.

    Then the end of a turn is concluded in the step of its holder, which need not wait for it; that
    halves what a turn of a background task costs. Its leases are certain until they are lost.
    """

    def commit_now(self, lease: Any, commit: Commit) -> None:
        """Do what `commit` does, at once."""
        ...


def immediate_commit(store: Store) -> CommitNow | None:
    """Give the ``commit_now`` of an `ImmediateStore`; None for one that may wait.

    Such as a subclass of one that has a ``commit`` of its own: that is what it wants to be called.
    """
    for cls in type(store).__mro__:
        if "commit_now" in vars(cls):
            return cast("ImmediateStore", store).commit_now
        if "commit" in vars(cls):
            return None
    return None
