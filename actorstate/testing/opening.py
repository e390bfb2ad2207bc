"""Opening a tab in memory: `open_tab`, the block in which it lives, and where its lines run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Final, Self, final

import trio

from actorstate.app import App
from actorstate.testing.tab import Tab

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


def open_tab(
    app: App,
    path: str = "/",
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    timeout: float = 5.0,
) -> AbstractAsyncContextManager[Tab]:
    """Open a browser tab in memory, without a browser and without a network.

    What is sent are the frames of the real protocol, to the real connection of the server; only
    what lies below (HTTP, the bytes of a WebSocket, TCP) is not there. Inside the block the tab is
    connected and was welcomed, and what is run at once for a new page has run.

    Args:
        app: the app. One that is not running is entered, and left with the tab; one that is
            running goes on, so that several tabs may have one app.
        path: path and query of the page, as in ``/orders?page=2``.
        headers: what the browser sends with the handshake, by lower-case name.
        timeout: how long the tab waits for anything (seconds of trio's clock, which a
            `trio.testing.MockClock` makes as short as you like).

    Raises:
        ConnectionError: (on entering) the server closes the connection, as when the state of the
            tab cannot be loaded.
        ProtocolError: (on leaving) the server sent what no client could follow.

    Example:
        >>> import trio
        >>> from actorstate import App, State
        >>> from actorstate.testing import open_tab
        >>> class Score(State):
        ...     goals: int = 0
        ...     def shoot(self, times: int = 1):
        ...         self.goals += times
        >>> async def main():
        ...     async with open_tab(App()) as tab:
        ...         await tab.fire(Score.shoot)
        ...         await tab.fire(Score.shoot, 2)
        ...         print(tab.state[Score].goals)
        >>> trio.run(main)
        3
    """
    return _OpenTab(app, path, headers, timeout)


@final
class _OpenTab(AbstractAsyncContextManager[Tab]):
    """The block of `open_tab`; for one use."""

    def __init__(self, app: App, path: str, headers: Mapping[str, str], timeout: float) -> None:
        self._app: Final = app
        self._path: Final = path
        self._headers: Final = headers
        self._timeout: Final = timeout
        self._stack = AsyncExitStack()
        self._tab: Tab | None = None

    async def __aenter__(self) -> Tab:
        async with AsyncExitStack() as stack:
            if not self._app.is_running:
                await stack.enter_async_context(self._app)
            lines = await stack.enter_async_context(Lines())
            site = await self._app.open_site()
            tab = Tab(site, lines.nursery, self._path, self._headers, self._timeout)
            await tab.reload()
            self._tab, self._stack = tab, stack.pop_all()
        return tab

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)
        assert self._tab is not None, "the block was not entered"
        if exc is None:
            self._tab.check()


@final
class Lines:
    """Where connections run, as a block. They end with it."""

    nursery: trio.Nursery

    def __init__(self) -> None:
        self._manager: Final = trio.open_nursery()

    async def __aenter__(self) -> Self:
        self.nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.nursery.cancel_scope.cancel()
        try:
            await self._manager.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            # The nursery's group around the exception of the block, which leaves as it came.
            if group.exceptions != (exc,):
                raise
