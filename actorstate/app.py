"""The App: puts the layers together, and is what programs hold in their hands."""

from __future__ import annotations

import functools
import importlib
import math
import secrets
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence, Set as AbstractSet
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self, TypeVar, TypeVarTuple, cast, final

import attrs
import trio

from actorstate.actors.background_task import BackgroundTask
from actorstate.actors.conductor import Conductor
from actorstate.actors.directory import Directory
from actorstate.actors.door import TokenDoor
from actorstate.actors.errors import OnError, Reporter
from actorstate.actors.flavor import Flavor, TrioFlavor
from actorstate.actors.holding import TurnWatch
from actorstate.actors.limits import Limits
from actorstate.actors.modify import ModifyState, ModifyStateFromThread
from actorstate.actors.own_tasks import OwnTasks
from actorstate.actors.runtime import Scope
from actorstate.actors.services import Services
from actorstate.exceptions import PageError
from actorstate.state.expressions import Expression
from actorstate.state.handlers import Invocation, as_invocation
from actorstate.state.schema import Schema
from actorstate.state.state import State
from actorstate.stores.base import Store, immediate_commit
from actorstate.stores.memory import MemoryStore
from actorstate.ui import Child, render_page
from actorstate.web.admission import Admission
from actorstate.web.answers import RESERVED
from actorstate.web.asgi import AsgiEntrance
from actorstate.web.limits import ConnectionLimits
from actorstate.web.origins import Origins
from actorstate.web.peers import Proxies
from actorstate.web.server import Entrance, serve
from actorstate.web.site import Site
from actorstate.web.tokens import Mint

Args = TypeVarTuple("Args")
Number = TypeVar("Number", int, float)

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
@attrs.frozen(eq=False)
class _Running:
    """What an app has while it runs."""

    scope: Scope
    directory: Directory
    own_tasks: OwnTasks
    flavor: Flavor
    trio_token: trio.lowlevel.TrioToken
    admission: Admission

    @property
    def is_here(self) -> bool:
        """Whether the running code is in the trio run of the app."""
        in_a_run = trio.lowlevel.in_trio_run()
        return in_a_run and trio.lowlevel.current_trio_token() is self.trio_token


class App:  # not final, unlike the others: a door to the library may want an App of its own
    """The states of an application, and the pages that show them.

    As a library, without any web: ``async with App() as app:`` inside a trio program. Any string
    is a token there. As a server: `serve`, or ``python -m actorstate run``.

    Args:
        root: the root of its State classes.
        store: where state trees rest. Not closed by the app: who opened it closes it.
        mailbox_capacity: how many messages may wait for one token. Beyond it, senders get
            `MailboxFullError`, and sockets are not read. As many handlers that follow from turns
            may wait; a turn that asks for more gets the same error, and is undone.
        max_waiters: how many blocks may wait for the turn of one token. Beyond it, entering one
            raises `MailboxFullError`.
        max_tasks: how many background tasks of one token may run, or wait for others of their
            kind. Beyond it one is not started, and the page that asked for it is told.
        slow_turn: seconds after which a turn that is held is logged, with its holder.
        turn_timeout: seconds after which it is cancelled and undone, with `TurnTimeoutError`.
            Code that cannot be cancelled, such as a thread, holds on to it until it comes to its
            end, and is undone then.
        disconnect_grace: seconds without a connection after which a tab counts as disconnected.
        idle_timeout: seconds after which a token that nobody uses is put to rest in the store: it
            has no connection, no background task, and gets no messages. Whatever comes for it
            brings it back. ``math.inf`` for never.
        shutdown_timeout: seconds that turns have to finish when the app is left.
        on_error: is called with each error of handlers and tasks, and with where it came up. It
            may be async; it runs under the app then. The errors are in the log already.
        asyncio: whether handlers, background tasks and ``on_error`` may await what is asyncio's as
            well as what is trio's. Needs the extra ``actorstate[asyncio]``.
        connections: the bounds for those who connect to it.

    Raises:
        ValueError: a number is out of its range.
        ModuleNotFoundError: ``asyncio=True``, and the extra is not installed.

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

    def __init__(  # noqa: PLR0913 - one for each thing that an app decides, all by name
        self,
        *,
        root: type[State] = State,
        store: Store | None = None,
        mailbox_capacity: int = 1000,
        max_waiters: int = 1000,
        max_tasks: int = 100,
        slow_turn: float = 1.0,
        turn_timeout: float = 60.0,
        disconnect_grace: float = 5.0,
        idle_timeout: float = 900.0,
        shutdown_timeout: float = 10.0,
        on_error: OnError | None = None,
        asyncio: bool = False,
        connections: ConnectionLimits | None = None,
    ) -> None:
        self._root: Final = root
        self._store: Store = store if store is not None else MemoryStore()
        self._was_given_store = store is not None
        self._limits: Final = Limits(
            _at_least(1, mailbox_capacity=mailbox_capacity),
            _at_least(1, max_waiters=max_waiters),
            _at_least(0, max_tasks=max_tasks),
            _at_least(0, disconnect_grace=disconnect_grace),
            _at_least(0, idle_timeout=idle_timeout),
        )
        self._slow_turn: Final = _at_least(0, slow_turn=slow_turn)
        self._turn_timeout: Final = _at_least(0, turn_timeout=turn_timeout)
        self._shutdown_timeout: Final = _at_least(0, shutdown_timeout=shutdown_timeout)
        self._connection_limits: Final = connections or ConnectionLimits()
        self._reporter: Final = Reporter(on_error)
        self._pages: Final[dict[str, str]] = {}
        self._on_load: Final[dict[str, tuple[Invocation, ...]]] = {}
        self._background_tasks: Final[set[BackgroundTask]] = set()
        self._conductor: Conductor | None = None
        self._new_flavor: Final = _asyncio_flavor() if asyncio else _trio_flavor
        self._nursery: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._running: _Running | None = None
        self._is_leaving = False
        self._leave_by = math.inf
        self._asgi: Final = AsgiEntrance(self, Origins(self._connection_limits.allowed_origins))

    @property
    def asgi(self) -> AsgiEntrance:
        """The app as an ASGI application, for a server that runs on trio. See docs/asgi.md."""
        return self._asgi

    @property
    def background_tasks(self) -> AbstractSet[BackgroundTask]:
        """The running background tasks of all tokens. Live: a task that ends is gone from it.

        So go through a copy if you await meanwhile: ``for task in list(app.background_tasks)``.
        """
        return self._background_tasks

    @property
    def was_given_store(self) -> bool:
        """Whether the program gave it a store; else it has one of its own, in memory."""
        return self._was_given_store

    @property
    def is_running(self) -> bool:
        """Whether it is entered."""
        return self._nursery is not None

    @property
    def has_own_tasks(self) -> bool:
        """Whether a task of `start_soon` runs, or one of asyncio's."""
        running = self._running
        return running is not None and bool(running.own_tasks or running.flavor)

    def use_store(self, store: Store) -> None:
        """Let state trees rest in another store, from the next time the app is entered.

        Raises:
            RuntimeError: the app is running.
        """
        if self.is_running:
            message = "the app is running, with its tokens in another store; leave it first"
            raise RuntimeError(message)
        self._store, self._was_given_store = store, True

    def use_conductor(self, conductor: Conductor) -> None:
        """Let a conductor decide which message is next, from the next time the app is entered.

        For tests; `actorstate.testing.check_interleavings` is one.

        Raises:
            RuntimeError: the app is running.
        """
        if self.is_running:
            message = "the app is running, and messages come in their order; leave it first"
            raise RuntimeError(message)
        self._conductor = conductor
        self._reporter.listener = conductor.failed

    def add_page(
        self,
        page: Child | Callable[[], Child],
        route: str = "/",
        *,
        title: str = "actorstate",
        description: str = "",
        on_load: object = None,
    ) -> None:
        """Show a page at a route.

        Args:
            page: an element, or a function that gives one.
            route: the path of its URL, as in ``/orders``.
            title: what the browser's tab says.
            description: what search engines show, if anything.
            on_load: what is run each time a browser loads the page: a handler, one with arguments
                bound (``MyState.open("inbox")``), or a list of these.

        Raises:
            PageError: the route does not begin with a slash, belongs to the library, or is
                taken; or there is nothing to show.
            TypeError: what is given is no element; or something in ``on_load`` is no handler, or
                is not given all its arguments, as values of the annotated types.
        """
        if not route.startswith("/") or route.startswith("/_actorstate/") or route in RESERVED:
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
        self._pages[route] = render_page(body, title=title, description=description)
        self._on_load[route] = invocations

    async def __aenter__(self) -> Self:
        if self.is_running:
            message = "the app is running already; make another App to run beside it"
            raise RuntimeError(message)
        schema = Schema.of(self._root)
        self._nursery = trio.open_nursery()
        try:
            flavor = await self._new_flavor(self._reporter).__aenter__()
        except BaseException:
            self._nursery = None
            raise
        nursery = await self._nursery.__aenter__()
        outer = _current.set(self)
        scope = Scope(nursery)
        _current.reset(outer)
        self._reporter.run_in(scope, flavor)
        watch = TurnWatch(self._slow_turn, self._turn_timeout)
        store = self._store
        services = Services(
            schema=schema,
            store=store,
            commit_now=immediate_commit(store),
            owner=secrets.token_hex(8),
            background_tasks=self._background_tasks,
            watch=watch,
            flavor=flavor,
            reporter=self._reporter,
            limits=self._limits,
            conductor=self._conductor,
            is_leaving=lambda: self._is_leaving,
        )
        scope.start_soon(watch.run, name="watch over turns")
        scope.start_soon(store.run, services.owner, name="store")
        directory = Directory(scope, services)
        scope.start_soon(directory.run, name="directory")
        self._running = _Running(
            scope,
            directory,
            OwnTasks(self._reporter, flavor),
            flavor,
            trio.lowlevel.current_trio_token(),
            Admission(self._connection_limits),
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop what runs, wait until it has ended, and let the block's exception pass.

        Background tasks and those of `start_soon` come first: they are cancelled as soon as they
        are in no block. Turns that are open, and messages that lie in mailboxes, come to their
        end. What has not after ``shutdown_timeout`` is cancelled and undone; so is all of it at
        once if the block was cancelled, or interrupted from the keyboard: who does that does not
        want to wait.
        """
        assert self._nursery is not None
        assert self._running is not None
        running = self._running
        self._begin_to_leave(running)
        try:
            if exc is None or isinstance(exc, Exception):
                await self._work_off()
        finally:
            running.scope.nursery.cancel_scope.cancel()
            try:
                await self._leave(exc_type, exc, traceback)
            finally:
                self._nursery = self._running = None
                self._is_leaving = False
                await running.flavor.__aexit__(None, None, None)

    def stop(self) -> None:
        """Ask the app to stop serving: call it when the process is asked to end.

        Nobody else comes in, and no more is read from those who are here. What has begun comes to
        its end, as when the app is left, and is shown to its pages. Then `serve` closes their
        sockets, so that they connect anew and send what was not read, and returns; what it was
        entered for is over, and the app is to be left. Waits for nothing. In the app's thread only.

        Raises:
            RuntimeError: the app is not running.
        """
        if self._running is None:
            message = "the app is not running; there is nothing to stop"
            raise RuntimeError(message)
        self._begin_to_leave(self._running)

    async def drain(self) -> None:
        """`stop`, and wait until what has begun is done and shown, and all sockets are closed.

        For who serves the app by another server (`asgi`), before that server is stopped. `serve`
        does so by itself. Not for the app's own handlers and tasks: it waits for these.

        Raises:
            RuntimeError: the app is not running.
        """
        self.stop()
        assert self._running is not None
        await self._running.admission.see_out(self._work_off)

    def _begin_to_leave(self, running: _Running) -> None:
        """Let nobody else come in, and give what is here its time to end. Without effect twice."""
        if not self._is_leaving:
            self._is_leaving = True
            self._leave_by = trio.current_time() + self._shutdown_timeout
            running.directory.close(self._is_here)
            running.admission.close()

    async def _work_off(self) -> None:
        """Let all that runs come to its end, for as long as it has time."""
        assert self._running is not None
        with trio.move_on_at(self._leave_by):
            await self._finish(self._running)

    async def _finish(self, running: _Running) -> None:
        for task in self._background_tasks:
            task.suspend()  # here, not behind all that lies in the mailbox of its actor
        parts = running.own_tasks, running.flavor, running.directory
        while any(parts):  # the last turns of the ones may begin others
            async with trio.open_nursery() as nursery:
                for part in parts:
                    nursery.start_soon(part.stop)
        await self._reporter.wait_told()

    async def _leave(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._nursery is not None
        try:
            await self._nursery.__aexit__(exc_type, exc, traceback)
        except BaseExceptionGroup as group:
            # A nursery wraps the exception of its block in a group. That there is a nursery is
            # not the block's affair, so the exception leaves as it came.
            if group.exceptions != (exc,):
                raise

    def _is_here(self) -> bool:
        """Tell whether the running code is a handler, background task or task of this app."""
        return _current.get(None) is self

    @property
    def _entered(self) -> _Running:
        if self._running is None:
            message = "the app is not running; enter it first: `async with app:`"
            raise RuntimeError(message)
        if self._is_leaving and not self._is_here():
            message = "the app is being left, and is not running for newcomers any more"
            raise RuntimeError(message)
        return self._running

    @property
    def directory(self) -> Directory:
        """The actors of all tokens.

        Raises:
            RuntimeError: the app is not running.
        """
        return self._entered.directory

    async def open_site(self) -> Site:
        """Give what browsers get from it, as it is now. For who serves it in a way of their own.

        Raises:
            StoreError: the store does not give the key for the tokens of tabs.
            RuntimeError: the app is not running.
        """
        running = self._entered
        return Site(
            {route: html.encode() for route, html in self._pages.items()},
            self.directory,
            dict(self._on_load),
            self._connection_limits,
            Mint(await self._store.signing_key()),
            running.admission,
        )

    @property
    def trio_token(self) -> trio.lowlevel.TrioToken:
        """The trio run that the app is in; for threads.

        Raises:
            RuntimeError: the app is not running.
        """
        return self._entered.trio_token

    def modify_state(self, token: str) -> ModifyState:
        """Give a turn of a token: ``async with app.modify_state(token) as state``.

        Inside the block, ``state`` is the root state, and the block alone may change the
        token's state; what it changed is committed, stored and shown when the block ends, and
        undone if it raises or is cancelled. Entering waits for the turn, in the mailbox's order;
        if cancelled there, the request is withdrawn. If cancelled while the store takes what was
        changed, that is committed all the same.

        Args:
            token: whose state. In a library any string; of a tab, what `State.get_token` gives.

        Raises:
            ImmutableStateError: (on entering) the caller is inside a turn of this token already.
            DeadlockError: (on entering) the token's turn waits for one that the caller holds.
            MailboxFullError: (on entering) too many wait for this token already.
            TurnTimeoutError: (on leaving, and in the place of a cancellation inside) the turn was
                held for longer than the app's ``turn_timeout``; nothing was changed.
            ActivationError: (on entering) the token's state cannot be loaded.
            StoreError: (on leaving) the store did not take what was changed, and it is undone;
                `LeaseLostError` and `StoreUnavailableError` are such.
            ActorDeadError: the app was left meanwhile; nothing was changed.
            RuntimeError: (on entering) the app is not running, or in another trio run; or what
                this gave was entered before. (On leaving) another task has entered it, as where
                an async generator that was not exhausted is closed by the garbage collector; then
                it is undone.
            TypeError: (here) the token is no string.
        """
        return ModifyState(self._opener(token))

    def modify_state_from_thread(self, token: str) -> ModifyStateFromThread:
        """Give a turn of a token to a thread.

        ``with app.modify_state_from_thread(token) as state`` is `modify_state` for any thread
        but that of the app, whether trio runs it or not. Entering and leaving block the thread.
        A turn that it holds for too long cannot be taken from it: it may then write no more, and
        the block ends with `TurnTimeoutError`; until then the token waits.

        Args:
            token: whose state.

        Raises:
            trio.Cancelled: in a thread that trio runs, if the task that waits for it is cancelled:
                while this waits for the turn, or at the end of the block, which is undone.
            RuntimeError: (on entering) called in the trio thread; or the app is not running.
            Exception: otherwise as `modify_state`.
        """
        return ModifyStateFromThread(self._opener(token), lambda: self.trio_token)

    def _opener(self, token: object) -> Callable[[], TokenDoor]:
        """Give what opens the door of a token, as soon as that is called."""
        if not isinstance(token, str):
            message = f"a token is a string, got {token!r}"
            raise TypeError(message)
        return functools.partial(self._open_door, token)

    def _open_door(self, token: str) -> TokenDoor:
        running = self._entered
        if not running.is_here:
            message = (
                "the app is in another trio run than the running code; change its state by a "
                "task under the app, with `start_soon`, or in a thread of your own, with "
                "`modify_state_from_thread`"
            )
            raise RuntimeError(message)
        return running.directory.door(token)

    def start_soon(self, async_fn: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Start a task of your own under the app; from any thread, and any trio run.

        It is cancelled when the app is left, but not in the middle of a `modify_state`. From
        another trio run it is started soon, and not at all if the app is left before. What it
        raises is logged, told to ``on_error``, and harms nobody else.

        Raises:
            RuntimeError: the app is not running.
        """
        running = self._entered
        start = functools.partial(running.own_tasks.start, running.scope, async_fn, args)
        if not trio.lowlevel.in_trio_run():
            trio.from_thread.run_sync(start, trio_token=running.trio_token)
        elif running.is_here:
            start()
        else:  # in another run, which must not be blocked

            def start_if_open() -> None:
                with suppress(RuntimeError):  # of the nursery: the app was left meanwhile
                    start()

            running.trio_token.run_sync_soon(start_if_open)

    async def serve(  # noqa: PLR0913 - what a port has to know, all but its address by name
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        allowed_origins: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the pages and their sockets on one port, until cancelled, or until `stop`.

        Cancelled, it closes all sockets at once. After `stop` it closes them when what has begun is
        done and shown, and returns.

        Args:
            host: the address to listen on.
            port: the port; 0 for any free one.
            allowed_origins: whose pages may open a socket here, as ``https://shop.example``,
                beside those from here and those of `ConnectionLimits.allowed_origins`.
            trusted_proxies: addresses, and networks as ``10.0.0.0/8``, of proxies in front. What
                these say in ``X-Forwarded-For`` and ``X-Forwarded-Proto`` is believed.
            ssl_context: for TLS, with the certificate loaded.
            task_status: for ``nursery.start``, which gets the address: ``http://127.0.0.1:8000``.

        Raises:
            ValueError: an origin, or the address of a proxy, is none.
            OSError: the address cannot be listened on; or the store does not give the key for
                the tokens of tabs (`StoreError`).
            RuntimeError: the app is not running.
        """
        origins = Origins([*self._connection_limits.allowed_origins, *allowed_origins])
        proxies = Proxies(trusted_proxies)
        entrance = Entrance(await self.open_site(), origins, proxies, ssl_context)
        await serve(entrance, host, port, self._work_off, task_status=task_status)


def _trio_flavor(_: Reporter) -> Flavor:
    return TrioFlavor()


def _asyncio_flavor() -> Callable[[Reporter], Flavor]:
    """Bring in what knows asyncio, which is not installed with everything else.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return importlib.import_module("actorstate.actors.asyncio_flavor").AsyncioFlavor
    except ModuleNotFoundError as error:
        message = "App(asyncio=True) needs trio-asyncio; install the extra actorstate[asyncio]"
        raise ModuleNotFoundError(message, name=error.name) from error


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


def _at_least(least: float, **named: Number) -> Number:
    [(name, value)] = named.items()
    if not value >= least:  # as it is of what is no number at all, such as nan
        message = f"{name} has to be at least {least}, got {value}"
        raise ValueError(message)
    return value
