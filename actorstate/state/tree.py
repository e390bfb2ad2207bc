"""The state tree: the instances of all State classes for one token."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol, TypeVar, final

import attrs

from actorstate.exceptions import SnapshotError, UnknownHandlerError
from actorstate.state.convert import Plain
from actorstate.state.handlers import Handler
from actorstate.state.router import Router
from actorstate.state.state import State
from actorstate.state.turn import Turn

AnyState = TypeVar("AnyState", bound=State)


class Door(Protocol):
    """The way from ``async with self`` to the mailbox; brought by the room above."""

    def enter(self, state: AnyState) -> Awaitable[AnyState]:
        """Ask for the token's turn, wait for it, and give back the state."""
        ...

    def leave(self, error: BaseException | None) -> Awaitable[None]:
        """End the turn that was entered: commit it, or undo it if there is an error."""
        ...


@final
@attrs.frozen(eq=False)
class Schema:
    """All State classes under one root, as they are when an app starts.

    Args:
        root: the root class.
        states: every State class by its full name.
    """

    root: type[State]
    states: Mapping[str, type[State]]

    @classmethod
    def of(cls, root: type[State]) -> Schema:
        """Collect the State classes under a root, and check their handlers.

        Raises:
            StateDefinitionError: a handler's annotations cannot be resolved.
        """
        states: dict[str, type[State]] = {}
        waiting = [root]
        while waiting:
            state = waiting.pop()
            states[state.get_full_name()] = state
            for handler in state.definition().handlers.values():
                handler.check()
            waiting.extend(state.definition().substates.values())
        return cls(root, dict(sorted(states.items())))

    def handler(self, name: str) -> Handler:
        """Give the handler of a name from the wire; dicts alone decide, never ``getattr``.

        Raises:
            UnknownHandlerError: there is none that a browser may call.
        """
        path, _, method = name.rpartition(".")
        state = self.states.get(path)
        handler = state.definition().handlers.get(method) if state is not None else None
        if handler is None:
            message = f"no handler {name!r}"
            raise UnknownHandlerError(message)
        return handler


def token_label(token: str) -> str:
    """Name a token in a log. Long ones are cut: who can read the log shall not become the tab.

    >>> token_label("alice"), token_label("kx1Wc0hXv5V9PwWq3mJ4")
    ('alice', 'kx1Wc0hX…')
    """
    return token if len(token) <= 16 else f"{token[:8]}…"  # noqa: PLR2004 - as the example shows


@final
class StateTree:
    """The states of one token, their version, and the turn that is open on them.

    Args:
        schema: the State classes.
        token: whose tree it is.
        door: how ``async with self`` asks for a turn.
    """

    def __init__(self, schema: Schema, token: str, door: Door) -> None:
        self.schema: Final = schema
        self.token: Final = token
        self.door: Final = door
        self.version: int = 0
        self.turn: Turn | None = None
        self.router: Router = Router(token)
        self._states: dict[type[State], State] = {}

    def state(self, cls: type[AnyState]) -> AnyState:
        """Give the instance of a State class, made when it is first touched.

        Raises:
            LookupError: the class is not under this tree's root.
        """
        state = self._states.get(cls)
        if state is None:
            if self.schema.states.get(cls.get_full_name()) is not cls:
                message = f"{cls.__name__} is not a state under {self.schema.root.__name__}"
                raise LookupError(message)
            # Threads of handlers come here too; whoever is second takes what the first has made.
            state = self._states.setdefault(cls, cls.create_for(self))
        return state  # pyright: ignore[reportReturnType] - keyed by its own class

    @property
    def root(self) -> State:
        """The instance of the root class."""
        return self.state(self.schema.root)

    def open_turn(self, holder: str) -> Turn:
        """Grant the turn. One at a time: the token actor asks for it between messages alone.

        Args:
            holder: who gets it, for logs.
        """
        assert self.turn is None, f"{self.turn} is still open"
        self.turn = Turn(self, holder)
        return self.turn

    def public(self) -> dict[str, dict[str, Plain]]:
        """Give what a browser sees: the JSON form of every var but the backend ones."""
        return {
            name: {
                var.name: var.plain(self._value(cls, var.name))
                for var in cls.definition().vars.values()
                if not var.is_backend
            }
            for name, cls in self.schema.states.items()
        }

    def _value(self, cls: type[State], name: str) -> Any:
        # An untouched state is not created for being looked at: it has its defaults.
        state = self._states.get(cls)
        return vars(state)[name] if state is not None else cls.definition().vars[name].default

    def restore(self, version: int, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the values of a snapshot; a var that is not in it keeps its default.

        Raises:
            SnapshotError: a stored value does not fit its var.
        """
        if self.version or self.turn is not None:
            message = f"the tree of {self.token} is in use already"
            raise SnapshotError(message)
        for name, stored in values.items():
            cls = self.schema.states.get(name)
            if cls is None:
                continue
            declared = cls.definition().vars
            known = {var: declared[var].restore(stored[var]) for var in stored if var in declared}
            vars(self.state(cls)).update(known)
        self.version = version
