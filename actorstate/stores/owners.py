"""Who owns which token, for stores whose owners are all in one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, final

import attrs
import trio

from actorstate.exceptions import LeaseLostError
from actorstate.state.labels import token_label


@final
@attrs.define(eq=False)
class LocalLease:
    """The ownership of a token. It lasts until it is given up, or the token is deleted."""

    token: str
    epoch: int
    on_wanted: Callable[[], None]
    is_lost: bool = False

    def is_certain(self) -> bool:
        """Tell whether nobody else can own the token now."""
        return not self.is_lost

    def check(self) -> None:
        """Make sure that the token is still owned.

        Raises:
            LeaseLostError: it is not.
        """
        if self.is_lost:
            message = (
                f"token {token_label(self.token)} was deleted, or belongs to another owner by now; "
                f"nothing was stored"
            )
            raise LeaseLostError(message)


@final
@attrs.define(eq=False)
class _Waiter:
    """Somebody who waits for a token."""

    on_wanted: Callable[[], None]
    lease: LocalLease | None = None
    granted: trio.Event = attrs.field(factory=trio.Event)


@final
class Owners:
    """The owners of tokens, and those who wait for them in a row.

    Args:
        first_epoch: below every epoch that is given out.
    """

    def __init__(self, first_epoch: int = 0) -> None:
        self._epoch = first_epoch
        self._leases: Final[dict[str, LocalLease]] = {}
        self._waiting: Final[dict[str, deque[_Waiter]]] = {}
        self._alive: Final[set[str]] = set()

    @contextmanager
    def alive(self, owner: str) -> Generator[None]:
        """Note that an app is there."""
        self._alive.add(owner)
        try:
            yield
        finally:
            self._alive.discard(owner)

    def is_alive(self, owner: str) -> bool:
        """Tell whether an app is there."""
        return owner in self._alive

    def is_owned(self, token: str) -> bool:
        """Tell whether somebody owns a token."""
        return token in self._leases

    async def acquire(self, token: str, on_wanted: Callable[[], None]) -> LocalLease:
        """Become the owner of a token; wait, in the row, until its owner gives it up.

        If cancelled, the caller is not the owner.
        """
        owner = self._leases.get(token)
        if owner is None:
            return self._grant(token, on_wanted)
        waiter = _Waiter(on_wanted)
        self._waiting.setdefault(token, deque()).append(waiter)
        owner.on_wanted()
        try:
            await waiter.granted.wait()
        except BaseException:
            self._give_up_waiting(token, waiter)
            raise
        assert waiter.lease is not None, "it was granted"
        for _ in self._waiting.get(token, ()):
            on_wanted()
        return waiter.lease

    def _give_up_waiting(self, token: str, waiter: _Waiter) -> None:
        if waiter.lease is not None:  # it was granted while this was being cancelled
            self.release(waiter.lease)
            return
        waiting = self._waiting[token]
        waiting.remove(waiter)
        if not waiting:
            del self._waiting[token]

    def _grant(self, token: str, on_wanted: Callable[[], None]) -> LocalLease:
        self._epoch += 1
        lease = self._leases[token] = LocalLease(token, self._epoch, on_wanted)
        return lease

    def release(self, lease: LocalLease) -> bool:
        """Give a token up, to the first who waits for it. Without effect if the lease is lost.

        Returns:
            Whether nobody owns the token now.
        """
        if lease.is_lost:
            return False
        lease.is_lost = True
        del self._leases[lease.token]
        waiting = self._waiting.get(lease.token)
        if waiting is None:
            return True
        first = waiting.popleft()
        if not waiting:
            del self._waiting[lease.token]
        first.lease = self._grant(lease.token, first.on_wanted)
        first.granted.set()
        return False

    def revoke(self, token: str) -> None:
        """Take a token from its owner, if it has one."""
        lease = self._leases.get(token)
        if lease is not None:
            self.release(lease)
