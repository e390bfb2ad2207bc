"""The large events of one connection that are on their way. No IO.

A mailbox counts messages, and a thousand of a megabyte each are a gigabyte. So a connection reads
on only while what it has read and nobody has done yet is not too much.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

_LARGE: Final = 16 * 1024  # characters; smaller ones are bounded well enough by their number


def is_small(size: int) -> bool:
    """Tell whether an event of so many characters need not be noted here."""
    return size < _LARGE


@final
class InFlight:
    """What was read of large events, until each is done.

    Args:
        most: how many characters they may have together; one alone may have more.

    Example:
        >>> in_flight = InFlight(most=50_000)
        >>> in_flight.add(1, 40_000)
        >>> in_flight.has_room_for(40_000), in_flight.has_room_for(100)
        (False, True)
        >>> in_flight.note_done(1)
        >>> in_flight.has_room_for(40_000)
        True
    """

    __slots__ = ("_events", "_most", "_size")

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._size = 0
        self._events: deque[tuple[int, int]] | None = None

    def has_room_for(self, size: int) -> bool:
        """Tell whether an event may be handed over."""
        return is_small(size) or not self._size or self._size + size <= self._most

    def add(self, seq: int, size: int) -> None:
        """Note an event that is handed over."""
        if not is_small(size):
            self._events = deque() if self._events is None else self._events
            self._events.append((seq, size))
            self._size += size

    def note_done(self, seq: int) -> None:
        """Note that all events up to a number are done."""
        while self._events and self._events[0][0] <= seq:
            self._size -= self._events.popleft()[1]
        if not self._events:
            self._events = None
