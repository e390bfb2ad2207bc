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
a fresh log. If the store fails, both logs are undone, the newer one first.

Revoking is for a holder in a thread of its own, which may be in the middle of a write: from then on
it can write nothing, and undoes what it wrote itself, when it comes to it. It is no step of the
turn's, since it comes from another thread at any moment.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from actorstate.exceptions import ImmutableStateError
from actorstate.state.changes import Log, VarSet
from actorstate.state.json_types import MOST_BITS
from actorstate.state.nodes import orphan
from actorstate.state.patch import Operation
from actorstate.state.record import Record
from actorstate.state.snapshot import CallRecord, Snapshot, TaskRecord

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

# What a turn without a checkpoint goes through, by names that are found at once: to look up a
# member in its enum takes ten times as long as a global, and a turn would do that five times.
_OPEN: Final = TurnState.OPEN
_CHECKPOINTING: Final = TurnState.CHECKPOINTING
_COMMIT: Final = TurnStep.COMMIT
_STORED: Final = TurnStep.STORED

_WRITABLE: Final = frozenset({TurnState.OPEN, TurnState.CHECKPOINTING})
_ENDED: Final = frozenset({TurnState.COMMITTED, TurnState.ROLLED_BACK})

# The table by state and then by step, which is looked up in half the time; with what follows from
# the state that it leads to: whether that is writable, and whether the turn has ended.
_STEPS: Final = {
    here: {
        step: (state, state in _WRITABLE, state in _ENDED)
        for (start, step), state in _NEXT.items()
        if start is here
    }
    for here in TurnState
}


@final
class Commit(Record, frozen=True):
    """What one turn did, as the store takes it and the connections show it."""

    version: int
    """The version of the state tree after it."""
    changes: tuple[Operation, ...]
    """What it did to the snapshot's values, backend vars included: for the store alone."""
    operations: tuple[Operation, ...]
    """What it did to the public state, computed vars included: for anyone."""
    tasks: tuple[TaskRecord, ...] | None = None
    """The background tasks that are to be resumed, from now on; None for the same as before."""
    done: tuple[tuple[str, int], ...] = ()
    """Page loads, each with the number of its last event that is done with this."""
    calls: tuple[CallRecord, ...] = ()
    """What is to be called from now on, after what was before."""
    ran: tuple[str, ...] = ()
    """The ids of the calls that are done with this."""
    schema: str | None = None
    """The fingerprint of the State classes; None for the same as before."""
    whole: Callable[[], Snapshot] | None = None
    """Gives the snapshot as it is with this commit, for a store that would rather write that;
    None where nobody can tell. Good only before the store first awaits."""


@final
class Turn(msgspec.Struct, eq=False):
    """The open turn of one state tree. Made by `StateTree.open_turn` alone."""

    tree: StateTree
    holder: str
    log: Log
    """What was changed since it was opened, or since the last checkpoint."""
    block: object = None
    """What ends it, where it was lent, until its holder has let go; known to the room above."""
    holding: object = None
    """How it is held, where its holder can wait, until it has ended; likewise."""
    is_writable: bool = True
    """Whether its holder may change state now."""
    failure: BaseException | None = None
    """What ended it at a checkpoint, while its block may still go on."""
    is_revoked: bool = False
    """Whether it was taken from a holder who still has to undo it."""
    has_ended: bool = False
    """Whether it was committed or rolled back."""
    _state: TurnState = _OPEN
    _handed_over: Log | None = None

    def __repr__(self) -> str:
        return f"<turn of {self.holder}: {self._state.value}>"

    @property
    def state(self) -> TurnState:
        """Where it is in its life."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether it goes on, and was not revoked."""
        return not (self.has_ended or self.is_revoked)

    def commit(self) -> Commit | None:
        """End the block: no more writes. Give what to store, or None if nothing changed."""
        computed = self.tree.computed
        if computed.is_read:
            computed.settle()
        self._step(_COMMIT)
        return self.tree.as_commit(self.log)

    def checkpoint(self) -> Commit | None:
        """Give what to store of the work done so far; the turn goes on."""
        self.tree.computed.settle()
        self._step(TurnStep.CHECKPOINT)
        self._handed_over, self.log = self.log, Log()
        return self.tree.as_commit(self._handed_over)

    def stored(self, commit: Commit | None) -> None:
        """Take note that the store has the commit (or that there was nothing to store)."""
        self._step(TurnStep.KEEP if self._state is _CHECKPOINTING else _STORED)
        self._handed_over = None
        self.tree.stored(commit)

    def revoke(self) -> None:
        """Let its holder write no more, who alone can undo; from any thread."""
        self.is_revoked = True
        self.is_writable = False

    def roll_back(self) -> None:
        """Leave nothing behind of what the store does not have. Without effect once ended."""
        if self.has_ended:
            return
        self._step(TurnStep.ROLL_BACK)
        for log in (self.log, self._handed_over):
            if log is not None:
                log.undo()
                self.tree.computed.invalidate(log)
        self.tree.refused()

    def _step(self, step: TurnStep) -> None:
        self._state, is_writable, has_ended = _STEPS[self._state][step]
        self.is_writable = is_writable and not self.is_revoked
        if has_ended:
            self.has_ended = True
            self.holding = None  # which has the turn: nothing of it is left to be collected
            self.tree.turn = None


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
        if turn is None or not turn.is_writable or turn not in _held.get() or _reading.get():
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
        if _reading.get():
            return f"{self.var} was not changed: computed vars are computed here, and only read"
        return (
            f"{self.var} was not changed: it can be changed only by who holds the tab's turn. In "
            f"a background task write inside `async with self`; elsewhere inside "
            f"`async with app.modify_state(token) as state`"
        )


_held: Final[ContextVar[tuple[Turn, ...]]] = ContextVar("actorstate.held_turns", default=())
"""The turns that the running code holds, outermost first.

A context variable, so that tasks started inside a block inherit the right to write, and it ends
for all of them when the turn does: what counts is that the turn is in here *and* still open.
"""


_reading: Final[ContextVar[bool]] = ContextVar("actorstate.reading", default=False)
"""Whether the running code computes a computed var, and so may not write, whatever it holds."""


def forbid_writing() -> Callable[[], None]:
    """Let the running code write nothing until what this gives is called."""
    token = _reading.set(True)
    return lambda: _reading.reset(token)


def held_turns() -> tuple[Turn, ...]:
    """Give the turns that the running code was given, outermost first; some may have ended."""
    return _held.get()


def is_held(turn: Turn) -> bool:
    """Tell whether the running code holds this turn, and may write under it."""
    return turn in _held.get() and not _reading.get()


def hold(turn: Turn) -> None:
    """Let the running code, and tasks that it starts from now on, write under the turn."""
    _held.set((*_held.get(), turn))


def release(turn: Turn) -> None:
    """Take back what `hold` gave to the running code."""
    turn.block = None  # likewise
    held = _held.get()
    inner = held and held[-1] is turn  # as good as always
    _held.set(held[:-1] if inner else tuple(other for other in held if other is not turn))
