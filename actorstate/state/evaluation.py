"""Computed vars: values that follow from others, cached until what they read has changed.

What a computed var reads is found by letting it: the ``self`` that its function gets is a
recorder, which gives the state's values and notes which vars it is asked for. So it may read
other vars in another order the next time, those of its parents, those of other states, and
computed vars.

Every source has a stamp that moves when it changes; the stamp of a computed var moves only when
its *value* has. A change marks all that follow from it as doubtful. Whether a doubtful one has to
be computed again shows when somebody asks: if the stamps of all that it read are what they were,
it stands. (The way of Salsa and of Adapton: push doubts, pull values.)

What pages show is a third thing beside the value and the doubt: a value becomes shown when a
commit carries it, or a welcome does.

One that raises is logged, and keeps its last value until something that it read has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Generator, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Never,
    TypeAlias,
    cast,
    final,
)

import attrs
import msgspec

from actorstate.exceptions import ComputedVarError, ImmutableStateError
from actorstate.state.changes import MISSING, Entry, Log
from actorstate.state.computed import Computed, tree_of
from actorstate.state.holders import forbid_writing
from actorstate.state.json_types import Plain
from actorstate.state.patch import Operation, pointer
from actorstate.state.places import VarPlace
from actorstate.state.shapes import fitted
from actorstate.state.vars import TREE, Var

if TYPE_CHECKING:
    from actorstate.state.state import State
    from actorstate.state.tree import StateTree


logger: Final = logging.getLogger("actorstate.state")


ROUTER: Final = "router"
"""What ``self.router`` is among the sources."""

Source: TypeAlias = Var | Computed[Any] | str


@final
@attrs.define(eq=False)
class _Cell:
    """What one tree knows of one computed var."""

    value: Any = MISSING
    plain: Plain = None
    stamp: int = 0
    read: dict[Source, int] = attrs.field(factory=dict[Source, int])
    """What it read when it was last computed, with the stamps of then."""
    shown: Any = MISSING
    """The JSON form that pages have; MISSING while no page was told."""


@final
class ComputedVars:
    """The computed vars of one tree. Made by `StateTree` alone."""

    def __init__(self, tree: StateTree) -> None:
        self.tree: Final = tree
        self.is_read: bool = False
        """Whether any was ever asked for; till then there is nothing to keep up with."""
        self._cells: Final[dict[Computed[Any], _Cell]] = {}
        self._stamps: Final[dict[Source, int]] = {}
        self._readers: Final[dict[Source, set[Computed[Any]]]] = {}
        self._awaiting: int = 0
        """How many are being computed that await. They have read, and are no readers yet."""
        self._doubtful: Final[set[Computed[Any]]] = set()
        self._unshown: Final[set[Computed[Any]]] = set()
        self._handed_over: Final[dict[Computed[Any], Plain]] = {}
        self._before: Final[dict[Computed[Any], tuple[Any, Plain]]] = {}
        """The values before the open turn, of what was computed in it."""
        self._undone: dict[Computed[Any], tuple[Any, Plain]] = {}
        """The same of turns that were undone, for those that cannot be computed since."""
        self._noticed: tuple[Log | None, int, int] = (None, 0, 0)

    # ---- doubts ----------------------------------------------------------------------------

    def touch(self, source: Source) -> None:
        """Note that a source has changed."""
        self._stamps[source] = self._stamps.get(source, 0) + 1
        self._doubt_readers(source)

    def invalidate(self, log: Log) -> None:
        """Note that the vars of a log have changed, again."""
        if self._readers or self._awaiting:
            self._touch_all(log.entries)

    def _doubt_readers(self, source: Source) -> None:
        for reader in self._readers.get(source, ()):
            if reader not in self._doubtful:
                self._doubtful.add(reader)
                self._doubt_readers(reader)

    def notice(self) -> None:
        """Look at what the open turn has changed since the last time."""
        turn = self.tree.turn
        if turn is None:
            return
        log = turn.log
        seen, absorbed = self._noticed[1:] if self._noticed[0] is log else (0, 0)
        # The last entry that was seen has grown if it has absorbed others.
        if self._readers or self._awaiting:
            self._touch_all(log.entries[max(0, seen - (log.absorbed > absorbed)) :])
        self._noticed = log, len(log.entries), log.absorbed

    def _touch_all(self, entries: Iterable[Entry]) -> None:
        for var in {_var_of(entry) for entry in entries}:
            self.touch(var)

    def stamp(self, source: Source) -> int:
        """Give the stamp of a source; of a computed one, of the value it has now."""
        if isinstance(source, Computed):
            return self._cells[source].stamp
        return self._stamps.get(source, 0)

    # ---- reading ---------------------------------------------------------------------------

    def read(self, var: Computed[Any], chain: tuple[Computed[Any], ...] = ()) -> Any:
        """Give the value of a computed var; of an async one, an awaitable of it.

        Args:
            var: which.
            chain: the computed vars that are being computed, each of which reads the next.

        Raises:
            ComputedVarError: it reads itself in the end; or it failed, and never had a value.
        """
        if var.is_async:
            return _Fresh(self, var, chain)
        self.refresh(var, chain)
        return self.value(var)

    def value(self, var: Computed[Any]) -> Any:
        """Give the last value of a computed var.

        Raises:
            ComputedVarError: it never had one.
        """
        value = self._cells[var].value
        if value is MISSING:
            message = f"{var} has no value: it has raised each time; the log says what"
            raise ComputedVarError(message)
        return value

    def refresh(self, var: Computed[Any], chain: tuple[Computed[Any], ...] = ()) -> None:
        """Compute a var again if it has to be."""
        if self.revalidate(var, chain):
            return
        evaluation = Evaluation(self, var, chain)
        writing_again = forbid_writing()
        try:
            result = var.function(evaluation.recorder(var.owner))
        except ComputedCycleError:
            raise
        except Exception as error:  # noqa: BLE001 - logged: it fails nobody who reads it
            result = _Failure(error)
        finally:
            writing_again()
        self._keep(evaluation, result)

    def refresh_async(
        self, var: Computed[Any], chain: tuple[Computed[Any], ...] = ()
    ) -> Generator[Any, Any, None]:
        """Compute an async var again if it has to be. To be driven by an ``await``."""
        if self.revalidate(var, chain):
            return
        evaluation = Evaluation(self, var, chain)
        writing_again = forbid_writing()
        self._awaiting += 1
        try:
            steps: Generator[Any, Any, Any] = var.function(
                evaluation.recorder(var.owner)
            ).__await__()
            result = yield from steps
        except ComputedCycleError:
            raise
        except Exception as error:  # noqa: BLE001 - logged: it fails nobody who reads it
            result = _Failure(error)
        finally:
            writing_again()
            self._awaiting -= 1
        self._keep(evaluation, result)

    def revalidate(self, var: Computed[Any], chain: tuple[Computed[Any], ...]) -> bool:
        """Confirm the value that a var has, if it still stands; tell whether it does.

        Raises:
            ComputedVarError: it is being computed, and so reads itself.
        """
        if var in chain:
            way = " -> ".join(map(str, (*chain[chain.index(var) :], var)))
            message = f"computed vars read each other in a circle: {way}; break it"
            raise ComputedCycleError(message)
        self.is_read = True
        self.notice()
        cell = self._cells.get(var)
        if cell is None:
            return False
        if var in self._doubtful and not self._still_stands(var, cell, chain):
            return False
        self._doubtful.discard(var)
        self._undone.pop(var, None)
        return True

    def _still_stands(
        self, var: Computed[Any], cell: _Cell, chain: tuple[Computed[Any], ...]
    ) -> bool:
        for source, stamp in list(cell.read.items()):
            if isinstance(source, Computed) and source in self._doubtful:
                if source.is_async:
                    return False  # only an await can tell
                self.refresh(source, (*chain, var))
            if self.stamp(source) != stamp:
                return False
        return True

    def _keep(self, evaluation: Evaluation, result: Any) -> None:
        var = evaluation.var
        cell = self._cells.setdefault(var, _Cell())
        self.notice()
        is_late = any(
            source in self._doubtful or self.stamp(source) != stamp
            for source, stamp in evaluation.read.items()
        )
        if is_late and cell.value is not MISSING:
            self._doubtful.add(var)  # another may have computed it since, from what is now
            return
        for source in cell.read.keys() - evaluation.read.keys():
            self._readers[source].discard(var)
        cell.read = evaluation.read
        for source in cell.read:
            self._readers.setdefault(source, set()).add(var)
        if is_late:
            self._doubtful.add(var)
        else:
            self._doubtful.discard(var)
        self._set(var, cell, result)

    def _set(self, var: Computed[Any], cell: _Cell, result: Any) -> None:
        if not isinstance(result, _Failure):
            result = _owned(var, result)
        if isinstance(result, _Failure):
            logger.error("%s failed; it keeps its last value", var, exc_info=result.error)
            if var in self._undone:  # its last value is not that of a turn that was undone
                self._take(var, cell, *self._undone.pop(var))
            return
        before = self._undone.pop(var, (cell.value, cell.plain))
        plain = var.shape.to_plain(result)
        if self.tree.turn is not None:
            self._before.setdefault(var, before)
        if cell.value is MISSING or not _reads_the_same(cell.plain, plain):
            self._take(var, cell, result, plain)

    def _take(self, var: Computed[Any], cell: _Cell, value: Any, plain: Plain) -> None:
        cell.value, cell.plain, cell.stamp = value, plain, cell.stamp + 1
        self._unshown.add(var)
        self._doubt_readers(var)

    # ---- showing ---------------------------------------------------------------------------

    def settle(self) -> None:
        """Compute again what pages show and what is in doubt; what awaits was settled before."""
        if not (self._readers or self._awaiting):
            return
        self.notice()
        for var in sorted(self._doubtful, key=str):
            if not var.is_async and self._cells[var].shown is not MISSING:
                self._attempt_refresh(var)

    def _attempt_refresh(self, var: Computed[Any]) -> None:
        try:
            self.refresh(var)
        except ComputedCycleError as error:
            self.fail(var, error)

    def fail(self, var: Computed[Any], error: ComputedCycleError) -> None:
        """Note that a var cannot be computed by the way the program is written."""
        logger.error("%s failed; it keeps its last value", var, exc_info=error)
        self._doubtful.discard(var)

    def awaited(self, *, welcome: bool = False) -> list[Computed[Any]]:
        """Give the async vars that have to be awaited (`refresh_shown`) before pages are told.

        Args:
            welcome: whether a page is to be told everything.
        """
        if welcome:
            return [var for var in self.tree.schema.shown_computed if self._needs_await(var)]
        if not (self._readers or self._awaiting):
            return []
        self.notice()
        return [
            var
            for var in sorted(self._doubtful, key=str)
            if var.is_async and self._cells[var].shown is not MISSING
        ]

    def _needs_await(self, var: Computed[Any]) -> bool:
        return var.is_async and (var not in self._cells or var in self._doubtful)

    def refresh_shown(self, var: Computed[Any]) -> Awaitable[None]:
        """Compute an async var again; what goes wrong is logged."""
        return _Settled(self, var)

    def operations(self) -> tuple[Operation, ...]:
        """Give the operations for what has changed since pages were told."""
        if not self._unshown:
            return ()
        self._handed_over.clear()
        for var in sorted(self._unshown, key=str):
            cell = self._cells[var]
            if cell.shown is not MISSING and not _reads_the_same(cell.shown, cell.plain):
                self._handed_over[var] = cell.plain
        self._unshown.clear()
        return tuple(
            Operation("replace", pointer(*var.path), plain)
            for var, plain in self._handed_over.items()
        )

    def note_stored(self) -> None:
        """Note that pages are told what `operations` gave."""
        if not (self._handed_over or self._before):
            return
        for var, plain in self._handed_over.items():
            self._cells[var].shown = plain
        self._handed_over.clear()
        self._before.clear()

    def note_refused(self) -> None:
        """Note that pages are not told what `operations` gave."""
        self._unshown.update(self._handed_over)
        self._handed_over.clear()
        self._undone = {**self._before, **self._undone}
        self._before.clear()

    def shown(self, var: Computed[Any]) -> Plain:
        """Give what pages show of a var; computed now, if no page was told yet."""
        if var not in self._cells:
            if var.is_async:
                return None
            self._attempt_refresh(var)
        cell = self._cells.get(var)
        if cell is None:
            return None
        if cell.shown is MISSING:
            if not var.is_async:
                self._attempt_refresh(var)
            cell.shown = cell.plain
        return cell.shown


@final
@attrs.frozen
class _Failure:
    error: BaseException


class ComputedCycleError(ComputedVarError):
    """Computed vars read each other in a circle. A mistake of the program, in all of them."""


def _var_of(entry: Entry) -> Var:
    target = entry.target
    place: VarPlace = target if isinstance(target, VarPlace) else target.actorstate_place
    return place.var


def _reads_the_same(one: Plain, other: Plain) -> bool:
    """Compare plain values, the order of keys too: what reads a dict may go by it."""
    return one is other or msgspec.json.encode(one) == msgspec.json.encode(other)


def _owned(var: Computed[Any], result: Any) -> Any:
    try:
        return fitted(var.place, lambda: var.shape.own(result, var.place, var.place, None))
    except TypeError as error:
        return _Failure(error)


@final
class _Fresh:
    """What reading an async computed var gives: await it for its value."""

    def __init__(
        self, all_vars: ComputedVars, var: Computed[Any], chain: tuple[Computed[Any], ...]
    ) -> None:
        self._all_vars = all_vars
        self._var = var
        self._chain = chain

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from self._all_vars.refresh_async(self._var, self._chain)
        return self._all_vars.value(self._var)


@final
class _Settled:
    """Settles an async computed var: await it."""

    def __init__(self, all_vars: ComputedVars, var: Computed[Any]) -> None:
        self._all_vars = all_vars
        self._var = var

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield from self._all_vars.refresh_async(self._var, ())
        except ComputedCycleError as error:
            self._all_vars.fail(self._var, error)


# ---- recording ---------------------------------------------------------------------------------


@final
class Evaluation:
    """One computation of one var, and what it has read so far."""

    def __init__(
        self, all_vars: ComputedVars, var: Computed[Any], chain: tuple[Computed[Any], ...]
    ) -> None:
        self.all_vars: Final = all_vars
        self.chain: Final = (*chain, var)
        self.var: Final = var
        self.read: Final[dict[Source, int]] = {}

    def recorder(self, cls: type[State]) -> Any:
        """Give what the function gets as a state: it reads the same, and notes what."""
        state = self.all_vars.tree.state(cls)
        recorder = object.__new__(_recorder_class(cls))
        object.__setattr__(recorder, "_evaluation", self)
        object.__setattr__(recorder, TREE, tree_of(state))
        return recorder

    def look_up(self, cls: type[State], name: str) -> Any:
        """Read a var, and note of it; MISSING if it is none."""
        definition = cls.definition()
        if (var := definition.all_vars.get(name)) is not None:
            self._note(var)
            return getattr(self.all_vars.tree.state(var.owner), name)
        if (computed_var := definition.all_computed.get(name)) is not None:
            return self._read_computed(computed_var)
        if name == ROUTER:
            self._note(ROUTER)
        return MISSING

    def _read_computed(self, var: Computed[Any]) -> Any:
        if var.is_async:
            return _Recorded(self, var)
        self.all_vars.refresh(var, self.chain)
        self._note(var)
        return self.all_vars.value(var)

    def read_async(self, var: Computed[Any]) -> Generator[Any, Any, Any]:
        """Read an async computed var, and note of it."""
        yield from self.all_vars.refresh_async(var, self.chain)
        self._note(var)
        return self.all_vars.value(var)

    def _note(self, source: Source) -> None:
        self.all_vars.notice()
        self.read.setdefault(source, self.all_vars.stamp(source))


@final
class _Recorded:
    """What a computed var gets when it reads an async one: await it for its value."""

    def __init__(self, evaluation: Evaluation, var: Computed[Any]) -> None:
        self._evaluation = evaluation
        self._var = var

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._evaluation.read_async(self._var)


def _recorder_class(cls: type[State]) -> type[Any]:
    """Give the subclass of a state whose instances note what they are asked for."""
    made = vars(cls).get("_recorder")
    if made is None:
        body = {name: vars(_Recorder)[name] for name in _RECORDER_METHODS}
        body |= {"__slots__": ("_evaluation",), "__module__": cls.__module__}
        made = type(cls)(cls.__name__, (cls,), body, recorder=True)
        type.__setattr__(cls, "_recorder", made)
    return made


class _Recorder:
    """The methods that make a recorder of a state."""

    _evaluation: Evaluation

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return object.__getattribute__(self, name)
        evaluation: Evaluation = object.__getattribute__(self, "_evaluation")
        found = evaluation.look_up(type(self), name)  # pyright: ignore[reportArgumentType]
        return found if found is not MISSING else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> Never:
        evaluation: Evaluation = object.__getattribute__(self, "_evaluation")
        message = f"{evaluation.var} is a computed var: it reads, and changes nothing, not {name}"
        raise ImmutableStateError(message)

    def __aenter__(self) -> Never:
        evaluation: Evaluation = object.__getattribute__(self, "_evaluation")
        message = f"{evaluation.var} is a computed var: it reads, and takes no turn"
        raise ImmutableStateError(message)

    def get_substate(self, path: Any) -> Any:
        """Give a recorder of the other state."""
        evaluation: Evaluation = object.__getattribute__(self, "_evaluation")
        cls = cast("Any", super(type(self), self)).get_substate(path).__class__
        return evaluation.recorder(cls)


_RECORDER_METHODS: Final = ("__getattribute__", "__setattr__", "__aenter__", "get_substate")
