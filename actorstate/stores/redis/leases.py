"""Who owns what in this process, and until when that is certain."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, final

import attrs
import trio

from actorstate.exceptions import LeaseLostError, StoreError
from actorstate.state.labels import token_label
from actorstate.stores.journal import Journal
from actorstate.stores.redis.line import Line, Request
from actorstate.stores.redis.scripts import LOST, RENEW, WANTED

_LEAST_HOLD: Final = 0.01
"""For how long a token is kept at least, once it is owned, while others want it (seconds). To hand
it over takes some round trips; the work of that time makes up for them."""

_TOGETHER: Final = 100
"""So many leases are renewed at once; commits do not wait for more."""

_DRIFT: Final = 0.1
"""The part of a lease's time that is not counted on: two clocks need not run at the same speed."""


@final
@attrs.define(eq=False)
class RedisLease:
    """The ownership of one token by this process. Made by `RedisStore.load` alone."""

    token: str
    keys: tuple[bytes, bytes]
    """Those of the token."""
    claim: str
    """What it is known by at Redis."""
    epoch: int
    ttl: float
    """How long it lasts from when it is renewed (seconds)."""
    revision: int
    """The number of the last commit that is stored."""
    journal: Journal
    on_wanted: Callable[[], None]
    is_lost: bool = False
    """Whether it is worth nothing any more."""
    is_wanted: bool = False
    """Whether its owner was told, or is about to be, that somebody waits."""
    acquired_at: float = attrs.field(factory=time.monotonic)
    renewed_at: float = -math.inf
    """When that was sent by which it was last renewed."""

    def is_certain(self) -> bool:
        """Tell whether nobody else can own the token now.

        Redis counts from when it was asked, which cannot be before it was sent. A process that was
        stopped meanwhile finds its time over, because this clock went on.
        """
        return time.monotonic() < self.renewed_at + self.ttl * (1 - _DRIFT) and not self.is_lost

    def check(self) -> None:
        """Make sure that it is worth something.

        Raises:
            LeaseLostError: it is not.
        """
        if self.is_lost:
            label = token_label(self.token)
            message = f"the lease of token {label} is lost: it was taken over, or is in doubt"
            raise LeaseLostError(message)


@final
class Leases:
    """The leases of one process: renews them, and tells their owners that they are wanted.

    Args:
        line: the way to Redis.
        ttl: how long a lease lasts that is not renewed (seconds).
    """

    def __init__(self, line: Line, ttl: float) -> None:
        self._line: Final = line
        self._ttl: Final = ttl
        self._held: Final[dict[str, RedisLease]] = {}
        self._to_tell, self._told = trio.open_memory_channel[RedisLease](float("inf"))

    def add(self, lease: RedisLease) -> None:
        """Look after a lease from now on."""
        self._held[lease.claim] = lease

    def remove(self, lease: RedisLease) -> bool:
        """Look after a lease no more, and let it be worth nothing. Tell whether it was."""
        lease.is_lost = True
        return self._held.pop(lease.claim, None) is not None

    def want(self, claim: str) -> None:
        """Note that somebody waits for what is owned by a claim. Its owner is told once."""
        lease = self._held.get(claim)
        if lease is not None and not lease.is_wanted:
            lease.is_wanted = True
            self._to_tell.send_nowait(lease)

    def renewed(self, lease: RedisLease, request: Request) -> None:
        """Note the answer to what renews a lease."""
        if request.answer == LOST:
            if self.remove(lease):
                lease.on_wanted()  # so that it is seen, though no turn may be due for long
            return
        lease.renewed_at = request.sent_at
        if request.answer == WANTED:
            self.want(lease.claim)

    def renewal(self, lease: RedisLease) -> Request:
        """Make the request that renews a lease."""
        return Request(
            RENEW,
            lease.keys,
            (lease.claim, lease.epoch, round(lease.ttl * 1000), lease.revision),
            functools.partial(self.renewed, lease),
        )

    async def run(self) -> None:
        """Renew and tell, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew_all)
            nursery.start_soon(self._tell_owners)

    async def _renew_all(self) -> None:
        """Renew in time what was not renewed by a commit."""
        interval = self._ttl / 3
        while True:
            due_before = time.monotonic() - interval
            due = [lease for lease in self._held.values() if lease.renewed_at <= due_before]
            for start in range(0, len(due), _TOGETHER):
                await self._renew(due[start : start + _TOGETHER], interval)
            await trio.sleep(interval / 2)

    async def _renew(self, leases: Sequence[RedisLease], interval: float) -> None:
        """Renew some in one round trip."""
        requests = [self.renewal(lease) for lease in leases if not lease.is_lost]
        for request in requests:
            request.lasts = interval  # then it is due again
            self._line.post(request)
        if not requests:
            return
        with suppress(StoreError):  # then they are not certain any more, before long
            await self._line.answer(requests[-1])

    async def _tell_owners(self) -> None:
        async for lease in self._told:
            await trio.sleep(max(0, lease.acquired_at + _LEAST_HOLD - time.monotonic()))
            if not lease.is_lost:
                lease.on_wanted()
