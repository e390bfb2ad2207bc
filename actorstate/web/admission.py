"""Who is let in, and who is here: one `Admission` for all ways into an app.

It is where a server begins to stop. Nobody is let in any more, and no frame is read; what was read
is done and shown; and only then the sockets are closed. Who sent something that was not read is not
told that it is done, so it comes with it to the next server.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final, Protocol, final

import trio

from actorstate.web.limits import ConnectionLimits
from actorstate.web.peers import neighbourhood
from actorstate.web.sparse_log import SparseLog

# How long the last frames may take on their way, once all is done (seconds).
_FAREWELL: Final = 2.0

# So many of those who are turned away get the time to hear why.
_MOST_TOLD: Final = 100


@final
class Refusal(Enum):
    """Why somebody is not let in."""

    STOPPING = auto()
    """The server stops."""
    FULL = auto()
    """There are as many connections as may be."""
    CROWDED = auto()
    """There are as many from this address as may be."""


class Guest(Protocol):
    """What is known here of a connection: `actorstate.web.connection.SocketConnection`."""

    def stop_reading(self) -> None:
        """Take no more frames, and go on to send. Neither waits nor raises."""
        ...

    def close(self) -> None:
        """End it, once what lies in its outbox is sent. Neither waits nor raises."""
        ...


@final
class Admission:
    """Lets connections in, until it is closed, and knows those that are here.

    Args:
        limits: how many.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits: Final = limits
        self._count = 0
        self._by_address: Final[Counter[str]] = Counter()
        self._told = 0
        self._here: Final[set[Guest]] = set()
        self._gone: Final = trio.lowlevel.ParkingLot()
        self.log: Final = SparseLog(logging.getLogger("actorstate.web"))
        """Where it is said who was refused."""
        self.closed: Final = trio.Event()
        """Set when nobody is let in any more."""

    @property
    def is_open(self) -> bool:
        """Whether anybody is let in."""
        return not self.closed.is_set()

    # ---- coming in -------------------------------------------------------------------------

    def connection(self, address: str | None) -> Seat:
        """Count a connection for the length of a block; give why it is not let in, if so.

        Args:
            address: from where it comes; None if that says nothing, as when it is a proxy's.
        """
        return Seat(self, address, is_new=True)

    def address(self, address: str) -> Seat:
        """Count one from an address for the length of a block; give why it is refused, if so."""
        return Seat(self, address, is_new=False)

    def take(self, neighbours: str | None, *, is_new: bool) -> Refusal | None:
        """Count one, if there is room; see `Seat`."""
        refusal = self._look_at_all() if is_new else None
        if refusal is None and neighbours is not None:
            refusal = self._look_at_one(neighbours)
        if refusal is None:
            self._count += is_new
            if neighbours is not None:
                self._by_address[neighbours] += 1
        return refusal

    def leave(self, neighbours: str | None, *, was_new: bool) -> None:
        """Count one no more."""
        self._count -= was_new
        if neighbours is not None:
            self._by_address[neighbours] -= 1
            if not self._by_address[neighbours]:
                del self._by_address[neighbours]

    def _look_at_all(self) -> Refusal | None:
        if not self.is_open:
            return Refusal.STOPPING
        if self._count < self._limits.max_connections:
            return None
        self.log.warning("there are max_connections=%s; others are refused", self._count)
        return Refusal.FULL

    def _look_at_one(self, place: str) -> Refusal | None:
        count = self._by_address[place]
        if count < self._limits.max_connections_per_address:
            return None
        self.log.warning(
            "there are max_connections_per_address=%s from %s; others are refused", count, place
        )
        return Refusal.CROWDED

    @contextmanager
    def turned_away(self) -> Generator[bool]:
        """Tell whether who is refused gets the time to hear why. Meanwhile it holds a socket."""
        has_time = self._told < _MOST_TOLD
        self._told += has_time
        try:
            yield has_time
        finally:
            self._told -= has_time

    # ---- being here ------------------------------------------------------------------------

    def present(self, guest: Guest) -> Registration:
        """Let a connection be here for the length of a block."""
        return Registration(self, guest)

    def come(self, guest: Guest) -> None:
        """See `present`."""
        self._here.add(guest)
        if not self.is_open:  # it was on its way in
            guest.stop_reading()

    def go(self, guest: Guest) -> None:
        """See `present`."""
        self._here.discard(guest)
        self._gone.unpark_all()

    # ---- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Let nobody in any more, and read no more of those who are here."""
        self.closed.set()
        for guest in self._here:
            guest.stop_reading()

    async def see_out(self, work_off: Callable[[], Awaitable[None]]) -> None:
        """Wait until it is closed, and all that was begun has been shown to those who are here.

        Args:
            work_off: lets what was begun come to its end; what has not when it is over, does not.
        """
        await self.closed.wait()
        await work_off()
        for guest in self._here:
            guest.close()
        with trio.move_on_after(_FAREWELL):
            while self._here:
                await self._gone.park()


# Not generators, which would be shorter: each of these lives as long as a connection, of which
# there are thousands, and a generator has ten times their size.


@final
class Seat:
    """A block for which a connection is counted; it gives why it is not, if so."""

    __slots__ = ("_admission", "_is_new", "_is_taken", "_neighbours")

    def __init__(self, admission: Admission, address: str | None, *, is_new: bool) -> None:
        self._admission: Final = admission
        self._neighbours: Final = None if address is None else neighbourhood(address)
        self._is_new: Final = is_new
        self._is_taken = False

    def __enter__(self) -> Refusal | None:
        refusal = self._admission.take(self._neighbours, is_new=self._is_new)
        self._is_taken = refusal is None
        return refusal

    def __exit__(self, *_: object) -> None:
        if self._is_taken:
            self._admission.leave(self._neighbours, was_new=self._is_new)


@final
class Registration:
    """A block for which a connection is here."""

    __slots__ = ("_admission", "_guest")

    def __init__(self, admission: Admission, guest: Guest) -> None:
        self._admission: Final = admission
        self._guest: Final = guest

    def __enter__(self) -> None:
        self._admission.come(self._guest)

    def __exit__(self, *_: object) -> None:
        self._admission.go(self._guest)
