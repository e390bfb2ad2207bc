"""What went wrong in the program's own code, on its way to the program."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, final

import attrs
import trio

from actorstate.actors.flavor import Flavor, TrioFlavor
from actorstate.actors.runtime import PASSING, Scope
from actorstate.state.labels import token_label

logger: Final = logging.getLogger("actorstate")


@final
@attrs.frozen
class ErrorContext:
    """Where an error came up: the second argument of ``on_error``."""

    during: Literal["handler", "background task", "activation", "task"]
    """What failed. A ``task`` is one of `App.start_soon`; ``activation`` is of a token's actor."""
    name: str
    """The handler, as in ``MyState.my_task``; else what is activated or run."""
    token: str | None = attrs.field(
        default=None, repr=lambda token: repr(token and token_label(token))
    )
    """The tab that it happened to. A secret; see `State.get_token`."""
    arguments: tuple[Any, ...] = ()
    """What the handler was given."""


OnError = Callable[[BaseException, ErrorContext], object]
"""Is told of an error, and where it came up. May be async; what it returns is ignored."""


@final
class Reporter:
    """Tells the program of errors. They are in the log already.

    Args:
        on_error: what the program gave for it.
    """

    def __init__(self, on_error: OnError | None) -> None:
        self._on_error: Final = on_error
        self.listener: Callable[[BaseException, ErrorContext], None] | None = None
        """Is told first; a `Conductor`'s, in tests."""
        self._scope: Scope | None = None
        self._flavor: Flavor = TrioFlavor()
        self._telling = 0
        self._told: Final = trio.lowlevel.ParkingLot()

    def run_in(self, scope: Scope, flavor: Flavor) -> None:
        """Say where an async one runs, and what it may await; before anything is reported."""
        self._scope, self._flavor = scope, flavor

    def report(self, error: BaseException, context: ErrorContext) -> None:
        """Tell of one error. Neither waits nor raises."""
        if self.listener is not None:
            self.listener(error, context)
        if self._on_error is None:
            return
        try:
            result = self._on_error(error, context)
        except PASSING:
            raise
        except BaseException:
            logger.exception("on_error failed when it was told of %r", error)
        else:
            if isinstance(result, Awaitable):
                assert self._scope is not None, "errors come up in an app that runs"
                self._telling += 1
                self._scope.start_soon(self._finish, result, error, name="on_error")

    async def _finish(self, running: Awaitable[object], error: BaseException) -> None:
        try:
            with trio.CancelScope() as scope:
                await self._flavor.runner(scope)(running)
        except* PASSING:
            raise
        except* BaseException:
            logger.exception("on_error failed when it was told of %r", error)
        finally:
            self._telling -= 1
            self._told.unpark_all()

    async def wait_told(self) -> None:
        """Wait until nobody is being told any more."""
        while self._telling:
            await self._told.park()
