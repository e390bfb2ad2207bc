"""Whose awaitables the program's code may await: those of trio, or those of asyncio as well.

The library's own code is trio's. It runs the code of the program through a `Runner` of the app's
flavor, and finds out by it who asks for a turn. So nothing here knows asyncio but by its marks on
an error; what does is ``asyncio_flavor``, and only an app that wants it brings it in.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, Self, TypeVar, final

import trio

T = TypeVar("T")

_ADVICE: Final = (
    "This looks like asyncio, which is not switched on in this app: install actorstate[asyncio] "
    "and make the app with App(asyncio=True)"
)


class Runner(Protocol):
    """Runs the code of one handler, in one trio task and in one or more steps."""

    def __call__(self, awaitable: Awaitable[T], /) -> Awaitable[T]:
        """Await it. Whatever it raises comes out; so does a cancellation, as trio's."""
        ...


class ForeignTask(Protocol):
    """A task that is not trio's, with which a block under a turn may be entered.

    Two of these are equal if they are of the same task.
    """

    @property
    def name(self) -> str:
        """What it is called, for logs."""
        ...

    def in_trio(self, async_fn: Callable[..., Awaitable[T]], *args: Any) -> Awaitable[T]:
        """Call what is trio's in a trio task, with a copy of the context, and wait for it here.

        A cancellation of the waiting is passed on. It is possible that it strikes when the result
        is there already, and instead of it.
        """
        ...

    def cancel(self) -> None:
        """Cancel it; from trio's side."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        ...

    def uncancel(self) -> bool:
        """Take back that it was cancelled; tell whether nobody else has cancelled it as well.

        Called in the task itself.
        """
        ...


class Flavor(Protocol):
    """What an app lets its program's code await. Entered while the app runs, around all of it."""

    async def __aenter__(self) -> Self:
        """Begin."""
        ...

    async def __aexit__(self, *exc_info: object) -> None:
        """End what is left, and wait for it."""
        ...

    def __len__(self) -> int:
        """Tell how many tasks run under the app that are not trio's."""
        ...

    async def stop(self) -> None:
        """Stop all of these between their turns, and wait until they have ended."""
        ...

    def runner(self, scope: trio.CancelScope) -> Runner:
        """Give what runs one handler, in the running trio task.

        Args:
            scope: what the handler is run in, and is cancelled by.
        """
        ...

    def foreign_task(self) -> ForeignTask | None:
        """Give the running task if it is not trio's."""
        ...

    def translate(self, cancelled: trio.Cancelled) -> BaseException:
        """Give the cancellation of a block as the code around it knows it."""
        ...

    def explain(self, error: BaseException) -> None:
        """Add a note to an error, if it comes from awaiting what may not be awaited here."""
        ...


@final
class TrioFlavor:
    """Of trio alone: there is nothing to translate."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """There is nothing left."""

    def __len__(self) -> int:
        return 0

    async def stop(self) -> None:
        """There is nothing to stop."""

    def runner(self, scope: trio.CancelScope) -> Runner:  # noqa: ARG002 - trio itself knows it
        """Give what awaits: nothing, since the caller does."""
        return _as_it_is

    def foreign_task(self) -> ForeignTask | None:
        """Give None."""
        return None

    def translate(self, cancelled: trio.Cancelled) -> BaseException:
        """Give it as it is."""
        return cancelled

    def explain(self, error: BaseException) -> None:
        """Add advice to what asyncio raises where it does not run."""
        if _comes_from_asyncio(error) and _ADVICE not in getattr(error, "__notes__", ()):
            error.add_note(_ADVICE)


def _as_it_is(awaitable: Awaitable[T], /) -> Awaitable[T]:
    return awaitable


def _comes_from_asyncio(error: BaseException) -> bool:
    """Tell whether asyncio raised it for want of its loop, or trio for being given its future.

    Neither has a class of its own for it.
    """
    if isinstance(error, TypeError) and "unrecognized yield message" in str(error):
        return True
    if not isinstance(error, RuntimeError | AttributeError):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "") if frames else ""
    return module.split(".")[0] == "asyncio" or str(error) == "no running event loop"
