"""Connections that are made anew when they fail."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, final

import trio
from coredis.exceptions import RedisError

from actorstate.stores.redis.addresses import Address, Client

logger: Final = logging.getLogger("actorstate.stores")

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0

Serve = Callable[[Client, Callable[[], None]], Awaitable[None]]
"""Uses a client until that fails; calls the other argument when it has been answered."""


@final
class Connections:
    """Clients for one address.

    Args:
        address: where Redis is.
        patience: how long they wait for an answer (seconds).
    """

    def __init__(self, address: Address, patience: float) -> None:
        self.address: Final = address
        self.patience: Final = patience
        self._failing: Final[set[Serve]] = set()

    def client(self) -> Client:
        """Make a client, to be entered."""
        return self.address.client(self.patience)

    async def keep(self, serve: Serve) -> None:
        """Call ``serve`` with a client, and again with a new one when it fails, until cancelled.

        A client that has failed is not used again: its pool of connections forgets none that died
        while it was lent, until it has no room for new ones (coredis 6.9). Between two tries there
        is a pause that grows.
        """
        pauses = _growing()

        def answered() -> None:
            nonlocal pauses
            if serve in self._failing:
                pauses = _growing()
                self._note_answer(serve)

        while True:
            try:
                async with self.client() as client:
                    await serve(client, answered)
            except* (RedisError, OSError) as errors:
                self._note_failure(serve, errors)
            await trio.sleep(next(pauses))

    def _note_failure(self, serve: Serve, errors: BaseException) -> None:
        if not self._failing:
            reason = next(_leaves(errors))
            logger.warning("%s is not reached, and tried again: %r", self.address.label, reason)
        self._failing.add(serve)

    def _note_answer(self, serve: Serve) -> None:
        self._failing.discard(serve)
        if not self._failing:
            logger.info("%s is reached again", self.address.label)


def _growing() -> Iterator[float]:
    """Give the pauses between tries (seconds); not the same to all when a server comes back."""
    longest = _FIRST_PAUSE
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - no secret
        longest = min(longest * 2, _LONGEST_PAUSE)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
            yield from _leaves(one)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield error
