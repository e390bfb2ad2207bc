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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, final

import msgspec

from actorstate.state.changes import Log

if TYPE_CHECKING:
    from actorstate.state.commit import Commit
    from actorstate.state.tree import StateTree


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
class Turn(msgspec.Struct, eq=False):
    """The open turn of one state tree. Made by `StateTree.open_turn` alone."""

    tree: StateTree
    holder: str
    log: Log
    """What was changed since it was opened, or since the last checkpoint."""
    block: object = None
    """What ends it, where it was lent, until its holder has let go; known to the room above."""
    holding: object = None
    """How it is held, where its holder can wait, until it has ended; known to the room above."""
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

    def note_stored(self, commit: Commit | None) -> None:
        """Note that the store has the commit (or that there was nothing to store)."""
        self._step(TurnStep.KEEP if self._state is _CHECKPOINTING else _STORED)
        self._handed_over = None
        self.tree.note_stored(commit)

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
        self.tree.note_refused()

    def _step(self, step: TurnStep) -> None:
        self._state, is_writable, has_ended = _STEPS[self._state][step]
        self.is_writable = is_writable and not self.is_revoked
        if has_ended:
            self.has_ended = True
            self.holding = None  # which has the turn: nothing of it is left to be collected
            self.tree.turn = None
