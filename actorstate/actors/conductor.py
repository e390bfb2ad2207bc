"""The conductor: stands in for chance, in tests.

In production, what comes first into a mailbox is taken first, and what comes first is chance. A
conductor decides it: nothing else is left to chance between the turns of a token, so a conductor
that does the same again sees the same again. There is none in production.
"""

from __future__ import annotations

from typing import Protocol

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.errors import ErrorContext
from actorstate.actors.mailbox import Order


class Conductor(Order, Protocol):
    """Decides for all token actors of an app which message is next, and hears what happens."""

    def started(self, task: BackgroundTask) -> None:
        """Note a background task that is about to run its first step."""
        ...

    def failed(self, error: BaseException, context: ErrorContext) -> None:
        """Note what ``on_error`` is told."""
        ...
