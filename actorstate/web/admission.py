"""Who is let in, and who is here: one `Admission` for all ways into an app.

It is where a server begins to stop. Nobody is let in any more, and no frame is read; what was read
is done and shown; and only then the sockets are closed. Who sent something that was not read is not
told that it is done, so it comes with it to the next server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, Protocol, final

import trio

# How long the last frames may take on their way, once all is done (seconds).
_FAREWELL: Final = 2.0


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
    """Lets connections in, until it is closed, and knows those that are here."""

    def __init__(self) -> None:
        self._here: Final[set[Guest]] = set()
        self._gone: Final = trio.lowlevel.ParkingLot()
        self.closed: Final = trio.Event()
        """Set when nobody is let in any more."""

    @property
    def is_open(self) -> bool:
        """Whether anybody is let in."""
        return not self.closed.is_set()

    def close(self) -> None:
        """Let nobody in any more, and read no more of those who are here."""
        self.closed.set()
        for guest in self._here:
            guest.stop_reading()

    @contextmanager
    def present(self, guest: Guest) -> Generator[None]:
        """Let a connection be here for the length of the block."""
        self._here.add(guest)
        if not self.is_open:  # it was on its way in
            guest.stop_reading()
        try:
            yield
        finally:
            self._here.discard(guest)
            self._gone.unpark_all()

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
