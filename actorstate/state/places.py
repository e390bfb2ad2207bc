"""The place of a var: where its value is, and the only way to change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from actorstate.exceptions import ImmutableStateError
from actorstate.state.changes import Log, VarSet
from actorstate.state.holders import is_held, is_reading, turns_in_context
from actorstate.state.json_types import MOST_BITS
from actorstate.state.nodes import orphan

if TYPE_CHECKING:
    from actorstate.state.state import State
    from actorstate.state.tree import StateTree
    from actorstate.state.vars import Var

_set: Final = object.__setattr__


@final
class VarPlace:
    """One var of one tree: where its value is, and the only way to change it."""

    __slots__ = ("is_stored", "state", "tree", "var")

    def __init__(self, tree: StateTree, state: State, var: Var) -> None:
        self.tree: StateTree = tree
        self.state: State = state
        self.var: Var = var
        self.is_stored: bool = False
        """Whether the snapshot has a value of it, which operations can change."""

    @property
    def label(self) -> str:
        """Its name for people: ``Cart.items``."""
        return str(self.var)

    @property
    def path(self) -> tuple[str, str]:
        """Where it lies in the state."""
        return self.var.path

    def writable_log(self) -> Log:
        """Give where to note a change.

        Raises:
            ImmutableStateError: the running code does not hold the open turn of the tree.
        """
        turn = self.tree.turn
        # As `is_held`, but for the call: every assignment comes by here.
        if (
            turn is None
            or not turn.is_writable
            or turn not in turns_in_context.get()
            or is_reading.get()
        ):
            raise ImmutableStateError(self._refusal())
        return turn.log

    def check_writable(self) -> None:
        """Raise what `writable_log` would."""
        _ = self.writable_log()

    def assign(self, value: Any) -> None:
        """Give the var another value, and note the old one.

        Raises:
            ImmutableStateError: as `writable_log`.
            TypeError: the value is not of the var's type. Nothing was changed.
        """
        log = self.writable_log()
        var, state = self.var, self.state
        old = getattr(state, var.name)
        if value is old:  # it is after `self.items += ...`, which has changed it
            return
        exact = var.exact_type
        if type(value) is not exact or (exact is int and value.bit_length() > MOST_BITS):
            value = var.own(value, self)
            log = self.writable_log()  # once more: copying may take a thread long
            if var.holds_nodes:
                orphan((old,))
        _set(state, var.name, value)
        log.entries.append(VarSet(self, old))

    def exchange(self, value: Any) -> None:
        """Give the var another value that is its own already, as `assign` does."""
        log, old = self.writable_log(), self.value()
        if self.var.shape.holds_nodes:
            orphan((old,))
        _set(self.state, self.var.name, value)
        log.entries.append(VarSet(self, old))

    def value(self) -> Any:
        """Give the value that the var has now."""
        return getattr(self.state, self.var.name)

    def put(self, value: Any) -> None:
        """Let the var have a value that is its own already. For undoing, and for snapshots.

        Not through the ``__dict__`` of the state: once it is asked for, Python no longer reads
        the attributes by its fast way.
        """
        _set(self.state, self.var.name, value)

    def _refusal(self) -> str:
        if is_reading.get():
            return f"{self.var} was not changed: computed vars are computed here, and only read"
        turn = self.tree.turn
        if turn is not None and turn.is_revoked and is_held(turn):
            return (
                f"{self.var} was not changed: the turn was taken from {turn.holder}, which held it "
                f"for too long, or went on as the app was left. Its block ends with an error, and "
                f"leaves nothing behind"
            )
        return (
            f"{self.var} was not changed: it can be changed only by who holds the tab's turn. In "
            f"a background task write inside `async with self`; elsewhere inside "
            f"`async with app.modify_state(token) as state`"
        )
