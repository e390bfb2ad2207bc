"""A log that cannot be flooded from outside."""

from __future__ import annotations

import logging
from typing import Final, final

import attrs
import trio

_PAUSE: Final = 10.0  # seconds


@final
@attrs.define
class _Kind:
    """One kind of line."""

    silent_until: float
    left_out: int = 0


@final
class SparseLog:
    """Writes what strangers can make happen at will: a line of each kind now and then.

    Args:
        logger: where it writes.
        pause: between two lines of a kind (seconds of trio's clock).
    """

    def __init__(self, logger: logging.Logger, pause: float = _PAUSE) -> None:
        self._logger: Final = logger
        self._pause: Final = pause
        self._kinds: Final[dict[str, _Kind]] = {}

    def warning(self, message: str, *args: object) -> None:
        """Write a line, or count it, to be told with the next of its kind.

        Args:
            message: as for `logging`; it is the kind, so it must be one of the program's own.
            args: for its placeholders.
        """
        self._write(logging.WARNING, message, args)

    def info(self, message: str, *args: object) -> None:
        """Do the same for what is worth no warning."""
        self._write(logging.INFO, message, args)

    def _write(self, level: int, message: str, args: tuple[object, ...]) -> None:
        now = trio.current_time()
        kind = self._kinds.get(message)
        if kind is not None and now < kind.silent_until:
            kind.left_out += 1
            return
        more = f" (and {kind.left_out} more like it)" if kind is not None and kind.left_out else ""
        self._kinds[message] = _Kind(now + self._pause)
        self._logger.log(level, "%s%s", message % args, more)
