"""An actor that keeps what it receives."""

from __future__ import annotations

from typing import Any, cast

import trio

from actorstate.actors.runtime import Scope, TrioActor


class Recorder(TrioActor):
    """Keeps what it receives, and does what the message says."""

    def __init__(self, scope: Scope, log: list[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(scope, **kwargs)
        self.log = log if log is not None else []

    async def on_start(self) -> None:
        self.log.append("started")

    async def on_stop(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("stopped")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.log.append(("failed", exception_value))

    def on_ended(self, left: Any) -> None:
        self.log.append("ended")

    async def on_receive(self, message: Any) -> Any:
        self.log.append(message)
        return await cast("Any", message)() if callable(message) else message
