"""What an app bounds for those who connect to it."""

from __future__ import annotations

from typing import final

import attrs
from attrs.validators import ge, gt

from actorstate.web.origins import read_origins


@final
@attrs.frozen(kw_only=True)
class ConnectionLimits:
    """Bounds for connections: ``App(connections=ConnectionLimits(rate_limit=50))``.

    What is beyond them is refused, and says so. ``math.inf`` is for no bound.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> ConnectionLimits(ping_interval=5).ping_timeout
        20.0
        >>> ConnectionLimits(rate_limit=0)
        Traceback (most recent call last):
        ValueError: 'rate_limit' must be > 0: 0
    """

    max_message_bytes: int = attrs.field(default=1024 * 1024, validator=ge(1))
    """The size of one message of a client, in UTF-8."""
    rate_limit: float = attrs.field(default=200.0, validator=gt(0))
    """How many messages a second a client may send in the long run."""
    rate_burst: int = attrs.field(default=1000, validator=ge(1))
    """How many it may send at once, after it was quiet."""
    send_timeout: float = attrs.field(default=30.0, validator=gt(0))
    """For how long a client may take no bytes of what it is sent (seconds)."""
    ping_interval: float = attrs.field(default=20.0, validator=gt(0))
    """For how long a connection may be quiet before the client is asked for a sign (seconds)."""
    ping_timeout: float = attrs.field(default=20.0, validator=gt(0))
    """For how long the client may then give none (seconds)."""

    max_connections: float = attrs.field(default=10_000, validator=ge(1))
    """How many TCP connections may be open."""
    max_connections_per_address: float = attrs.field(default=1000, validator=ge(1))
    """How many of them may come from one address."""
    max_tokens: float = attrs.field(default=100_000, validator=ge(1))
    """How many tokens may be in memory before no tab is let in that is not; what nobody uses is put
    to rest first."""
    allowed_origins: tuple[str, ...] = attrs.field(default=(), converter=read_origins)
    """Whose pages may open a socket, beside the server's own: as ``https://shop.example``."""

    @property
    def longest_silence(self) -> float:
        """After how long one end that hears nothing may take the other for gone (seconds)."""
        return self.ping_interval + self.ping_timeout
