"""The App: puts the layers together, and is what programs hold in their hands."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self, TypeVarTuple, cast, final

import trio

from actorstate.actors.directory import Directory
from actorstate.actors.runtime import Scope
from actorstate.actors.task_actor import BackgroundTask
from actorstate.actors.token_actor import Services
from actorstate.actors.turns import TurnBlock
from actorstate.exceptions import PageError
from actorstate.state.expressions import Expression
from actorstate.state.handlers import Invocation, as_invocation
from actorstate.state.state import State
from actorstate.state.tree import Schema
from actorstate.stores.base import Store
from actorstate.stores.memory import MemoryStore
from actorstate.ui import Child, render_page
from actorstate.web.server import Site, serve

Args = TypeVarTuple("Args")

logger: Final = logging.getLogger("actorstate")

_current: Final[ContextVar[App]] = ContextVar("actorstate.app")


def current_app() -> App:
    """Give the app that runs the calling handler, background task or `App.start_soon` task.

    Raises:
        LookupError: none does; the caller has to be given the app some other way.
    """
    try:
        return _current.get()
    except LookupError:
        message = "no app is running here; call this from a handler, or pass the app along"
        raise LookupError(message) from None


@final
class App:
    """The states of an application, and the pages that show them.

    As a library, without any web: ``async with App() as app:`` inside a trio program. Any string
    is a token there. As a server: `serve`, or ``python -m actorstate run``.

    Args:
        root: the root of its State classes.
        store: where state trees rest. Not closed by the app: who opened it closes it.
        mailbox_capacity: how many messages may wait for one token. Beyond it, senders get
            `MailboxFullError`, and sockets are not read.

    Example:
        >>> import trio
        >>> from actorstate import App, State
        >>> class Tally(State):
        ...     count: int = 0
        >>> async def main():
        ...     async with App() as app:
        ...         async with app.modify_state("alice") as state:
        ...             state.get_substate(Tally).count += 1
        ...         async with app.modify_state("alice") as state:
        ...             print(state.get_substate(Tally).count)
        >>> trio.run(main)
        1
    """

    def __init__(
        self,
        *,
        root: type[State] = State,
        store: Store | None = None,
        mailbox_capacity: int = 1000,
    ) -> None:
        self._root: Final = root
        self._store: Store = store if store is not None else MemoryStore()
        self._mailbox_capacity: Final = mailbox_capacity
        self._pages: Final[dict[str, str]] = {}
        self._on_load: Final[dict[str, tuple[Invocation, ...]]] = {}
        self._background_tasks: Final[set[BackgroundTask]] = set()
        self._nursery: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._scope: Scope | None = None
        self._directory: Directory | None = None

    @property
    def background_tasks(self) -> AbstractSet[BackgroundTask]:
        """The running background tasks of all tokens. Live: a task that ends is gone from it."""
        return self._background_tasks

    def use_store(self, store: Store) -> None:
        """Let state trees rest in another store, from the next time the app is entered.

        Raises:
            RuntimeError: the app is running.
        """
        if self._nursery is not None:
            message = "the app is running, with its tokens in another store; leave it first"
            raise RuntimeError(message)
        self._store = store

    def add_page(
        self,
        page: Child | Callable[[], Child],
        route: str = "/",
        *,
        title: str = "actorstate",
        on_load: object = None,
    ) -> None:
        """Show a page at a route.

        Args:
            page: an element, or a function that gives one.
            route: the path of its URL, as in ``/orders``.
            title: what the browser's tab says.
            on_load: what is run each time a browser loads the page: a handler, one with arguments
                bound (``MyState.open("inbox")``), or a list of these.

        Raises:
            PageError: the route does not begin with a slash, belongs to the library, or is
                taken; or there is nothing to show.
            TypeError: what is given is no element; or something in ``on_load`` is no handler, or
                is not given all its arguments, as values of the annotated types.
        """
        if not route.startswith("/") or route.startswith("/_actorstate/") or route == "/healthz":
            message = f"no page can be at {route!r}; a route is a path such as '/orders'"
            raise PageError(message)
        if route in self._pages:
            message = f"there is a page at {route!r} already; give this one another route"
            raise PageError(message)
        body = page() if callable(page) else page
        if body is None:
            message = f"the page at {route!r} is None; does its function forget to return it?"
            raise PageError(message)
        invocations = _read_on_load(route, on_load)
        self._pages[route] = render_page(body, title=title)
        self._on_load[route] = invocations

    async def __aenter__(self) -> Self:
        if self._nursery is not None:
            message = "the app is running already; make another App to run beside it"
            raise RuntimeError(message)
        schema = Schema.of(self._root)
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        outer = _current.set(self)
        self._scope = Scope(nursery)
        _current.reset(outer)
        services = Services(schema, self._store, self._background_tasks, self._mailbox_capacity)
        self._directory = Directory(self._scope, services)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel what runs, wait until it has ended, and let the block's exception pass."""
        assert self._nursery is not None
        self._running_scope.nursery.cancel_scope.cancel()
        self._scope = self._directory = None  # nobody comes in any more
        try:
            await self._nursery.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            # A nursery wraps the exception of its block in a group. That there is a nursery is
            # not the block's affair, so the exception leaves as it came.
            if group.exceptions != (exc,):
                raise
        finally:
            self._nursery = None

    @property
    def _running_scope(self) -> Scope:
        if self._scope is None:
            message = "the app is not running; enter it first: `async with app:`"
            raise RuntimeError(message)
        return self._scope

    @property
    def directory(self) -> Directory:
        """The actors of all tokens.

        Raises:
            RuntimeError: the app is not running.
        """
        if self._directory is None:
            message = "the app is not running; enter it first: `async with app:`"
            raise RuntimeError(message)
        return self._directory

    def modify_state(self, token: str) -> ModifyState:
        """Give a turn of a token: ``async with app.modify_state(token) as state``.

        Inside the block, ``state`` is the root state, and the block alone may change the
        token's state; what it changed is committed, stored and shown when the block ends, and
        undone if it raises or is cancelled. Entering waits for the turn, in the mailbox's order.

        Args:
            token: whose state. In a library any string; of a tab, what `State.get_token` gives.

        Raises:
            ImmutableStateError: (on entering) the caller is inside a turn of this token already.
            MailboxFullError: (on entering) too many wait for this token already.
            ActorDeadError: the app was left meanwhile; nothing was changed.
            RuntimeError: (on entering) the app is not running.
        """
        if not isinstance(token, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
            message = f"a token is a string, got {token!r}"
            raise TypeError(message)
        return ModifyState(self, token)

    def start_soon(self, async_fn: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Start a task of your own under the app: it is cancelled when the app is left.

        What it raises is logged and harms nobody else. It may use `modify_state`.

        Raises:
            RuntimeError: the app is not running.
        """
        self._running_scope.start_soon(_run_contained, async_fn, args, name=repr(async_fn))

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the pages and their sockets on one port, until cancelled.

        Args:
            host: the address to listen on.
            port: the port; 0 for any free one.
            task_status: for ``nursery.start``, which gets the address: ``http://127.0.0.1:8000``.

        Raises:
            OSError: the address cannot be listened on.
            RuntimeError: the app is not running.
        """
        pages = {route: html.encode() for route, html in self._pages.items()}
        site = Site(pages, self.directory, dict(self._on_load))
        await serve(site, host, port, task_status=task_status)


def _read_on_load(route: str, given: object) -> tuple[Invocation, ...]:
    try:
        return () if given is None else tuple(_complete(given))
    except TypeError as error:
        message = f"on_load= of the page at {route!r}: {error}"
        raise TypeError(message) from error


def _complete(given: object) -> Iterator[Invocation]:
    if isinstance(given, list | tuple):
        for one in cast("Sequence[object]", given):
            yield from _complete(one)
        return
    invocation = as_invocation(given)
    for name, value in invocation.by_name.items():
        if isinstance(value, Expression):
            message = (
                f"{invocation.handler}: {name} is bound to {value!r}, which only the browser can "
                f"compute; let the handler read the var itself, as in self.name"
            )
            raise TypeError(message)
    yield invocation.complete()


@final
class ModifyState:
    """The turn of one token, as a block. Made by `App.modify_state`; for one use."""

    def __init__(self, app: App, token: str) -> None:
        self._app: Final = app
        self._token: Final = token
        self._block: TurnBlock | None = None

    async def __aenter__(self) -> State:
        if self._block is not None:
            message = "this block was used already; call app.modify_state(token) for each"
            raise RuntimeError(message)
        self._block = TurnBlock(self._app.directory.ref(self._token), self._token)
        return (await self._block.enter()).tree.root

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._block is not None
        await self._block.leave(exc)


async def _run_contained(async_fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
    try:
        await async_fn(*args)
    except* Exception:
        logger.exception("a task of the app failed: %r", async_fn)
