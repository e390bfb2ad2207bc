"""What an app bounds for each of its tokens."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.frozen
class Limits:
    """Bounds for one token. What is beyond them is refused, and says so."""

    mailbox_capacity: int = 1000
    """How many messages may wait."""
    max_waiters: int = 1000
    """How many may wait for the turn: blocks, in background tasks and elsewhere."""
    max_tasks: int = 100
    """How many background tasks may run, and wait for others of their kind to end."""
    disconnect_grace: float = 5.0
    """For how long a tab without a connection still counts as connected (seconds)."""
    idle_timeout: float = 900.0
    """For how long a token stays in memory that nobody uses (seconds)."""
