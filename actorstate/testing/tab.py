"""A browser tab in memory: the real protocol, the real connection, and no network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, final

import attrs
import trio

from actorstate.state.effects import Effect
from actorstate.state.handlers import as_invocation
from actorstate.state.invocations import Invocation
from actorstate.state.patch import NO_VALUE, Operation, apply
from actorstate.state.state import State
from actorstate.testing.link import Link
from actorstate.testing.view import TabState
from actorstate.web.connection import SocketConnection
from actorstate.web.protocol import Handshake
from actorstate.web.site import Site

AnyState = TypeVar("AnyState", bound=State)

_ADDRESS: Final = "memory"


class EventFailedError(Exception):
    """The server answered an event with an error frame."""

    def __init__(self, event: str, code: str, message: str, where: str | None) -> None:
        super().__init__(f"{event} came to nothing: {code}: {message}")
        self.code: Final = code
        """What went wrong, in one word of the protocol: ``handler_failed``, ``bad_arguments``."""
        self.message: Final = message
        """The same for a person."""
        self.where: Final = where
        """Path to the culprit in the frame; None if the frame is not to blame."""


class ProtocolError(AssertionError):
    """The server sent what no client could follow. A defect of the library, not of the state."""


@final
@attrs.frozen
class _Sent:
    """An event that is not acknowledged yet."""

    label: str
    frame: str


@final
class _Waiter:
    """Somebody who waits for something to hold."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        self._holds: Final = holds
        self.woken: Final = trio.Event()
        self.error: Exception | None = None
        """What looking raised, to be raised where it is waited."""

    def look(self) -> None:
        """Look, and wake who waits if it holds. Raises nothing: it is called by who sends."""
        if self.woken.is_set():
            return
        try:
            if self._holds():
                self.woken.set()
        except Exception as error:  # noqa: BLE001 - not swallowed: it is raised where it is waited
            self.error = error
            self.woken.set()


@final
class Tab:
    """One browser tab. Made by `open_tab`.

    It keeps a copy of the public state by what the server sends, and nothing else. Its own
    methods may be called by one task or by several.

    Args:
        site: what the running app has for browsers.
        nursery: where its connections run.
        path: path and query of its page.
        headers: what its browser sends with the handshake.
        timeout: how long it waits for anything (seconds of trio's clock).
    """

    def __init__(
        self,
        site: Site,
        nursery: trio.Nursery,
        path: str,
        headers: Mapping[str, str],
        timeout: float,
    ) -> None:
        self._site: Final = site
        self._nursery: Final = nursery
        self._path = path
        self._handshake: Final = Handshake(headers, _ADDRESS)
        self._timeout: Final = timeout
        self._waiters: Final[list[_Waiter]] = []
        self._loads: Final = itertools.count(1)
        self._link: Link | None = None
        self._connection: SocketConnection | None = None
        self._served: trio.Event = trio.Event()
        self._shown: Final[dict[str, dict[str, Any]]] = {}
        self._is_welcome = False
        self._history: str | None = None
        self._nth = 0
        self._seq = 0
        self._waiting: Final[dict[int, _Sent]] = {}
        self._failures: Final[dict[int, EventFailedError]] = {}
        self._breach: ProtocolError | None = None
        self.instance: str = ""
        """The page load, as the protocol names it."""
        self.token: str | None = None
        """The tab's token, a secret; None before the first welcome."""
        self.version: int = -1
        """The version of the state that it shows."""
        self.effects: Final[list[Effect]] = []
        """What the server asked it to do, in order. Yours to clear."""
        self.errors: Final[list[EventFailedError]] = []
        """All errors that it was told, in order. Yours to clear."""
        self.close_code: int | None = None
        """With what its last connection was closed; 1006 where it just ended."""

    # ---- what it shows ---------------------------------------------------------------------

    @property
    def state(self) -> TabState:
        """The public state as the browser has it now. Live: it follows what comes."""
        return TabState(self._shown)

    def server_state(self, cls: type[AnyState]) -> AnyState:
        """Give the state as the server has it, backend vars and all, to read.

        Raises:
            LookupError: the class is no state of the app; or the tab was never connected.
        """
        if self.token is None:
            message = "the tab was never connected, and so has no state on the server"
            raise LookupError(message)
        return self._site.directory.door(self.token).tree.state(cls)

    @property
    def has_line(self) -> bool:
        """Whether it has a connection, welcomed or not yet."""
        return self._link is not None and self._link.is_open

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection, and was welcomed on it."""
        return self.has_line and self._is_welcome

    # ---- events ----------------------------------------------------------------------------

    async def fire(self, event: object, *args: object) -> None:
        """Send an event, and wait until the server has done it and the tab shows what it did.

        Effects that it asked for are here, too. Handlers that it triggered may still be to come;
        see `wait_for`.
        A background task is done when it is started. Cancelled, it stops waiting; the event is
        sent all the same.

        Args:
            event: a handler (``MyState.add``), one with arguments (``MyState.add(3)``), or the
                name of one on the wire (``"state.my_state.add"``), for what no page would send.
            args: arguments as Python has them, sent in their JSON form; with a name, as they are.

        Raises:
            EventFailedError: the server says that it came to nothing.
            TypeError: the handler does not take the arguments; nothing was sent.
            ConnectionError: there is no connection, or it ended meanwhile. The event is sent
                again by `reconnect`.
            TimeoutError: it was not done in time.
        """
        if not self.is_connected:
            message = "the tab is not connected; reconnect it, or use fire_nowait"
            raise ConnectionError(message)
        seq = self.fire_nowait(event, *args)
        label = self._waiting[seq].label
        await self._wait_until(lambda: self._has(seq), f"{label} was not done")
        failure = self._failures.pop(seq, None)
        if failure is not None:
            raise failure

    def _has(self, seq: int) -> bool:
        """Tell whether an event is done, and what followed at once, such as effects, is here."""
        assert self._connection is not None, "it was connected"
        return self._is_welcome and seq not in self._waiting and self._connection.has_sent_all

    def fire_nowait(self, event: object, *args: object) -> int:
        """Send an event, and do not wait. Without a connection it is kept for the next.

        Returns:
            Its number among the events of this page load.

        Raises:
            TypeError: as `fire`.
        """
        label, name, plain = _as_event(event, args)
        self._seq += 1
        frame = json.dumps({"t": "event", "seq": self._seq, "name": name, "args": plain})
        self._waiting[self._seq] = _Sent(label, frame)
        if self._link is not None and self._is_welcome:  # else it is sent after the welcome
            self._link.send(frame)
        return self._seq

    # ---- waiting ---------------------------------------------------------------------------

    async def wait_for(
        self,
        predicate: Callable[[TabState], object],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - with a message of its own
    ) -> None:
        """Wait until something holds of what the tab shows: ``lambda s: s[MyState].count == 3``.

        It is looked at now, and with each frame that comes, so that nothing is missed that shows
        for a moment only. By the time this returns, more may have come.

        Args:
            predicate: is given the tab's state.
            timeout: how long to wait (seconds of trio's clock); None for that of the tab.

        Raises:
            TimeoutError: it does not hold in time; the message has the state.
            ConnectionError: it does not hold, and the connection has ended.
        """
        await self._wait_until(
            lambda: predicate(self.state), "what was waited for did not come", timeout
        )

    async def _wait_until(
        self, condition: Callable[[], object], what: str, seconds: float | None = None
    ) -> None:
        if self._holds(condition, what):
            return
        waiter = _Waiter(lambda: self._holds(condition, what))
        self._waiters.append(waiter)
        limit = self._timeout if seconds is None else seconds
        try:
            with trio.move_on_after(limit):
                await waiter.woken.wait()
        finally:
            self._waiters.remove(waiter)
        if waiter.error is not None:
            raise waiter.error
        if not waiter.woken.is_set():
            message = f"{what} within {limit:g} s; the tab shows {self.state!r}"
            raise TimeoutError(message)

    def _look(self) -> None:
        """Let all who wait look, in the step of what came: what it shows may not last."""
        for waiter in self._waiters:
            waiter.look()

    def _holds(self, condition: Callable[[], object], what: str) -> bool:
        self.check()
        if condition():
            return True
        if not self.has_line:
            message = (
                f"{what}: the connection has ended (code {self.close_code}); the tab shows "
                f"{self.state!r}"
            )
            raise ConnectionError(message)
        return False

    # ---- connections -----------------------------------------------------------------------

    async def disconnect(self) -> None:
        """Cut the line, and wait until the server has noticed. The page stays where it is."""
        self.cut()
        await self._served.wait()

    async def reconnect(self) -> None:
        """Connect again, as the same page load; events that are not done are sent again.

        Raises:
            ConnectionError: the server closes the connection before it welcomes the tab.
            TimeoutError: there is no welcome in time.
        """
        await self.disconnect()
        self.connect()
        await self._wait_until(lambda: self._has(0), "the tab was not welcomed")

    async def reload(self, path: str | None = None) -> None:
        """Load the page again, or go to another: a new page load of the same tab.

        Events that are not done are forgotten, as a browser forgets them.

        Args:
            path: path and query of the page; None for the same.

        Raises:
            Exception: as `reconnect`.
        """
        await self.disconnect()
        self.load(path)
        await self._wait_until(lambda: self._has(0), "the tab was not welcomed")

    def load(self, path: str | None = None) -> None:
        """Begin a new page load, and connect it. Does not wait; see `reload`."""
        self._path = self._path if path is None else path
        self.instance = f"page load {next(self._loads)}"
        self._history = None
        self._seq = 0
        self._waiting.clear()
        self._failures.clear()
        self.connect()

    def connect(self) -> None:
        """Open a connection, and say hello. Does not wait; see `reconnect`."""
        self.cut()
        self._is_welcome = False
        self._served = trio.Event()
        self._nth += 1
        self._link = Link(self._receive, self._take_close)
        self._connection = SocketConnection(self._link, self._site, self._handshake)
        self._nursery.start_soon(self._serve, self._connection, self._served)
        self._say_hello()

    def _say_hello(self) -> None:
        hello = {
            "t": "hello",
            "token": self.token,
            "instance": self.instance,
            "nth": self._nth,
            "version": self.version if self._history is not None else None,
            "history": self._history,
            "path": self._path,
        }
        assert self._link is not None, "it is connected"
        self._link.send(json.dumps(hello))

    def cut(self) -> None:
        """Cut the line. Does not wait; see `disconnect`."""
        if self._link is None:
            self._served.set()
        else:
            self._link.cut()

    async def _serve(self, connection: SocketConnection, served: trio.Event) -> None:
        try:
            await connection.run()
        finally:
            served.set()

    def check(self) -> None:
        """Raise what the tab found wrong with what the server sent, if nobody was told.

        Raises:
            ProtocolError: the server sent what no client could follow.
        """
        if self._breach is not None:
            raise self._breach

    def _take_close(self, code: int) -> None:
        self.close_code = code
        self._look()

    # ---- what comes ------------------------------------------------------------------------

    def _receive(self, message: str) -> None:
        frame: dict[str, Any] = json.loads(message)
        try:
            self._take(frame)
        except (LookupError, ProtocolError) as error:  # it is told to who waits for something
            self._breach = ProtocolError(f"{error!r}, at {message}")
        self._look()

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["t"]:
            case "welcome":
                self._take_welcome(frame)
            case "patch":
                self._take_patch(frame)
            case "error":
                self._take_error(frame)
            case "effect":
                self.effects.append(Effect(frame["name"], frame["args"]))
            case "ping" if self._link is not None:
                self._link.send('{"t":"pong"}')
            case _:
                pass
        self._settle(frame.get("ack", 0))

    def _take_welcome(self, frame: dict[str, Any]) -> None:
        if "state" in frame:
            self._shown.clear()
            self._shown.update(frame["state"])
        elif (frame["version"], frame["history"]) != (self.version, self._history):
            message = f"it stands on version {frame['version']}, and the tab on {self.version}"
            raise ProtocolError(message)
        self.token, self.version, self._is_welcome = frame["token"], frame["version"], True
        self._history = frame["history"]
        self._settle(frame["ack"])
        assert self._link is not None, "it came over a link"
        for sent in self._waiting.values():
            self._link.send(sent.frame)

    def _take_patch(self, frame: dict[str, Any]) -> None:
        base = frame.get("base", frame["version"] - 1)
        if base != self.version:
            message = f"a patch of version {base} does not fit on version {self.version}"
            raise ProtocolError(message)
        operations = [
            Operation(op["op"], op["path"], op.get("value", NO_VALUE)) for op in frame["ops"]
        ]
        apply(self._shown, operations)
        self.version = frame["version"]

    def _take_error(self, frame: dict[str, Any]) -> None:
        seq = frame.get("seq")
        sent = self._waiting.get(seq) if seq is not None else None
        event = sent.label if sent is not None else "a frame"
        error = EventFailedError(event, frame["code"], frame["message"], frame.get("where"))
        self.errors.append(error)
        if error.code == "bad_token":  # one of another store: it begins anew, as browsers do
            self.token = None
            self._say_hello()
        if seq is not None:
            self._failures[seq] = error
            self._waiting.pop(seq, None)

    def _settle(self, ack: int) -> None:
        for seq in [seq for seq in self._waiting if seq <= ack]:
            del self._waiting[seq]


def _as_event(event: object, args: Sequence[object]) -> tuple[str, str, Sequence[Any]]:
    """Give an event's name for people, its name on the wire, and its arguments as JSON."""
    if isinstance(event, str):
        return f"{event}{tuple(args)!r}", event, args
    invocation = as_invocation(event)
    for arg in args:
        invocation = invocation.fill(arg)
    complete = invocation.complete()
    plain = complete.handler.unstructure(complete.args)
    return label_of(complete), complete.name, plain


def label_of(invocation: Invocation) -> str:
    """Name an invocation as a program writes it: ``MyState.add(3)``."""
    return f"{invocation.handler}({', '.join(map(repr, invocation.args))})"
