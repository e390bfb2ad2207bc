"""The state tree: the instances of all State classes for one token."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, final

import attrs

from actorstate.exceptions import SnapshotError
from actorstate.state.changes import Log, VarChange, VarSet, fold, scalar_set
from actorstate.state.commit import Commit
from actorstate.state.convert import same_json
from actorstate.state.evaluation import ROUTER, ComputedVars
from actorstate.state.json_types import Plain
from actorstate.state.migration import migrated
from actorstate.state.patch import Operation, pointer
from actorstate.state.places import VarPlace
from actorstate.state.router import Router
from actorstate.state.schema import Schema
from actorstate.state.snapshot import Snapshot
from actorstate.state.state import State
from actorstate.state.turn import Turn
from actorstate.state.vars import PLACES, Var

AnyState = TypeVar("AnyState", bound=State)


class Door(Protocol):
    """The way from ``async with self`` to the mailbox; brought by the room above."""

    def enter(self, state: AnyState) -> Awaitable[AnyState]:
        """Ask for the token's turn, wait for it, and give back the state."""
        ...

    def leave(self, error: BaseException | None) -> Awaitable[None]:
        """End the turn that was entered: commit it, or undo it if there is an error."""
        ...


def _known_of(cls: type[State], stored: Mapping[str, Plain]) -> dict[str, Plain]:
    """Give what of the stored values is still a var."""
    return {name: stored[name] for name in cls.definition().vars if name in stored}


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
        self.computed: Final = ComputedVars(self)
        self.router: Router = Router(token)
        """The page load that is served; changed by `serve`."""
        self._states: dict[type[State], State] = {}
        self._stored_states: set[str] = set()
        self._new_places: list[VarPlace] = []
        self._read_last: _Found | None = None

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
        turn = self.turn = Turn(self, holder, Log())
        return turn

    def serve(self, router: Router) -> None:
        """Let the page load that is served be another one."""
        before, self.router = self.router, router
        if router != before:
            self.computed.touch(ROUTER)

    def is_touched(self, cls: type[State]) -> bool:
        """Tell whether there is an instance of a State class already."""
        return cls in self._states

    def place(self, state: State, var: Var) -> VarPlace:
        """Give where the value of a var is, and is changed."""
        return getattr(state, PLACES)[var.name]

    # ---- for others ------------------------------------------------------------------------

    def public(self) -> Mapping[str, Mapping[str, Plain]]:
        """Give what a browser sees: the JSON form of every var but the backend ones.

        For between turns. Computed vars that await have to be settled before.
        """
        if not self._states and not self.schema.shown_computed:
            return self.schema.defaults
        shown: dict[str, Mapping[str, Plain]] = dict(self.schema.defaults)
        for cls, state in self._states.items():
            shown[cls.get_full_name()] = {
                name: var.plain(getattr(state, name))
                for name, var in cls.definition().vars.items()
                if not var.is_backend
            }
        for var in self.schema.shown_computed:
            state_name, name = var.path
            shown[state_name] = {**shown[state_name], name: self.computed.shown(var)}
        return shown

    def as_commit(self, log: Log) -> Commit | None:
        """Give what a turn did, for the store and for pages; None if that is nothing."""
        only = scalar_set(log) if not self.computed.is_read else None
        if only is not None and only.target.is_stored:  # the common case
            return self._as_small_commit(only)
        changes = fold(log)
        shown = computed = self.computed.operations() if self.computed.is_read else ()
        if not changes and not computed:
            return None
        for change in reversed(changes):
            if not change.place.var.is_backend:
                shown = change.operations + shown
        return Commit(self.version + 1, self._for_store(changes), shown)

    def _as_small_commit(self, only: VarSet) -> Commit | None:
        var, value = only.target.var, only.target.value()
        if same_json(only.old, value):
            return None
        operations = (Operation("replace", var.pointer, value),)
        return Commit(self.version + 1, operations, () if var.is_backend else operations)

    def _for_store(self, changes: Sequence[VarChange]) -> tuple[Operation, ...]:
        """Give the operations on the snapshot: whole values of what it does not have yet."""
        made: list[Operation] = []
        for change in changes:
            place = change.place
            if place.is_stored:
                made += change.operations
                continue
            state_name, name = place.path
            if state_name not in self._stored_states | {new.path[0] for new in self._new_places}:
                made.append(Operation("add", pointer(state_name), {}))
            self._new_places.append(place)
            plain = place.var.plain(place.value())
            made.append(Operation("add", pointer(state_name, name), plain))
        return tuple(made)

    def note_stored(self, commit: Commit | None) -> None:
        """Note that the store has a commit, or that there was nothing to store."""
        if self.computed.is_read:
            self.computed.note_stored()
        if self._new_places:
            for place in self._new_places:
                place.is_stored = True
                self._stored_states.add(place.path[0])
            self._new_places.clear()
        if commit is not None:
            self.version = commit.version

    def note_refused(self) -> None:
        """Note that the store has not what `as_commit` gave last."""
        self.computed.note_refused()
        self._new_places.clear()

    # ---- snapshots -------------------------------------------------------------------------

    def stored_values(self) -> dict[str, dict[str, Plain]]:
        """Give the values for a snapshot of what is, with the commit that is being stored.

        For when nobody writes: the turn has ended, and its commit is not concluded yet.
        """
        new = set(self._new_places)
        return {
            cls.get_full_name(): {
                name: var.plain(getattr(state, name))
                for name, var in cls.definition().vars.items()
                if (place := self.place(state, var)).is_stored or place in new
            }
            for cls, state in self._states.items()
            if cls.get_full_name() in self._stored_states or any(p.state is state for p in new)
        }

    def is_as(self, snapshot: Snapshot) -> bool:
        """Tell whether all that a snapshot has is here, and no more.

        The version alone does not tell: of a token that was deleted, or whose last commits the
        store has lost, another owner may have come to the same number with other values.
        """
        if snapshot.version != self.version:
            return False
        mine, its = self.stored_values(), snapshot.values
        states = self.schema.states
        return all(
            same_json(mine.get(name, {}), _known_of(states[name], its.get(name, {})))
            for name in states.keys() & (mine.keys() | its.keys())
        )

    def restore(self, snapshot: Snapshot) -> bool:
        """Take the values of a snapshot; a var that is not in it keeps its default.

        For a tree that nobody has touched.

        Returns:
            Whether values had to be migrated, so that the snapshot has to be written anew.

        Raises:
            SnapshotError: a stored value does not fit its var.
        """
        if self.version or self.turn is not None:
            message = f"the tree of {self.token} is in use already"
            raise SnapshotError(message)
        found = self._read(snapshot)
        for place, value in found.values.items():
            place.put(value)
        self._is_at(snapshot, found)
        return found.is_migrated

    def replace(self, snapshot: Snapshot) -> bool:
        """Let everything be as in a snapshot, in place, under an open turn of the caller's.

        The instances of states stay; values that are the same already stay, too. The turn is then
        committed without being stored, which tells what has changed.

        Returns:
            As `restore`.

        Raises:
            SnapshotError: a stored value does not fit its var. The turn is to be rolled back.
        """
        found = self._read(snapshot)
        for state in self._states.values():
            for var in type(state).definition().vars.values():
                place = self.place(state, var)
                if place in found.values:
                    self._renew(place, found.values[place])
                else:
                    self._renew(place, var.own(var.default, place))
        self._read_last = found
        return found.is_migrated

    def _renew(self, place: VarPlace, value: Any) -> None:
        plain = place.var.plain
        if not same_json(plain(place.value()), plain(value)):
            place.exchange(value)

    def note_replaced(self, snapshot: Snapshot) -> None:
        """Note that the turn has ended in which everything was replaced."""
        assert self._read_last is not None, "nothing was replaced"
        for state in self._states.values():
            for var in type(state).definition().vars.values():
                self.place(state, var).is_stored = False
        self._is_at(snapshot, self._read_last)
        self._read_last = None

    def rewriting(self, snapshot: Snapshot) -> Commit:
        """Give the commit that lets a snapshot be as the tree is, which was migrated from it."""
        values = self.stored_values()
        gone = [Operation("remove", pointer(name)) for name in snapshot.values]
        anew = [Operation("add", pointer(name), stored) for name, stored in values.items()]
        return Commit(self.version + 1, (*gone, *anew), ())

    def note_rewritten(self, commit: Commit) -> None:
        """Note that the store has what `rewriting` gave."""
        self.version = commit.version
        self._stored_states &= self.schema.states.keys()

    def _is_at(self, snapshot: Snapshot, found: _Found) -> None:
        for place in found.values:
            place.is_stored = True
        self.version = snapshot.version
        self._stored_states = set(snapshot.values)

    def _read(self, snapshot: Snapshot) -> _Found:
        """Make values of a snapshot, without letting anybody see them."""
        found = _Found()
        is_older = snapshot.schema != self.schema.fingerprint
        for name, stored in snapshot.values.items():
            cls = self.schema.states.get(name)
            if cls is None:
                continue
            state = self.state(cls)
            read = functools.partial(self._read_state, state)
            values, has_changed = migrated(cls, stored, read, is_older=is_older)
            found.values.update(values)
            found.is_migrated = found.is_migrated or has_changed
        return found

    def _read_state(self, state: State, stored: Mapping[str, Any]) -> dict[VarPlace, Any]:
        places = [self.place(state, var) for var in type(state).definition().vars.values()]
        return {
            place: place.var.restore(stored[place.var.name], place)
            for place in places
            if place.var.name in stored
        }


@final
@attrs.define(eq=False)
class _Found:
    """What was read from a snapshot."""

    values: dict[VarPlace, Any] = attrs.field(factory=dict["VarPlace", Any])
    is_migrated: bool = False
