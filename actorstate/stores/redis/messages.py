"""What processes tell each other: that a token is wanted, or was handed over.

Each process has a Stream that it alone reads, ``actorstate:process:<name>``. What is told may get
lost, if Redis is restarted without what was written last; so nobody relies on it: those who wait
ask again from time to time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from coredis.typing import ValueT

from actorstate.stores.redis.addresses import Client
from actorstate.stores.redis.connections import Connections
from actorstate.stores.redis.line import Line, Request
from actorstate.stores.redis.scripts import TELL

_STREAM_LIVES: Final = 3600.0
"""How long a Stream is kept that nobody writes to (seconds). Its process may be gone."""


WANTED: Final = "wanted"
"""Somebody waits for the token that you own by this claim."""
YOURS: Final = "yours"
"""You own the token now that you have waited for with this claim."""


@final
class Messages:
    """The messages of one process.

    Args:
        connections: to where Redis is.
        line: what to send over.
        process: the name of this process.
        on_message: is called with each message that comes, and the claim that it is about. One
            that it does not know is from a version to come.
    """

    def __init__(
        self,
        connections: Connections,
        line: Line,
        process: str,
        on_message: Callable[[str, str], None],
    ) -> None:
        self._connections: Final = connections
        self._line: Final = line
        self._stream: Final = _stream_of(process)
        self._on_message: Final = on_message
        self._last: ValueT = "0-0"

    def tell(self, message: str, claim: str) -> None:
        """Tell the process that a claim is of something. Nobody waits for it."""
        stream = _stream_of(claim.partition(".")[0])
        self._line.post(Request(TELL, (stream,), (round(_STREAM_LIVES * 1000), message, claim)))

    async def run(self) -> None:
        """Read what comes, until cancelled."""
        await self._connections.keep(self._serve)

    async def _serve(self, client: Client, answered: Callable[[], None]) -> None:
        # A connection that is silent for longer than the client's patience is taken for dead.
        block = round(self._connections.patience * 1000 / 2)
        while True:
            found = await client.xread({self._stream: self._last}, block=block)
            answered()
            for entry in (found or {}).get(self._stream, ()):
                self._last = entry.identifier
                for message, claim in entry.field_values.items():
                    self._on_message(_text(message), _text(claim))


def _stream_of(process: str) -> bytes:
    return f"actorstate:process:{process}".encode()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
