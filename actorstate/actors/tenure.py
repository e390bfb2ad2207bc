"""A token actor's ownership of its token: held, wanted by others, lost, and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from actorstate.actors.runtime import PASSING
from actorstate.exceptions import LeaseLostError, StoreUnavailableError
from actorstate.state.commit import Commit
from actorstate.state.labels import token_label
from actorstate.state.snapshot import Snapshot
from actorstate.stores.base import CommitNow, Lease, Store


@final
class Tenure:
    """Holds the lease of a token, or not.

    Args:
        token: whose.
        store: where its snapshot is.
        commit_now: the store's, if it never waits.
    """

    on_wanted: Callable[[], None]
    """Called when somebody else waits for the token; whoever hands it over brings this."""
    on_dropped: Callable[[], None]
    """Called when it is held no longer, given up or lost; brought by the same."""

    __slots__ = (
        "_commit_now", "_is_torn", "_lease", "_store", "_token", "is_quiet", "is_wanted",
        "on_dropped", "on_wanted",
    )  # fmt: skip

    def __init__(self, token: str, store: Store, commit_now: CommitNow | None) -> None:
        self._token: Final = token
        self._store: Final = store
        self._commit_now: Final = commit_now
        self._lease: Lease | None = None
        self._is_torn = False
        self.is_wanted: bool = False
        """Whether somebody else waits for the token."""
        self.is_quiet: bool = False
        """Whether the token is held, and nobody else waits for it: the common case."""

    @property
    def is_held(self) -> bool:
        """Whether the token is this actor's."""
        return self._lease is not None

    @property
    def epoch(self) -> int:
        """The fencing number under which it is held."""
        return self._held.epoch

    @property
    def may_store(self) -> bool:
        """Whether it is held, and known what the store has."""
        return self._lease is not None and not self._is_torn

    @property
    def _held(self) -> Lease:
        if self._lease is None:
            message = f"token {token_label(self._token)} was lost meanwhile; the turn was undone"
            raise LeaseLostError(message)
        return self._lease

    async def acquire(self) -> Snapshot | None:
        """Become the owner, and read what is there; wait until the present owner gives it up.

        Raises:
            Exception: as `Store.load`.
        """
        self.is_wanted = False
        loaded = await self._store.load(self._token, self._on_wanted)
        self._lease, self._is_torn = loaded.lease, False
        self.is_quiet = not self.is_wanted
        return loaded.snapshot

    def _on_wanted(self) -> None:
        self.is_wanted, self.is_quiet = True, False
        self.on_wanted()

    async def give_up(self) -> None:
        """Let others have the token. If cancelled, it is still to be given up."""
        if self._lease is not None:
            await self._store.release(self._lease)
            self._drop()

    def _drop(self) -> None:
        self._lease = None
        self.is_quiet = False
        self.on_dropped()

    # ---- what needs it ---------------------------------------------------------------------

    async def commit(self, commit: Commit) -> None:
        """Let the store take a commit.

        Raises:
            Exception: as `Store.commit`. If the lease is worth nothing any more, it is dropped.
        """
        try:
            await self._store.commit(self._held, commit)
        except (LeaseLostError, StoreUnavailableError):
            self._drop()
            raise
        except PASSING:
            self._is_torn = True  # nobody waited to see whether it was stored
            raise

    def commit_now(self, commit: Commit) -> None:
        """Do the same, with a store that never waits."""
        assert self._commit_now is not None, f"{self._store} may wait"
        try:
            self._commit_now(self._lease or self._held, commit)
        except LeaseLostError:
            self._drop()
            raise

    async def confirm(self) -> None:
        """Make sure that the token is held, before something is shown that was not stored just now.

        Raises:
            LeaseLostError: it is not.
            StoreUnavailableError: nobody can say.
        """
        if not self._held.is_certain():
            try:
                await self._store.confirm(self._held)
            except (LeaseLostError, StoreUnavailableError):
                self._drop()
                raise

    def confirm_now(self) -> None:
        """Do the same, with a store that never waits: there a lease is certain until it is lost."""
        if not self._held.is_certain():
            self._drop()
            message = f"token {token_label(self._token)} was lost; the turn was undone"
            raise LeaseLostError(message)
