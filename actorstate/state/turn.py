"""The turn: the exclusive right to change one token's state, and the changes made under it.

A turn lives once::

                 ┌────────────── keep ─────────────┐
                 ▼                                 │
    grant ──▶  OPEN ── checkpoint ──▶ CHECKPOINTING
                 │                         │
                 ├─ commit ─▶ COMMITTING   │
                 │              │    │     │
                 │            stored │     │
                 │              ▼  roll_back (also from OPEN and CHECKPOINTING)
                 │         COMMITTED │     │
                 └────────────────┐  ▼     ▼
                                  └▶ ROLLED_BACK

The table `_NEXT` is the machine; nothing else decides a transition. Asking for a turn and waiting
for it are not in it: they are a message in the mailbox of the token actor, and a turn that was
never granted was never there.

Checkpointing (a ``yield`` in a handler or in ``async with self``) hands over what is done so far
and stays open: tasks started inside the block may go on writing while the store takes it, into
a fresh undo log. If the store fails, both logs are undone, the newer one first.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

import attrs

from actorstate.exceptions import ImmutableStateError
from actorstate.state.convert import Plain, same_json
from actorstate.state.patch import Operation

if TYPE_CHECKING:
    from actorstate.state.state import State
    from actorstate.state.tree import StateTree
    from actorstate.state.vars import Var


class TurnState(enum.StrEnum):
    """Where a turn is in its life."""

    OPEN = "open"
    CHECKPOINTING = "checkpointing"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


class TurnStep(enum.StrEnum):
    """What moves a turn on."""

    CHECKPOINT = "checkpoint"
    KEEP = "keep"
    COMMIT = "commit"
    STORED = "stored"
    ROLL_BACK = "roll back"


_NEXT: Final[Mapping[tuple[TurnState, TurnStep], TurnState]] = {
    (TurnState.OPEN, TurnStep.CHECKPOINT): TurnState.CHECKPOINTING,
    (TurnState.CHECKPOINTING, TurnStep.KEEP): TurnState.OPEN,
    (TurnState.OPEN, TurnStep.COMMIT): TurnState.COMMITTING,
    (TurnState.COMMITTING, TurnStep.STORED): TurnState.COMMITTED,
    (TurnState.OPEN, TurnStep.ROLL_BACK): TurnState.ROLLED_BACK,
    (TurnState.CHECKPOINTING, TurnStep.ROLL_BACK): TurnState.ROLLED_BACK,
    (TurnState.COMMITTING, TurnStep.ROLL_BACK): TurnState.ROLLED_BACK,
}

_WRITABLE: Final = frozenset({TurnState.OPEN, TurnState.CHECKPOINTING})
_ENDED: Final = frozenset({TurnState.COMMITTED, TurnState.ROLLED_BACK})


@final
@attrs.frozen
class Commit:
    """What one turn did, as the store takes it and the connections show it."""

    version: int
    """The version of the state tree after it."""
    changes: Mapping[str, Mapping[str, Plain]]
    """New values in JSON form by state and var, backend vars included: for the store alone."""
    operations: tuple[Operation, ...]
    """The same for the public vars, as operations: for anyone."""


_Undo = dict[tuple["State", "Var"], Any]
"""The value that each changed var had before its first change."""


@final
class Turn:
    """The open turn of one state tree. Made by `StateTree.open_turn` alone."""

    __slots__ = ("_handed_over", "_state", "_undo", "block", "holder", "tree")

    def __init__(self, tree: StateTree, holder: str) -> None:
        self.tree: StateTree = tree
        self.holder: str = holder
        self.block: object = None
        """What ends it, where it was lent; known to the room above."""
        self._state = TurnState.OPEN
        self._undo: _Undo = {}
        self._handed_over: _Undo = {}

    def __repr__(self) -> str:
        return f"<turn of {self.holder}: {self._state.value}>"

    @property
    def is_writable(self) -> bool:
        """Whether its holder may change state now."""
        return self._state in _WRITABLE

    @property
    def has_ended(self) -> bool:
        """Whether it was committed or rolled back."""
        return self._state in _ENDED

    def assign(self, state: State, var: Var, value: Any) -> None:
        """Give a var of the tree a new value, and remember the old one.

        Raises:
            TypeError: the value is not of the var's type. Nothing was changed.
        """
        mine = var.own(value)
        if not self.is_writable:  # it ended while a thread was copying
            message = f"{var} was not changed: the turn of {self.holder} has ended meanwhile"
            raise ImmutableStateError(message)
        values = vars(state)
        self._undo.setdefault((state, var), values[var.name])
        values[var.name] = mine

    def commit(self) -> Commit | None:
        """End the block: no more writes. Give what to store, or None if nothing changed."""
        return self._hand_over(TurnStep.COMMIT)

    def checkpoint(self) -> Commit | None:
        """Give what to store of the work done so far; the turn goes on."""
        return self._hand_over(TurnStep.CHECKPOINT)

    def stored(self, commit: Commit | None) -> None:
        """Take note that the store has the commit (or that there was nothing to store)."""
        keep = self._state is TurnState.CHECKPOINTING
        self._step(TurnStep.KEEP if keep else TurnStep.STORED)
        self._handed_over = {}
        if commit is not None:
            self.tree.version = commit.version

    def roll_back(self) -> None:
        """Leave nothing behind of what the store does not have. Without effect once ended."""
        if self.has_ended:
            return
        self._step(TurnStep.ROLL_BACK)
        for undo in (self._undo, self._handed_over):
            for (state, var), old in undo.items():
                vars(state)[var.name] = old

    def _step(self, step: TurnStep) -> None:
        self._state = _NEXT[self._state, step]
        if self.has_ended:
            self.tree.turn = None

    def _hand_over(self, step: TurnStep) -> Commit | None:
        self._step(step)
        self._handed_over, self._undo = self._undo, {}
        return self._as_commit(self._handed_over) if self._handed_over else None

    def _as_commit(self, undo: _Undo) -> Commit | None:
        changes: dict[str, dict[str, Plain]] = {}
        operations: list[Operation] = []
        for (state, var), old in undo.items():
            plain = var.plain(vars(state)[var.name])
            if same_json(var.plain(old), plain):
                continue
            changes.setdefault(state.get_full_name(), {})[var.name] = plain
            if not var.is_backend:
                operations.append(Operation("replace", var.pointer, plain))
        return Commit(self.tree.version + 1, changes, tuple(operations)) if changes else None


_held: Final[ContextVar[tuple[Turn, ...]]] = ContextVar("actorstate.held_turns", default=())
"""The turns that the running code holds, outermost first.

A context variable, so that tasks started inside a block inherit the right to write, and it ends
for all of them when the turn does: what counts is that the turn is in here *and* still open.
"""


def held_turns() -> tuple[Turn, ...]:
    """Give the turns that the running code was given, outermost first; some may have ended."""
    return _held.get()


def is_held(turn: Turn) -> bool:
    """Tell whether the running code holds this turn."""
    return turn in _held.get()


def hold(turn: Turn) -> None:
    """Let the running code, and tasks that it starts from now on, write under the turn."""
    _held.set((*_held.get(), turn))


def release(turn: Turn) -> None:
    """Take back what `hold` gave to the running code."""
    held = _held.get()
    inner = held and held[-1] is turn  # as good as always
    _held.set(held[:-1] if inner else tuple(other for other in held if other is not turn))
