"""How fast a client may send. No IO: who asks says what time it is."""

from __future__ import annotations

import math
from typing import Final, final


@final
class Allowance:
    """So many frames a second in the long run, and so many at once after a time of quiet.

    Args:
        rate: how many grow back a second; ``math.inf`` for no bound.
        burst: how many there are at most, and at first.
        now: the time (seconds).

    Example:
        >>> allowance = Allowance(rate=2, burst=3, now=0)
        >>> [allowance.take(now) for now in (0, 0, 0, 0, 0.5, 0.5)]
        [True, True, True, False, True, False]
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate: Final = rate
        self._burst: Final = burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one, if there is one; tell whether there was."""
        if self._rate == math.inf:
            return True
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        is_there = self._left >= 1
        if is_there:
            self._left -= 1
        return is_there
