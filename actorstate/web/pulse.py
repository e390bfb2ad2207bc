"""Signs of life between the ends of a connection: when to ask for one, when to give up. No IO.

All that falls due falls due later with each thing that happens, and never earlier. So no frame
costs a timer: who looks when the first is due, and finds what has happened since, knows when to
look again.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, final

from actorstate.web.limits import ConnectionLimits


@final
class Due(Enum):
    """What is to be done now."""

    NOTHING = auto()
    ASK = auto()
    """The client is to be asked for a sign, which is one for the client, too."""
    NO_TAKER = auto()
    """It takes nothing of what it is sent, and is to be left."""
    SILENCE = auto()
    """It gives no sign, and is to be left."""


@final
class Pulse:
    """When the ends of one connection were last heard of.

    Args:
        limits: for how long they may be silent.
        now: the time (seconds).

    Example:
        >>> pulse = Pulse(ConnectionLimits(ping_interval=20, ping_timeout=10), now=0)
        >>> pulse.due(5).name, pulse.next_look(5)
        ('NOTHING', 20)
        >>> pulse.due(20).name
        'ASK'
        >>> pulse.asked(20)
        >>> pulse.due(29).name, pulse.due(30).name
        ('NOTHING', 'SILENCE')
    """

    __slots__ = ("_asked", "_heard", "_is_sending", "_limits", "_said")

    def __init__(self, limits: ConnectionLimits, now: float) -> None:
        self._limits: Final = limits
        self._heard = self._said = self._asked = now
        self._is_sending = False

    def heard(self, now: float) -> None:
        """Note that something has come, or that nobody has listened until now."""
        self._heard = now

    def sends(self, now: float) -> None:
        """Note that a frame is on its way out."""
        self._is_sending, self._said = True, now

    def sent(self) -> None:
        """Note that it was taken."""
        self._is_sending = False

    def asked(self, now: float) -> None:
        """Note that the client is asked for a sign."""
        self._asked = now

    def due(self, now: float) -> Due:
        """Tell what is due."""
        if self._taken_by(now) <= now:
            return Due.NO_TAKER
        if self._heard_by <= now:
            return Due.SILENCE
        return Due.ASK if self._ask_at <= now else Due.NOTHING

    def next_look(self, now: float) -> float:
        """Tell when something will be due, if nothing happens."""
        return min(self._taken_by(now), self._heard_by, self._ask_at)

    def _taken_by(self, now: float) -> float:
        return (self._said if self._is_sending else now) + self._limits.send_timeout

    @property
    def _heard_by(self) -> float:
        return self._heard + self._limits.longest_silence

    @property
    def _ask_at(self) -> float:
        """An interval after both had a sign of each other, or one was asked for the last time."""
        last = max(self._asked, min(self._heard, self._said))
        return last + self._limits.ping_interval
